"""Runs: canonical configs, fingerprints, derived seeds, atomic files, checkpoints.

A config never holds a path, a device or a library version, so its fingerprint names the same work everywhere.
Seeds are derived from (run seed, purpose, position) by SHA-256, so no random state is ever stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import hmac
import json
import os
import platform
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from .errors import BadOutput, InputError, Mismatch, WorkerKilled, writing

if TYPE_CHECKING:
    import torch

Config = Mapping[str, Any]

_KEY_BYTES = 32
_SYNC_THREADS = 16
CHECKPOINT, WEIGHTS, LOG = "checkpoint.safetensors", "weights.safetensors", "log.jsonl"
OUTCOME = "outcome.json"


def canonical_json(value: Any) -> str:
    """Return a value as the one JSON text that stands for it (sorted keys, no spaces, no NaN)."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def sha256(data: bytes | str) -> str:
    """Return the SHA-256 of bytes or text as hex."""
    # A file name need not be UTF-8; Python holds its odd bytes as surrogates.
    return hashlib.sha256(data.encode(errors="surrogateescape") if isinstance(data, str) else data).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:  # hashlib.file_digest came with Python 3.11.
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def fingerprint(config: Config) -> str:
    """Return the SHA-256 of a config's canonical JSON."""
    return sha256(canonical_json(config))


def derive_seed(seed: int, purpose: str, *position: int | str) -> int:
    """Return a 63-bit seed that depends on nothing but its arguments."""
    return int(sha256(canonical_json([seed, purpose, *position]))[:16], 16) >> 1


def config_folder() -> Path:
    """Return the user's own configuration folder ($SYNTHCOHORT_HOME, else the platform's)."""
    return Path(os.environ.get("SYNTHCOHORT_HOME") or platformdirs.user_config_path("synthcohort"))


def cohort_key(cohort_name: str) -> bytes:
    """Return the secret key under which a cohort's patients and pixels are pseudonymised.

    The 32-byte master key is made on first use, readable by the user only, outside every cohort.

    Raises:
        InputError: The key file does not hold a key.
        BadOutput: It cannot be made.
    """
    path = config_folder() / "pseudonym.key"
    if not path.exists():
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:  # pseudonyms under an empty key could be undone by anyone
        raise InputError(
            f"The pseudonym key has {_KEY_BYTES} bytes",
            f"{path} has {len(key)}",
            "Restore it, or remove it to give cohorts prepared from now on other pseudonyms",
        )
    return hmac.digest(key, cohort_name.encode(), "sha256")


def _make_key(path: Path) -> None:
    """Put a whole new key at `path`, unless another process is first; a killed process leaves no half of one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new one, never half of it.

    Raises:
        BadOutput: The disk is full or not writable; the old content stays.
    """
    # A name of its own: evaluations may share a folder of jobs, and containers have the same process numbers.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def publishing(out: Path, print_: str, *, resume: Collection[str] = ()) -> Iterator[Path]:
    """Yield a folder OUT.partial-<fingerprint> that becomes `out` by one rename when the block succeeds.

    Whatever an earlier, interrupted attempt left in it is removed first, but for files named in `resume`: they are
    there for the block, and Ctrl-C, a full disk or a killed worker leave them there for the next attempt.

    Raises:
        BadOutput: `out` exists, another process is writing it, or its disk cannot be written.
    """
    if out.exists() or not out.name:
        raise BadOutput("An output must not exist yet", str(out), "Choose another --out or remove it")
    partial = out.with_name(f"{out.name}.partial-{print_[:12]}")
    with writing(out):
        partial.mkdir(parents=True, exist_ok=True)
    with writing(out), _locked(partial, out):
        try:
            _clear(partial, resume)
            yield partial
            sync_folder(partial)
            partial.rename(out)
        except BaseException as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            if resume and (full or isinstance(error, KeyboardInterrupt | WorkerKilled)):
                raise
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextlib.contextmanager
def holding(out: Path) -> Iterator[None]:
    """Keep other processes out of a run folder while the block writes to it; files half written before are removed.

    Raises:
        BadOutput: Another process is at work in it.
    """
    with _locked(out, out):
        for path in out.glob(".*.partial"):
            path.unlink(missing_ok=True)
        try:
            yield
        except InputError:
            _forget(out)
            raise


def _forget(out: Path) -> None:
    """Free a run folder that holds its config and no work, so that the corrected command may have it."""
    files = [path for path in out.rglob("*") if not path.is_dir()]
    if files == [out / "run.json"]:
        with contextlib.suppress(OSError):
            files[0].unlink()
            for folder in sorted((path for path in out.rglob("*")), reverse=True):
                folder.rmdir()


@contextlib.contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Hold the lock of a folder; the system drops it when the process ends, however it ends."""
    busy = BadOutput("One process writes an output at a time", f"another is at work on {out}", "Wait for it to end")
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError as error:  # the other process has just finished
        raise busy from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise busy from error
            # Some network file systems have no locks; there the user has to see to it.
        if not folder.exists() or os.stat(folder).st_ino != os.fstat(handle).st_ino:
            raise busy
        yield
    finally:
        os.close(handle)


def _clear(folder: Path, kept: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.name in kept and path.is_file() and not path.is_symlink():
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def sync_folder(folder: Path) -> None:
    """Have the disk hold a folder; several files at once, since each wait is for the disk."""
    paths = list(folder.rglob("*"))
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        list(pool.map(_sync, (paths[start::_SYNC_THREADS] for start in range(_SYNC_THREADS))))
    _sync([folder])


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def open_run(out: Path, config: Config) -> Path:
    """Return the run folder `out`, made or taken up again.

    Raises:
        Mismatch: The folder belongs to a run of another config.
        BadOutput: It exists and is no run folder, or cannot be written.
    """
    path = out / "run.json"
    if path.exists():
        stored = read_run(out)["config"]
        if canonical_json(stored) != canonical_json(config):
            raise Mismatch(
                "A run folder belongs to one config", _difference(stored, config, out), "Choose another --out"
            )
        return out
    if out.exists() and (not out.is_dir() or {*out.iterdir()} - {*out.glob(".run.json.*.partial")}):
        raise BadOutput("A run folder is new, empty or of the same run", str(out), "Choose another --out")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({"fingerprint": fingerprint(config), "config": _plain(config)}, indent=2) + "\n")
    return out


def _difference(stored: Config, config: Config, out: Path) -> str:
    before, now = _flat(stored), _flat(config)
    keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    first = keys[0] if keys else "config"
    return f"{out} was made with {first}={before.get(first)!r}, now {now.get(first)!r}"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    value = _plain(value)
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}".lstrip(".")).items()}


def read_run(out: Path) -> dict[str, Any]:
    """Return the content of a run folder's run.json.

    Raises:
        Mismatch: The folder is no run folder.
    """
    try:
        content: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
        content["config"]["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mismatch(
            "A run folder has a run.json", str(out), "Name a folder that `synthcohort train` made"
        ) from error
    return content


class RowLog:
    """A JSON-lines file that resumes: rows past the checkpoint are dropped before going on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, Any]]:
        """Return all complete rows; a half-written last line is ignored."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
        return [row for row in rows if isinstance(row, dict)]

    def rewind(self, key: str, limit: int) -> None:
        """Drop every row whose `key` is above `limit`, or no number."""
        rows = [row for row in self.rows() if isinstance(row.get(key), int | float) and row[key] <= limit]
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows at the end."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(_plain(row)) + "\n" for row in rows)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], config: Config, **facts: Any) -> None:
    """Write tensors as safetensors, atomically, with the config and further facts in the metadata."""
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"config": canonical_json(config), "facts": canonical_json(facts)}
    write_atomic(path, _ordered(save(contiguous, metadata=header)))


def _ordered(data: bytes) -> bytes:
    """Return a safetensors file with its metadata in order; the library's own order differs from process to process."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(data)[start:]])


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any]]:
    """Return (tensors, config, facts) of a file that `save_tensors` wrote.

    Raises:
        Mismatch: The file is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return tensors, json.loads(header["config"]), json.loads(header["facts"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Mismatch(
            "A weights file is a safetensors file of this tool", str(path), "Remove it to start over"
        ) from error


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("synthcohort", "torch", "monai", "numpy", "scipy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found

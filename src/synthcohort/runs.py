"""Runs: canonical configs, fingerprints, derived seeds, atomic files, checkpoints.

A config never holds a path, a device or a library version, so its fingerprint names the same work everywhere.
Seeds are derived from (run seed, purpose, position) by SHA-256, so no random state is ever stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import json
import os
import platform
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from .errors import BadOutput, Mismatch, writing

if TYPE_CHECKING:
    import torch

Config = Mapping[str, Any]

CHECKPOINT, WEIGHTS, LOG = "checkpoint.safetensors", "weights.safetensors", "log.jsonl"


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
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


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
    """
    path = config_folder() / "pseudonym.key"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
    return hmac.digest(path.read_bytes(), cohort_name.encode(), "sha256")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new one, never half of it.

    Raises:
        BadOutput: The disk is full or not writable; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.partial")
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
def publishing(out: Path, print_: str) -> Iterator[Path]:
    """Yield a folder OUT.partial-<fingerprint> that becomes `out` by one rename when the block succeeds.

    Whatever an earlier, interrupted attempt left in it is removed first.

    Raises:
        BadOutput: `out` exists, or its disk cannot be written.
    """
    partial = out.with_name(f"{out.name}.partial-{print_[:12]}")
    if out.exists():
        raise BadOutput("An output must not exist yet", str(out), "Choose another --out or remove it")
    with writing(out):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            _sync_folder(partial)
            partial.rename(out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _sync_folder(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
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
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
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
        return rows

    def rewind(self, key: str, limit: int) -> None:
        """Drop every row whose `key` is above `limit`."""
        rows = [row for row in self.rows() if row[key] <= limit]
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
    write_atomic(path, save(contiguous, metadata=header))


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

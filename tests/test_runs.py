"""Fingerprints and seeds that never change, and folders that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort import runs
from synthcohort.errors import BadOption, BadOutput, Mismatch
from synthcohort.types import Clock

CONFIG = {"kind": "train", "generator": "flow", "options": {"width": 64, "betas": (0.0, 0.9)}, "seed": 0}


def test_canonical_json_has_one_text_per_meaning() -> None:
    assert runs.canonical_json({"b": (1, 2), "a": Clock(1, 2, 3)}) == (
        '{"a":{"images_seen":2,"images_total":3,"step":1},"b":[1,2]}'
    )
    assert runs.canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    with pytest.raises(ValueError, match="JSON"):
        runs.canonical_json(float("nan"))


# Golden: printf '%s' '<the canonical JSON>' | sha256sum. If one changes, every run folder in the world is orphaned.
def test_fingerprint_is_stable() -> None:
    text = '{"generator":"flow","kind":"train","options":{"betas":[0.0,0.9],"width":64},"seed":0}'
    assert runs.canonical_json(CONFIG) == text
    assert runs.fingerprint(CONFIG) == "c7e5229ad836bc8334d8a91ef1ebae8453be5bb9e627bf6f121eaf2da9b778b0"


# Golden: the first 16 hex digits of sha256('[0,"init"]'), halved.
@pytest.mark.parametrize(
    ("arguments", "seed"), [((0, "init"), 5178188355558464636), ((7, "order", 3, "x"), 8193945108529231747)]
)
def test_derived_seeds_are_stable(arguments: tuple[Any, ...], seed: int) -> None:
    assert runs.derive_seed(*arguments) == seed


@given(st.integers(0, 2**31), st.text(max_size=8), st.lists(st.integers(0, 10**9), max_size=3))
def test_derived_seeds_fit_every_library_and_depend_on_every_part(seed: int, purpose: str, position: list[int]) -> None:
    found = runs.derive_seed(seed, purpose, *position)
    assert 0 <= found < 2**63
    assert found == runs.derive_seed(seed, purpose, *position)
    assert found != runs.derive_seed(seed + 1, purpose, *position)
    assert found != runs.derive_seed(seed, purpose + "x", *position)
    assert found != runs.derive_seed(seed, purpose, *position, 0)


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 1_000_000)
    assert runs.file_sha256(tmp_path / "x") == runs.sha256(b"abc" * 1_000_000)
    with (tmp_path / "x").open("rb") as file:  # what Python 3.10 uses
        assert runs._digest(file) == runs.sha256(b"abc" * 1_000_000)


def test_write_atomic_replaces_and_leaves_no_partial_file(tmp_path: Path) -> None:
    runs.write_atomic(tmp_path / "x", "old")
    runs.write_atomic(tmp_path / "x", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "new")]


def test_write_atomic_keeps_the_old_content_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write_atomic(tmp_path / "x", "old")
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(BadOutput, match="No space left on the disk"):
        runs.write_atomic(tmp_path / "x", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_publishing_shows_the_folder_only_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "cohort"
    with runs.publishing(out, "f" * 64) as folder:
        assert folder.name == "cohort.partial-ffffffffffff"
        (folder / "a").write_text("1")
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["cohort"]
    assert (out / "a").read_text() == "1"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_publishing_leaves_nothing_on_failure(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), runs.publishing(tmp_path / "cohort", "f" * 64) as folder:
        (folder / "a").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_publishing_says_that_the_disk_is_full_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="No space left"), runs.publishing(tmp_path / "cohort", "f" * 64) as folder:
        (folder / "a").write_text("1")
        _full()
    assert list(tmp_path.iterdir()) == []


def test_publishing_clears_what_a_killed_attempt_left(tmp_path: Path) -> None:
    (tmp_path / "cohort.partial-ffffffffffff").mkdir()
    (tmp_path / "cohort.partial-ffffffffffff" / "old").write_text("1")
    with runs.publishing(tmp_path / "cohort", "f" * 64) as folder:
        assert list(folder.iterdir()) == []


def test_publishing_never_touches_what_exists(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    with pytest.raises(BadOutput, match="must not exist yet"), runs.publishing(tmp_path / "cohort", "f" * 64):
        pytest.fail("the block ran")
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_publishing_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOutput, match="Choose another --out"), runs.publishing(tmp_path / "file" / "x", "f" * 64):
        pytest.fail("the block ran")


def test_a_run_folder_is_taken_up_again_by_the_same_config_only(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    assert runs.open_run(out, CONFIG) == out
    before = (out / "run.json").read_bytes()
    (out / "checkpoint").write_text("work")
    runs.open_run(out, {**CONFIG, "options": {"betas": [0.0, 0.9], "width": 64}})  # the same meaning
    with pytest.raises(Mismatch, match=r"options\.width=64, now 32"):
        runs.open_run(out, {**CONFIG, "options": {"width": 32, "betas": (0.0, 0.9)}})
    assert (out / "run.json").read_bytes() == before
    assert runs.read_run(out)["fingerprint"] == runs.fingerprint(CONFIG)


def test_a_folder_of_something_else_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(BadOutput, match="new, empty or of the same run"):
        runs.open_run(tmp_path, CONFIG)
    for content in ("", "[]", '{"config": 1}', '{"config": {}}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(Mismatch, match=r"has a run\.json"):
            runs.read_run(tmp_path)


def test_the_row_log_rewinds_and_ignores_a_half_written_line(tmp_path: Path) -> None:
    log = runs.RowLog(tmp_path / "log.jsonl")
    assert log.rows() == []
    log.append({"images_seen": n, "loss": n / 2} for n in (64, 128, 192))
    with log.path.open("a") as file:
        file.write('{"images_seen": 25')
    assert [row["images_seen"] for row in log.rows()] == [64, 128, 192]
    log.rewind("images_seen", 128)
    log.append([{"images_seen": 192, "loss": 9.0}])
    assert [json.loads(line)["loss"] for line in log.path.read_text().splitlines()] == [32.0, 64.0, 9.0]


def test_the_pseudonym_key_is_the_users_alone_and_differs_by_cohort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))
    key = runs.cohort_key("acdc")
    assert len(key) == 32
    assert key == runs.cohort_key("acdc")
    assert key != runs.cohort_key("idrid")
    mode = stat.S_IMODE((tmp_path / "home" / "pseudonym.key").stat().st_mode)
    assert mode == 0o600
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "other"))
    assert key != runs.cohort_key("acdc")


def test_an_unwritable_configuration_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(BadOutput, match="a file, not a folder"):
        runs.cohort_key("acdc")


def test_tensors_come_back_bit_for_bit_with_config_and_facts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {"a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).t(), "b": torch.tensor(7)}
    runs.save_tensors(tmp_path / "w.safetensors", tensors, CONFIG, step=3)
    found, config, facts = runs.load_tensors(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert (runs.fingerprint(config), facts) == (runs.fingerprint(CONFIG), {"step": 3})


@pytest.mark.parametrize("damage", ["truncated", "other", "absent"])
def test_a_damaged_weights_file_is_one_line(tmp_path: Path, damage: str) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.safetensors"
    runs.save_tensors(path, {"a": torch.zeros(100)}, CONFIG)
    content = {"truncated": path.read_bytes()[:-50], "other": b"not at all", "absent": None}[damage]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(Mismatch, match="Remove it to start over"):
        runs.load_tensors(path)


def test_versions_name_what_the_numbers_depend_on() -> None:
    assert {"python", "torch", "numpy"} <= set(runs.versions())


def test_a_refused_command_leaves_its_folder_to_the_corrected_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(BadOption), runs.holding(runs.open_run(out, {"findings": "Edma"})):
        (out / "cohorts").mkdir()
        raise BadOption("A finding is known", "'Edma'", "Did you mean 'Edema'?")
    # Once there is work in it, it stays what it is.
    with pytest.raises(BadOption), runs.holding(runs.open_run(out, {"findings": "Edema"})):
        (out / "log.jsonl").write_text("{}")
        raise BadOption("A later rule", "x", "Mend it")
    with pytest.raises(Mismatch):
        runs.open_run(out, {"findings": "Mass"})

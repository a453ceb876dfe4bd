"""What a patient's data touched, over a whole small pipeline, and what cannot be told."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthcohort._pseudonyms import key_check, pseudonym
from synthcohort.cli import main
from synthcohort.cohort import Cohort
from synthcohort.errors import InputError
from synthcohort.evaluate import evaluate
from synthcohort.export import export
from synthcohort.lineage import Step, as_text, lineage
from synthcohort.prepare import prepare
from synthcohort.privacy import scan
from synthcohort.report import report
from synthcohort.runs import cohort_key
from synthcohort.sample import sample
from synthcohort.train import train

PATIENTS, IMAGES = 24, 2
TRAINED = {
    "images_seen": 32,
    "batch": 16,
    "options": ["width=16", "multipliers=1", "components=4", "attention_levels=0"],
}


def name(number: int) -> str:
    return f"Wiesengrund{number:02d}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real cohorts of the same patients, and all that was made of one of them."""
    root = tmp_path_factory.mktemp("world")
    patch = pytest.MonkeyPatch()
    patch.setenv("SYNTHCOHORT_HOME", str(root / "home"))
    rng = np.random.default_rng(0)
    (root / "download").mkdir()
    lines = ["image,patient"]
    for number in range(PATIENTS):
        for image in range(IMAGES):
            pixels = rng.integers(0, 256, (16, 16)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "download" / f"{number}-{image}.png")
            lines.append(f"{number}-{image}.png,{name(number)}")
    (root / "download" / "samples.csv").write_text("\n".join(lines) + "\n")
    work = root / "work"
    work.mkdir()
    for cohort in ("one", "two"):
        prepare("folder", root / "download", out=work / cohort, size=16, workers=1)
    run = train(work / "one", generator="flow", out=work / "runs" / "flow", **TRAINED)
    made = sample(run, out=work / "made", n=40)
    chosen = {"metrics": ["nearest"], "extractors": ["pixels"], "tasks": []}
    evaluate(work / "one", made.path, out=work / "eval", **chosen)
    report(work / "eval", out=work / "card" / "report.html")
    export(made.path, out=work / "left", format="png")
    again = train(made.path, generator="flow", out=work / "runs" / "again", **TRAINED)
    sample(again, out=work / "made-again", n=40)
    (work / "three.partial-0123").mkdir()
    yield root
    patch.undo()


@pytest.fixture(autouse=True)
def home(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(world / "home"))


def patient_in(world: Path, split: str) -> str:
    cohort = Cohort(world / "work" / "one")
    ids = set(cohort.samples["patient_id"][cohort.samples["split"] == split])
    return next(name(n) for n in range(PATIENTS) if pseudonym(cohort_key("one"), "patient", name(n)) in ids)


def found(steps: list[Step], root: Path) -> dict[str, str]:
    return {f"{step.kind} {step.path.relative_to(root).as_posix()}": step.how for step in steps}


def test_a_training_patient(world: Path) -> None:
    work = world / "work"
    steps = found(lineage(patient_in(world, "train"), [work]), work)
    assert steps.pop("cohort two").startswith("2 images in ")
    assert steps == {
        "cohort one": "2 images in train",
        "run runs/flow": "trained on the patient's images",
        "synthetic cohort made": "drawn from a generator trained on the patient's images",
        "run runs/again": "trained on the patient's images, by way of synthetic ones",
        "synthetic cohort made-again": (
            "drawn from a generator trained on the patient's images, by way of synthetic ones"
        ),
        "evaluation eval": "used the real and the synthetic cohort; so did its jobs",
        "report card/report.json": "of such an evaluation",
        "export left": "of such a cohort; ask whoever has copies",
        "unfinished output three.partial-0123": "may hold anyone; remove it",
    }


@pytest.mark.parametrize("split", ["val", "test", "reference"])
def test_another_patient_was_not_trained_on(world: Path, split: str) -> None:
    work = world / "work"
    steps = found(lineage(patient_in(world, split), [work]), work)
    assert steps["cohort one"] == f"2 images in {split}"
    assert steps["run runs/flow"] == f"of the cohort, but not trained on the patient, who is in {split}"
    assert steps["evaluation eval"] == "used the real cohort; so did its jobs"
    assert "report card/report.json" in steps
    assert not {"run runs/again", "synthetic cohort made-again", "export left"} & set(steps)


def test_what_was_sampled_and_exported_is_clean(world: Path) -> None:
    assert [scan(world / "work" / name) for name in ("one", "made", "left")] == [[], [], []]


def test_someone_else(world: Path) -> None:
    steps = lineage("Wiesengrund99", [world / "work"])
    assert [step.kind for step in steps] == ["unfinished output"]
    assert as_text(steps).endswith("Nothing here is known to hold this patient.")


def test_another_key_is_said(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, patient = world / "work", patient_in(world, "train")
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path))
    with pytest.raises(InputError, match="this machine has none"):
        lineage(patient, [work])
    assert list(tmp_path.iterdir()) == []  # looking makes no key
    cohort_key("one")
    steps = found(lineage(patient, [work]), work)
    assert {steps["unknown one"], steps["unknown two"]} == {"made under another key or on another machine: cannot tell"}
    assert as_text(lineage(patient, [work])).endswith("Nothing here is known to hold this patient, 2 unknown.")


def test_a_cohort_that_does_not_name_its_key_or_is_damaged(world: Path, tmp_path: Path) -> None:
    for copy in ("one", "two"):
        shutil.copytree(world / "work" / copy, tmp_path / copy)
    content = json.loads((tmp_path / "one" / "cohort.json").read_text())
    del content["history"][-1]["key"]
    (tmp_path / "one" / "cohort.json").write_text(json.dumps(content))
    (tmp_path / "two" / "images.npy").unlink()
    steps = found(lineage("Wiesengrund99", [tmp_path]), tmp_path)
    assert steps == {
        "unknown one": "does not say under which key it was made: cannot tell",
        "unknown two": "a damaged cohort: cannot tell",
    }


def test_key_checks_tell_keys_apart_and_are_no_pseudonym() -> None:
    assert key_check(b"a" * 32) != key_check(b"b" * 32)
    assert len(key_check(b"a" * 32)) == 8
    # HMAC-SHA-256 of ["patient","x"] under 32 bytes "a", by openssl.
    assert pseudonym(b"a" * 32, "patient", "x") == "3201afd713ded3a2"


def test_bad_arguments(world: Path, tmp_path: Path) -> None:
    for patient, folder in (("", tmp_path), ("x", tmp_path / "none")):
        with pytest.raises(InputError):
            lineage(patient, [folder])


def test_the_command_never_repeats_the_id(
    world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = patient_in(world, "train")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{patient}\n".encode())))
    assert main(["lineage", "-", "--in", str(world / "work"), "--json"]) == 0
    read = capsys.readouterr()
    assert main(["lineage", patient, "--in", str(world / "work" / "one"), "--in", str(world / "work" / "runs")]) == 0
    given = capsys.readouterr()
    assert [step["kind"] for step in json.loads(read.out)][:2] == ["cohort", "cohort"]
    assert given.out.splitlines()[-1] == "2 touched."
    assert patient not in read.out + read.err + given.out + given.err

"""The command line: a mistake is one line and exit status 2, nothing is left behind, each verb calls its function."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest

import synthcohort
from synthcohort import cli, errors, plugins
from synthcohort.catalogue import MEASURED
from synthcohort.cohort import Cohort, Facts, writing_cohort
from synthcohort.phantoms.acdc import Phantom

SIZE = 16


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve 16x16 images of twelve patients with masks, three in each split."""
    out = tmp_path_factory.mktemp("cli") / "cohort"
    facts = Facts(
        name="cohort",
        modality="made up",
        provenance="real",
        shape=(1, SIZE, SIZE),
        dtype="uint8",
        value_range=(0.0, 255.0),
        mask_classes=("background", "disc"),
        labels=("nodule",),
        pixel_rules={"resize": "area"},
        history=[{"step": "prepare", "seed": 0}],
    )
    rng = np.random.default_rng(0)
    with writing_cohort(out, facts, {"kind": "test"}, b"k" * 32) as writer:
        for i in range(12):
            image = rng.integers(0, 256, (1, SIZE, SIZE), dtype=np.uint8)
            row = {"sample_id": f"s{i}", "patient_id": f"p{i}", "group_id": f"g{i}", "slice_index": 0}
            row |= {"split": ("train", "val", "test", "reference")[i % 4], "label.nodule": (0, 1, None)[i % 3]}
            row |= {"spacing_y_mm": 1.5, "spacing_x_mm": 1.25}
            writer.append(image, (image[0] > 127).astype(np.uint8), row)
        writer.finish()
    return out


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom of the ACDC download, ten patients."""
    root = tmp_path_factory.mktemp("cli") / "download"
    Phantom(patients=10, size=32).write(root, seed=0)
    return root


Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command that must fail with exit status 2 and one line; return the line."""

    def run(*arguments: str | Path) -> str:
        capsys.readouterr()
        assert cli.main([str(each) for each in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("synthcohort: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err

    return run


# What the parser refuses.


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["zzz"], "No such command 'zzz'"),
        (["train"], "Missing argument 'COHORT'"),
        (["train", "c", "--out", "r"], "Missing option '--generator'"),
        (["train", "c", "--generatr", "flow"], "--generator"),
        (["train", "c", "--generator", "flow", "--out", "r", "--batch", "many"], "'--batch'"),
        (["train", "c", "--generator", "flow", "--out", "r", "--batch", "0"], "'--batch'"),
        (["train", "c", "--generator", "flow", "--out", "r", "--images-seen", "lots"], "Write 200k"),
        (["train", "c", "--generator", "flow", "--out", "r", "--stop", "every"], "KEY=VALUE"),
        (["train", "c", "--generator", "flow", "--out", "r", "--stop", "every=2.5"], "--stop takes a number"),
        (["prepare", "acdc", "x", "--out", "c", "--shares", "a,b"], "--shares takes numbers"),
        (["evaluate", "a", "b", "--out", "e", "--weights", "x.npz"], "name=file"),
        (["study", "compre"], "Did you mean 'compare'?"),
        (["study"], "Missing command"),
        (["list", "generator"], "Choose from"),
        (["list", "generators", "flwo"], "Did you mean 'flow'?"),
        (["phantom", "acdcc", "out"], "Did you mean 'acdc'?"),
        (["phantom", "acdc", "out", "--set", "widht=3"], "must be known"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], part: str, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert part in fails(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "number"), [("200k", 200_000), ("1M", 1_000_000), ("1.5m", 1_500_000), ("7", 7), ("1_000", 1000)]
)
def test_counts_may_be_written_short(text: str, number: int) -> None:
    assert cli.count(text, "--images-seen") == number


@pytest.mark.parametrize("text", ["", "k", "0", "-1k", "1.5", "0.5", "nan", "infM", "1e400", "1 k x"])
def test_a_count_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(errors.BadOption):
        cli.count(text, "--images-seen")


# What the modules refuse; nothing may be left behind.


@pytest.mark.parametrize("verb", ["verify", "describe"])
@pytest.mark.parametrize("kind", ["missing", "empty", "file", "damaged"])
def test_something_that_is_no_cohort(verb: str, kind: str, fails: Fails, tmp_path: Path, cohort: Path) -> None:
    path = tmp_path / "thing"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    elif kind == "damaged":
        shutil.copytree(cohort, path)
        (path / "images.npy").write_bytes((cohort / "images.npy").read_bytes()[:200])
    assert "thing" in fails(verb, path)


def test_training_on_no_cohort_leaves_nothing(fails: Fails, tmp_path: Path) -> None:
    fails("train", tmp_path / "none", "--generator", "gaussian", "--out", tmp_path / "run")
    fails("sample", tmp_path / "none", "--out", tmp_path / "synthetic", "--n", "3")
    assert list(tmp_path.iterdir()) == []


def prepare(root: Path, out: Path, *more: str) -> list[str | Path]:
    return ["prepare", "acdc", root, "--out", out, "--size", "16", *more]


def test_a_missing_download(fails: Fails, tmp_path: Path) -> None:
    assert "no folder" in fails(*prepare(tmp_path / "none", tmp_path / "cohort"))
    assert list(tmp_path.iterdir()) == []


def test_a_download_of_another_layout(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "holiday.txt").write_text("")
    fails(*prepare(tmp_path / "download", tmp_path / "cohort"))
    assert [path.name for path in tmp_path.iterdir()] == ["download"]


@pytest.mark.parametrize("damage", ["truncated", "other mask size", "missing mask"])
def test_a_damaged_download(damage: str, fails: Fails, tmp_path: Path, download: Path) -> None:
    root = tmp_path / "download"
    shutil.copytree(download, root)
    mask = sorted(root.rglob("*_gt.nii.gz"))[-1]
    if damage == "truncated":
        image = mask.with_name(mask.name.replace("_gt", ""))
        image.write_bytes(image.read_bytes()[:300])
    elif damage == "missing mask":
        mask.unlink()
    else:
        _write_other_mask(mask)
    line = fails(*prepare(root, tmp_path / "cohort"))
    assert "patient010" in line  # needed to act; the file is in the user's own folder
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("cohort")]


def _write_other_mask(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 5, 1), np.uint8), np.eye(4)), path)


def test_fewer_patients_than_splits(fails: Fails, tmp_path: Path, download: Path) -> None:
    root = tmp_path / "download"
    shutil.copytree(download, root)
    for folder in sorted(root.rglob("patient0*"))[2:]:
        if folder.is_dir():
            shutil.rmtree(folder)
    fails(*prepare(root, tmp_path / "cohort"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("cohort")]


def test_an_output_that_cannot_be_written(fails: Fails, tmp_path: Path, download: Path, cohort: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "deeper"
    for arguments in (
        prepare(download, out),
        ["phantom", "acdc", out, "--patients", "1"],
        ["train", cohort, "--generator", "gaussian", "--out", out],
    ):
        assert "file" in fails(*arguments)


def test_an_output_of_another_command_is_kept(fails: Fails, tmp_path: Path, download: Path, cohort: Path) -> None:
    out = tmp_path / "cohort"
    shutil.copytree(cohort, out)
    before = sorted((path.name, path.read_bytes()) for path in out.iterdir())
    fails(*prepare(download, out))
    fails("phantom", "acdc", out)
    fails("train", cohort, "--generator", "gaussian", "--out", out)
    assert sorted((path.name, path.read_bytes()) for path in out.iterdir()) == before


def test_unknown_names_and_options_of_a_generator(fails: Fails, tmp_path: Path, cohort: Path) -> None:
    def train(name: str, *more: str) -> str:
        return fails("train", cohort, "--generator", name, "--out", tmp_path / "run", *more)

    assert "Did you mean 'gaussian'?" in train("gausian")
    assert "Did you mean 'components'?" in train("gaussian", "--set", "componets=3")
    assert "takes int" in train("gaussian", "--set", "components=few")
    assert "key=value" in train("gaussian", "--set", "components")
    train("gaussian", "--device", "tpu")
    train("gaussian", "--precision", "fp7")
    assert not (tmp_path / "run").exists()


def test_train_sample_verify_and_a_run_folder_of_another_config(
    fails: Fails, tmp_path: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = str(tmp_path / "run"), str(tmp_path / "synthetic")
    train = ["train", str(cohort), "--generator", "gaussian", "--set", "components=2", "--out", run]
    assert cli.main(train) == 0
    assert cli.main(train) == 0
    assert "components=2, now 1" in fails(*train[:4], "--set", "components=1", "--out", run)
    assert "at least 10 training patients" in fails("sample", run, "--out", out, "--n", "5")
    assert cli.main(["sample", run, "--out", out, "--like", str(cohort), "--labels", "exact"]) == 0
    assert len(Cohort(out)) == (Cohort(cohort).samples["split"] != "reference").sum()
    assert "--n or --like" in fails("sample", run, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    capsys.readouterr()
    assert cli.main(["verify", out]) == 0


# What works.


def test_verify_finds_problems_with_exit_status_1(
    tmp_path: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", str(cohort)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    broken = tmp_path / "broken"
    shutil.copytree(cohort, broken)
    content = bytearray((broken / "masks.npy").read_bytes())
    content[-1] = 77
    (broken / "masks.npy").write_bytes(content)
    assert cli.main(["verify", str(broken)]) == 1
    assert "masks.npy" in capsys.readouterr().out
    assert cli.main(["verify", str(broken), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert len(found["problems"]) == 2


def test_describe(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["describe", str(cohort), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == [1, SIZE, SIZE]
    assert found["counts"]["train"] == {"images": 3, "patients": 3}
    # Samples 0, 4, 8 are train; labels run 0, 1, unknown.
    assert found["findings"]["nodule"]["train"] == {"present": 1, "absent": 1, "unknown": 1, "patients": 1}
    assert found["spacing_mm"] == {"y": [1.5, 1.5], "x": [1.25, 1.25]}
    assert found["pixels_sha256"] == Cohort(cohort).pixels_sha256
    assert cli.main(["describe", str(cohort)]) == 0
    text = capsys.readouterr().out
    for part in ("1x16x16", "background, disc", "3 images of 3 patients", "train 1/2", "y 1.5", "resize: area"):
        assert part in text, part


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--json"]) == 0
    assert "flow" in json.loads(capsys.readouterr().out)["generators"]
    assert cli.main(["list", "sources"]) == 0
    assert "acdc" in capsys.readouterr().out
    assert cli.main(["list", "generators", "gaussian", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["components"] == 64
    assert cli.main(["list", "generators", "flow"]) == 0
    text = capsys.readouterr().out
    assert "guidance = 1.0 (with `sample`)" in text
    assert "multipliers = 1,2,2\n" in text
    assert cli.main(["list", "sources", "chexpert"]) == 0
    assert "uncertain = ones (one of ones, zeros, ignore)" in capsys.readouterr().out


def test_list_generators_says_what_each_is_how_large_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "generators"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header, *table = lines[: lines.index("")]
    assert header.split()[:3] == ["name", "told", "parameters"]
    assert [line.split()[0] for line in table] == plugins.names("generators")
    wgan_gp = next(line for line in table if line.startswith("wgan_gp "))
    assert "labels" in wgan_gp
    assert "Gulrajani" in wgan_gp
    assert "Measured on" in lines[-1]
    assert cli.main(["list", "generators", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    facts = found["generators"]["memoriser"]
    assert facts["control"]
    # 512 codes to 1024 hidden units to 5 channels of 32 x 32, with biases.
    assert facts["parameters"] == 512 * 1024 + 1024 + 1024 * 5120 + 5120
    assert all(facts["paper"] for facts in found["generators"].values())


@pytest.mark.parametrize("name", plugins.names("generators"))
def test_every_generator_has_been_measured(name: str) -> None:
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))["generators"][name]
    assert measured["images_drawn_per_second"] > 0
    assert (measured["images_trained_per_second"] is None) is not plugins.find("generators", name).ITERATIVE


def test_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "a private place"
    weights.mkdir()
    (weights / "squeezenet_v1_0.npz").write_bytes(b"")
    monkeypatch.setenv("SYNTHCOHORT_WEIGHTS", str(weights))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["doctor", "--json"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert found["weights"] == {"squeezenet": "$SYNTHCOHORT_WEIGHTS", "inception": "", "densenet121": ""}
    assert found["config_folder"]["writable"] is True
    assert found["cpu"]["cores"] >= 1
    assert found["cpu"]["bf16_speedup"] > 0
    assert "a private place" not in text
    assert any("pt_inception" in step for step in found["next"])
    (tmp_path / "home").write_text("")
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "not writable" in text
    assert "set SYNTHCOHORT_HOME" in text


def test_the_bare_command_and_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "evaluate" in capsys.readouterr().out
    assert cli.main(["prepare", "--help"]) == 0
    assert "--field-mm" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"synthcohort {synthcohort.__version__}\n"


CALLS = [
    ("demo", "demo --out d", {"out": Path("d")}),
    (
        "prepare",
        "prepare folder r --out c --size 64 --field-mm 150 --set a=1 --set b=2",
        {"source": "folder", "root": Path("r"), "size": 64, "field_mm": 150.0, "options": ["a=1", "b=2"]},
    ),
    (
        "train",
        "train c --generator flow --out r --images-seen 1M --seed 3",
        {"cohort": Path("c"), "generator": "flow", "out": Path("r"), "images_seen": 1_000_000, "seed": 3},
    ),
    ("sample", "sample r --out s --like c", {"run": Path("r"), "n": None, "like": Path("c"), "batch": 256}),
    (
        "evaluate",
        "evaluate a b --out e --metrics frechet,kid --weights inception=w.pth --seeds 5 --jobs j",
        {
            "jobs": Path("j"),
            "metrics": ["frechet", "kid"],
            "extractors": None,
            "seeds": 5,
            "weights": {"inception": Path("w.pth")},
        },
    ),
    ("report", "report e f --out r.html --show-real", {"evals": [Path("e"), Path("f")], "show_real": True}),
    (
        "studies.compare:study",
        "study compare c --out s --generators flow,hinge --seeds 5 --images-seen 50k",
        {"cohorts": [Path("c")], "generators": ["flow", "hinge"], "seeds": 5, "images_seen": 50_000},
    ),
]


@pytest.mark.parametrize(("module", "command", "expected"), CALLS, ids=[call[0] for call in CALLS])
def test_a_verb_calls_the_function_of_its_name(
    module: str, command: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, name = module.partition(":")
    home, name = importlib.import_module(f"synthcohort.{module}"), name or module
    function = getattr(home, name)
    double = create_autospec(function)
    monkeypatch.setattr(home, name, double)
    cli.main(command.split())
    assert double.call_count == 1
    bound = inspect.signature(function).bind(*double.call_args.args, **double.call_args.kwargs)
    given = {**bound.arguments, **bound.arguments.get("choices", {})}
    assert {key: given[key] for key in expected} == expected


# What goes wrong anywhere.


@pytest.mark.parametrize(
    ("error", "status", "part"),
    [
        (errors.Diverged("the loss is not finite"), 1, "the loss is not finite"),
        (errors.MissingDependency("pip install x"), 1, "pip install x"),
        (OSError(28, "No space left on device", "cohort"), 2, "No space left on device"),
        (MemoryError(), 1, "smaller --batch"),
        (KeyError("patient 7 at /secret"), 1, "this is a bug (KeyError in "),
        (KeyboardInterrupt(), 130, "run the same command again"),
    ],
)
def test_every_failure_is_one_line(
    error: BaseException,
    status: int,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = importlib.import_module("synthcohort.describe")
    monkeypatch.setattr(home, "describe", create_autospec(home.describe, side_effect=error))
    assert cli.main(["describe", "c"]) == status
    err = capsys.readouterr().err
    assert part in err
    assert err.count("\n") == 1
    assert "secret" not in err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.NotACohort):
        cli.main(["describe", "nowhere", "--debug"])


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "synthcohort", *arguments]


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(synthcohort.__file__).parents[1]), "SYNTHCOHORT_HOME": str(home)}


def test_as_a_program_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        _command("list"), stdout=writer, stderr=subprocess.PIPE, text=True, env=_environment(tmp_path), check=False
    )
    os.close(writer)
    assert done.stderr == ""


def test_as_a_program_an_unwritable_home_is_one_line(tmp_path: Path, download: Path) -> None:
    (tmp_path / "file").write_text("")
    arguments = [str(each) for each in prepare(download, tmp_path / "cohort")]
    done = subprocess.run(
        _command(*arguments), capture_output=True, text=True, env=_environment(tmp_path / "file" / "x"), check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

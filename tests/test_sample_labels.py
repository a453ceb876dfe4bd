"""Sampling a labelled cohort: which labels samples carry, and that nothing but the index decides them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort import runs
from synthcohort.cohort import Cohort, verify
from synthcohort.errors import BadOption, InputError
from synthcohort.sample import sample
from synthcohort.train import train

TINY = {"width": 16, "multipliers": (1,), "components": 4}


def trained(cohort: Path, out: Path, name: str = "flow", **options: Any) -> Path:
    options = {**(TINY if name == "flow" else {}), **options}
    return train(cohort, generator=name, out=out, images_seen=16, batch=8, precision="fp32", options=options)


@pytest.fixture(scope="module")
def run(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(labelled, tmp_path_factory.mktemp("runs") / "flow")


def combinations_of(cohort: Cohort, split: str) -> list[tuple[float, ...]]:
    return sorted(map(tuple, np.nan_to_num(cohort.label_matrix()[cohort.split(split)])))


def test_samples_carry_the_labels_of_the_mirrored_cohort(run: Path, labelled: Path, tmp_path: Path) -> None:
    made, real = sample(run, out=tmp_path / "made", like=labelled, labels="exact"), Cohort(labelled)
    assert verify(made.path) == []
    assert made.facts.labels == real.facts.labels
    for split in ("train", "val", "test"):
        assert combinations_of(made, split) == combinations_of(real, split)
    assert made.facts.history[0]["labels"]["rule"] == "exact"


def test_by_default_rare_combinations_are_not_asked_for(run: Path, labelled: Path, tmp_path: Path) -> None:
    made = sample(run, out=tmp_path / "made", like=labelled)
    assert made.facts.history[0]["labels"]["rule"] == "merged"
    assert (1.0, 1.0) in combinations_of(Cohort(labelled), "train")  # held by few
    assert (1.0, 1.0) not in [c for split in ("train", "val", "test") for c in combinations_of(made, split)]


def test_a_number_of_samples_draws_from_what_the_run_keeps(run: Path, tmp_path: Path) -> None:
    some, more = (sample(run, out=tmp_path / str(n), n=n) for n in (20, 70))
    assert some.facts.history[0]["labels"]["rule"] == "drawn"
    np.testing.assert_array_equal(some.label_matrix(), more.label_matrix()[:20])
    assert set(map(tuple, more.label_matrix())) == {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)}
    # 1e-5 of the range is less than a grey level; the last chunk is padded with other labels.
    np.testing.assert_allclose(some.images.astype(int), more.images[:20].astype(int), atol=1)


def test_the_label_decides_beside_the_seed(run: Path, labelled: Path, tmp_path: Path) -> None:
    tensors, config, facts = runs.load_tensors(run / "weights.safetensors")
    assert facts["facts"]["label_combinations"]
    assert any(key.startswith("network.labels") for key in tensors)
    assert config["options"]["conditional"] is True


def test_an_unconditional_run_makes_unlabelled_samples(labelled: Path, tmp_path: Path) -> None:
    made = sample(trained(labelled, tmp_path / "run", conditional=False), out=tmp_path / "made", like=labelled)
    assert made.facts.labels == ()
    assert not [column for column in made.samples if column.startswith("label.")]
    assert "labels" not in made.facts.history[0]


@pytest.mark.parametrize(("name", "least"), [("holdout", 1.0), ("copycat", 0.85)])
def test_a_control_gives_the_labels_of_the_images_it_shows(
    name: str, least: float, labelled: Path, tmp_path: Path
) -> None:
    made = sample(trained(labelled, tmp_path / "run", name), out=tmp_path / "made", like=labelled)
    real = Cohort(labelled)
    rows = real.reference_half("B") if name == "holdout" else real.split("train")
    known = np.nan_to_num(real.label_matrix()[rows])
    # Up to a shift of one pixel the nearest image is the source; two images out of three differ in labels by chance.
    images = real.images[rows, 0].astype(float)
    shifts = [np.roll(images, (dy - 1, dx - 1), (1, 2))[:, 1:-1, 1:-1] for dy, dx in np.ndindex(3, 3)]
    distance = [np.min([np.abs(own - one[1:-1, 1:-1]).mean((1, 2)) for own in shifts], axis=0)
                for one in made.images[:, 0].astype(float)]  # fmt: skip
    assert (known[np.argmin(distance, axis=1)] == made.label_matrix()).all(1).mean() >= least


def test_exact_needs_a_cohort_to_mirror(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="there is no --like"):
        sample(run, out=tmp_path / "made", n=4, labels="exact")
    with pytest.raises(BadOption, match="merged or exact"):
        sample(run, out=tmp_path / "made", n=4, labels="some")  # type: ignore[arg-type]
    assert not (tmp_path / "made").exists()


def test_a_run_on_few_patients_draws_nothing(labelled: Path, tmp_path: Path) -> None:
    cohort = _first_patients(labelled, tmp_path / "few", 8)
    run = trained(cohort, tmp_path / "run")
    with pytest.raises(InputError, match="this run has none"):
        sample(run, out=tmp_path / "made", n=4)
    with pytest.raises(InputError, match="at least 10 training patients hold"):
        sample(run, out=tmp_path / "made", like=cohort)
    assert len(sample(run, out=tmp_path / "made", like=cohort, labels="exact")) == 16


def _first_patients(source: Path, out: Path, patients: int) -> Path:
    """Return a cohort of the first training patients of another."""
    from synthcohort.cohort import writing_cohort

    real = Cohort(source)
    rows = real.split("train")[: 2 * patients]
    with writing_cohort(out, real.facts, {"kind": "test"}, b"k" * 32) as writer:
        for row in rows:
            table = real.samples.iloc[row].drop("digest").to_dict()
            writer.append(real.images[row], None, table)
        writer.finish()
    content = json.loads((out / "cohort.json").read_text())
    assert content["counts"] == {"train": {"images": 2 * patients, "patients": patients}}
    return out

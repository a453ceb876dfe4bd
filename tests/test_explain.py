"""The explanation figures: nearest images, agreement of maps, UMAP, and what is written and refused."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from synthcohort.errors import BadOption, InputError, MissingDependency
from synthcohort.evaluate import _agreement, _drawn, _flattened, _looked_up, _maps, evaluate
from synthcohort.evaluate._sets import ImageSet
from synthcohort.report import report


def _features(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 5))


@pytest.mark.parametrize("protocol", ["recommended", "paper", "code"])
def test_nearest_images_are_those_of_the_textbook_loop(protocol: str) -> None:
    synthetic, train = _features(130, 0), _features(170, 1)
    found = _looked_up.neighbours(synthetic, train, np.arange(20, 130), protocol=protocol, seed=0)
    gallery = train[:150] if protocol == "code" else train  # the code drops the last part of a batch of 50
    for query, nearest, distance in zip(found.queries, found.nearest, found.distance, strict=True):
        each = [1 - row @ synthetic[query] / np.linalg.norm(row) / np.linalg.norm(synthetic[query]) for row in gallery]
        assert nearest == int(np.argmin(each))
        assert distance == pytest.approx(min(each), abs=1e-12)  # float64 both


def test_protocols_look_at_other_images() -> None:
    synthetic, train, unseen = _features(130, 0), _features(60, 1), np.arange(20, 130)
    by = {
        protocol: _looked_up.neighbours(synthetic, train, unseen, protocol=protocol, seed=0)
        for protocol in ("recommended", "paper", "code")
    }
    assert by["code"].queries.tolist() == list(range(20, 120))
    assert len(set(by["paper"].queries.tolist())) == 100
    closest, drawn = (by["recommended"].queries[by["recommended"].drawn == value] for value in (False, True))
    assert (len(closest), len(drawn)) == (12, 12)
    assert not set(closest) & set(drawn)
    every, _ = _looked_up._nearest(synthetic, train)
    distances = _looked_up._nearest(synthetic, train)[1]
    assert set(closest) == set(np.argsort(distances)[:12])
    assert (every[closest] == by["recommended"].nearest[:12]).all()


def test_one_image_and_features_without_direction_have_a_neighbour() -> None:
    found = _looked_up.neighbours(np.zeros((1, 3)), np.ones((1, 3)), np.empty(0, int), protocol="recommended", seed=0)
    assert (found.queries.tolist(), found.nearest.tolist(), found.distance.tolist()) == ([0], [0], [1.0])


def test_rank_correlation_is_scipys_and_flat_maps_have_none() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, (6, 7)).astype(float)  # with ties
    second = first + rng.normal(size=first.shape)
    expected = stats.spearmanr(first.ravel(), second.ravel()).statistic
    assert _agreement.rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(_agreement.rank_correlation(first, np.ones_like(first)))


def test_agreement_of_a_map_with_itself_is_one_and_needs_three_patients() -> None:
    maps = list(np.random.default_rng(0).normal(size=(4, 5, 5)))
    patients = np.array(["a", "b", "c", "d"])
    same = _agreement.agreement(maps, maps, patients, seed=0)
    assert (same.value, same.low, same.high) == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)
    few = _agreement.agreement(maps[:3], [maps[0], maps[1], np.zeros((5, 5))], patients[:3], seed=0)
    assert (few.status, few.value) == ("not_estimable", None)
    assert "2 patients" in few.reason


def test_interval_of_the_agreement_holds_the_mean_of_all_patients() -> None:
    """Coverage over 1,000 draws of five patients with two images each, whose correlations differ between patients."""
    rng, held = np.random.default_rng(1), 0
    patients = np.repeat(np.arange(5), 2)
    for number in range(1000):
        values = np.repeat(rng.normal(0.4, 0.15, 5), 2) + rng.normal(0, 0.05, 10)
        variance = _agreement.jackknife(
            lambda rows, v=values: float(v[rows].mean()), patients, values.mean(), seed=number
        )
        interval = _agreement.normal_interval(float(values.mean()), variance)
        held += interval.low <= 0.4 <= interval.high
    assert 0.92 <= held / 1000 <= 0.98


def _test_images(labels: np.ndarray, patients: np.ndarray) -> ImageSet:
    images = np.zeros((len(labels), 1, 8, 8), np.uint8)
    return ImageSet("real test", images, None, labels.astype(np.float32), patients, patients, "key")


def test_maps_are_of_one_image_a_patient_half_of_them_with_a_finding() -> None:
    patients = np.repeat(np.arange(40), 3)
    labels = np.zeros((120, 2))
    labels[: 30 * 3 : 3, 0] = 1
    labels[-1] = np.nan
    chosen = _maps.shown(_test_images(labels, patients), 16, seed=0)
    assert len(chosen) == len(np.unique(chosen.patients)) == 16
    assert int((chosen.labels > 0).any(axis=1).sum()) == 8
    assert np.isfinite(chosen.labels).any(axis=1).all()


def test_maps_are_of_what_there_is() -> None:
    unknown = _test_images(np.full((4, 2), np.nan), np.arange(4))
    assert len(_maps.shown(unknown, 8, seed=0)) == 0
    every = _test_images(np.ones((4, 2)), np.arange(4))
    assert len(_maps.shown(every, 8, seed=0)) == 4


class _Layout:
    """In the place of umap.UMAP: the first two features."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def fit_transform(self, rows: np.ndarray) -> np.ndarray:
        return rows[:, :2]


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("umap")
    module.UMAP = _Layout  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)


def test_points_belong_to_their_sets(laid_out: None) -> None:
    sets = {"real train": _features(9, 0), "real test": _features(4, 1), "synthetic": _features(7, 2)}
    found = _flattened.flattened(sets, seed=2**40)
    assert isinstance(found, dict)
    for name, points in found.items():
        every = np.concatenate(list(sets.values()))
        expected = (sets[name] - every.mean(axis=0)) / every.std(axis=0)
        np.testing.assert_allclose(points, expected[:, :2], atol=1e-5, rtol=0)  # float32


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (_features(8, 0), "it takes 16 images"),
        (np.full((20, 3), np.nan), "not finite"),
        (np.ones((20, 3)), "all images are the same"),
    ],
)
def test_a_space_without_a_layout_says_why(laid_out: None, values: np.ndarray, reason: str) -> None:
    found = _flattened.flattened({"real train": values}, seed=0)
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.slow
def test_umap_parts_two_clusters_and_repeats_itself() -> None:
    pytest.importorskip("umap")
    sets = {"real train": _features(40, 0), "synthetic": _features(40, 1) + 20}
    first, second = (_flattened.flattened(sets, seed=0) for _ in range(2))
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    for name, points in first.items():
        np.testing.assert_array_equal(points, second[name])
    centres = [points.mean(axis=0) for points in first.values()]
    spreads = [points.std(axis=0).max() for points in first.values()]
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * max(spreads)


def test_figures_are_the_same_bytes_and_take_odd_numbers_of_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 16, 16), dtype=np.uint8)
    drawn = np.array([False, True, True, True, True, True, True])
    pairs = [_drawn.pairs(images, images[::-1], np.linspace(0, 1, 7), drawn) for _ in range(2)]
    assert pairs[0] == pairs[1]
    maps = {"trained on real": np.random.default_rng(1).normal(size=(7, 8, 8)), "on synthetic": np.zeros((7, 8, 8))}
    assert "on synthetic" in _drawn.importance(images, ["none"] * 7, maps, tile=2, side=16)
    clouds = _drawn.clouds({"pixels": {"real train": _features(12, 0)[:, :2], "synthetic": _features(3, 1)[:, :2]}})
    assert "real train, n = 12" in clouds
    assert "synthetic, n &lt; 10" in clouds


SMALL: dict[str, Any] = {
    "options": {"images_seen": 64, "network": "small"},
    "seeds": 2,
    "metrics": ["auc"],
    "extractors": ["task"],
}


@pytest.fixture(scope="module")
def explained(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An EVAL with its figures but UMAP, and the cohort that was scored."""
    from synthcohort.cohort import Cohort

    folder = tmp_path_factory.mktemp("explained")
    synthetic = _as_synthetic(labelled, folder / "synthetic")
    out = folder / "eval"
    evaluate(labelled, synthetic, out=out, explain=["occlusion", "nearest"], **SMALL)
    assert len(Cohort(synthetic)) > 0
    return out, synthetic


def test_figures_with_real_pixels_lie_in_pairs_only(explained: tuple[Path, Path]) -> None:
    out, _ = explained
    made = {str(path.relative_to(out)) for path in out.rglob("*") if path.suffix in (".svg", ".npz")}
    assert made >= {"pairs/nearest.svg", "pairs/nearest.npz", "pairs/occlusion.svg", "pairs/occlusion.npz"}
    assert not (out / "figures").exists()
    said = json.loads((out / "explained.json").read_text())
    assert set(said["occlusion"]["agreement"]) == {"synthetic", "real, other seed", "gaussian"}
    assert said["occlusion"]["images"] <= 14


def test_a_finished_evaluation_takes_more_figures_and_makes_none_twice(
    explained: tuple[Path, Path], labelled: Path, laid_out: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out, synthetic = explained
    scores = (out / "scores.jsonl").read_bytes()
    before = (out / "pairs" / "occlusion.svg").stat().st_mtime_ns
    evaluate(labelled, synthetic, out=out, explain=["umap", "occlusion"], **SMALL)
    assert (out / "figures" / "umap.svg").exists()
    assert (out / "pairs" / "occlusion.svg").stat().st_mtime_ns == before
    assert (out / "scores.jsonl").read_bytes() == scores
    evaluate(labelled, synthetic, out=out, explain=["umap", "occlusion"], **SMALL)
    assert "finished already" in capsys.readouterr().err


def test_report_shows_real_pixels_only_when_asked(explained: tuple[Path, Path], tmp_path: Path) -> None:
    out, _ = explained
    plain = report(out, out=tmp_path / "plain.html").read_text()
    shown = report(out, out=tmp_path / "shown.html", show_real=True).read_text()
    for alt in ('alt="nearest"', 'alt="occlusion"'):
        assert alt not in plain
        assert alt in shown
    assert "Where the networks look" in plain
    content = json.loads((tmp_path / "plain.json").read_text())
    assert set(content["subjects"][0]["importance"]["agreement"]) == {"synthetic", "real, other seed", "gaussian"}


def test_what_cannot_be_drawn_is_one_line(
    discs: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadOption, match="'maps' is none of them"):
        evaluate(labelled, labelled, out=tmp_path / "a", explain=["maps"], **SMALL)
    with pytest.raises(InputError, match="share no findings"):
        evaluate(discs, discs, out=tmp_path / "b", explain=["occlusion"])
    with pytest.raises(InputError, match="Nearest images need a task"):
        evaluate(discs, discs, out=tmp_path / "c", tasks=[], explain=["nearest"])
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingDependency, match=r"synthcohort\[figures\]"):
        evaluate(discs, discs, out=tmp_path / "d", explain=["umap"])
    assert not any((tmp_path / name).exists() for name in "abcd")


def test_an_evaluation_without_a_fit_says_why(labelled: Path, tmp_path: Path) -> None:
    synthetic = _as_synthetic(labelled, tmp_path / "synthetic", keep=1)
    evaluate(labelled, synthetic, out=tmp_path / "eval", explain=["occlusion"], **SMALL)
    said = json.loads((tmp_path / "eval" / "explained.json").read_text())["occlusion"]
    assert said["figure"] == ""
    assert said["reason"]


def _as_synthetic(labelled: Path, out: Path, keep: int | None = None) -> Path:
    """Return a synthetic cohort: the images of a real one, dimmed, of which some may be left out."""
    from dataclasses import replace

    from synthcohort.cohort import Cohort, writing_cohort

    real = Cohort(labelled)
    facts = replace(real.facts, name="made", provenance="synthetic", history=())
    with writing_cohort(out, facts, {"kind": "test", "keep": keep}, None) as writer:
        for place in range(len(real))[:keep]:
            row = real.samples.iloc[place]
            table = {name: row[name] for name in ("slice_index", "split", "label.large", "label.bright")}
            table |= {name: f"made-{place}" for name in ("sample_id", "patient_id", "group_id")}
            writer.append((np.asarray(real.images[place]) * 0.9).astype(np.uint8), None, table)
        writer.finish()
    return out


def test_umap_leaves_torch_the_threads_that_it_had() -> None:
    # numba sets OpenMP's threads to all cores: a fit that followed in the same process took 14 times as long.
    pytest.importorskip("umap")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        _flattened.flattened({"a": np.random.default_rng(0).normal(size=(40, 5))}, seed=0)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)

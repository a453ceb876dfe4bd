"""The IDRiD phantom: the real layout, the same bytes from the same seed, lesions exactly where the masks say."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from synthcohort.errors import BadOption, BadOutput
from synthcohort.layouts import IDRID_TARGETS
from synthcohort.phantoms._fundus import Eye, View
from synthcohort.phantoms._fundus_lesions import VISIBLE, Lesions, Spots
from synthcohort.phantoms._fundus_light import develop, disc, photograph
from synthcohort.phantoms._fundus_vessels import Vessels, draw
from synthcohort.phantoms.idrid import Phantom
from synthcohort.runs import derive_seed
from synthcohort.sources.idrid import Source

IMAGES, MASKS = "A. Segmentation/1. Original Images", "A. Segmentation/2. All Segmentation Groundtruths"
LESIONS = tuple(name for name in IDRID_TARGETS if name != "optic_disc")


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("[!.]*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    Phantom(size=128).write(root, seed=0)
    return root


def test_layout_is_that_of_the_real_set(download: Path) -> None:
    photographs = {part.name: sorted(path.name for path in part.iterdir()) for part in (download / IMAGES).iterdir()}
    assert photographs == {
        "a. Training Set": [f"IDRiD_{n:02d}.jpg" for n in range(1, 55)],
        "b. Testing Set": [f"IDRiD_{n:02d}.jpg" for n in range(55, 82)],
    }
    for part, names in photographs.items():
        folders = {folder.name for folder in (download / MASKS / part).iterdir()}
        assert folders == {
            "1. Microaneurysms",
            "2. Haemorrhages",
            "3. Hard Exudates",
            "4. Soft Exudates",
            "5. Optic Disc",
        }
        for folder, ending in IDRID_TARGETS.values():
            found = {path.name for path in (download / MASKS / part / folder).iterdir()}
            possible = {name.replace(".jpg", f"_{ending}.tif") for name in names}
            assert found <= possible
            if ending == "OD":
                assert found == possible


def test_photographs_are_colour_jpegs_of_the_real_shape(download: Path) -> None:
    for path in (download / IMAGES).rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (128, 85))  # 4288 x 2848
    assert View(Eye.draw(np.random.default_rng(0)), 4288).shape == (2848, 4288)


def test_masks_are_stored_in_several_ways(download: Path) -> None:
    ways: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for path in (download / MASKS).rglob("*.tif"):
        with Image.open(path) as image:
            assert image.format == "TIFF"
            ways[image.mode, tuple(np.unique(np.asarray(image.convert("L"))).tolist())] += 1
    assert set(ways) == {("L", (0, 255)), ("L", (0, 76)), ("1", (0, 255)), ("P", (0, 76))}
    assert min(ways.values()) > 20


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        Phantom(patients=3, size=64).write(tmp_path / name, seed=seed)
    first, again, other = (files(tmp_path / name) for name in "abc")
    assert first == again
    assert not {first[name] for name in first if name.endswith(".jpg")} & set(other.values())


def test_an_eye_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    Phantom(patients=3, size=64).write(tmp_path / "three", seed=5)
    Phantom(patients=9, size=64).write(tmp_path / "nine", seed=5)
    three, nine = ({Path(k).name: data for k, data in files(tmp_path / name).items()} for name in ("three", "nine"))
    assert all(nine[name] == data for name, data in three.items())


def eye_with(**changes: object) -> Eye:
    return dataclasses.replace(Eye.draw(np.random.default_rng(3)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [128, 300])
def test_lesions_change_exactly_the_pixels_of_their_masks(seed: int, width: int) -> None:
    eye = Eye.draw(np.random.default_rng(seed))
    view = View(eye, width)
    covers = Lesions.draw(np.random.default_rng(seed), eye).covers(view)
    without = photograph(eye, view, {}, np.random.default_rng(9))
    union = np.zeros(view.shape, bool)
    for name, cover in covers.items():
        assert set(np.unique(cover > 0)) == {False, True}
        assert cover[cover > 0].min() >= VISIBLE
        alone = photograph(eye, view, {name: cover}, np.random.default_rng(9))
        np.testing.assert_array_equal((alone != without).any(axis=0), cover > 0)
        union |= cover > 0
    together = photograph(eye, view, covers, np.random.default_rng(9))
    np.testing.assert_array_equal((together != without).any(axis=0), union)
    # The sensor's noise is the same, so stored pixels off the lesions are the same, too.
    stored, plain = (develop(light, eye, np.random.default_rng(1)) for light in (together, without))
    assert not (stored != plain).any(axis=2)[~union].any()


def test_written_masks_are_the_pixels_that_lesions_changed(tmp_path: Path) -> None:
    Phantom(patients=3, size=200).write(tmp_path, seed=4)
    for number in (1, 2):
        rngs = {
            name: np.random.default_rng(derive_seed(4, "phantom idrid", number, name))
            for name in ("eye", "lesions", "texture", "sensor")
        }
        eye = Eye.draw(rngs["eye"])
        view = View(eye, 200)
        plain = photograph(eye, view, {}, rngs["texture"])
        covers = Lesions.draw(rngs["lesions"], eye).covers(view)
        for name in LESIONS:
            folder, ending = IDRID_TARGETS[name]
            path = tmp_path / MASKS / "a. Training Set" / folder / f"IDRiD_{number:02d}_{ending}.tif"
            assert path.exists() == (name in covers)
            if name in covers:
                texture = np.random.default_rng(derive_seed(4, "phantom idrid", number, "texture"))
                changed = (photograph(eye, view, {name: covers[name]}, texture) != plain).any(axis=0)
                with Image.open(path) as image:
                    np.testing.assert_array_equal(np.asarray(image.convert("RGB")).any(axis=2), changed)


def spots(place: tuple[float, float], radius: float, *, stretch: float = 1.0, turn: float = 0.0) -> Spots:
    one = np.ones(1)
    return Spots(np.array([place]), radius * one, stretch * one, turn * one, 0 * one, np.zeros((1, 4)), 0.2 * one)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize(("stretch", "turn"), [(1.0, 0.0), (2.5, 0.7)])
def test_a_spot_is_an_ellipse(right: bool, stretch: float, turn: float) -> None:
    eye = eye_with(right=right, turn=0.3)
    view = View(eye, 600)
    place, radius = (0.2, -0.1), 0.06
    cover = spots(place, radius, stretch=stretch, turn=turn).cover(view)
    # Closed form, at every pixel: signed distance from the circle that the ellipse is after shrinking its long axis.
    dx, dy = view.x - place[0], view.y - place[1]
    along, across = (np.cos(turn) * dx + np.sin(turn) * dy) / stretch, np.cos(turn) * dy - np.sin(turn) * dx
    ramp = np.clip(0.5 - (np.hypot(along, across) - radius) / (0.2 * radius), 0, 1)
    smooth = ramp**2 * (3 - 2 * ramp)
    want = np.where(smooth > 0.25, VISIBLE + (smooth - 0.25) * (1 - VISIBLE) / 0.75, 0)
    unsure = np.abs(smooth - 0.25) < 1e-3  # float32 places decide there
    np.testing.assert_allclose(cover[~unsure], want[~unsure], atol=2e-3)
    pixels = np.pi * radius**2 * stretch / view.pixel**2
    assert (ramp >= 0.5).sum() == pytest.approx(pixels, rel=0.02)  # of 4,000 pixels, those on the outline


def test_places_and_pixels_are_inverse() -> None:
    for right in (True, False):
        view = View(eye_with(right=right, turn=-0.2), 300)
        rows, columns = np.mgrid[: view.shape[0], : view.shape[1]]
        back = view.pixels(np.stack([view.x, view.y], axis=2))
        np.testing.assert_allclose(back, np.stack([columns, rows], axis=2), atol=1e-3)  # float32 of 300 pixels


def test_a_straight_vessel_has_its_width() -> None:
    line = np.stack([np.linspace(0.1, 0.9, 30), np.full(30, 0.4)], axis=1)[None]
    normal = np.broadcast_to((0.0, 1.0), line.shape)
    vein = Vessels((line,), (normal,), (np.full((1, 30), 0.04),), (np.array([False]),))
    density = draw(vein, (100, 150), np.eye(2) * 150.0, np.zeros(2), 0.0)
    # 0.8 x 0.04 of 150 pixels a unit, at the darkness of a vein that is too narrow for a darker middle
    assert density.sum() == pytest.approx(0.9 * 0.8 * 0.04 * 150**2, rel=0.06)  # a third of a pixel at each end
    assert density[60, 75] == pytest.approx(0.9, abs=0.01)
    assert density[:55].max() == density[66:].max() == 0


def test_the_disc_is_outlined_at_its_border(download: Path) -> None:
    eye = eye_with(disc_waves=(), turn=0.1, right=False)
    view = View(eye, 700)
    window, outer, _ = disc(eye, view)
    mask = np.zeros(view.shape, bool)
    mask[window] = outer < 0
    dx, dy = (view.x - eye.disc[0]) / eye.disc_radii[0], (view.y - eye.disc[1]) / eye.disc_radii[1]
    np.testing.assert_array_equal(mask, dx**2 + dy**2 < 1)
    assert mask.sum() == pytest.approx(np.pi * np.prod(eye.disc_radii) / view.pixel**2, rel=0.01)


def contrast(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return how much brighter each channel is inside than in a ring around."""
    ring = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_dilation(mask, iterations=1)
    return image[:, mask].astype(float).mean(axis=1) - image[:, ring].mean(axis=1)


def test_what_is_outlined_is_seen_in_the_stored_files(download: Path) -> None:
    found: dict[str, list[np.ndarray]] = {}
    for name in IDRID_TARGETS:
        for record in Source(download, target=name).records():  # type: ignore[arg-type]
            assert record.mask is not None
            if record.mask.sum() > 6:
                found.setdefault(name, []).append(contrast(record.image, record.mask > 0))
    green = {name: np.array(values)[:, 1] for name, values in found.items()}
    assert (green["optic_disc"] > 15).mean() > 0.95
    assert (green["hard_exudate"] > 8).mean() > 0.95
    assert (green["soft_exudate"] > 8).mean() > 0.9
    assert (green["haemorrhage"] < -8).mean() > 0.95
    assert (green["microaneurysm"] < -1).mean() > 0.9  # at 128 pixels they are smaller than a pixel


def test_lesions_come_in_every_amount(download: Path) -> None:
    records = list(Source(download, target="all", lesion_labels=True).records())
    share = {name: np.mean([record.labels[name] or 0 for record in records]) for name in LESIONS}
    assert all(0.6 < share[name] < 1 for name in LESIONS[:3])
    assert 0.25 < share["soft_exudate"] < 0.7
    names = Source(download, target="all").MASK_CLASSES
    for name in LESIONS:
        areas = np.array([(record.mask == names.index(name)).mean() for record in records])  # type: ignore[union-attr]
        assert areas.max() < 0.1
        assert np.quantile(areas[areas > 0], 0.9) > 4 * np.quantile(areas[areas > 0], 0.1)
    discs = np.array([(record.mask == names.index("optic_disc")).mean() for record in records])  # type: ignore[union-attr]
    assert 0.008 < discs.min() < discs.max() < 0.03


def test_eyes_are_right_and_left_and_differ(download: Path) -> None:
    columns, colours = [], []
    for record in Source(download).records():
        assert record.mask is not None
        columns.append(np.nonzero(record.mask)[1].mean() / record.mask.shape[1])
        colours.append(record.image[:, 20:65, 40:80].mean(axis=(1, 2)))
        assert record.image[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() < 30  # black outside the field
    right = np.array(columns) > 0.5
    assert 0.3 < right.mean() < 0.7
    assert np.abs(np.array(columns) - 0.5).min() > 0.15  # the disc is never in the middle
    mean, spread = np.mean(colours, axis=0), np.std(colours, axis=0)
    assert mean[0] > 1.5 * mean[1] > 2 * mean[2]  # orange
    assert spread.min() > 5


def test_a_larger_photograph_shows_the_same_eye(tmp_path: Path) -> None:
    for size in (100, 400):
        Phantom(patients=3, size=size).write(tmp_path / str(size), seed=2)
    for small, large in zip(Source(tmp_path / "100").records(), Source(tmp_path / "400").records(), strict=True):
        assert small.mask is not None
        assert large.mask is not None
        shrunk = np.asarray(Image.fromarray(large.mask * np.uint8(255)).resize(small.mask.shape[::-1])) > 127
        overlap = 2 * (shrunk & (small.mask > 0)).sum() / (shrunk.sum() + small.mask.sum())
        assert overlap > 0.9


@pytest.mark.parametrize("wrong", [{"patients": 2}, {"patients": 1000}, {"size": 63}, {"size": 5000}])
def test_impossible_options(wrong: dict[str, int]) -> None:
    with pytest.raises(BadOption, match="3 to 999 patients"):
        Phantom(**wrong)


def test_two_downloads_are_never_mixed(tmp_path: Path) -> None:
    Phantom(patients=3, size=64).write(tmp_path, seed=0)
    before = files(tmp_path)
    with pytest.raises(BadOutput, match="empty folder"):
        Phantom(patients=3, size=64).write(tmp_path, seed=0)
    assert files(tmp_path) == before
    assert (tmp_path / ".phantom").exists()
    assert all(re.fullmatch(r"IDRiD_\d\d(_[A-Z]{2})?\.(jpg|tif)", Path(name).name) for name in before)

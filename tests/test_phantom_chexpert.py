"""The CheXpert phantom: the real layout, the same bytes from the same seed, findings that are where the tables say."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthcohort.errors import BadOption, BadOutput
from synthcohort.layouts import CHEXPERT_COLUMNS, CHEXPERT_FINDINGS
from synthcohort.phantoms._chest import Chest
from synthcohort.phantoms._chest_devices import curve, devices
from synthcohort.phantoms._chest_frontal import Frontal
from synthcohort.phantoms._chest_lateral import lateral
from synthcohort.phantoms._chest_reports import VISIBILITY, Health, reading, report
from synthcohort.phantoms._chest_signs import Sign, apply, change
from synthcohort.phantoms._film import Film, Pose
from synthcohort.phantoms.chexpert import Phantom

ROOT = "CheXpert-v1.0-small"
SHOWN = tuple(name for name in CHEXPERT_FINDINGS if name != "No Finding")
STRAIGHT = Pose(
    bedside=False, shift=(0.0, 0.0), turn=0.0, zoom=1.0, breath=0.0, twist=0.0, field=352.0, shape=(1.0, 1.2)
)


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("[!.]*")) if path.is_file()
    }


def table(root: Path, name: str) -> list[dict[str, str]]:
    with (root / ROOT / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    Phantom(patients=220, side=64).write(root, seed=0)
    return root


def test_the_tables_list_exactly_the_files(download: Path) -> None:
    for part in ("train", "valid"):
        rows = table(download, f"{part}.csv")
        assert tuple(rows[0]) == CHEXPERT_COLUMNS
        found = {path.relative_to(download).as_posix() for path in (download / ROOT / part).rglob("*.jpg")}
        assert sorted(row["Path"] for row in rows) == sorted(found)
    assert table(download, "train.csv")[0]["Path"] == f"{ROOT}/train/patient00001/study1/view1_frontal.jpg"
    assert table(download, "valid.csv")[0]["Path"] == f"{ROOT}/valid/patient64541/study1/view1_frontal.jpg"
    assert {path.name for path in (download / ROOT).iterdir()} == {"train", "valid", "train.csv", "valid.csv"}


def test_rows_are_written_as_in_the_real_tables(download: Path) -> None:
    train, valid = table(download, "train.csv"), table(download, "valid.csv")
    assert {row[name] for row in train for name in CHEXPERT_FINDINGS} == {"1.0", "0.0", "-1.0", ""}
    assert {row[name] for row in valid for name in CHEXPERT_FINDINGS} == {"1.0", "0.0"}
    assert {row["Sex"] for row in train} == {"Female", "Male"}
    assert all(18 <= int(row["Age"]) <= 90 for row in train)
    for row in train + valid:
        kind = row["Path"].rsplit("_", 1)[1].removesuffix(".jpg")
        assert row["Frontal/Lateral"] == kind.capitalize()
        assert row["AP/PA"] in ({""} if kind == "lateral" else {"AP", "PA"})


def test_patients_studies_and_views_vary(download: Path) -> None:
    rows = table(download, "train.csv")
    views = Counter(row["Path"].rsplit("/", 1)[1].removesuffix(".jpg") for row in rows)
    assert {"view1_frontal", "view2_frontal", "view2_lateral"} <= set(views)
    assert {row["AP/PA"] for row in rows} == {"AP", "PA", ""}
    images = Counter(row["Path"].split("/")[2] for row in rows)
    assert min(images.values()) == 1
    assert max(images.values()) >= 6
    assert max(int(row["Path"].split("/")[3].removeprefix("study")) for row in rows) >= 4
    stated = {}
    for row in rows:  # findings are of the study
        study, values = row["Path"].rsplit("/", 1)[0], tuple(row[name] for name in CHEXPERT_FINDINGS)
        assert stated.setdefault(study, values) == values


def test_films_are_grey_jpegs_of_several_shapes(download: Path) -> None:
    shapes = Counter()
    for row in table(download, "train.csv"):
        with Image.open(download / row["Path"]) as image:
            assert (image.format, image.mode) == ("JPEG", "L")
            shapes[image.size] += 1
    assert all(min(size) == 64 for size in shapes)
    assert len({width / height for width, height in shapes}) >= 4
    assert shapes.most_common(1)[0][0] == (78, 64)  # 390 x 320


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        Phantom(patients=3, side=40).write(tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not set(files(tmp_path / "a").values()) & set(files(tmp_path / "c").values())


def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    Phantom(patients=2, side=40).write(tmp_path / "two", seed=5)
    Phantom(patients=5, side=40).write(tmp_path / "five", seed=5)
    two, five = files(tmp_path / "two"), files(tmp_path / "five")
    assert all(five[name] == data for name, data in two.items() if name.endswith(".jpg"))
    assert five[f"{ROOT}/train.csv"].startswith(two[f"{ROOT}/train.csv"])


def studies(count: int) -> list[tuple[dict[str, Sign], dict[str, float | None]]]:
    result = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        signs = dict(Health.draw(rng).study(rng))
        result.append((signs, report(rng, signs)))
    return result


def test_shares_of_findings_are_near_the_real_ones() -> None:
    stated = [stated for _, stated in studies(4000)]
    share = {
        name: {value: np.mean([row[name] == value for row in stated]) for value in (1.0, -1.0, 0.0)}
        for name in CHEXPERT_FINDINGS
    }
    low_high = {
        "No Finding": (0.1, 0.28),
        "Lung Opacity": (0.4, 0.6),
        "Support Devices": (0.4, 0.6),
        "Pleural Effusion": (0.25, 0.45),
        "Edema": (0.15, 0.3),
        "Cardiomegaly": (0.08, 0.2),
        "Pleural Other": (0.005, 0.04),
        "Fracture": (0.02, 0.07),
    }
    for name, (low, high) in low_high.items():
        assert low < share[name][1.0] < high, name
    doubtful = sorted(SHOWN, key=lambda name: -share[name][-1.0])
    assert set(doubtful[:3]) == {"Atelectasis", "Consolidation", "Pneumonia"}
    assert share["Edema"][-1.0] > 0.03
    silent = np.mean([all(value is None for value in row.values()) for row in stated])
    assert 0.01 < silent < 0.03


def test_statements_follow_from_what_is_there() -> None:
    doubted = {True: [], False: []}
    for signs, stated in studies(3000):
        if all(value is None for value in stated.values()):
            continue
        for name, sign in signs.items():
            assert stated[name] in (1.0, -1.0)
            doubted[stated[name] == -1.0].append(sign.severity)
        if stated["No Finding"] == 1.0:
            assert set(signs) <= {"Support Devices"}
            assert not any(stated[name] in (1.0, -1.0) for name in SHOWN if name != "Support Devices")
        assert stated["No Finding"] in (1.0, None)
    assert np.mean(doubted[True]) < np.mean(doubted[False]) - 0.1


def test_the_panel_reads_parents_with_their_children() -> None:
    sign = Sign(0.5, 1, (0.5, 0.5), 0)
    assert {name for name, value in reading({}).items() if value} == {"No Finding"}
    devices_only = reading({"Support Devices": sign})
    assert {name for name, value in devices_only.items() if value} == {"No Finding", "Support Devices"}
    both = reading({"Edema": sign, "Cardiomegaly": sign})
    assert {name for name, value in both.items() if value} == {
        "Edema",
        "Lung Opacity",
        "Cardiomegaly",
        "Enlarged Cardiomediastinum",
    }


def test_mean_severity_is_the_stated_visibility() -> None:
    severities: dict[str, list[float]] = {name: [] for name in SHOWN}
    for signs, _ in studies(4000):
        for name, sign in signs.items():
            severities[name].append(sign.severity)
    for name, found in severities.items():
        # The standard deviation of a beta with a + b = 5 is at most 0.21.
        assert abs(np.mean(found) - VISIBILITY[name]) < 4 * 0.21 / np.sqrt(len(found)), name


def drawn(signs: dict[str, Sign], *, seed: int = 3) -> tuple[Film, np.ndarray]:
    """Return the film and the density of one chest, straight, with these findings."""
    chest = Chest.draw(np.random.default_rng(seed), female=False)
    film = Film(STRAIGHT, 160)
    frontal = Frontal(film, chest, STRAIGHT, change(signs))
    apply(frontal, signs)
    if "Support Devices" in signs:
        frontal.extra += devices(frontal, signs["Support Devices"])
    return film, frontal.density(np.random.default_rng(9))


@pytest.mark.parametrize("name", SHOWN)
def test_every_finding_shows_and_more_so_the_more_severe(name: str) -> None:
    _, healthy = drawn({})
    change_of = {
        severity: np.mean(
            [np.abs(drawn({name: Sign(severity, 1, (0.5, 0.5), seed)})[1] - healthy).mean() for seed in range(6)]
        )
        for severity in (0.1, 0.5, 0.95)
    }
    assert 0 < change_of[0.1] < change_of[0.5] < change_of[0.95]


@pytest.mark.parametrize("name", ["Cardiomegaly", "Lung Lesion", "Edema", "Consolidation", "Pleural Effusion"])
def test_large_findings_show_from_the_side_too(name: str) -> None:
    chest, film = Chest.draw(np.random.default_rng(0), female=False), Film(STRAIGHT, 96)
    sign = {name: Sign(0.9, 1, (0.5, 0.5), 1)}
    with_it, without = (lateral(film, chest, STRAIGHT, signs, np.random.default_rng(2)) for signs in (sign, {}))
    assert (with_it - without).max() > 0.1


def test_an_effusion_whitens_its_own_base_only() -> None:
    film, healthy = drawn({})
    for side in (-1, 1):
        _, fluid = drawn({"Pleural Effusion": Sign(0.7, side, (0.5, 0.5), 0)})
        base = (side * film.x > 70) & (side * film.x < 110) & (film.y > 50) & (film.y < 90)
        assert (fluid - healthy)[base].mean() > 0.1
        np.testing.assert_allclose(fluid[side * film.x < -8], healthy[side * film.x < -8], atol=1e-6)


def test_a_free_rim_is_dark_and_without_vessels() -> None:
    chest, film = Chest.draw(np.random.default_rng(3), female=False), Film(STRAIGHT, 160)
    frontal = Frontal(film, chest, STRAIGHT, change({}))
    before = frontal.vessels.copy(), frontal.density(np.random.default_rng(9))
    apply(frontal, {"Pneumothorax": Sign(0.8, 1, (0.5, 0.5), 0)})
    rim = (film.x > 50) & (frontal.rim > 0.75) & (frontal.rim < 0.92) & (film.y < -20)
    assert before[0][rim].mean() > 1e-3
    assert frontal.vessels[rim].mean() < 0.1 * before[0][rim].mean()
    assert (frontal.density(np.random.default_rng(9)) - before[1])[rim].mean() < -0.04


def test_a_broken_rib_is_out_of_line_and_marked() -> None:
    chest, film = Chest.draw(np.random.default_rng(3), female=False), Film(STRAIGHT, 160)
    for seed in range(4):
        sign = {"Fracture": Sign(0.7, -1, (0.5, 0.5), seed)}
        whole, broken = (Frontal(film, chest, STRAIGHT, change(signs)) for signs in ({}, sign))
        moved = (broken.density(np.random.default_rng(0)) - whole.density(np.random.default_rng(0))) != 0
        assert moved.any()
        assert film.x[moved].max() < -50  # outside the break, on its side
        apply(broken, sign)
        marked = np.abs(broken.extra) > 0.01
        assert marked.any()
        assert film.x[marked].max() < -50


def test_devices_only_add_density() -> None:
    _, healthy = drawn({})
    for seed in range(5):
        _, with_devices = drawn({"Support Devices": Sign(0.8, 1, (0.5, 0.5), seed)})
        assert (with_devices - healthy).min() > -1e-5
        assert (with_devices - healthy).max() > 0.3


def test_a_simple_measure_tells_large_findings_and_is_not_always_right(download: Path) -> None:
    rows = [row for row in table(download, "train.csv") if row["Frontal/Lateral"] == "Frontal"]
    pixels = []
    for row in rows:
        with Image.open(download / row["Path"]) as image:
            film = np.asarray(image.resize((32, 32), Image.Resampling.BOX), dtype=float).ravel()
        pixels.append((film - film.mean()) / film.std())
    images = np.array(pixels)
    even = np.array([int(row["Path"].split("/")[2].removeprefix("patient")) % 2 == 0 for row in rows])
    for name in ("Edema", "Pleural Effusion", "Cardiomegaly"):
        has = np.array([row[name] == "1.0" for row in rows])
        template = images[even & has].mean(axis=0) - images[even & ~has].mean(axis=0)
        score = images[~even] @ template
        present, absent = score[has[~even]], score[~has[~even]]
        auc = np.mean(present[:, None] > absent[None, :])
        # Measured with 600 patients: 0.63 to 0.86, and 0.75 to 0.98 by a small network at 64 pixels.
        assert 0.57 < auc < 0.95, name


def test_a_patient_looks_the_same_in_every_study(download: Path) -> None:
    films: dict[str, list[np.ndarray]] = {}
    for row in table(download, "train.csv"):
        if row["Frontal/Lateral"] == "Frontal":
            with Image.open(download / row["Path"]) as image:
                film = np.asarray(image.resize((32, 32)), dtype=float).ravel()
            films.setdefault(row["Path"].split("/")[2], []).append((film - film.mean()) / film.std())
    several = [found for found in films.values() if len(found) > 1]
    same = np.mean([a @ b / a.size for a, b, *_ in several])
    other = np.mean([a[0] @ b[0] / a[0].size for a, b in itertools.pairwise(several)])
    assert same > other + 0.02


def test_strokes_lie_where_the_film_says() -> None:
    pose = Pose(
        bedside=True, shift=(9.0, -6.0), turn=0.1, zoom=1.2, breath=0.0, twist=0.0, field=350.0, shape=(1.2, 1.0)
    )
    film = Film(pose, 320)
    for point in ((0.0, 0.0), (60.0, -40.0), (-50.0, 70.0)):
        dot = film.strokes([(np.array([(point[0] - 1, point[1]), (point[0] + 1, point[1])]), 2.0, 1.0)], 1.0)
        row, column = np.unravel_index(int(dot.argmax()), dot.shape)
        # Within the pixel of 1.7 mm and its neighbour.
        assert np.hypot(film.x[row, column] - point[0], film.y[row, column] - point[1]) < 2.5


def test_a_curve_passes_through_its_points() -> None:
    points = np.random.default_rng(0).normal(0, 50, (5, 2))
    np.testing.assert_allclose(curve(points)[::6], points)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"patients": 64541}, {"side": 8}])
def test_impossible_options(wrong: dict[str, int]) -> None:
    with pytest.raises(BadOption, match="1 to 64540 patients"):
        Phantom(**wrong)


def test_two_downloads_are_never_mixed(tmp_path: Path) -> None:
    Phantom(patients=1, side=40).write(tmp_path, seed=0)
    before = files(tmp_path)
    with pytest.raises(BadOutput, match="empty folder"):
        Phantom(patients=1, side=40).write(tmp_path, seed=0)
    assert files(tmp_path) == before

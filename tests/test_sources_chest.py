"""Chest radiographs: CheXpert and NIH ChestX-ray14, read as their downloads come, and the mistakes in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthcohort import plugins
from synthcohort.errors import BadOption, BadSource
from synthcohort.layouts import CHEXPERT_COLUMNS, CHEXPERT_FINDINGS, CHEXPERT_ROOTS, NIH_FINDINGS, NIH_NO_FINDING
from synthcohort.sources import chexpert, nih_cxr14

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
import source_exam


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


def grey(path: Path, seed: int, shape: tuple[int, ...] = (20, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)).save(path)


# CheXpert

SMALL, FULL = CHEXPERT_ROOTS


def chexpert_row(name: str, findings: dict[str, str], sex: str = "Female", age: str = "61", view: str = "AP") -> str:
    kind = "Frontal" if name.endswith("frontal") else "Lateral"
    path = name if name.endswith(".jpg") else f"{SMALL}/train/{name}.jpg"
    return ",".join([path, sex, age, kind, view, *(findings.get(each, "") for each in CHEXPERT_FINDINGS)])


def write_chexpert(root: Path, *rows: str, header: tuple[str, ...] = CHEXPERT_COLUMNS) -> Path:
    """Write a table with these rows and a picture for each, random pixels, in the small layout."""
    (root / SMALL / "train").mkdir(parents=True, exist_ok=True)
    (root / SMALL / "train.csv").write_text("\n".join([",".join(header), *rows]) + "\n")
    for seed, row in enumerate(rows):
        path = row.split(",")[0]
        if path.startswith(f"{SMALL}/train/patient") and ".." not in path:
            grey(root / path, seed)
    return root


def several_patients(root: Path) -> Path:
    """Write 8 patients with 2 studies each; every kind of row that is left out is there."""
    rows = []
    for number in range(1, 9):
        person = f"patient{number:05d}"
        present = {CHEXPERT_FINDINGS[number % 5 + 1]: "1.0", "Edema": "-1.0", "Fracture": "0.0"}
        rows.append(chexpert_row(f"{person}/study1/view1_frontal", present, age=str(50 + number)))
        rows.append(chexpert_row(f"{person}/study1/view2_frontal", present, view="PA"))
        rows.append(chexpert_row(f"{person}/study2/view1_frontal", {"No Finding": "1.0"}, sex="Male"))
        rows.append(chexpert_row(f"{person}/study2/view2_lateral", {"No Finding": "1.0"}, view=""))
    rows.append(chexpert_row("patient00001/study1/view3_frontal", {"Edema": "1.0"}))
    rows.append(chexpert_row("patient00001/study3/view1_frontal", {}))
    rows.append(chexpert_row("patient00001/study4/view1_frontal", {"Edema": "0.0"}))
    return write_chexpert(root, *rows)


@pytest.mark.parametrize("uncertain", ["ones", "zeros", "ignore"])
def test_exam_chexpert(tmp_path: Path, uncertain: str) -> None:
    source_exam.sit("chexpert", several_patients(tmp_path / "d"), tmp_path / "cohort", {"uncertain": uncertain})


def test_the_phantom_sits_the_exam_too(tmp_path: Path) -> None:
    phantom = plugins.find("phantoms", "chexpert")
    phantom(**plugins.resolve(phantom, {"patients": 8})).write(tmp_path / "d", seed=1)
    source_exam.sit("chexpert", tmp_path / "d", tmp_path / "cohort", {"uncertain": "ignore"})


def test_chexpert_reads_what_study_003_read(tmp_path: Path) -> None:
    root = several_patients(tmp_path)
    source = chexpert.Source(root)
    assert source.LEFT_OUT == {"lateral view": 8, "frontal view after the second": 1, "no finding stated": 2}
    assert len(source) == 24
    first, second, third = list(source.records())[:3]
    assert (first.patient, first.group, first.slice_index) == ("patient00001", "patient00001/study1", 1)
    assert (second.group, second.slice_index, third.group) == (first.group, 2, "patient00001/study2")
    assert [name for name, value in first.labels.items() if value] == ["Cardiomegaly", "Edema"]
    assert set(first.labels.values()) == {0, 1}
    assert first.attributes == {"view": "AP", "sex": "F", "age": 51}
    assert (second.attributes["view"], third.attributes["sex"]) == ("PA", "M")
    assert first.image.shape == (1, 20, 16)
    assert first.image.dtype == np.uint8
    np.testing.assert_array_equal(first.image[0], np.asarray(Image.open(root / SMALL / "train" / _FIRST)))
    # Images without a finding can be kept.
    assert len(chexpert.Source(root, unlabelled="keep")) == 26


_FIRST = "patient00001/study1/view1_frontal.jpg"


@pytest.mark.parametrize(
    ("text", "uncertain", "value"),
    [
        *((text, rule, 1) for text in ("1", "1.0") for rule in ("ones", "zeros", "ignore")),
        *((text, rule, 0) for text in ("", "0", "0.0") for rule in ("ones", "zeros", "ignore")),
        *(
            (text, rule, value)
            for text in ("-1", "-1.0")
            for rule, value in (("ones", 1), ("zeros", 0), ("ignore", None))
        ),
    ],
)
def test_chexpert_values(tmp_path: Path, text: str, uncertain: Any, value: int | None) -> None:
    row = chexpert_row("patient00001/study1/view1_frontal", {"Edema": text, "Fracture": "1.0"})
    (record,) = chexpert.Source(write_chexpert(tmp_path, row), uncertain=uncertain).records()
    assert record.labels["Edema"] == value
    assert record.labels["Pneumonia"] == 0


@pytest.mark.parametrize(("uncertain", "kept"), [("ones", 1), ("zeros", 0), ("ignore", 1)])
def test_an_uncertain_finding_alone_counts_as_its_rule_says(tmp_path: Path, uncertain: Any, kept: int) -> None:
    root = write_chexpert(tmp_path, chexpert_row("patient00001/study1/view1_frontal", {"Edema": "-1.0"}))
    source = chexpert.Source(root, uncertain=uncertain)
    assert len(source) == kept
    assert sum(source.LEFT_OUT.values()) == 1 - kept


@given(
    st.lists(st.lists(st.sampled_from(["", "0.0", "1.0", "-1.0"]), min_size=14, max_size=14), min_size=1, max_size=20)
)
def test_every_row_of_chexpert_is_read_or_counted(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]]
) -> None:
    root = tmp_path_factory.mktemp("chexpert")
    rows = [
        chexpert_row(f"patient{i:05d}/study1/view1_frontal", dict(zip(CHEXPERT_FINDINGS, cells, strict=True)))
        for i, cells in enumerate(table)
    ]
    (root / SMALL).mkdir()
    (root / SMALL / "train.csv").write_text("\n".join([",".join(CHEXPERT_COLUMNS), *rows]) + "\n")
    for uncertain, value in (("ones", 1), ("zeros", 0), ("ignore", None)):
        meaning: dict[str, int | None] = {"": 0, "0.0": 0, "1.0": 1, "-1.0": value}
        want = [tuple(meaning[cell] for cell in cells) for cells in table]
        source = chexpert.Source(root, uncertain=uncertain)  # type: ignore[arg-type]
        assert [row.findings for row in source._rows] == [values for values in want if any(v != 0 for v in values)]
        assert len(source) + sum(source.LEFT_OUT.values()) == len(table)


@pytest.mark.parametrize("part", ["", SMALL])
def test_chexpert_takes_either_folder_as_root(tmp_path: Path, part: str) -> None:
    assert len(list(chexpert.Source(several_patients(tmp_path) / part).records())) == 24


def test_chexpert_full_size_layout(tmp_path: Path) -> None:
    root = several_patients(tmp_path)
    table = root / SMALL / "train.csv"
    table.write_text(table.read_text().replace(SMALL, FULL))
    (root / SMALL).rename(root / FULL)
    assert len(list(chexpert.Source(root).records())) == 24
    (root / SMALL).mkdir()
    (root / SMALL / "train.csv").write_text("x\n")
    with pytest.raises(BadSource, match=f"{SMALL} and {FULL}"):
        chexpert.Source(root)


def test_chexpert_what_is_not_known_is_no_attribute(tmp_path: Path) -> None:
    row = chexpert_row("patient00001/study1/view1_frontal", {"Edema": "1"}, sex="Unknown", age="", view="")
    (record,) = chexpert.Source(write_chexpert(tmp_path, row)).records()
    assert record.attributes == {}


def test_chexpert_colour_pictures_become_grey(tmp_path: Path) -> None:
    root = write_chexpert(tmp_path, chexpert_row("patient00001/study1/view1_frontal", {"Edema": "1"}))
    values = np.full((6, 5, 3), 77, np.uint8)
    Image.fromarray(values).save(root / SMALL / "train" / _FIRST)
    (record,) = chexpert.Source(root).records()
    assert record.image.shape == (1, 6, 5)
    assert set(np.unique(record.image)) == {77}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _outside(root: Path) -> None:
    picture = root / SMALL / "train" / _FIRST
    picture.rename(root.parent / "outside.jpg")
    picture.symlink_to(root.parent / "outside.jpg")


_GOOD = chexpert_row("patient00001/study1/view1_frontal", {"Edema": "1.0"})
_NO_EDEMA = tuple(column for column in CHEXPERT_COLUMNS if column != "Edema")
CHEXPERT_MISTAKES: dict[str, tuple[tuple[str, ...], Callable[[Path], object] | None, str]] = {
    "unknown value": ((_GOOD.replace(",1.0", ",2.0"),), None, "line 2 of train.csv has something else in Edema"),
    "a word": ((_GOOD.replace(",1.0", ",yes"),), None, "line 2 of train.csv has something else in Edema"),
    "listed twice": ((_GOOD, _GOOD), None, "line 3 of train.csv repeats"),
    "parent": ((_GOOD.replace("patient00001", "../patient00001"),), None, "line 2 of train.csv is not"),
    "absolute": (("/etc/passwd" + _GOOD[_GOOD.index(",") :],), None, "line 2 of train.csv is not"),
    "other folder": ((_GOOD.replace(SMALL, "other"),), None, "line 2 of train.csv is not"),
    "link": ((_GOOD,), _outside, "line 2 of train.csv leads elsewhere"),
    "age": ((_GOOD.replace(",61,", ",old,"),), None, "has something else"),
    "sex": ((_GOOD.replace("Female", "f"),), None, "Sex in line 2 of train.csv"),
    "view": ((_GOOD.replace("AP", "XX"),), None, "AP/PA in line 2 of train.csv"),
    "short row": ((_GOOD.rsplit(",", 3)[0],), None, "line 2 of train.csv has not"),
    "long row": ((_GOOD + ",1",), None, "line 2 of train.csv is"),
    "no picture": (
        (_GOOD,),
        lambda root: (root / SMALL / "train" / _FIRST).unlink(),
        "image of line 2 of train.csv is not",
    ),
    "cut": ((_GOOD,), lambda root: _cut(root / SMALL / "train" / _FIRST), "image of line 2 of train.csv"),
    "no jpeg": (
        (_GOOD,),
        lambda root: (root / SMALL / "train" / _FIRST).write_text("x"),
        "image of line 2 of train.csv",
    ),
    "no table": ((_GOOD,), lambda root: (root / SMALL / "train.csv").unlink(), "table of its images"),
    "not text": (
        (_GOOD,),
        lambda root: (root / SMALL / "train.csv").write_bytes(b"\xff\xfe\x00"),
        "no valid train.csv",
    ),
    "no column": ((), lambda root: write_chexpert(root, header=_NO_EDEMA), "train.csv lacks 'Edema'"),
    "empty table": ((), lambda root: (root / SMALL / "train.csv").write_text(""), "train.csv lacks 'Path'"),
}


@pytest.mark.parametrize("mistake", CHEXPERT_MISTAKES)
def test_chexpert_names_the_mistake_in_one_line(tmp_path: Path, mistake: str) -> None:
    rows, spoil, said = CHEXPERT_MISTAKES[mistake]
    root = write_chexpert(tmp_path / "d", *rows)
    if spoil:
        spoil(root)
    with pytest.raises(BadSource) as caught:
        list(chexpert.Source(root).records())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "patient00001" not in str(caught.value)


def with_valid(root: Path, *rows: str) -> Path:
    """Write a validation table beside the training table, and a picture for each row."""
    rows = tuple(row.replace(f"{SMALL}/train/", f"{SMALL}/valid/") for row in rows)
    (root / SMALL / "valid.csv").write_text("\n".join([",".join(CHEXPERT_COLUMNS), *rows]) + "\n")
    for seed, row in enumerate(rows, 900):
        grey(root / row.split(",")[0], seed)
    return root


_RADIOLOGISTS = (
    chexpert_row("patient64541/study1/view1_frontal", {"Edema": "1.0", "Fracture": "0.0"}),
    chexpert_row("patient64542/study1/view1_frontal", {"No Finding": "1.0"}, view="PA"),
    chexpert_row("patient64542/study1/view2_lateral", {"No Finding": "1.0"}, view=""),
)


@pytest.mark.parametrize(
    ("options", "kept", "left_out", "modality"),
    [
        ({}, 24, {"lateral view": 8, "frontal view after the second": 1, "no finding stated": 2}, "frontal"),
        ({"views": "frontal"}, 25, {"lateral view": 8, "no finding stated": 2}, "frontal"),
        ({"views": "lateral"}, 8, {"frontal view": 27}, "lateral"),
        ({"views": "all"}, 33, {"no finding stated": 2}, "radiograph"),
        (
            {"views": "frontal", "position": "PA"},
            8,
            {"lateral view": 8, "no finding stated": 2, "not taken PA": 17},
            "",
        ),
        (
            {"views": "frontal", "position": "AP"},
            17,
            {"lateral view": 8, "no finding stated": 2, "not taken AP": 8},
            "",
        ),
    ],
)
def test_chexpert_views_and_positions(
    tmp_path: Path, options: dict[str, Any], kept: int, left_out: dict[str, int], modality: str
) -> None:
    source = chexpert.Source(several_patients(tmp_path), **options)
    records = list(source.records())
    assert left_out == source.LEFT_OUT
    assert len(source) == len(records) == kept
    assert kept + sum(left_out.values()) == 35
    assert source.MODALITY.endswith(modality)
    position = options.get("position")
    assert position is None or {record.attributes["view"] for record in records} == {position}
    places = {(record.group, record.slice_index) for record in records}
    assert len(places) == kept


@pytest.mark.parametrize("views", ["lateral", "all"])
def test_chexpert_lateral_images_have_no_position(tmp_path: Path, views: Any) -> None:
    with pytest.raises(BadOption, match="positions of frontal images"):
        chexpert.Source(several_patients(tmp_path), views=views, position="PA")


def test_chexpert_tables(tmp_path: Path) -> None:
    root = with_valid(several_patients(tmp_path), *_RADIOLOGISTS)
    splits = {
        tables: [record.split for record in chexpert.Source(root, tables=tables).records()]
        for tables in ("train", "valid", "all")
    }
    assert splits == {"train": ["train"] * 24, "valid": ["test"] * 2, "all": ["train"] * 24 + ["test"] * 2}
    source = chexpert.Source(root, tables="all")
    assert source.LEFT_OUT["lateral view"] == 9
    last = list(source.records())[-1]
    assert (last.patient, last.labels["No Finding"]) == ("patient64542", 1)
    path = root / _RADIOLOGISTS[1].split(",")[0].replace("/train/", "/valid/")
    np.testing.assert_array_equal(last.image[0], np.asarray(Image.open(path)))


def test_chexpert_official_split_is_the_validation_table(tmp_path: Path) -> None:
    root = with_valid(several_patients(tmp_path), *_RADIOLOGISTS)
    source_exam.sit("chexpert", root, tmp_path / "cohort", {"tables": "all", "views": "frontal"})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((_GOOD.replace("patient00001", "patient00003"),), "line 2 of valid.csv names one of another"),
        ((_RADIOLOGISTS[0], _RADIOLOGISTS[0]), "line 3 of valid.csv repeats"),
        ((_RADIOLOGISTS[0].replace(",1.0", ",7"),), "line 2 of valid.csv has something else in Edema"),
        ((), ""),
    ],
)
def test_chexpert_names_mistakes_of_the_validation_table(tmp_path: Path, rows: tuple[str, ...], said: str) -> None:
    root = several_patients(tmp_path)
    if rows:
        with_valid(root, *rows)
    with pytest.raises(BadSource) as caught:
        chexpert.Source(root, tables="all")
    assert (said or "has no CheXpert-v1.0-small/train.csv and valid.csv") in str(caught.value)


def test_chexpert_a_row_of_one_table_does_not_stand_in_the_other(tmp_path: Path) -> None:
    root = several_patients(tmp_path)
    table = root / SMALL / "train.csv"
    table.write_text(table.read_text().replace("/train/patient00005", "/valid/patient00005"))
    with pytest.raises(BadSource, match=r"A Path is CheXpert-v1\.0-small/train/"):
        chexpert.Source(root)


def test_chexpert_protocols_name_only_options_that_there_are() -> None:
    own = set(plugins.options(chexpert.Source))
    for protocol in chexpert.Source.PROTOCOLS.values():
        assert sum(protocol["shares"]) == pytest.approx(1)
        assert set(protocol.get("options", {})) <= own
    paper, code = chexpert.Source.PROTOCOLS["paper"], chexpert.Source.PROTOCOLS["code"]
    assert (paper["split"], paper["min_combination_images"], paper["count_combinations"]) == (
        "stratified",
        256,
        "train",
    )
    assert (code["split"], code["min_combination_images"], code["count_combinations"]) == ("plain", 257, "pool")
    assert {"unlabelled", "views"} <= own & set(paper["assumed"])
    assert (code["geometry"], code["intensity"], code["resize"]) == ("stretch", "slice_maximum", "pyramid")


def test_chexpert_says_whom_to_ask() -> None:
    assert "ask Stanford" in chexpert.Source.NOTICE


def test_chexpert_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="must exist"):
        chexpert.Source(tmp_path / "nowhere")


# NIH ChestX-ray14

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
NEW, OLD = "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv"


def nih_row(patient: int, follow: int, labels: str, age: str = "58", size: str = "40,32", mm: str = "0.2,0.1") -> str:
    return f"{patient:08d}_{follow:03d}.png,{labels},{follow},{patient},{age},M,PA,{size},{mm}"


def write_nih(root: Path, *rows: str, table: str = NEW, header: str = NIH_HEADER, folder: str = "images") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / table).write_text("\n".join([header, *rows]) + "\n")
    for seed, row in enumerate(rows):
        grey(root / folder / row.split(",")[0], seed)
    return root


def several_images(root: Path) -> Path:
    """Write 7 patients with two images each, and two rows without a picture."""
    rows = []
    for number in range(7):
        rows.append(nih_row(20011 + number, 0, "No Finding"))
        rows.append(nih_row(20011 + number, 1, f"{NIH_FINDINGS[number % 3]}|Mass|Hernia"))
    write_nih(root, *rows)
    absent = [nih_row(20030, 0, "Mass"), nih_row(20031, 0, "No Finding")]
    (root / NEW).write_text("\n".join([NIH_HEADER, *rows, *absent]) + "\n")
    return root


def test_exam_nih(tmp_path: Path) -> None:
    source_exam.sit("nih_cxr14", several_images(tmp_path / "d"), tmp_path / "cohort", {})


def test_nih_reads_findings_attributes_and_scales_the_spacing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = nih_cxr14.Source(several_images(tmp_path))
    assert list(source.LABELS) == [*NIH_FINDINGS, NIH_NO_FINDING]
    assert source.LEFT_OUT == {"no picture": 2}
    first, second = list(source.records())[:2]
    assert (first.patient, first.group, second.group) == ("00020011", "00020011_000", "00020011_001")
    assert [name for name, value in first.labels.items() if value] == ["No Finding"]
    assert {name for name, value in second.labels.items() if value} == {"Atelectasis", "Mass", "Hernia"}
    assert first.attributes == {"view": "PA", "sex": "M", "age": 58}
    # 40 x 32 pixels of 0.2 x 0.1 mm became 16 x 20: the field stays 8 mm wide and 3.2 mm high.
    assert first.spacing_mm == pytest.approx((3.2 / 20, 8 / 16), rel=1e-12)
    assert capsys.readouterr().err == ""


def test_nih_spacing_of_an_unreduced_picture_is_the_tables(tmp_path: Path) -> None:
    root = write_nih(tmp_path, nih_row(1, 0, "Mass", size="16,20"), nih_row(1, 1, "Mass", mm=","))
    assert [record.spacing_mm for record in nih_cxr14.Source(root).records()] == [(0.1, 0.2), None]


@pytest.mark.parametrize(
    ("text", "age"),
    [("058Y", 58), ("58", 58), ("018M", 1), ("011M", 0), ("400D", 1), ("411Y", None), ("", None), ("0", 0)],
)
def test_nih_ages(tmp_path: Path, text: str, age: int | None) -> None:
    (record,) = nih_cxr14.Source(write_nih(tmp_path, nih_row(1, 0, "Mass", age=text))).records()
    assert record.attributes.get("age") == age


def test_nih_older_table_and_unpacked_archives(tmp_path: Path) -> None:
    rows = [nih_row(1, 0, "Mass", age="058Y"), nih_row(2, 0, "No Finding", age="061Y")]
    # The older table ends each line with a comma, and calls the sex a gender.
    write_nih(tmp_path, rows[0] + ",", table=OLD, header=NIH_HEADER + ",", folder="images_001/images")
    grey(tmp_path / "images_002/images" / rows[1].split(",")[0], 7)
    (tmp_path / OLD).write_text("\n".join([NIH_HEADER + ",", *(f"{row}," for row in rows)]) + "\n")
    assert [record.attributes["age"] for record in nih_cxr14.Source(tmp_path).records()] == [58, 61]
    # The corrected table wins where both are there; some copies say sex.
    (tmp_path / NEW).write_text("\n".join([NIH_HEADER.replace("Gender", "Sex"), nih_row(2, 0, "Edema")]) + "\n")
    (record,) = nih_cxr14.Source(tmp_path).records()
    assert (record.labels["Edema"], record.attributes["sex"]) == (1, "M")


def test_nih_says_how_many_pictures_are_not_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_nih(tmp_path, nih_row(1, 0, "Mass"))
    for name in ("00000009_000.png", "00000009_001.png"):
        grey(root / "images" / name, 0)
    (root / "images" / "README.txt").write_text("no picture")
    assert len(nih_cxr14.Source(root)) == 1
    assert "2 pictures are not in" in capsys.readouterr().err


def test_nih_rgba_pictures_become_grey(tmp_path: Path) -> None:
    root = write_nih(tmp_path, nih_row(1, 0, "Mass"))
    values = np.random.default_rng(0).integers(0, 256, (9, 7)).astype(np.uint8)
    rgba = np.dstack([values, values, values, np.full_like(values, 255)])
    Image.fromarray(rgba).save(root / "images" / "00000001_000.png")
    (record,) = nih_cxr14.Source(root).records()
    np.testing.assert_array_equal(record.image[0], values)  # equal channels: the luma is the value itself


@given(st.sets(st.sampled_from(NIH_FINDINGS)))
def test_nih_findings_parse(found: set[str]) -> None:
    assert nih_cxr14._findings("|".join(sorted(found)) or NIH_NO_FINDING, "here") == (found or {NIH_NO_FINDING})


def _deep(root: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "images/00000001_000.png")


def _twice(root: Path) -> None:
    grey(root / "images_001/images/00000001_000.png", 3)


NIH_MISTAKES: dict[str, tuple[tuple[str, ...], Callable[[Path], object] | None, str]] = {
    "unknown finding": ((nih_row(1, 0, "Mass|Measles"),), None, "line 2 of Data_Entry_2017_v2020.csv has another"),
    "blank finding": ((nih_row(1, 0, ""),), None, "line 2 of Data_Entry_2017_v2020.csv has another"),
    "contradiction": ((nih_row(1, 0, "No Finding|Mass"),), None, "stands alone"),
    "listed twice": ((nih_row(1, 0, "Mass"),) * 2, None, "line 3 of Data_Entry_2017_v2020.csv repeats"),
    "no patient": ((nih_row(1, 0, "Mass").replace(",0,1,58", ",0,,58"),), None, "line 2"),
    "age": ((nih_row(1, 0, "Mass", age="old"),), None, "has something else"),
    "sex": ((nih_row(1, 0, "Mass").replace(",M,", ",X,"),), None, "Patient Gender in line 2"),
    "view": ((nih_row(1, 0, "Mass").replace(",PA,", ",LL,"),), None, "View Position in line 2"),
    "spacing": ((nih_row(1, 0, "Mass", mm="0,0.1"),), None, "positive"),
    "spacing is a word": ((nih_row(1, 0, "Mass", mm="a,0.1"),), None, "positive"),
    "no picture at all": (
        (nih_row(1, 0, "Mass"),),
        lambda r: (r / "images/00000001_000.png").unlink(),
        "none of the 1",
    ),
    "twice": ((nih_row(1, 0, "Mass"),), _twice, "images and images_001/images hold the same one"),
    "16 bits": ((nih_row(1, 0, "Mass"),), _deep, "8-bit grey"),
    "cut": ((nih_row(1, 0, "Mass"),), lambda r: _cut(r / "images/00000001_000.png"), "image of line 2"),
    "no table": ((nih_row(1, 0, "Mass"),), lambda r: (r / NEW).unlink(), "has no Data_Entry"),
    "no column": (
        (),
        lambda r: write_nih(r, header=NIH_HEADER.replace("View Position", "View")),
        "lacks 'View Position'",
    ),
    "no sex": ((), lambda r: write_nih(r, header=NIH_HEADER.replace("Gender", "Name")), "lacks 'Patient Gender'"),
}


@pytest.mark.parametrize("mistake", NIH_MISTAKES)
def test_nih_names_the_mistake_in_one_line(tmp_path: Path, mistake: str) -> None:
    rows, spoil, said = NIH_MISTAKES[mistake]
    root = write_nih(tmp_path / "d", *rows)
    if spoil:
        spoil(root)
    with pytest.raises(BadSource) as caught:
        list(nih_cxr14.Source(root).records())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "00000001" not in str(caught.value)


def test_nih_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="must exist"):
        nih_cxr14.Source(tmp_path / "nowhere")


def test_nih_refuses_another_patients_picture(tmp_path: Path) -> None:
    # One person under two ids could land in two splits.
    root = write_nih(tmp_path, nih_row(1, 0, "Mass"), nih_row(2, 0, "Mass").replace(",2,58", ",3,58"))
    with pytest.raises(BadSource, match="called by its patient's id: line 3"):
        nih_cxr14.Source(root)

"""The sources that read DICOM: a tree from a PACS with a table of labels, and the RSNA haemorrhage download."""

from __future__ import annotations

import os
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import EncapsulatedPDFStorage, RLELossless, SecondaryCaptureImageStorage

from synthcohort.errors import BadOption, BadSource
from synthcohort.layouts import RSNA_CORRUPT, RSNA_ROOT, RSNA_SUBTYPES
from synthcohort.phantoms.rsna_ich import Phantom
from synthcohort.prepare import prepare
from synthcohort.sources.dicom import Source as Pacs
from synthcohort.sources.rsna_ich import Source as Rsna
from synthcohort.types import LeftOut, Record

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
import source_exam
from dicom_files import SECRETS, encoded, header, image, quiet, write

FINDINGS = RSNA_SUBTYPES[:-1]


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


def read(source: Any) -> tuple[list[Record], Counter[str]]:
    """Return the records of a source and what it left out, from the tables and while reading."""
    records, left_out = [], Counter(source.LEFT_OUT)
    for part in source.parts():
        for item in source.read(part):
            if isinstance(item, LeftOut):
                left_out[item.reason] += item.count
            else:
                records.append(item)
    return records, left_out


def ids(patient: int, series: int = 0, place: int = 0) -> dict[str, Any]:
    """Return the tags that say where a slice belongs."""
    return {
        "PatientID": f"MRN{patient:04d}",
        "StudyInstanceUID": f"1.2.{patient}.1",
        "SeriesInstanceUID": f"1.2.{patient}.{series}.2",
        "SOPInstanceUID": f"1.2.{patient}.{series}.{place}.3",
        "ImagePositionPatient": [0, 0, 5 * place],
    }


def tree(root: Path, *, patients: int = 5, slices: int = 3) -> Path:
    """Write slices whose names are in no order, in a folder each patient, and a table with a line a patient."""
    lines = ["PatientID,label.bleeding,mass,remark"]
    for patient in range(patients):
        for place in range(slices):
            pixels = image((24, 20), seed=patient * 10 + place)
            path = root / f"Mustermann_Erika_{patient}" / f"IM{(place * 7 + 3) % 10}"
            write(path, pixels, **ids(patient, 0, place))
        lines.append(f"MRN{patient:04d},{patient % 2},{['', 0, 1][patient % 3]},Erika")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


LABELS: dict[str, Any] = {"csv": Path("labels.csv"), "labels": ("mass",)}


# ---- any tree ----


def test_exam_dicom(tmp_path: Path) -> None:
    source_exam.sit("dicom", tree(tmp_path / "pacs"), tmp_path / "cohort", LABELS)


def test_a_tree_is_grouped_by_patient_and_series_and_slices_are_ordered(tmp_path: Path) -> None:
    records, left_out = read(Pacs(tree(tmp_path / "pacs"), **LABELS))
    assert not left_out
    assert Counter(record.patient for record in records) == {f"MRN{patient:04d}": 3 for patient in range(5)}
    assert len({record.group for record in records}) == 5
    for patient in range(5):
        own = [record for record in records if record.patient == f"MRN{patient:04d}"]
        assert len({record.slice_index for record in own}) == 3
        for place, record in enumerate(sorted(own, key=lambda record: record.slice_index)):
            np.testing.assert_array_equal(record.image[0], image((24, 20), seed=patient * 10 + place) - 1024)
            assert record.labels == {"mass": [None, 0, 1][patient % 3], "bleeding": patient % 2}
            assert record.attributes == {"modality": "CT"}
            assert record.window == (40, 80)


@pytest.mark.parametrize(
    ("by", "column", "value"),
    [
        ("image", "SOPInstanceUID", "1.2.3.0.1.3"),
        ("series", "SeriesInstanceUID", "1.2.3.0.2"),
        ("study", "StudyInstanceUID", "1.2.3.1"),
        ("patient", "PatientID", "MRN0003"),
    ],
)
def test_a_row_is_about_an_image_a_series_a_study_or_a_patient(
    tmp_path: Path, by: Any, column: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "pacs")
    table = tmp_path / "mine.csv"  # beside the images, by its absolute path
    table.write_text(f"{column},label.mass\n{value},1\nnobody,0\n{value},1.0\n")
    records, _ = read(Pacs(root, csv=table, by=by))
    marked = [record for record in records if record.labels["mass"] == 1]
    assert {record.patient for record in marked} == {"MRN0003"}
    assert len(marked) == (1 if by == "image" else 3)
    assert sum(record.labels["mass"] is None for record in records) == len(records) - len(marked)
    assert f"labels follow {column}" in capsys.readouterr().err


def test_what_is_no_image_of_a_patient_is_counted(tmp_path: Path) -> None:
    root = tree(tmp_path / "pacs", patients=1)
    report = header(image(), SOPClassUID=EncapsulatedPDFStorage)
    for name in ("PixelData", "Rows"):
        del report[name]
    (root / "report").write_bytes(encoded(report))
    write(root / "screen", SOPClassUID=SecondaryCaptureImageStorage, RescaleSlope=None, RescaleIntercept=None)
    write(root / "nobody", PatientID="  ")
    for modality in ("CT", "MR", "PT"):
        write(root / f"scout {modality}", Modality=modality, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write(root / "dose", image(dtype="uint16"), Modality="RTDOSE")
    (root / "Thumbs.db").write_bytes(b"something else")
    for skipped in (".hidden", "DICOMDIR", "readme.txt", "export.XML", "viewer.exe"):
        (root / skipped).write_bytes(b"not looked at")
    records, left_out = read(Pacs(root))
    assert Counter(record.attributes["modality"] for record in records) == {"CT": 3, "PT": 1}
    assert left_out == {
        "no pixel data": 1,
        "localizer": 2,
        "picture of a screen or report": 1,
        "no PatientID": 1,
        "segmentation or dose": 1,
        "no DICOM file": 1,
    }
    records, left_out = read(Pacs(root, modality="mr"))
    assert not records
    assert left_out == {"no pixel data": 1, "another modality": 8, "localizer": 1, "no DICOM file": 1}


def test_a_file_that_says_that_it_is_dicom_and_is_not_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.DCM").write_bytes(b"something else")
    with pytest.raises(BadSource, match="file 1 of 1 is not"):
        read(Pacs(tmp_path))


def test_damaged_files_are_counted_and_the_others_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(tmp_path / "pacs")
    whole = (root / "Mustermann_Erika_0" / "IM3").read_bytes()
    for number, data in enumerate((whole[:-9], whole[:500], b"", whole.replace(b"1.2.840.10008.1.2.1\0", b"9" * 20))):
        (root / f"Mustermann_{number}").write_bytes(data)
    out = tmp_path / "cohort"
    with pytest.raises(BadSource, match=r"file \d+ of 19"):
        prepare("dicom", root, out=out, size=16, options=LABELS, workers=1)
    cohort = prepare("dicom", root, out=out, size=16, options=LABELS, damaged="skip", workers=1)
    history = cohort.facts.history[0]
    assert history["images"] == {"read": 19, "written": 15, "dropped": 4}
    assert history["dropped"] == {"damaged or unreadable": 4}
    assert "Mustermann" not in capsys.readouterr().err


def test_frames_at_one_place_stay_apart_and_in_order(tmp_path: Path) -> None:
    """Phases of a beating heart lie at one position; an ultrasound clip has none."""
    for name, number in (("c", 1), ("a", 2), ("b", 2)):
        write(tmp_path / "cine" / name, image(seed=number), **{**ids(0), "InstanceNumber": number})
    records, _ = read(Pacs(tmp_path / "cine"))
    order = sorted(records, key=lambda record: record.slice_index)
    assert len({record.slice_index for record in records}) == 3
    np.testing.assert_array_equal(order[0].image[0], image(seed=1) - 1024)
    clip = {"Modality": "US", "ImagePositionPatient": None, "RescaleSlope": None, "RescaleIntercept": None}
    pixels = image((4, 7, 5), "uint8")
    write(tmp_path / "clip" / "a", pixels, RLELossless, WindowCenter=None, **{**ids(0), **clip})
    records, _ = read(Pacs(tmp_path / "clip"))
    np.testing.assert_array_equal([record.image[0] for record in records], pixels)
    assert sorted({record.slice_index for record in records}) == [record.slice_index for record in records]
    assert records[0].window == (127.5, 255)  # all of 8 bits
    assert max(record.slice_index for record in records) < 1 << 61


@pytest.mark.parametrize(("modality", "window"), [("CT", (40, 400)), ("MR", None)])
def test_without_a_window_ct_has_one_and_the_others_have_none(tmp_path: Path, modality: str, window: Any) -> None:
    write(tmp_path / "a", Modality=modality, WindowCenter=None)
    assert read(Pacs(tmp_path))[0][0].window == window


def test_links_lead_nowhere_twice(tmp_path: Path) -> None:
    root = tree(tmp_path / "pacs", patients=1)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "Mustermann_Erika_0" / "up").symlink_to("..", target_is_directory=True)
    (root / "broken").symlink_to(root / "absent")
    (root / "self").symlink_to("self")
    assert len(Pacs(root).parts()) == 3


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    root.mkdir()
    name = os.fsencode(root) + b"/M\xfcller"
    with open(name, "wb") as file:
        file.write(encoded(header(image())))
    assert len(read(Pacs(root))[0]) == 1
    with open(name, "wb") as file:
        file.write(encoded(header(image()))[:-5])
    with pytest.raises(BadSource) as caught:
        read(Pacs(root))
    str(caught.value).encode()


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pacs", patients=1)
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if "Erika" in str(path):
            raise PermissionError(13, "denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadSource, match="one of them is not") as caught:
        Pacs(root)
    assert "Erika" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("PatientID,label.a\nx,2\n", {}, "line 2 of the table has something else"),
        ("PatientID,label.a\nx,1\nx,0\n", {}, "line 3 of the table contradicts"),
        ("PatientID,label.a\n,1\n", {}, "line 2 of the table does not"),
        ("PatientID,label.a\nx\n", {}, "line 2 of the table has not"),
        ("PatientID,label.a\nx,1,geheim\n", {}, "line 2 of the table is"),
        ("Patient,label.a\nx,1\n", {}, "lacks 'PatientID'"),
        ("PatientID,label.a\nx,1\n", {"by": "study"}, "lacks 'StudyInstanceUID'"),
        ("PatientID,label.a\nx,1\n", {"labels": ("b",)}, "lacks 'b'"),
        ("PatientID,a,label.a\nx,1,1\n", {"labels": ("a",)}, "repeat one"),
        ("PatientID,label.a,label.a\nx,1,1\n", {}, "repeats one"),
        ("PatientID,label.\nx,1\n", {}, "another one"),
        ("PatientID,a\nx,1\n", {}, "none of its columns"),
        ("", {}, "lacks"),
        ("PatientID,label.a\n\xff,1\n", {}, "no valid the table|contradicts|something"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    root = tree(tmp_path / "pacs", patients=1)
    (root / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises((BadSource, BadOption), match=message) as caught:
        Pacs(root, csv=Path("labels.csv"), **options)
    assert "geheim" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_options_and_folders_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no folder"):
        Pacs(tmp_path / "absent")
    with pytest.raises(BadSource, match="no file here"):
        Pacs(tmp_path)
    tree(tmp_path, patients=1)
    for csv in (Path("absent.csv"), Path("/absent.csv")):
        with pytest.raises(BadSource, match="no valid the table"):
            Pacs(tmp_path, csv=csv)
    with pytest.raises(BadSource, match="leads elsewhere"):
        Pacs(tmp_path, csv=Path("../labels.csv"))
    with pytest.raises(BadOption, match="labels without csv"):
        Pacs(tmp_path, labels=("a",))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.tuples(st.text(max_size=6), st.sampled_from(["", "0", "1", "1.0"])), max_size=5))
def test_any_key_finds_its_labels(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    import csv

    root = tmp_path / "pacs"
    if not root.exists():
        tree(root, patients=1)
    keys = {key.strip(): value for key, value in cells}
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("PatientID", "label.a"), *keys.items()])
    try:
        source = Pacs(root, csv=Path("labels.csv"))
    except BadSource as error:
        assert "" in keys or any(not key.isprintable() for key in keys), error  # noqa: PT017
        return
    want = {"": None, "0": 0, "1": 1, "1.0": 1}
    assert source._rows == {key: (want[value],) for key, value in keys.items()}


def test_no_identifier_of_a_header_or_a_name_is_told_or_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root, out = tmp_path / "pacs", tmp_path / "cohort"
    secrets = [*SECRETS.values(), "Wanda_Geheimnis"]
    for patient in range(6):
        own = {name: f"{value}{patient}" for name, value in SECRETS.items() if name.endswith(("ID", "Name"))}
        own |= {name: f"{SECRETS[name]}.{patient}" for name in SECRETS if name.endswith("UID")}
        write(root / f"Wanda_Geheimnis_{patient}", image((24, 20), seed=patient), **own)
    (root / "labels.csv").write_text("PatientID,label.a\n" + "".join(f"MRN-4711-0815{n},{n % 2}\n" for n in range(6)))
    shares = (0.34, 0.33, 0.33, 0.0)
    prepare("dicom", root, out=out, size=16, options={"csv": "labels.csv"}, shares=shares, workers=1)
    files = b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())
    told = "".join([*capfd.readouterr(), caplog.text]).encode() + files
    assert not [secret for secret in secrets if secret.encode() in told]


# ---- RSNA ----


def rsna(root: Path, rows: list[str], images: dict[str, dict[str, Any]]) -> Path:
    """Write a download with these rows and images."""
    folder = root / RSNA_ROOT
    for name, tags in images.items():
        write(folder / "stage_2_train" / f"{name}.dcm", **{**ids(1), **tags, "SOPInstanceUID": name})
    (folder / "stage_2_train").mkdir(parents=True, exist_ok=True)
    (folder / "stage_2_train.csv").write_text("ID,Label\n" + "".join(f"{row}\n" for row in rows))
    return root


def six(name: str, *present: str) -> list[str]:
    """Return the rows of an image with these types of bleeding."""
    found = {*present, *(["any"] if present else [])}
    return [f"{name}_{kind},{int(kind in found)}" for kind in RSNA_SUBTYPES]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rsna")
    Phantom(patients=6, size=32, slices=4, quirks=True).write(root, seed=2)
    return root


def test_exam_rsna_ich(tmp_path: Path) -> None:
    Phantom(patients=6, size=32, slices=4).write(tmp_path / "download", seed=2)
    source_exam.sit("rsna_ich", tmp_path / "download", tmp_path / "cohort", {})


def test_the_phantom_with_all_quirks_is_read(phantom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Rsna(phantom)
    records, left_out = read(source)
    assert left_out == {"known corrupt file": 1}
    assert "24 rows of stage_2_train.csv repeat others" in capsys.readouterr().err
    assert len(records) == len(source) == len(list(phantom.rglob("stage_2_train/*.dcm"))) - 1
    for record in records:
        assert -3024 <= record.image.min() < -900, "air is negative, however it is stored"
        assert record.image.max() < 3000, "and nothing is as bright as what wraps around"
        assert record.image.shape == (1, 32, 32)
        assert record.window is not None
        assert record.window[1] < 200, "of two windows the second is of bone"


def test_headers_and_labels_of_the_phantom_are_those_that_pydicom_and_the_table_say(phantom: Path) -> None:
    table: dict[str, dict[str, int]] = {}
    for row in (phantom / RSNA_ROOT / "stage_2_train.csv").read_text().split()[1:]:
        name, label = row.split(",")
        table.setdefault(name[:12], {})[name[13:]] = int(label)
    source = Rsna(phantom / RSNA_ROOT)
    names = sorted(set(table) - {RSNA_CORRUPT})
    for name, part in zip(names, source.parts(), strict=True):
        (record,) = source.read(part)
        with quiet():  # the UIDs of the real download are none either
            data = pydicom.dcmread(phantom / RSNA_ROOT / "stage_2_train" / f"{name}.dcm")
            assert (record.patient, record.group) == (data.PatientID, data.SeriesInstanceUID)
        assert record.spacing_mm == pytest.approx(tuple(data.PixelSpacing), rel=1e-9)
        assert record.labels == {
            **{kind: table[name][kind] for kind in FINDINGS},
            "no_finding": 1 - table[name]["any"],
        }
        if data.PixelRepresentation == 1:  # the others are the business of test_dicom
            want = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
            np.testing.assert_array_equal(record.image[0], want)


def test_rows_may_stand_in_any_order_and_labels_be_probabilities(tmp_path: Path) -> None:
    rows = [*six("ID_0a", "subdural"), *six("ID_a"), *six("ID_00000000f", "epidural", "subarachnoid")]
    rows = [
        row.replace("ID_0a_subdural,1", "ID_0a_subdural,0.25").replace("ID_a_any,0", "ID_a_any,0.0") for row in rows
    ]
    root = rsna(tmp_path, rows[::-1], {name: ids(1, 0, place) for place, name in enumerate(["ID_0a", "ID_a"])})
    source = Rsna(root)
    records, left_out = read(source)
    assert left_out == {"no image file": 1}
    assert [[name for name, value in record.labels.items() if value] for record in records] == [
        ["no_finding"],
        ["subdural"],
    ]
    assert (*FINDINGS, "no_finding") == source.LABELS
    assert pickle.loads(pickle.dumps(source)).parts() == source.parts()


def test_what_does_not_fit_together_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        *six("ID_1", "epidural"),
        *six("ID_2")[:5],  # one row is missing
        *six("ID_3"),
        "ID_3_epidural,1",  # says something else
        *[row.replace("any,1", "any,0") for row in six("ID_4", "epidural")],
        *six("ID_9", "epidural"),
        "ID_9_subdural,1",
        *six("ID_5"),  # no file
        *six(RSNA_CORRUPT),
        *six("ID_6"),
        *six("ID_6"),  # twice, and the same
        *six("ID_7"),  # nobody's
    ]
    names = ["ID_1", "ID_2", "ID_3", "ID_4", "ID_6", "ID_7", "ID_8", "ID_9", RSNA_CORRUPT]
    images = {name: ids(1, 0, place) for place, name in enumerate(names)}
    images["ID_7"]["PatientID"] = ""
    records, left_out = read(Rsna(rsna(tmp_path, rows, images)))
    assert len(records) == 2
    assert left_out == {
        "known corrupt file": 1,
        "incomplete labels": 1,
        "contradictory labels": 3,
        "no image file": 1,
        "no row in the table": 1,
        "no PatientID": 1,
    }
    assert "6 rows of stage_2_train.csv repeat others" in capsys.readouterr().err


def test_slices_at_one_position_are_prepared(tmp_path: Path) -> None:
    names = [f"ID_{number}" for number in range(8)]
    rows = [row for name in names for row in six(name)]
    images = {name: {**ids(number // 2), "InstanceNumber": None} for number, name in enumerate(names)}
    for number, tags in enumerate(images.values()):
        tags["RescaleIntercept"] = number
    cohort = prepare("rsna_ich", rsna(tmp_path / "d", rows, images), out=tmp_path / "cohort", size=16, workers=1)
    assert len(cohort.samples) == 8


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["ID_1_epidural"], "no valid stage_2_train.csv"),
        (["ID_1_epidural,1,geheim"], "no valid stage_2_train.csv"),
        (["ID_1_epidural,"], "row 1 of stage_2_train.csv has not"),
        (["ID_1_any,0", "ID_1_epidural,2"], "row 2 of stage_2_train.csv has not"),
        (["ID_1_epidural,-1"], "row 1"),
        (["ID_1_epidural,nan"], "row 1"),
        (["ID_1_epidural,geheim"], "row 1"),
        (["geheim_epidural,1"], "row 1"),
        (["ID_1_tumour,1"], "row 1"),
        (["ID_1,1"], "row 1"),
        (["ID_0123456789abcdef_any,1"], "row 1"),
        (["\xff,1"], "no valid stage_2_train.csv"),
        ([], "lists none"),
    ],
)
def test_a_wrong_rsna_table_is_one_line(tmp_path: Path, rows: list[str], message: str) -> None:
    root = rsna(tmp_path, [], {"ID_1": {}})
    table = root / RSNA_ROOT / "stage_2_train.csv"
    table.write_bytes("\n".join(["ID,Label", *rows, ""]).encode("latin-1"))
    with pytest.raises(BadSource, match=message) as caught:
        Rsna(root)
    assert "geheim" not in str(caught.value)


def test_a_download_that_is_not_whole_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="no folder"):
        Rsna(tmp_path / "absent")
    with pytest.raises(BadSource, match="not both there"):
        Rsna(tmp_path)
    root = rsna(tmp_path, six("ID_1"), {"ID_1": {}})
    path = root / RSNA_ROOT / "stage_2_train" / "ID_1.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadSource, match=r"stage_2_train/ID_1\.dcm has fewer bytes"):
        read(Rsna(root))
    write(path, SOPInstanceUID="ID_2")
    with pytest.raises(BadSource, match=r"stage_2_train/ID_1\.dcm is another"):
        read(Rsna(root))
    (root / RSNA_ROOT / "stage_2_train.csv").write_text("ID;Label\n")
    with pytest.raises(BadSource, match=r"no valid stage_2_train\.csv"):
        Rsna(root)


def test_other_names_of_the_download_are_found(tmp_path: Path) -> None:
    root = rsna(tmp_path, six("ID_1"), {"ID_1": {}}) / RSNA_ROOT
    (root / "stage_2_train").rename(root / "stage_1_train_images")
    (root / "stage_2_train.csv").rename(root / "stage_1_train.csv")
    assert len(Rsna(root)) == 1


@pytest.mark.parametrize("protocol", ["paper", "code"])
def test_the_protocols_of_study_003_are_taken(phantom: Path, tmp_path: Path, protocol: str) -> None:
    choices = {"min_combination_images": 1, "balance": "", "size": 32}
    cohort = prepare("rsna_ich", phantom, out=tmp_path / "cohort", protocol=protocol, workers=1, **choices)
    assert cohort.facts.history[0]["shares"] == {"train": 0.8, "val": 0.1, "test": 0.1, "reference": 0.0}
    assumed = {"paper": ["count_combinations"], "code": []}[protocol]
    assert cohort.facts.history[0]["assumed"] == [*assumed, "geometry", "intensity", "resize"]
    counted = {"paper": "train", "code": "pool"}
    assert Rsna.PROTOCOLS[protocol].get("count_combinations", "pool") == counted[protocol]

"""A corpus with identifiers wherever a hospital's files have them: none of them is in anything that comes out.

Identifiers are planted in headers, cells, metadata and the names of files and folders. Then cohorts are prepared,
checked, described and exported, and commands fail on damaged files and wrong tables. Every byte of what is written, of
what packed files hold, and of what is said is searched, by other means than the tool's own scan.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from contracts.dicom_files import header
from synthcohort import plugins
from synthcohort.cli import main

PATIENTS = 24
FAMILY, GIVEN, PLACE, DOCTOR = "Quietschmann", "Xenia", "Nebelsee", "Wachsbleich"
EVERYBODYS = [FAMILY, GIVEN, PLACE, DOCTOR, "1.2.276.0.7230010.3", "19570314", "1957-03-14", "14.03.1957"]


def number(patient: int) -> str:
    return f"KH-{77420088231 + patient}"


def folder_of(patient: int) -> str:
    return f"{FAMILY}_{GIVEN}_{number(patient)}"


def uid(patient: int, kind: int) -> str:
    return f"1.2.276.0.7230010.3.{kind}.{77420088231 + patient}"


def pixels(patient: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(patient).integers(0, 200, shape or (16, 16)).astype(np.uint8)


# The corpus.


def dicom(root: Path) -> list[str]:
    for patient in range(PATIENTS):
        place = root / folder_of(patient) / "19570314"
        place.mkdir(parents=True)
        data = header(
            pixels(patient).astype(np.int16),
            PatientID=number(patient),
            PatientName=f"{FAMILY}^{GIVEN}",
            PatientBirthDate="19570314",
            StudyDate="19570314",
            StudyInstanceUID=uid(patient, 1),
            SeriesInstanceUID=uid(patient, 2),
            SOPInstanceUID=uid(patient, 3),
            InstitutionName=f"Klinikum {PLACE}",
            ReferringPhysicianName=f"{DOCTOR}^Otto",
            StationName=f"CT-{PLACE}",
            AccessionNumber=number(patient),
            SeriesDescription=f"Thorax {FAMILY}",
        )
        data.private_block(0x0009, PLACE, create=True).add_new(1, "LO", FAMILY)
        data.save_as(place / f"{GIVEN}{patient}.dcm", enforce_file_format=True)
    rows = [f"{number(p)},{p % 2},{FAMILY}" for p in range(PATIENTS)]
    (root / "labels.csv").write_text("\n".join(["PatientID,label.nodule,name", *rows]) + "\n")
    return ["--set", "csv=labels.csv"]


def nifti(root: Path) -> list[str]:
    rows = ["image,patient,group,label.nodule,name,born"]
    for patient in range(PATIENTS):
        (root / folder_of(patient)).mkdir(parents=True)
        image = nib.Nifti1Image(pixels(patient, 12, 12, 3).astype(np.int16), np.diag([2.0, 2.0, 5.0, 1.0]))
        image.header["descrip"] = f"{FAMILY}^{GIVEN} 19570314"
        image.header["aux_file"] = number(patient)
        image.header["db_name"] = PLACE[:18]
        image.header.extensions.append(nib.nifti1.Nifti1Extension(6, f"{DOCTOR} {uid(patient, 1)}".encode()))
        name = f"{folder_of(patient)}/{GIVEN}.nii.gz"
        nib.save(image, root / name)
        rows.append(f"{name},{number(patient)},{uid(patient, 1)},{patient % 2},{FAMILY},1957-03-14")
    (root / "samples.csv").write_text("\n".join(rows) + "\n")
    return []


def folder(root: Path) -> list[str]:
    rows = ["image,patient,group,label.nodule,name,born"]
    for patient in range(PATIENTS):
        (root / folder_of(patient)).mkdir(parents=True)
        name = f"{folder_of(patient)}/{GIVEN}.{'jpg' if patient % 2 else 'png'}"
        picture = Image.fromarray(pixels(patient))
        if patient % 2:
            exif = Image.Exif()
            exif[0x010E], exif[0x013B] = f"{FAMILY}, {GIVEN}", DOCTOR
            picture.save(root / name, exif=exif, comment=f"{PLACE} 14.03.1957".encode())
        else:
            info = PngImagePlugin.PngInfo()
            info.add_text("Comment", f"{FAMILY}, {GIVEN}, {number(patient)}")
            picture.save(root / name, pnginfo=info)
        rows.append(f"{name},{number(patient)},{uid(patient, 1)},{patient % 2},{FAMILY},14.03.1957")
    (root / "samples.csv").write_text("\n".join(rows) + "\n")
    return []


CORPUS: dict[str, Callable[[Path], list[str]]] = {"dicom": dicom, "nifti": nifti, "folder": folder}


# The search.


def unpacked(data: bytes, name: str) -> Iterator[bytes]:
    """Yield bytes and, of packed files, what they hold."""
    yield data
    if data[:2] == b"\x1f\x8b":
        yield from unpacked(gzip.decompress(data), name.removesuffix(".gz"))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield member.encode()
                yield from unpacked(archive.read(member), member)
    elif data[:4] == b"PAR1":
        table = pd.read_parquet(io.BytesIO(data))
        yield table.drop(columns=[c for c in table if isinstance(table[c].iloc[0], dict)]).to_csv().encode()
        for column in table:
            for cell in table[column]:
                if isinstance(cell, dict):
                    yield from unpacked(cell["bytes"], "")
    elif data[:4] == b"\x89PNG":
        with Image.open(io.BytesIO(data)) as image:
            yield json.dumps({str(key): str(value) for key, value in image.info.items()}).encode()
            yield np.asarray(image).tobytes()


def forms() -> list[bytes]:
    own = [text for patient in range(PATIENTS) for text in (number(patient), number(patient)[3:])]
    encodings = ("utf-8", "utf-16-le", "utf-16-be", "latin-1")
    return sorted({text.casefold().encode(encoding) for text in EVERYBODYS + own for encoding in encodings})


FORMS = forms()


def assert_clean(place: str, data: bytes) -> None:
    folded = data.lower()
    for form in FORMS:
        assert form not in folded, f"{form!r} is in {place}"


def assert_nothing_left(root: Path) -> None:
    assert any(path.is_file() for path in root.rglob("*"))
    for path in root.rglob("*"):
        assert_clean("a name", str(path.relative_to(root)).encode())
        if path.is_file():
            for part in unpacked(path.read_bytes(), path.name):
                assert_clean(path.name, part)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "out" / "home"))
    (tmp_path / "download").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize("source", CORPUS)
def test_what_is_written_and_said(world: Path, source: str, capfd: pytest.CaptureFixture[str]) -> None:
    options = CORPUS[source](world / "download")
    assert len(FORMS) > 100
    with pytest.raises(AssertionError):  # the search sees what is planted
        assert_nothing_left(world / "download")
    out = world / "out" / "cohort"
    prepare = ["prepare", source, str(world / "download"), "--out", str(out), "--size", "16", *options]
    assert main([*prepare, "--workers", "2"]) == 0
    assert main(prepare) == 0
    for words in (["verify"], ["verify", "--privacy"], ["describe"], ["describe", "--json"], ["describe", "--release"]):
        assert main([*words, str(out)]) == 0
    for form in plugins.names("formats"):
        left = world / "out" / form
        assert main(["export", str(out), "--real", "--format", form, "--out", str(left)]) == 0
        assert main(["verify", "--privacy", str(left)]) == 0
    assert main(["lineage", number(3), "--in", str(world / "out"), "--json"]) == 0
    said = capfd.readouterr()
    assert '"kind": "export"' in said.out
    assert_clean("what was said", (said.out + said.err).encode())
    assert_nothing_left(world / "out")


def truncated(root: Path) -> None:
    for path in sorted(root.rglob("*.*"))[-8:]:
        if path.suffix != ".csv" and path.is_file():
            path.write_bytes(path.read_bytes()[:-200])


def emptied(root: Path) -> None:
    path = next(each for each in sorted(root.rglob(f"*{GIVEN}*")) if each.is_file())
    path.write_bytes(b"")


def another_kind(root: Path) -> None:
    path = [each for each in sorted(root.rglob(f"*{GIVEN}*")) if each.is_file()][7]
    path.write_bytes(f"{FAMILY} is no image".encode())


def removed(root: Path) -> None:
    path = [each for each in sorted(root.rglob(f"*{GIVEN}*")) if each.is_file()][5]
    path.unlink()


def turned_into_a_folder(root: Path) -> None:
    removed_ = [each for each in sorted(root.rglob(f"*{GIVEN}*")) if each.is_file()][5]
    removed_.unlink()
    removed_.mkdir()


def forbidden(root: Path) -> None:
    path = [each for each in sorted(root.rglob(f"*{GIVEN}*")) if each.is_file()][5]
    path.chmod(0)


def table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = next(iter(root.glob("*.csv")))
        change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)

    return apply


DAMAGED_FILES: dict[str, Callable[[Path], None]] = {
    "files cut short": truncated,
    "an empty file": emptied,
    "a file of another kind": another_kind,
    "a file that is gone": removed,
    "a folder in place of a file": turned_into_a_folder,
    "a file that may not be read": forbidden,
}
WRONG_TABLES: dict[str, Callable[[Path], None]] = {
    "a wrong label": table(lambda rows: rows.assign(**{"label.nodule": [FAMILY, *rows["label.nodule"][1:]]})),
    "a row twice": table(lambda rows: pd.concat([rows, rows.tail(1).assign(**{"label.nodule": "1"}), rows.head(1)])),
    "an empty id": table(lambda rows: rows.assign(**{rows.columns[0]: ["", *rows[rows.columns[0]][1:]]})),
    "a row of nobody": table(lambda rows: pd.concat([rows, rows.tail(1).assign(**{rows.columns[0]: f"{FAMILY}/9"})])),
    "a path that leads out": table(
        lambda rows: rows.assign(**{rows.columns[0]: f"../{FAMILY}/" + rows[rows.columns[0]]})
    ),
    "a table cut in the middle": lambda root: _cut_table(root),
}


def _cut_table(root: Path) -> None:
    path = next(iter(root.glob("*.csv")))
    path.write_bytes(path.read_bytes()[:-30] + b'"\xff' + FAMILY.encode())


@pytest.mark.parametrize("damage", [*DAMAGED_FILES, *WRONG_TABLES])
@pytest.mark.parametrize("source", CORPUS)
def test_what_fails(world: Path, source: str, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    options = CORPUS[source](world / "download")
    {**DAMAGED_FILES, **WRONG_TABLES}[damage](world / "download")
    for number_, further in enumerate(([], ["--damaged", "skip"]) if damage in DAMAGED_FILES else ([],)):
        out = world / "out" / f"cohort{number_}"
        words = ["prepare", source, str(world / "download"), "--out", str(out), "--size", "16", "--workers", "1"]
        status = main([*words, *options, *further])
        said = capfd.readouterr()
        assert status in (0, 2), said.err
        assert status == 0 or said.err.strip().count("\n") <= 3
        assert_clean(damage, (said.out + said.err).encode())
    (world / "out" / "home" / "here").parent.mkdir(exist_ok=True)
    (world / "out" / "home" / "here").touch()
    assert_nothing_left(world / "out")


def test_an_interrupted_command_leaves_no_id_in_the_clear(
    world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from synthcohort._spool import Spool

    folder(world / "download")
    add, calls = Spool.add, []

    def once(self: Spool, found: object) -> None:
        calls.append(found)
        if len(calls) > 2:
            raise KeyboardInterrupt
        add(self, found)  # type: ignore[arg-type]

    monkeypatch.setattr(Spool, "add", once)
    words = ["prepare", "folder", str(world / "download"), "--out", str(world / "out" / "cohort"), "--workers", "1"]
    assert main(words) == 130
    said = capfd.readouterr()
    assert list((world / "out").glob("cohort.partial-*/spool.journal"))
    assert_clean("what was said", (said.out + said.err).encode())
    assert_nothing_left(world / "out")
    shutil.rmtree(world / "out" / "home")

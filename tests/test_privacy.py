"""The privacy scan: silent on what the tool writes, and one line, without the value, for everything planted."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from synthcohort import _pieces, _traces, plugins
from synthcohort._contents import pieces
from synthcohort._pieces import Allowance, TooMuch
from synthcohort.cli import main
from synthcohort.cohort import Cohort, Facts, writing_cohort
from synthcohort.errors import BadOption, NotACohort
from synthcohort.export import export
from synthcohort.privacy import scan
from synthcohort.runs import sha256


def write_cohort(path: Path, *, count: int = 12, provenance: Any = "synthetic", **further: Any) -> Path:
    """Write a cohort of random discs as `sample` or `prepare` would."""
    facts = Facts(
        name="discs",
        modality="phantom",
        provenance=provenance,
        shape=(1, 24, 24),
        dtype="uint8",
        value_range=(0.0, 255.0),
        mask_classes=("background", "disc"),
        labels=("large",),
        history=[{"step": "test", "fingerprint": sha256("history"), "seed": 20240131}],
        source="generator flow",
        licence="CC BY-NC-SA 4.0 (cite Bernard et al., IEEE TMI 2018, doi:10.1109/TMI.2018.2837502)",
    )
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:24, :24]
    with writing_cohort(path, facts, {"kind": "test"}, None) as writer:
        for i in range(count):
            disc = np.hypot(y - rng.uniform(8, 16), x - rng.uniform(8, 16)) < rng.uniform(3, 7)
            image = np.clip(50 + 6 * rng.standard_normal((24, 24)) + 90 * disc, 0, 255).astype(np.uint8)
            name = f"s{i:08d}" if provenance == "synthetic" else sha256(str(i))[:16]
            row = {"sample_id": name, "patient_id": name, "group_id": name, "slice_index": 0}
            row |= {"split": "train" if i % 3 else "val", "label.large": bool(i % 2)}
            writer.append(image[None], disc.astype(np.uint8), {**row, "spacing_y_mm": 1.5, "spacing_x_mm": 1.5})
        writer.finish({name: values[:count] for name, values in further.items()})
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    return write_cohort(tmp_path / "discs")


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads((path / "cohort.json").read_text())
    (path / "cohort.json").write_text(json.dumps({**content, **changes}, ensure_ascii=True))


# What is clean.


@pytest.mark.parametrize("provenance", ["synthetic", "real"])
def test_a_cohort_of_ours_is_clean(tmp_path: Path, provenance: str) -> None:
    assert scan(write_cohort(tmp_path / "discs", provenance=provenance)) == []


@pytest.mark.parametrize("form", plugins.names("formats"))
@pytest.mark.parametrize("provenance", ["synthetic", "real"])
def test_every_export_is_clean(tmp_path: Path, form: str, provenance: str) -> None:
    cohort = write_cohort(tmp_path / "discs", provenance=provenance)
    out = export(cohort, out=tmp_path / "out", format=form, real=provenance == "real")
    assert scan(out) == []


def test_an_export_with_a_date_of_publication_is_clean(cohort: Path, tmp_path: Path) -> None:
    assert scan(export(cohort, out=tmp_path / "out", format="croissant", options=["published=2030-01-31"])) == []


@pytest.mark.parametrize("kind", ["acdc", "chexpert"])
def test_a_prepared_phantom_is_clean(tmp_path: Path, kind: str) -> None:
    from synthcohort.prepare import prepare

    plugins.find("phantoms", kind)(patients=8).write(tmp_path / "download", seed=3)
    assert scan(prepare(kind, tmp_path / "download", out=tmp_path / "made", size=48, workers=1).path) == []


@given(st.binary(min_size=32, max_size=32), st.integers(0, 10**7), st.floats(0, 1e6))
def test_digests_counts_and_measures_are_no_traces(data: bytes, count: int, measure: float) -> None:
    texts = [data.hex(), data.hex()[:16], f"2.25.{int.from_bytes(data[:16], 'big')}", str(count), f"{measure:.6g}"]
    texts += [f"images/{count:08d}.png", f"s{count:08d}", f"{count}/{count + 1}", f"2.13.0+cpu {measure}"]
    assert not [found for text in texts for found in _traces.kinds(text)]


# What is not.


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("19570314", "a date"),
        ("seen 1957-03-14 again", "a date"),
        ("1957:03:14 11:12:13", "a date"),
        ("14.03.1957", "a date"),
        ("3/14/1957", "a date"),
        ("14 March 1957", "a date"),
        ("20240131112233.123", "a date"),
        ("1.2.840.113619.2.55.3.604688", "a DICOM UID"),
        ("1.3.12.2.1107.5.2.30.25", "a DICOM UID"),
        ("anna.mueller@ward3.example.org", "an e-mail address"),
        ("/home/anna/scans/a.png", "an absolute path"),
        ("in /data/pacs/mueller", "an absolute path"),
        ("C:\\\\scans\\a.png".replace("\\\\", "\\"), "an absolute path"),
        ("\\\\server\\share", "an absolute path"),
        ("+49 89 1234567", "a phone number"),
        ("(617) 555-0123", "a phone number"),
        ("078-05-1120", "a social security number"),
        ("Mueller^Anna", "a person's name"),
        ("093Y", "an age over 89"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert kind in [found for found, _ in _traces.kinds(text)]


@pytest.mark.parametrize(
    "text",
    [
        "1.2.840.10008.5.1.4.1.1.7",
        "http://mlcommons.org/croissant/1.0",
        "https://example.org/a/b/c",
        "45Y",
        "and/or",
        "20241331",
        "120240131",
        "1970-01-01",
        "version 2.13.0.1",
        "0.6,0.1,0.15,0.15",
        "label.Pleural Effusion/Edema",
    ],
)
def test_what_only_looks_alike(text: str) -> None:
    assert list(_traces.kinds(text)) == []


SECRET = "Mustermann^Xaver"


def only_line(path: Path, *words: str, known: Path | None = None) -> None:
    """Check that every finding names the words and none shows the value."""
    found = scan(path, known=known)
    assert found
    assert any(all(word in line for word in words) for line in found), found
    assert not any("\n" in line or "ustermann" in line or "19570314" in line or str(path) in line for line in found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": SECRET}, ("cohort.json: name: a person's name (Mu...)",)),
        ({"source": "/srv/pacs/today"}, ("cohort.json: source: an absolute path",)),
        ({"history": [{"root": "C:\\pacs\\x"}]}, ("cohort.json: history: an absolute path",)),
        ({"history": [{SECRET: 1}]}, ("cohort.json: history: a person's name",)),
        ({"history": [{"born": 19570314}]}, ("history: a date (19...)",)),
        ({"licence": "ask anna@ward.example.org"}, ("licence: an e-mail address (an...)",)),
    ],
)
def test_texts_of_a_cohort(cohort: Path, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    edit_json(cohort, **changes)
    only_line(cohort, *words)


def edit_table(path: Path, change: Callable[[pd.DataFrame], Any]) -> None:
    table = pd.read_parquet(path / "samples.parquet")
    change(table)
    table.to_parquet(path / "samples.parquet", index=False)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("patient_id", "4711", ("samples.parquet: column 2: an id that is no pseudonym",)),
        ("institution", "ward", ("a column that cohorts do not have",)),
        ("attr.view", "AP", ("an attribute of persons, which a synthetic cohort has not",)),
        ("attr.note", SECRET, ("a person's name (Mu...)",)),
        ("attr.uid", "1.2.840.113619.2.55.3.604688", ("a DICOM UID (1....)",)),
        ("attr.date", 20240131, ("a date (20...)",)),
        ("attr.when", 20240131.0, ("a date (20...)",)),
        ("attr.age", 94, ("an age over 90",)),
    ],
)
def test_columns_of_a_cohort(cohort: Path, column: str, values: Any, words: tuple[str, ...]) -> None:
    edit_table(cohort, lambda table: table.__setitem__(column, values))
    only_line(cohort, *words)


def test_repeats_of_images_are_no_finding(tmp_path: Path) -> None:
    assert scan(write_cohort(tmp_path / "discs", repeat=[0, 0, 0, 1, 1, 2] * 2)) == []


def test_attributes_of_a_real_cohort(tmp_path: Path) -> None:
    real = write_cohort(tmp_path / "real", provenance="real", count=40)
    edit_table(real, lambda table: table.__setitem__("attr.view", ["AP", "PA"] * 20))
    edit_table(real, lambda table: table.__setitem__("attr.age", [90, 17] * 20))
    assert scan(real) == []
    edit_table(real, lambda table: table.__setitem__("attr.note", [f"note {i}" for i in range(40)]))
    only_line(real, "more than 30 different texts")


def test_files_that_do_not_belong_to_a_cohort(cohort: Path) -> None:
    (cohort / "Mustermann_19570314.txt").write_text("nothing")
    (cohort / "link").symlink_to("/")
    only_line(cohort, "in sorted order: its name: a file that does not belong here")
    only_line(cohort, "its kind: a link or a special file")


def test_bytes_behind_an_array(cohort: Path) -> None:
    with (cohort / "images.npy").open("ab") as file:
        file.write(b"patient Mustermann, born 19570314")
    only_line(cohort, "images.npy: behind its end: bytes that are no part of it")


def test_text_in_the_pixels_of_a_cohort(tmp_path: Path) -> None:
    facts = Facts("drawn", "phantom", "real", (1, 128, 128), "uint8", (0.0, 255.0))
    picture = Image.new("L", (128, 128), 30)
    ImageDraw.Draw(picture).text((4, 4), "MUSTERMANN 1957", fill=255, font=ImageFont.load_default(14))
    with writing_cohort(tmp_path / "drawn", facts, {}, b"k") as writer:
        for i, image in enumerate((np.asarray(picture), np.zeros((128, 128), np.uint8))):
            row = dict.fromkeys(("sample_id", "patient_id", "group_id"), f"{i:016x}")
            writer.append(image[None], None, {**row, "slice_index": 0, "split": "train"})
        writer.finish()
    assert scan(tmp_path / "drawn") == ["images.npy: 1 of 2 images looked at: text in the picture"]


# Exports: every kind of file.


def png(**text: str) -> bytes:
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, value in text.items():
        info.add_text(key, value, zip=key == "packed")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def jpeg(tag: int, value: str, *, comment: bytes = b"") -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[tag] = value
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    picture.save(buffer, "jpeg", exif=exif, comment=comment)
    return buffer.getvalue()


def tiff(description: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(buffer, "tiff", tiffinfo={270: description})
    return buffer.getvalue()


def nifti(*, descrip: str = "", extension: bytes = b"", behind: bytes = b"") -> bytes:
    image = nib.Nifti1Image(np.zeros((4, 4, 2), np.uint8), np.eye(4))
    image.header["descrip"] = descrip
    if extension:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(6, extension))
    return gzip.compress(image.to_bytes() + behind)


def parquet(value: Any, column: str = "image") -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({column: [value]}).to_parquet(buffer)
    return buffer.getvalue()


def packed(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def drawn() -> bytes:
    picture, buffer = Image.new("L", (128, 128), 30), io.BytesIO()
    ImageDraw.Draw(picture).text((4, 4), "MUSTERMANN 1957", fill=255, font=ImageFont.load_default(14))
    picture.save(buffer, "png")
    return buffer.getvalue()


UID = "1.2.840.113619.2.55.3.604688"
PLANTED = {
    "README.md": (f"For {SECRET}".encode(), "a person's name (Mu...)"),
    "notice.txt": (b"born 1957-03-14", "line 1: a date"),
    "samples.csv": (b'image,split\n"images/1.png",19570314\n', "row 2, column 2: a date"),
    "data/1.csv": (b"image,attr.institution\n1.png,ward\n", "a column that exports do not have (at...)"),
    "metadata.json": (json.dumps({"note": "M\u00fcller^Anna"}).encode(), "note: a person's name (Mü...)"),
    "metadata.jsonl": (b'{"a": 1}\n{"uid": "' + UID.encode() + b'"}\n', "line 2: a DICOM UID"),
    "images/1.png": (png(Comment=SECRET), "metadata: a person's name"),
    "images/2.png": (png(packed=f"see {UID}"), "metadata: a DICOM UID"),
    "images/3.png": (png() + b"anna.mueller@ward3.example.org", "behind its end"),
    "images/4.png": (drawn(), "pixels: text in the picture"),
    "images/5.png": (png()[:44], "cannot be read as picture"),
    "images/1.jpg": (jpeg(0x010E, SECRET), "metadata: a person's name"),
    "images/2.jpg": (jpeg(0x0132, "1957:03:14 11:12:13"), "metadata: a date"),
    "images/3.jpg": (jpeg(0x010E, "", comment=b"/home/anna/scan.dcm"), "an absolute path"),
    "images/1.tif": (tiff(SECRET), "metadata: a person's name"),
    "images/1.nii.gz": (nifti(descrip=SECRET), "descrip: a person's name"),
    "images/2.nii.gz": (nifti(extension=f"UID {UID}".encode()), "an extension: a DICOM UID"),
    "images/3.nii.gz": (nifti(behind=b"born 1957-03-14, Bern"), "behind its end: a date"),
    "data/1.parquet": (parquet({"bytes": png(Comment=SECRET), "path": "1.png"}), "metadata: a person's name"),
    "data/2.parquet": (parquet(SECRET), "column 1: a person's name"),
    "data/3.parquet": (parquet(1, "institution"), "a column that exports do not have"),
    "data/1.zip": (packed("Mustermann^Xaver.png", png()), "member 1: a person's name"),
    "data/2.zip": (packed("1.png", png(Comment=SECRET)), "member 1, metadata: a person's name"),
    "data/1.npz": (npz(note=np.array(["19570314"])), "a date"),
    "data/1.txt": (b"\x00\x01\x02" + b"stored at /srv/pacs/mustermann/" + bytes(range(256)), "an absolute path"),
    "data/2.txt": (b"\xff\x00" + "/srv/pacs/mustermann/x".encode("utf-16-le") + b"\0\1", "an absolute path"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_files_of_an_export(tmp_path: Path, name: str) -> None:
    data, words = PLANTED[name]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
    only_line(tmp_path, f"{name}: ", words)


def nested(levels: int) -> bytes:
    data = packed("1.txt", bytes(1 << 26))
    for _ in range(levels):
        data = npz_of([data] * 10)
    return data


def npz_of(members: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(members):
            archive.writestr(f"{number}.npy", data)
    return buffer.getvalue()


def frames(count: int) -> bytes:
    buffer, blank = io.BytesIO(), Image.new("L", (4096, 4096))
    blank.save(buffer, "tiff", compression="tiff_deflate", save_all=True, append_images=[blank] * (count - 1))
    return buffer.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "1.gz": lambda: gzip.compress(bytes((1 << 26) + (1 << 20)), 9),  # 1000 times its size
    "2.gz": lambda: gzip.compress(gzip.compress(bytes(1 << 27), 9)),
    "1.zip": lambda: npz_of([bytes(1 << 23)] * 10),
    "2.zip": lambda: nested(3),
    "3.zip": lambda: npz_of([packed("1", b"")] * 2000),  # little in each, but much work
    "1.tif": lambda: frames(8),
    "1.parquet": lambda: _parquet_of(["a" * (1 << 20)] * 80),
}


def _parquet_of(values: list[str]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"image": values}).to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_unpacks_to_far_more_than_it_is(tmp_path: Path, name: str) -> None:
    data = BOMBS[name]()
    assert 200 * len(data) < 1 << 29  # what is let through is small
    (tmp_path / name).write_bytes(data)
    unread = f"{name}: its content: unpacks to far more than the file is, and was not read to its end"
    assert [line for line in scan(tmp_path) if "unpacks" in line] == [unread]


def test_how_much_is_unpacked() -> None:
    for size, most in {1: 1 << 26, 1 << 20: 200 << 20, 1 << 23: 1 << 30, 1 << 40: 1 << 30}.items():
        left = Allowance(size)
        left.spend(size + most)
        with pytest.raises(TooMuch):
            left.spend(1)


def test_a_large_packed_file_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pieces, "_MOST", 9 << 19)
    (tmp_path / "1.gz").write_bytes(gzip.compress(bytes(4 << 20) + b"born 1957-03-14, Bern"))
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:  # as croissant writes: however much, it is no more than the file
        for number in range(5):
            archive.writestr(f"{number}.txt", bytes(1 << 20) + b"born 1957-03-14, Bern")
    (tmp_path / "1.zip").write_bytes(stored.getvalue())
    found = scan(tmp_path)
    assert any(line.startswith("1.gz") and "a date" in line for line in found)
    assert any(line.startswith("1.zip: member 5") and "a date" in line for line in found)
    assert not any("unpacks" in line for line in found)


def test_archives_in_archives_in_archives(tmp_path: Path) -> None:
    data = b"x"
    for _ in range(600):
        data = packed("1.zip", data)
    (tmp_path / "1.zip").write_bytes(data)
    (line,) = scan(tmp_path)
    assert len(line) < 250


def test_a_deflated_dicom_file_is_not_unpacked(cohort: Path, tmp_path: Path) -> None:
    out = export(cohort, out=tmp_path / "out", format="dicom")
    file = next((out / "images").iterdir())
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    only_line(out, "cannot be read as dicom")


def test_planes_of_a_volume_in_time_are_all_looked_at(tmp_path: Path) -> None:
    values = np.zeros((16, 8, 3, 5), np.uint8)
    for place in ((0, 4), (2, 0), (2, 4)):
        values[: len(b"PAT-00417"), 3, place[0], place[1]] = np.frombuffer(b"PAT-00417", np.uint8)
    seen = [piece for piece in pieces(io.BytesIO(nib.Nifti1Image(values, np.eye(4)).to_bytes())) if piece.data]
    assert len(seen) == 15
    assert sum(bool(piece.image is not None and piece.image.any()) for piece in seen) == 3


def test_names_of_files_are_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "Mustermann_Xaver").mkdir()
    (tmp_path / "Mustermann_Xaver" / "1.png").write_bytes(png())
    (tmp_path / "19570314.png").write_bytes(png())
    only_line(tmp_path, "file 1 of 2 in sorted order: its name: a date (19...)")
    only_line(tmp_path, "file 2 of 2 in sorted order: its name: a file that does not belong here")


def test_what_many_files_share_is_said_once(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i:04d}.png").write_bytes(png(Comment=SECRET, Author=SECRET))
    found = scan(tmp_path)
    assert found[-1] == "and 15 more files: metadata: a person's name"
    assert len(found) == 6


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PatientName", SECRET, "tag (0010,0010): an identifier that is not one of ours (Mu...)"),
        ("PatientID", "4711-22", "tag (0010,0020): an identifier that is not one of ours (47...)"),
        ("PatientBirthDate", "19570314", "tag (0010,0030): an attribute that an export has no need of"),
        ("InstitutionName", "St. Anna", "tag (0008,0080): an attribute that an export has no need of"),
        ("StudyInstanceUID", UID, "tag (0020,000D): a UID of another institution"),
        ("ContentDate", "20240131", "tag (0008,0023): a date or time"),
        ("BurnedInAnnotation", "NO", "tag (0028,0301): an attribute that an export has no need of"),
        ("PatientIdentityRemoved", "YES", "tag (0012,0062): an attribute that an export has no need of"),
        ("SeriesDescription", "Thorax of 14.03.1957", "tag (0008,103E): a date"),
    ],
)
def test_dicom_attributes(cohort: Path, tmp_path: Path, keyword: str, value: str, words: str) -> None:
    out = export(cohort, out=tmp_path / "out", format="dicom")
    file = next((out / "images").iterdir())
    dataset = pydicom.dcmread(file)
    setattr(dataset, keyword, value)
    dataset.save_as(file)
    only_line(out, words)


def test_dicom_private_tags_preamble_and_sequences(cohort: Path, tmp_path: Path) -> None:
    out = export(cohort, out=tmp_path / "out", format="dicom")
    file = next((out / "images").iterdir())
    dataset = pydicom.dcmread(file)
    dataset.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "Mustermann")
    dataset.DerivationCodeSequence = [pydicom.Dataset()]
    dataset.DerivationCodeSequence[0].OperatorsName = SECRET
    dataset.preamble = b"Mustermann".ljust(128)
    dataset.save_as(file)
    only_line(out, "tag (0009,1001): a private tag")
    only_line(out, "tag (0008,1070): an attribute that an export has no need of (Mu...)")
    only_line(out, "preamble: bytes that are no part of it")


# The list of identifiers.


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "known.txt").write_text("Grünwald, Jörg\n\nKrk\nPAT-00417\n", encoding="utf-8")
    return tmp_path / "known.txt"


@pytest.mark.parametrize(
    ("encoding", "case"),
    [
        ("utf-8", str),
        ("utf-8", str.upper),
        ("utf-16-le", str.lower),
        ("utf-16-be", str),
        ("latin-1", str.upper),
    ],
)
def test_listed_identifiers_in_bytes(tmp_path: Path, listed: Path, encoding: str, case: Callable[[str], str]) -> None:
    (tmp_path / "out").mkdir()
    inside = bytes((1 << 20) - 6) + case("Grünwald, Jörg").encode(encoding) + b"##"  # across two blocks
    for name, data in {"1.txt": inside, "2.txt": gzip.compress(inside), "3.zip": packed("1.txt", inside)}.items():
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).write_bytes(data)
        only_line(tmp_path / "out", "an identifier of the list", known=listed)


def test_listed_identifiers_in_pixels_and_tables(cohort: Path, tmp_path: Path, listed: Path) -> None:
    text = np.frombuffer(b"PAT-00417", np.uint8)
    pixels = np.zeros((16, 16), np.uint8)
    pixels[3, 2 : 2 + len(text)] = text
    (tmp_path / "out").mkdir()
    Image.fromarray(pixels).save(tmp_path / "out" / "1.png")
    only_line(tmp_path / "out", "1.png: pixels: an identifier of the list (PA...)", known=listed)
    edit_table(cohort, lambda table: table.__setitem__("split", "pat-00417"))
    only_line(cohort, "samples.parquet: column 5: an identifier of the list (pa...)", known=listed)


def test_a_short_identifier_is_found_as_a_word_only(tmp_path: Path, listed: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.txt").write_text("Hrvatska, otok Krka")
    assert scan(tmp_path / "out", known=listed) == []
    (tmp_path / "out" / "2.txt").write_text("id_krk_2")
    only_line(tmp_path / "out", "2.txt: line 1: an identifier of the list (kr...)", known=listed)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"ab\n", b"\xff\xfe\xfa"])
def test_a_bad_list_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "known").write_bytes(content)
    (tmp_path / "1.txt").write_text("a")
    with pytest.raises(BadOption) as error:
        scan(tmp_path, known=tmp_path / "known")
    assert "ab" not in str(error.value).split(": ")[1]


def test_names_of_the_machine_are_found(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "ward3-ws17.example.org")
    monkeypatch.setattr("getpass.getuser", lambda: "amustermann")
    edit_json(cohort, notice="made on WARD3-WS17 by amustermann")
    only_line(cohort, "cohort.json: notice: a name of this machine or user (wa...)")


# The command.


def test_the_command(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = export(cohort, out=tmp_path / "out", format="png")
    assert main(["verify", str(cohort), "--privacy"]) == 0
    assert main(["verify", str(out), "--privacy"]) == 0
    assert capsys.readouterr().out == "".join(
        f"{name}: nothing was found of what is looked for\n" for name in ("discs", "out")
    )
    (out / "README.md").write_text(SECRET)
    assert main(["verify", str(out), "--privacy", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "problems": ["README.md: line 1: a person's name (Mu...)"],
    }
    assert main(["verify", str(out)]) == 2
    assert main(["verify", str(cohort), "--known", str(out / "README.md")]) == 2


def test_no_folder_or_an_empty_one(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(NotACohort):
            scan(path)


def test_the_cohort_itself_is_looked_at_once_more(cohort: Path) -> None:
    assert len(Cohort(cohort)) == 12  # what the fixtures write is a sound cohort

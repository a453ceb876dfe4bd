"""NIfTI volumes in a table, against nibabel and SimpleITK, and the mistakes in them."""

from __future__ import annotations

import gzip
import itertools
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from synthcohort import plugins
from synthcohort.errors import BadOption, BadSource
from synthcohort.sources import nifti

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
import source_exam


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


def refused(read: Callable[[], Any], said: str, *never: str) -> None:
    """Assert that reading is refused in one line that says something and does not say other things."""
    with pytest.raises((BadSource, BadOption)) as caught:
        read()
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    for text in ("/tmp", *never):
        assert text not in message, message


def _is_one_line(error: BadSource) -> None:
    assert "\n" not in str(error)


# NIfTI

NAME = "Mustermann_Erika"
OPTIONS: dict[str, Any] = {"mask_classes": ("background", "organ", "lesion"), "labels": ("fracture",)}


def affine(axes: str, zooms: tuple[float, float, float] = (0.8, 0.9, 2.5), tilt: float = 0.0) -> np.ndarray:
    """Return the affine of a volume whose axes run to these places, e.g. "LPS", tilted by an angle."""
    turn = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(axes), (1, 1, 1))[:3, :3]
    cos, sin = np.cos(tilt), np.sin(tilt)
    tilted = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    result = np.eye(4)
    result[:3, :3] = tilted @ np.linalg.inv(turn) @ np.diag(zooms)
    result[:3, 3] = (11, -22, 33)
    return result


def save(path: Path, values: Any, matrix: Any = None, **header: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.asarray(values), affine("LPS") if matrix is None else matrix)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def table(root: Path, *lines: str) -> Path:
    root.mkdir(exist_ok=True, parents=True)
    (root / "samples.csv").write_text("\n".join(lines) + "\n")
    return root


def write_nifti(root: Path, volumes: int = 6) -> Path:
    """Write volumes of 4 patients, two of them as .nii, with masks of three classes, findings and splits."""
    lines = ["image,patient,mask,label.oedema,fracture,split"]
    for i in range(volumes):
        rng = np.random.default_rng(i)
        image, mask = f"scans/{NAME}_{i}.nii{'.gz' if i > 1 else ''}", f"masks/{NAME}_{i}.nii.gz"
        save(
            root / image,
            rng.integers(-500, 1500, (9, 8, 3 + i % 2)).astype(np.int16),
            affine("RAS" if i % 2 else "LPI"),
        )
        save(root / mask, rng.integers(0, 3, (9, 8, 3 + i % 2)).astype(np.uint8), affine("RAS" if i % 2 else "LPI"))
        split = "test" if i % 4 == 3 else "train"
        lines.append(f"{image},{NAME}-{i % 4},{mask},{i % 2},{['', '1', '0'][i % 3]},{split}")
    return table(root, *lines)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_exam_nifti(tmp_path: Path, axis: int) -> None:
    source_exam.sit("nifti", write_nifti(tmp_path / "d"), tmp_path / "cohort", {**OPTIONS, "axis": axis})


ORIENTATIONS = [*map("".join, itertools.product("LR", "AP", "IS")), "ASL", "SLP", "IPR", "PIR", "LSA", "SAR"]


@pytest.mark.parametrize("axes", ORIENTATIONS)
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_nifti_is_turned_as_nibabel_and_simpleitk_turn_it(tmp_path: Path, axes: str, tilt: float) -> None:
    values = np.random.default_rng(0).integers(-900, 900, (4, 5, 6)).astype(np.int16)
    path = save(tmp_path / "v.nii.gz", values, affine(axes, tilt=tilt))
    source = nifti.Source(table(tmp_path, "image,patient", "v.nii.gz,p"))
    ours = np.stack([record.image[0] for record in source.records()])
    canonical = nibabel.as_closest_canonical(nibabel.load(path))  # to the right, front and head
    theirs = np.asarray(canonical.dataobj)[::-1, ::-1]
    np.testing.assert_array_equal(ours, theirs.transpose(2, 1, 0))
    np.testing.assert_array_equal(ours, sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")))
    zooms = nibabel.affines.voxel_sizes(canonical.affine)
    for record in source.records():
        np.testing.assert_allclose(record.spacing_mm, (zooms[1], zooms[0]), rtol=1e-6)  # float32 in the file


@pytest.mark.parametrize(("axis", "code"), [(2, "LPS"), (1, "LIP"), (0, "PIL")])
@pytest.mark.parametrize("axes", ["RAS", "LSA", "PIR"])
def test_nifti_shows_every_plane_as_radiologists_do(tmp_path: Path, axis: int, code: str, axes: str) -> None:
    values = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.uint8)
    path = save(tmp_path / "v.nii", values, affine(axes))
    source = nifti.Source(table(tmp_path, "image,patient", "v.nii,p"), axis=axis)  # type: ignore[arg-type]
    ours = np.stack([record.image[0] for record in source.records()])
    # SimpleITK's codes say where an axis comes from in NIfTI's sense: columns, rows and slices run to `code`.
    theirs = sitk.DICOMOrient(sitk.ReadImage(str(path)), code)
    np.testing.assert_array_equal(ours, sitk.GetArrayFromImage(theirs))
    assert len(source) == len(ours)


def test_nifti_qform_alone_and_other_units(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.uint8)
    image = nibabel.Nifti1Image(values, None)
    image.set_qform(affine("PIR", tilt=0.2), code=1)
    nibabel.save(image, tmp_path / "v.nii")
    assert nibabel.load(tmp_path / "v.nii").header["sform_code"] == 0
    root = table(tmp_path, "image,patient", "v.nii,p")
    first = next(nifti.Source(root).records())
    theirs = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "v.nii")), "LPS")
    np.testing.assert_array_equal(first.image[0], sitk.GetArrayFromImage(theirs)[0])
    np.testing.assert_allclose(first.spacing_mm, theirs.GetSpacing()[1::-1], rtol=1e-6)
    _overwrite(tmp_path / "v.nii", 123, b"\1")  # xyzt_units: metres
    metres = next(nifti.Source(root).records())
    assert metres.spacing_mm is not None
    np.testing.assert_allclose(metres.spacing_mm, np.multiply(first.spacing_mm, 1000), rtol=1e-6)
    np.testing.assert_array_equal(metres.image, first.image)


def test_nifti_by_hand_left_is_right_and_front_is_up(tmp_path: Path) -> None:
    matrix = np.array([[0, 0, -2.0, 0], [3.0, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 1]])  # axes run to A, S and L
    values = np.zeros((4, 5, 6), np.int16)
    values[3, 4, 5] = 7  # foremost, highest, leftmost
    save(tmp_path / "v.nii.gz", values, matrix)
    root = table(tmp_path, "image,patient", "v.nii.gz,p")
    axial, coronal, sagittal = (list(nifti.Source(root, axis=axis).records()) for axis in (2, 1, 0))
    assert axial[-1].image.shape == (1, 4, 6)
    assert axial[-1].image[0, 0, -1] == 7  # up and right in the last slice
    assert axial[0].spacing_mm == (3.0, 2.0)
    assert coronal[0].image[0, 0, -1] == 7
    assert coronal[0].spacing_mm == (1.5, 2.0)
    assert sagittal[-1].image[0, 0, 0] == 7
    assert sagittal[0].spacing_mm == (1.5, 3.0)


def test_nifti_without_orientation_is_taken_as_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    image = nibabel.Nifti1Image(values, None)
    image.header.set_zooms((2.0, 3.0, 4.0))
    nibabel.save(image, tmp_path / "v.nii.gz")
    header = nibabel.load(tmp_path / "v.nii.gz").header
    assert (header["qform_code"], header["sform_code"]) == (0, 0)
    records = list(nifti.Source(table(tmp_path, "image,patient", "v.nii.gz,p")).records())
    assert capsys.readouterr().err.count("1 of 1 volumes state no orientation") == 1
    np.testing.assert_array_equal(records[1].image[0], values[:, :, 1].T)
    assert records[0].spacing_mm == (3.0, 2.0)


@pytest.mark.parametrize("matrix", [affine("LPS"), affine("LSA"), affine("ASL")])
def test_a_single_slice_is_shown_whatever_the_axis(tmp_path: Path, matrix: np.ndarray) -> None:
    values = np.arange(20, dtype=np.int16).reshape(4, 5)
    save(tmp_path / "flat.nii", values, matrix)
    save(tmp_path / "thin.nii.gz", values[:, :, None], matrix)
    for name, axis in itertools.product(("flat.nii", "thin.nii.gz"), (0, 1, 2)):
        (record,) = nifti.Source(table(tmp_path, "image,patient", f"{name},p"), axis=axis).records()  # type: ignore[arg-type]
        assert sorted(record.image.shape) == [1, 4, 5]


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1024.0), (-2.0, 3.0)])
def test_nifti_values_are_scaled_as_nibabel_scales_them(
    tmp_path: Path, dtype: str, slope: float, intercept: float
) -> None:
    stored = np.random.default_rng(0).integers(0, 120, (5, 4, 30)).astype(dtype)
    image = nibabel.Nifti1Image(stored, affine("LPS"), nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<"))
    image.set_data_dtype(dtype)
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, tmp_path / "v.nii.gz")
    with (tmp_path / "v.nii").open("wb") as file:  # nibabel scales when it writes: put the header's scale in by hand
        data = bytearray(gzip.decompress((tmp_path / "v.nii.gz").read_bytes()))
        struct.pack_into(f"{'>' if dtype[0] == '>' else '<'}ff", data, 112, slope, intercept)
        file.write(data)
    theirs = nibabel.load(tmp_path / "v.nii").get_fdata()
    records = list(nifti.Source(table(tmp_path, "image,patient", "v.nii,p")).records())
    np.testing.assert_allclose(np.stack([r.image[0] for r in records]), theirs.transpose(2, 1, 0), rtol=1e-6)
    np.testing.assert_allclose(records[0].volume_range, np.percentile(theirs, (0.5, 99.5)), rtol=1e-6, atol=1e-6)


def test_nifti_options_set_the_intensities(tmp_path: Path) -> None:
    root = write_nifti(tmp_path)
    fixed = nifti.Source(root, **OPTIONS, value_range=(-140.0, 260.0))
    assert fixed.VALUE_RULE == {"rule": "fixed", "low": -140.0, "high": 260.0}
    assert next(fixed.records()).volume_range is None
    assert nifti.Source(root, **OPTIONS, percentiles=(1.0, 99.0)).VALUE_RULE["high"] == 99.0
    for wrong in ({"value_range": (3.0, 1.0)}, {"value_range": (1.0,)}, {"percentiles": (0.0, 101.0)}):
        refused(lambda wrong=wrong: nifti.Source(root, **OPTIONS, **wrong), "two increasing numbers")


def test_nifti_table_gives_patients_groups_labels_and_splits(tmp_path: Path) -> None:
    source = nifti.Source(write_nifti(tmp_path), **OPTIONS)
    records = list(source.records())
    assert source.LABELS == ("fracture", "oedema")
    assert len({(r.patient, r.group) for r in records}) == 6
    assert [records[i].labels["fracture"] for i in (0, 3, 7)] == [None, 1, 0]
    assert {r.split for r in records if r.patient == f"{NAME}-3"} == {"test"}
    for record in records[:3]:
        assert record.mask is not None
        stored = np.asarray(nibabel.load(tmp_path / f"masks/{NAME}_0.nii.gz").dataobj)
        np.testing.assert_array_equal(record.mask, stored[:, :, ::-1][:, :, record.slice_index].T)  # LPI, shown as LPS


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    whole = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(gzip.compress(bytes(whole)) if path.suffix == ".gz" else bytes(whole))


def _cut(path: Path, by: int = 40) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def _spoil_checksum(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-8] ^= 255
    path.write_bytes(data)


def _nothing(*_: Any) -> None: ...


def _rgb(path: Path) -> None:
    save(path, np.zeros((9, 8, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")]))


PLAIN, PACKED, OUTLINE = f"scans/{NAME}_0.nii", f"scans/{NAME}_2.nii.gz", f"masks/{NAME}_2.nii.gz"
_FLOATS = np.zeros((9, 8, 3), np.float32)
NIFTIS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "absent": (PACKED, Path.unlink, "readable NIfTI"),
    "empty": (PACKED, lambda path: path.write_bytes(b""), "readable NIfTI"),
    "cut": (PLAIN, _cut, "readable NIfTI"),
    "cut and packed": (PACKED, _cut, "readable NIfTI"),
    "wrong checksum": (PACKED, _spoil_checksum, "readable NIfTI"),
    "not packed": (PACKED, lambda path: path.write_bytes(b"hello" * 100), "readable NIfTI"),
    "no NIfTI": (PACKED, lambda path: path.write_bytes(gzip.compress(b"hello" * 100)), "readable NIfTI"),
    "header of a pair": (PLAIN, lambda path: _overwrite(path, 344, b"ni1\0"), "readable NIfTI"),
    "unknown type": (PLAIN, lambda path: _overwrite(path, 70, struct.pack("<h", 9999)), "readable NIfTI"),
    "a folder": (PLAIN, lambda path: (path.unlink(), path.mkdir()), "readable NIfTI"),
    "a circle of links": (PLAIN, lambda path: (path.unlink(), path.symlink_to(path.name)), "elsewhere"),
    "size bomb": (PACKED, lambda path: _overwrite(path, 42, struct.pack("<3h", 30000, 30000, 30000)), "1024 MiB"),
    "a negative size": (PACKED, lambda path: _overwrite(path, 42, struct.pack("<3h", -9, 8, 3)), "2-D or 3-D"),
    "no axes": (PACKED, lambda path: _overwrite(path, 40, struct.pack("<h", 0)), "2-D or 3-D"),
    "offset bomb": (PACKED, lambda path: _overwrite(path, 108, struct.pack("<f", 2e9)), "1024 MiB"),
    "NaN for the offset": (PACKED, lambda path: _overwrite(path, 108, struct.pack("<f", np.nan)), "readable NIfTI"),
    "four axes": (PACKED, lambda path: save(path, np.zeros((4, 4, 4, 2), np.int16)), "2-D or 3-D"),
    "colours": (PACKED, _rgb, "one real number"),
    "complex": (PACKED, lambda path: save(path, np.zeros((9, 8, 3), np.complex64)), "one real number"),
    "NaN": (PACKED, lambda path: save(path, np.where(np.arange(3) == 1, np.nan, _FLOATS)), "finite"),
    "infinity": (PACKED, lambda path: save(path, np.where(np.arange(3) == 1, np.inf, _FLOATS)), "finite"),
    "infinite scale": (PACKED, lambda path: _overwrite(path, 112, struct.pack("<f", np.inf)), "finite"),
    "NaN in the affine": (PACKED, lambda path: _overwrite(path, 280, struct.pack("<f", np.nan)), "finite"),
    "flat affine": (PACKED, lambda path: _overwrite(path, 280, bytes(48)), "finite"),
    "mask of another size": (OUTLINE, lambda path: save(path, np.zeros((8, 9, 3), np.uint8)), "size of its image"),
    "mask shifted": (OUTLINE, lambda path: save(path, _FLOATS, affine("LPI") + np.eye(4)[:, [3, 0, 1, 2]]), "turned"),
    "mask turned over": (OUTLINE, lambda path: save(path, _FLOATS, affine("LPS")), "turned or shifted"),
    "mask without a place": (OUTLINE, lambda path: _overwrite(path, 252, bytes(4)), "states no place"),
    "mask of too many values": (OUTLINE, lambda path: save(path, _FLOATS + 3, affine("LPI")), "0 to 2"),
    "mask of halves": (OUTLINE, lambda path: save(path, _FLOATS + 0.5, affine("LPI")), "0 to 2"),
    "mask of NaN": (OUTLINE, lambda path: save(path, _FLOATS + np.nan, affine("LPI")), "finite"),
    "mask cut": (OUTLINE, _cut, "the mask of line 4"),
}


@pytest.mark.parametrize("damage", NIFTIS)
def test_nifti_names_the_line_and_nobody(tmp_path: Path, damage: str) -> None:
    name, spoil, said = NIFTIS[damage]
    root = write_nifti(tmp_path / "d")
    assert len(list(nifti.Source(root, **OPTIONS).records())) == 21
    spoil(root / name)
    refused(lambda: list(nifti.Source(root, **OPTIONS).records()), said, NAME, "Erika")
    refused(lambda: list(nifti.Source(root, **OPTIONS).records()), f"line {2 if name == PLAIN else 4}", NAME)


def test_an_extension_that_overstates_its_size_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    _overwrite(path, 348, bytes([1, 0, 0, 0]))  # says that there are extensions
    whole = bytearray(gzip.decompress(path.read_bytes()))
    whole[352:352] = struct.pack("<ii", 2**31 - 16, 6) + bytes(8)
    struct.pack_into("<f", whole, 108, 368.0)
    path.write_bytes(gzip.compress(bytes(whole)))
    records = list(nifti.Source(table(tmp_path, "image,patient", "v.nii.gz,p")).records())
    assert np.stack([record.image[0] for record in records]).max() == 23


TABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "no table": ((), "readable table"),
    "no image column": (("scan", "v.nii"), "lacks 'image'"),
    "image twice": (("image,patient", "v.nii,p", f"./v.nii,{NAME}"), "line 2 of table repeats one"),
    "group twice": (("image,patient,group", f"v.nii,{NAME},a", f"w.nii,{NAME},a"), "line 2 of table repeats one"),
    "no file": (("image,patient", f"{NAME}.nii,p"), "image of line 2"),
    "no patient": (("image,patient", f"{NAME}.nii,"), "line 2 of table does not"),
    "no image": (("image,patient", f",{NAME}"), "line 2 of table does not"),
    "parent": (("image,patient", f"../{NAME}.nii,p"), "line 2 of table leads elsewhere"),
    "absolute": (("image,patient", "/etc/hostname,p"), "elsewhere"),
    "circle of links": (("image,patient", "circle.nii,p"), "elsewhere"),
    "bad label": (("image,patient,label.x", f"v.nii,p,{NAME}"), "line 2 of table has something else"),
    "bad split": (("image,patient,split", f"v.nii,p,{NAME}"), "split is train, val, test or empty"),
    "short row": (("image,patient,split", "v.nii,p"), "line 2 of table has not"),
    "long row": (("image,patient", f"v.nii,p,{NAME}"), "line 2 of table is"),
    "column twice": (("image,image", "v.nii,v.nii"), "table repeats one"),
    "nameless finding": (("image,patient,label.", "v.nii,p,1"), "printable characters"),
    "masks without classes": (("image,patient,mask", "v.nii,p,w.nii"), "mask_classes is empty"),
    "quotes that do not end": (("image,patient", f'"v.nii,{NAME}'), "readable table"),
}


@pytest.mark.parametrize("mistake", TABLES)
def test_nifti_names_the_mistake_of_a_table(tmp_path: Path, mistake: str) -> None:
    for name in ("v.nii", "w.nii"):
        save(tmp_path / "d" / name, np.zeros((4, 4, 2), np.int16))
    (tmp_path / "d/circle.nii").symlink_to("circle.nii")
    lines, said = TABLES[mistake]
    if lines:
        table(tmp_path / "d", *lines)
    refused(lambda: list(nifti.Source(tmp_path / "d").records()), said, NAME)


def test_nifti_table_in_another_encoding_and_missing_masks(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_bytes("image,patient\nMüller.nii,p\n".encode("latin-1"))
    refused(lambda: nifti.Source(tmp_path), "readable table", "ller")
    refused(lambda: nifti.Source(tmp_path / "nowhere"), "must exist")
    refused(lambda: nifti.Source(table(tmp_path, "image", "v.nii"), **OPTIONS), "lacks 'fracture'")
    refused(lambda: nifti.Source(tmp_path, mask_classes=("background", "organ")), "no column 'mask'")


_CELL = st.text(st.characters(codec="utf-8", exclude_characters=',"\r\n\0'), max_size=8)


@given(st.lists(st.tuples(_CELL, _CELL, st.sampled_from(["", "train", "test", "x"]), _CELL), max_size=6))
def test_any_table_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]) -> None:
    root = tmp_path_factory.mktemp("table")
    table(root, "image,patient,split,label.x", *(",".join(row) for row in rows))
    try:
        source = nifti.Source(root)
    except BadSource as error:
        _is_one_line(error)
        return
    stripped = [tuple(cell.strip() for cell in row) for row in rows]
    kept = [row for row in stripped if any(row)] if any(not any(row) for row in stripped) else stripped
    assert [(row.patient, row.split) for row in source.parts()] == [(row[1], row[2]) for row in kept]
    assert all(row[0] and row[1] and row[3] in ("", "0", "1", "0.0", "1.0") for row in kept)
    assert len({row[0] for row in kept}) == len(kept)


def test_nifti_options_come_as_texts_too() -> None:
    given = ["axis=1", "value_range=-140,260", "mask_classes=background,organ"]
    resolved = plugins.resolve(nifti.Source, given)
    assert (resolved["axis"], resolved["value_range"]) == (1, (-140.0, 260.0))
    assert resolved["mask_classes"] == ("background", "organ")
    with pytest.raises(BadOption, match="one of 0, 1, 2"):
        plugins.resolve(nifti.Source, ["axis=3"])

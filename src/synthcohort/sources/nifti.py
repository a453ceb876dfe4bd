"""NIfTI volumes, or single slices, listed in a CSV table.

Columns of the table, one row a volume: `image` (path relative to the folder, .nii or .nii.gz); optional `mask` (path),
`patient`, `group` (visit or study), `split` (train, val, test or empty) and one column a finding of the whole volume:
`label.<name>`, or the columns named in the option `labels`, with values 0, 1 or empty.

Orientation: axes are exchanged and turned over, never resampled, until they run as near as they can to the patient's
left, back and head, as the affine of the image says; an oblique volume stays oblique. Slices are taken across one of
them and shown as radiologists see them:

    axis 2 (axial)     columns to the patient's left, rows to the back, slices to the head
    axis 1 (coronal)   columns to the patient's left, rows to the feet, slices to the back
    axis 0 (sagittal)  columns to the back, rows to the feet, slices to the left

A volume that is one slice thick is shown as that slice, whatever `axis` says. A volume that states no affine (sform
and qform 0) is taken as stored: columns and rows are its first and second axis that is not sliced.

File names may hold names of patients, so messages say on which line of the table a file is named.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from ..errors import BadOption, BadSource
from ..progress import say, track
from ..source import Source as _Contract
from ..types import Array, Record
from ._label_columns import label_cell, label_columns
from ._nifti import Header, Volume, check_fit, read_header
from ._table import Table, inside

_SPLITS = ("", "train", "val", "test")
_FIX = "Correct the table"
_REPLACE = "Replace the file or correct the table"
_SHOWN = {0: "PIL", 1: "LIP", 2: "LPS"}
"""Axis that is sliced -> where columns, rows and slices run to."""


@dataclass(frozen=True)
class _Row:
    line: int
    image: Path
    mask: Path | None
    patient: str
    group: str
    split: str
    labels: tuple[int | None, ...]


class Source(_Contract):
    """The slices of the volumes in a table.

    Args:
        root: The folder.
        csv: The table, relative to the folder.
        labels: Columns that are findings although they are not called label.<name>.
        mask_classes: Class names by mask value, background first; needed when the table has masks.
        axis: Which axis is sliced: 2 gives axial, 1 coronal, 0 sagittal slices.
        modality: What the images are, e.g. "liver CT".
        licence: Terms of the images.
        value_range: Intensities that become the lowest and the highest pixel value; empty for the percentiles.
        percentiles: Of each volume's intensities, which become the lowest and the highest pixel value.

    Raises:
        BadSource: The folder or table is missing, or a row of it is not valid.
        BadOption: An option does not fit the table.
    """

    REVISION: ClassVar[int] = 1

    def __init__(
        self,
        root: Path,
        *,
        csv: Path = Path("samples.csv"),
        labels: tuple[str, ...] = (),
        mask_classes: tuple[str, ...] = (),
        axis: Literal[0, 1, 2] = 2,
        modality: str = "volume",
        licence: str = "not stated",
        value_range: tuple[float, ...] = (),
        percentiles: tuple[float, ...] = (0.5, 99.5),
    ) -> None:
        self.MODALITY, self.LICENCE, self.MASK_CLASSES = modality, licence, mask_classes
        self.VALUE_RULE: Mapping[str, Any] = _value_rule(value_range, percentiles)
        self._axis = axis
        if not os.path.isdir(root):  # False, too, where it may not be looked at
            rule = "The source's folder must exist"
            raise BadSource(rule, "the path given is no folder", "Name the folder of the volumes")
        table = Table(inside(root, str(csv), "the option csv", _FIX), "table", _FIX)
        findings = label_columns(table, labels)
        self.LABELS = tuple(findings)
        self._check_columns(table, findings.values())
        self._rows = [_row(root, table.place(line), line, cells, findings) for line, cells in table.rows()]
        _check_unique(self._rows)
        self._slices = self._survey()

    def __len__(self) -> int:
        """Return the number of slices as the headers give it; a header that cannot be read counts as none."""
        return self._slices

    def parts(self) -> Sequence[_Row]:
        """Return the rows of the table."""
        return self._rows

    def read(self, part: _Row) -> Iterator[Record]:
        """Yield the slices of a volume.

        `image` is (1, rows, columns) float32 in the file's scaled units, `mask` of the same size uint8, `labels` those
        of the volume, `volume_range` the percentiles of the volume.

        Raises:
            BadSource: A file cannot be read, has four axes or values that are not finite, or a mask does not fit.
        """
        header = read_header(part.image, f"the image of line {part.line}", _REPLACE)
        across = _across(header, self._axis)
        volume, sides = _turned(header.volume(), header, across)
        mask = self._mask(part, header, across)
        percentiles = self.VALUE_RULE["rule"] == "volume_percentiles"
        limits = volume.percentiles(self.VALUE_RULE["low"], self.VALUE_RULE["high"]) if percentiles else None
        for index in range(volume.stored.shape[2]):
            yield Record(
                patient=part.patient,
                group=part.group,
                image=np.ascontiguousarray(volume.plane(index).T)[None],
                mask=None if mask is None else np.ascontiguousarray(mask[:, :, index].T),
                labels=dict(zip(self.LABELS, part.labels, strict=True)),
                slice_index=index,
                spacing_mm=(sides[1], sides[0]) if min(sides[:2]) > 0 else None,
                volume_range=limits,
                split=part.split,
                stack=volume.stored.shape[2] > 1,
            )

    def _check_columns(self, table: Table, findings: Iterable[str]) -> None:
        table.need(("image", *findings))
        if ("mask" in table.columns) != bool(self.MASK_CLASSES):
            rule = "Masks and the names of their classes come together"
            have = "the table has masks but mask_classes is empty"
            have = have if "mask" in table.columns else "the table has no column 'mask'"
            raise BadOption(rule, have, "Write mask_classes=background,lesion or leave it out")
        if "patient" not in table.columns:
            say(
                "Note: the table has no column 'patient', so each volume counts as its own patient; "
                "volumes of one person could then land in different splits."
            )

    def _survey(self) -> int:
        """Return the number of slices; say how many volumes state no orientation, which workers cannot say once."""
        slices = plain = 0
        for row in track(self._rows, "read headers", len(self._rows), "volumes"):
            try:
                header = read_header(row.image, "", "")
            except BadSource:  # told when its values are read
                continue
            slices += header.shape[_order(header)[_across(header, self._axis)]]
            plain += header.affine is None
        if plain:
            say(f"Note: {plain} of {len(self._rows)} volumes state no orientation and are taken as stored.")
        return slices

    def _mask(self, part: _Row, image: Header, across: int) -> Array | None:
        """Return the mask of a volume, turned like it, (columns, rows, slices) uint8."""
        if part.mask is None:
            return None
        name = f"the mask of line {part.line}"
        header = read_header(part.mask, name, _REPLACE)
        check_fit(header, image)
        volume, classes = header.volume(), len(self.MASK_CLASSES)
        result = np.empty(header.shape, np.uint8, order="F")
        for index in range(header.shape[2]):
            plane = volume.plane(index)
            if not np.isin(plane, range(classes)).all():
                raise BadSource(f"Mask values are 0 to {classes - 1}", f"{name} has others", "Correct mask_classes")
            result[:, :, index] = plane
        return _turned(Volume(result, 1.0, 0.0), image, across)[0].stored


def _value_rule(value_range: tuple[float, ...], percentiles: tuple[float, ...]) -> dict[str, Any]:
    if value_range and (len(value_range) != 2 or not -math.inf < value_range[0] < value_range[1] < math.inf):
        raise BadOption("value_range is two increasing numbers", f"{value_range}", "Write value_range=-140,260")
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        rule = "percentiles are two increasing numbers from 0 to 100"
        raise BadOption(rule, f"{percentiles}", "Write percentiles=0.5,99.5")
    if value_range:
        return {"rule": "fixed", "low": value_range[0], "high": value_range[1]}
    return {"rule": "volume_percentiles", "low": percentiles[0], "high": percentiles[1]}


def _row(root: Path, where: str, line: int, cells: Mapping[str, str], findings: Mapping[str, str]) -> _Row:
    def need(column: str, default: str) -> str:
        if not (value := cells.get(column, default)):
            raise BadSource(f"Every row names its {column}", f"{where} does not", _FIX)
        return value

    image = need("image", "")
    split = cells.get("split", "")
    if split not in _SPLITS:
        raise BadSource("split is train, val, test or empty", f"{where} has something else", _FIX)
    labels = tuple(label_cell(cells[column], where) for column in findings.values())
    mask = inside(root, need("mask", ""), where, _FIX) if "mask" in cells else None
    patient = need("patient", image)
    path = inside(root, image, where, _FIX)
    return _Row(line, path, mask, patient, need("group", image), split, labels)


def _check_unique(rows: Sequence[_Row]) -> None:
    images, groups = Counter(row.image for row in rows), Counter((row.patient, row.group) for row in rows)
    for row in rows:
        where = f"line {row.line} of table"
        if images[row.image] > 1:
            raise BadSource("An image is listed once", f"{where} repeats one", _FIX)
        if groups[row.patient, row.group] > 1:
            raise BadSource("A group is one volume of a patient", f"{where} repeats one", "Give each its own group")


def _across(header: Header, axis: int) -> int:
    """Return which turned axis is sliced: the one asked for, or that of a single slice's thickness."""
    thin = [place for place, stored in enumerate(_order(header)) if header.shape[stored] == 1]
    return thin[0] if len(thin) == 1 else axis


def _order(header: Header) -> list[int]:
    """Return for left-right, back-front and feet-head the stored axis that is nearest to it."""
    if header.affine is None:
        return [0, 1, 2]
    return [int(axis) for axis in np.argsort(io_orientation(header.affine)[:, 0])]


def _turned(volume: Volume, header: Header, across: int) -> tuple[Volume, tuple[float, ...]]:
    """Return a volume as (columns, rows, slices), and the side of a voxel along each in millimetres."""
    if header.affine is None:
        order = [axis for axis in range(3) if axis != across] + [across]
        sides = tuple(header.sides_mm[axis] for axis in order)
        return replace(volume, stored=volume.stored.transpose(order)), sides
    turn = ornt_transform(io_orientation(header.affine), axcodes2ornt(_SHOWN[across]))
    lengths = np.linalg.norm(header.affine[:3, :3], axis=0)
    sides = tuple(float(lengths[axis]) for axis in np.argsort(turn[:, 0]))
    return replace(volume, stored=apply_orientation(volume.stored, turn)), sides

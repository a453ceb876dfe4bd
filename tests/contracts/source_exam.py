"""The exam that every source sits: what `prepare` may rely on, checked on a small download.

To enter a source, add a case to a tests/test_sources*.py: a function that writes a small download, and the options.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort import plugins
from synthcohort.cohort import verify
from synthcohort.prepare import prepare
from synthcohort.types import Record


def sit(source: str, root: Path, out: Path, options: dict[str, Any]) -> None:
    """Assert everything a source promises."""
    opened = plugins.find("sources", source)(root, **options)
    records = list(opened.records())
    _announces(opened, records)
    for record in records:
        _is_typed_right(opened, record)
    _is_lazy_and_repeatable(opened, records)
    _prepares(source, root, out, options, records, sum(getattr(opened, "LEFT_OUT", {}).values()))


def _announces(opened: Any, records: list[Record]) -> None:
    assert opened.MODALITY
    assert opened.LICENCE
    assert isinstance(opened.REVISION, int)
    assert opened.VALUE_RULE["rule"] in ("volume_percentiles", "fixed", "type_range", "dicom_window")
    assert len(opened) == len(records) > 0
    assert len(set(opened.LABELS)) == len(opened.LABELS)
    for reason, count in getattr(opened, "LEFT_OUT", {}).items():  # only what was left out is told
        assert reason
        assert count > 0


def _is_typed_right(opened: Any, record: Record) -> None:
    assert record.image.ndim == 3
    assert record.image.shape[0] in (1, 3)
    assert record.image.dtype in (np.float32, np.uint8, np.uint16)
    assert np.isfinite(record.image).all()
    assert (record.mask is not None) == bool(opened.MASK_CLASSES)
    if record.mask is not None:
        assert record.mask.shape == record.image.shape[1:]
        assert record.mask.dtype == np.uint8
        assert record.mask.max() < len(opened.MASK_CLASSES)
    assert set(record.labels) == set(opened.LABELS)
    assert set(record.labels.values()) <= {0, 1, None}
    assert record.spacing_mm is None or min(record.spacing_mm) > 0
    assert record.patient
    assert record.group
    assert record.slice_index >= 0
    if opened.VALUE_RULE["rule"] == "volume_percentiles":
        assert record.volume_range is not None
        assert record.volume_range[0] <= record.volume_range[1]


def _is_lazy_and_repeatable(opened: Any, records: list[Record]) -> None:
    again = opened.records()
    assert iter(again) is again  # an iterator, not a list
    first = next(again)
    assert (first.patient, first.group, first.slice_index) == (
        records[0].patient,
        records[0].group,
        records[0].slice_index,
    )
    np.testing.assert_array_equal(first.image, records[0].image)


def _prepares(
    source: str, root: Path, out: Path, options: dict[str, Any], records: list[Record], left_out: int
) -> None:
    cohort = prepare(source, root, out=out, size=24, options=options)
    assert verify(out) == []
    rows = cohort.samples
    assert len(rows) == len(records)
    counted = cohort.facts.history[0]["images"]
    assert counted == {"read": len(records) + left_out, "written": len(records), "dropped": left_out}
    _labels_arrive(cohort.facts.labels, cohort.label_matrix(), records)
    assert (rows.groupby("patient_id")["split"].nunique() == 1).all()
    assert rows["patient_id"].nunique() == len({record.patient for record in records})
    assert rows["group_id"].nunique() == len({(record.patient, record.group) for record in records})

    for name in {name for record in records for name in record.attributes}:
        assert f"attr.{name}" in rows

    # Spacing is kept: the field of view of a square image is that of the padded original.
    want, have = defaultdict(int), defaultdict(int)
    for record in records:
        side = max(record.image.shape[1:])
        want[None if record.spacing_mm is None else round(record.spacing_mm[0] * side, 2)] += 1
    for value in rows["spacing_y_mm"]:
        have[None if np.isnan(value) else round(value * 24, 2)] += 1
    assert want == have

    # No source id leaves.
    text = (out / "cohort.json").read_text() + rows.to_csv()
    for record in records:
        assert record.patient not in text


def _labels_arrive(names: tuple[str, ...], values: Any, records: list[Record]) -> None:
    for column, name in enumerate(names):
        have = Counter(None if np.isnan(value) else int(value) for value in values[:, column])
        assert have == Counter(record.labels[name] for record in records), name

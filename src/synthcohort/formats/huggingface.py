"""Parquet shards with a dataset card, as the Hugging Face Hub and the package `datasets` read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa  # type: ignore[import-untyped]

from .. import __version__
from ..cohort import Cohort, Facts
from ..format import SOFTWARE, Sample, each, origin, positions
from ..format import Format as _Contract
from ._card import README, description, readme, split_counts, terms
from ._png_samples import PNG_SAYS, png_encoder
from ._shards import Shards
from ._tables import row_of

_SPLITS = {"val": "validation"}  # what the Hub calls it
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_VALUES = {
    "patient": (pa.string(), "string"),
    "group": (pa.string(), "string"),
    "slice_index": (pa.int64(), "int64"),
    "spacing_y_mm": (pa.float64(), "float64"),
    "spacing_x_mm": (pa.float64(), "float64"),
    "sample_id": (pa.string(), "string"),
    "synthetic": (pa.bool_(), "bool"),
}
_PRESENCE = {"names": ["absent", "present"], "_type": "ClassLabel"}
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


class Format(_Contract):
    """data/SPLIT-*.parquet with images and masks as PNG inside, and a dataset card in README.md.

    `datasets.load_dataset(FOLDER)` gives Image, ClassLabel (absent, present; None where unknown) and the other columns
    of samples.csv; split val is called validation. The key-value metadata of every shard and the text chunk of every
    PNG say what the images are.

    Args:
        name: Title of the card; the cohort's name if empty.
        licence: Of the export, as the Hub abbreviates it, e.g. cc-by-4.0; if empty the card says "other", and the terms
            of the data behind it in full.
    """

    REVISION: ClassVar[int] = 2

    def __init__(self, *, name: str = "", licence: str = "") -> None:
        self._name, self._licence = name, licence

    def write(self, cohort: Cohort, folder: Path) -> None:
        """Write data/ and README.md."""
        (folder / "data").mkdir()
        schema, shards = _schema(cohort.facts), dict[str, Shards]()
        for split, row, size in each(cohort, _encoder(cohort), "Writing Parquet"):
            shards.setdefault(split, Shards(folder / "data", split, schema)).add(row, size)
        for found in shards.values():
            found.close()
            found.number()
        files = {
            "data/*.parquet": f"images, masks and labels; its metadata and, in each image, {PNG_SAYS} say what it is"
        }
        reading = _reading(cohort.facts)
        card = readme(cohort, files=files, reading=reading, title=self._name, licence=self._licence)
        (folder / README).write_text(self._front(cohort) + card, encoding="utf-8")

    def _front(self, cohort: Cohort) -> str:
        """Return the block of YAML that the Hub reads; JSON values are YAML."""
        facts, count = cohort.facts, len(positions(cohort))
        tasks = ["image-classification"] * bool(facts.labels) + ["image-segmentation"] * bool(facts.mask_classes)
        files = [{"split": _SPLITS.get(s, s), "path": f"data/{_SPLITS.get(s, s)}-*"} for s in split_counts(cohort)]
        front = {
            "pretty_name": self._name or facts.name,
            "license": self._licence or "other",
            **({} if self._licence else {"license_name": "terms-of-the-source-data"}),
            "tags": ["synthetic"] * origin(facts).synthetic + ["medical", "2d"],
            "task_categories": tasks or ["unconditional-image-generation"],
            "size_categories": [next((name for limit, name in _SIZES if count < limit), "1M<n<10M")],
            "configs": [{"config_name": "default", "data_files": files}],
        }
        lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()]
        return "\n".join(["---", *lines, "---", "", ""])


def _encoder(cohort: Cohort) -> Any:
    encode, synthetic = png_encoder(cohort), origin(cohort.facts).synthetic

    def row(sample: Sample) -> tuple[str, dict[str, Any], int]:
        image, mask = encode(sample)
        cells = {"image": _picture(sample, image), **row_of(sample)}
        cells |= {} if mask is None else {"mask": _picture(sample, mask)}
        cells["spacing_y_mm"], cells["spacing_x_mm"] = sample.spacing_mm or (None, None)
        cells |= {"sample_id": sample.sample_id, "synthetic": synthetic}
        split = cells.pop("split")
        return _SPLITS.get(split, split), cells, len(image) + len(mask or b"")

    return row


def _picture(sample: Sample, data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": f"{sample.name}.png"}


def _columns(facts: Facts) -> Iterator[tuple[str, pa.DataType, dict[str, Any]]]:
    """Yield name, Arrow type and `datasets` feature of each column."""
    yield "image", _IMAGE, {"_type": "Image"}
    if facts.mask_classes:
        yield "mask", _IMAGE, {"_type": "Image"}
    for name in facts.labels:
        yield f"label.{name}", pa.int64(), _PRESENCE
    for name, (kind, dtype) in _VALUES.items():
        yield name, kind, {"dtype": dtype, "_type": "Value"}


def _schema(facts: Facts) -> pa.Schema:
    columns = list(_columns(facts))
    metadata = {
        "huggingface": json.dumps({"info": {"features": {name: feature for name, _, feature in columns}}}),
        "synthetic": str(origin(facts).synthetic).lower(),
        "description": description(facts),
        "terms": " ".join(terms(facts)),
        "software": f"{SOFTWARE} {__version__}",
    }
    return pa.schema([(name, kind) for name, kind, _ in columns], metadata=metadata)


def _reading(facts: Facts) -> list[str]:
    lines = ["    from datasets import load_dataset", '    samples = load_dataset("THIS_FOLDER")', ""]
    lines += ["- `label.NAME`: 1 present, 0 absent, None unknown; `mask`: a pixel is a class index."]
    lines += ["- `patient`, `group`, `slice_index`: numbers; images with the same ones belong together."]
    lines += ["- `synthetic`: whether the image was made and not taken of anybody."]
    if facts.shape[0] == 3 and facts.dtype == "uint16":
        lines += ["- Images are 16-bit RGB, of which Pillow, and so `datasets`, reads the upper 8 bits."]
    return lines

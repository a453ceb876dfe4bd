"""Croissant: a PNG export in archives, described in JSON-LD that machines read (mlcommons.org/croissant/1.0)."""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from ..cohort import Cohort, Facts
from ..errors import BadOption
from ..format import Format as _Contract
from ..format import Sample, each, origin
from ..runs import file_sha256
from ._card import README, columns, description, readme, terms
from ._croissant_terms import CONFORMS_TO, CONTEXT, archive, csv_file, file_set, record_set
from ._png_samples import PNG_SAYS, png_encoder
from ._tables import TABLE, write_table
from ._tree import IMAGES, MASKS, tree_names

METADATA = "croissant.json"
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP file can hold
_UNIX = 3


class Format(_Contract):
    """croissant.json over archives of PNG files and samples.csv, with the SHA-256 of each.

    The archives hold what the format `png` writes: one the images, one the masks, because readers see one set of files
    in an archive. Their names hold their digests, because readers keep unpacked archives by name. The data set is
    described as synthetic in its description, keywords and responsible-AI fields.

    Args:
        name: Title; the cohort's name if empty.
        creator: The person or institution that publishes the data set.
        url: Web page of the data set.
        licence: Of the export, preferably as a URL; the terms of the data behind it if empty.
        published: Date of publication, YYYY-MM-DD. Left out if empty, though the standard recommends it.
        version: Of the data set, as 1.0.0.

    Raises:
        BadOption: The date or the version is none.
    """

    REVISION: ClassVar[int] = 2

    def __init__(
        self,
        *,
        name: str = "",
        creator: str = "",
        url: str = "",
        licence: str = "",
        published: str = "",
        version: str = "1.0.0",
    ) -> None:
        self._name, self._creator, self._url, self._licence = name, creator, url, licence
        self._published, self._version = published, version
        if published and not _is_date(published):
            raise BadOption("published is a date", f"'{published}'", "Write published=2030-01-31")
        if not re.fullmatch(r"\d+\.\d+\.\d+", version):
            raise BadOption("version is three numbers", f"'{version}'", "Write version=1.0.0")

    def write(self, cohort: Cohort, folder: Path) -> None:
        """Write the archives, samples.csv, croissant.json and README.md."""
        facts = cohort.facts
        packed = _write_archives(cohort, folder)
        write_table(cohort, folder / TABLE, lambda sample: tree_names(sample, ".png"))
        content = self._metadata(facts, packed, folder)
        # Web pages hold this text as it is, where a label "</script>" would end it.
        text = json.dumps(content, indent=2, ensure_ascii=False).replace("<", "\\u003c")
        (folder / METADATA).write_text(text + "\n", encoding="utf-8")
        files = {
            METADATA: "what this is, for machines",
            **{path.name: f"{path.name.split('-')[0]} as PNG; {PNG_SAYS} says what each is" for path in packed},
            TABLE: "one row an image, with the columns below",
        }
        reading = [*_reading(facts), "", *columns(cohort)]
        card = readme(cohort, files=files, reading=reading, title=self._name, licence=self._licence)
        (folder / README).write_text(card, encoding="utf-8")

    def _metadata(self, facts: Facts, packed: list[Path], folder: Path) -> dict[str, Any]:
        title = self._name or facts.name
        synthetic, terms_ = origin(facts).synthetic, " ".join(terms(facts))
        known = {
            "url": self._url,
            "creator": {"@type": "Organization", "name": self._creator} if self._creator else None,
            "datePublished": self._published,
        }
        return {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": CONFORMS_TO,
            "name": title,
            "description": f"{description(facts)} {terms_}",
            "keywords": ["synthetic"] * synthetic + ["medical imaging", facts.modality or "2-D images"],
            "license": self._licence or terms_,
            "version": self._version,
            "citeAs": f"{title}, version {self._version}. {description(facts)}",
            **{key: value for key, value in known.items() if value},
            **_responsible(facts),
            "distribution": _distribution(facts, packed, folder),
            "recordSet": _record_sets(facts),
        }


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _write_archives(cohort: Cohort, folder: Path) -> list[Path]:
    """Write an archive of images and, if there are any, one of masks, and return their paths.

    They are the same bytes on any day and machine. Their names hold their digests.
    """
    encode = png_encoder(cohort)
    names = [IMAGES, MASKS] if cohort.masks is not None else [IMAGES]

    def encoded(sample: Sample) -> list[tuple[str, bytes]]:
        found = zip(tree_names(sample, ".png").values(), encode(sample), strict=False)
        return [(name, data) for name, data in found if data is not None]

    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(zipfile.ZipFile(folder / f"{name}.zip", "w")) for name in names]
        for file in files:
            file.comment = description(cohort.facts).encode()
        for pictures in each(cohort, encoded, "Writing archives"):
            for file, (name, data) in zip(files, pictures, strict=True):
                entry = zipfile.ZipInfo(name, _NO_DATE)  # stored as it is: PNG does not get smaller
                entry.create_system, entry.external_attr = _UNIX, 0o644 << 16
                file.writestr(entry, data)
    paths = [folder / f"{name}.zip" for name in names]
    return [path.rename(folder / f"{path.stem}-{file_sha256(path)[:16]}.zip") for path in paths]


def _responsible(facts: Facts) -> dict[str, Any]:
    """Return the fields of the responsible-AI vocabulary (mlcommons.org/croissant/RAI/1.0)."""
    if not origin(facts).synthetic:
        return {"rai:personalSensitiveInformation": ["Pseudonymised images of patients: personal data."]}
    limits = "Not for diagnosis. Realism, usefulness and privacy are told by the report card of the cohort, not here."
    behind = "a generator learnt from images of patients" if facts.provenance == "synthetic" else "they are procedural"
    return {
        "rai:dataCollection": description(facts),
        "rai:dataCollectionType": ["Synthetic"],
        "rai:dataLimitations": [limits],
        "rai:personalSensitiveInformation": [f"No image was taken of a person; {behind}."],
    }


def _distribution(facts: Facts, packed: list[Path], folder: Path) -> list[dict[str, Any]]:
    said = description(facts)
    found = [csv_file(folder / TABLE, said)]
    for path, name in zip(packed, (IMAGES, MASKS), strict=False):
        found += [archive(path, said), file_set(name, path.stem)]
    return found


def _record_sets(facts: Facts) -> list[dict[str, Any]]:
    """Return the tables: samples with their images and, because readers join two things at most, masks."""
    columns: dict[str, tuple[str | tuple[str, ...], str]] = {
        "sample_id": ("sc:Text", "What the cohort calls the sample."),
        "patient": ("sc:Text", "Images with the same one belong together."),
        "split": (("sc:Text", "cr:Split"), "train, val, test or reference."),
        "synthetic": ("sc:Boolean", "Whether the image was made and not taken of anybody."),
    }
    columns |= {f"label.{name}": ("sc:Boolean", f"Whether {name} is present; empty: unknown.") for name in facts.labels}
    found = [record_set("samples", "image", IMAGES, origin(facts).image, columns)]
    if facts.mask_classes:
        values = ", ".join(f"{index} {name}" for index, name in enumerate(facts.mask_classes))
        found.append(record_set("masks", "mask", MASKS, f"{origin(facts).mask}. Values: {values}.", {}))
    return found


def _reading(facts: Facts) -> list[str]:
    also = " and masks" if facts.mask_classes else ""
    return [
        "    from mlcroissant import Dataset",
        f'    samples = Dataset("{METADATA}").records("samples")',
        "",
        f"Or unpack what ends in .zip here: images{also} then lie where {TABLE} says.",
    ]

"""Parts of Croissant metadata: the vocabulary, files, sets of files, tables (docs.mlcommons.org/croissant)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runs import file_sha256
from ._tables import TABLE

CONFORMS_TO = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]

_TERMS = (
    "citeAs",
    "column",
    "equivalentProperty",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
)
_VOCABULARIES = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
}
CONTEXT: dict[str, Any] = {**{term: f"cr:{term}" for term in _TERMS}, **_VOCABULARIES}
"""The context that the standard prescribes."""


def archive(path: Path, said: str) -> dict[str, Any]:
    """Return the description of a ZIP archive."""
    return _file(path, path.stem, "application/zip", f"PNG files. {said}")


def csv_file(path: Path, said: str) -> dict[str, Any]:
    """Return the description of the table."""
    return _file(path, path.name, "text/csv", f"One row an image. {said}")


def _file(path: Path, id_: str, kind: str, said: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": id_,
        "name": path.name,
        "description": said,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": kind,
        "sha256": file_sha256(path),
    }


def file_set(name: str, packed: str) -> dict[str, Any]:
    """Return the description of the PNG files in one folder of the archive `packed`."""
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}-files",
        "name": f"{name}-files",
        "containedIn": {"@id": packed},
        "encodingFormat": "image/png",
        "includes": f"{name}/*.png",
    }


def record_set(
    name: str, picture: str, files: str, said: str, columns: Mapping[str, tuple[str | Sequence[str], str]]
) -> dict[str, Any]:
    """Return the description of a table of pictures.

    Args:
        name: Its name.
        picture: "image" or "mask": the column of samples.csv with the file's name, and the field with the picture.
        files: Folder of the file set.
        said: What a picture is.
        columns: Further columns of samples.csv -> type and description.
    """
    by = _field(name, f"{picture}_file", "sc:Text", "Name of the file, in the archive and in the table.", "")
    # The files come first, the table is joined to them: readers take the pixels from the left side of a join.
    by["source"] = {"fileSet": {"@id": f"{files}-files"}, "extract": {"fileProperty": "fullpath"}}
    by["references"] = {"fileObject": {"@id": TABLE}, "extract": {"column": picture}}
    content = _field(name, picture, "sc:ImageObject", said, "")
    content["source"] = {"fileSet": {"@id": f"{files}-files"}, "extract": {"fileProperty": "content"}}
    fields = [by, content]
    for column, (kind, text) in columns.items():
        fields.append(_field(name, _identifier(column, fields, name), kind, text, column))
    key = {"@id": f"{name}/{picture}_file"}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": said, "key": key, "field": fields}


def _identifier(column: str, fields: Sequence[Mapping[str, Any]], table: str) -> str:
    """Return the name of a field: that of its column without what an identifier may not hold, and unlike the others."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", column)
    taken = {field["@id"] for field in fields}
    return plain if f"{table}/{plain}" not in taken else f"{plain}_{len(fields)}"


def _field(table: str, name: str, kind: str | Sequence[str], said: str, column: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{name}",
        "name": name,
        "description": said,
        "dataType": kind,
        "source": {"fileObject": {"@id": TABLE}, "extract": {"column": column}},
    }

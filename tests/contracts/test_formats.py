"""The exam that every format sits: what was exported comes back, equal, by readers that are not ours; every file says
what it is; nothing tells who exported it, where or when.

A new file in formats/ is found by itself; it needs a reader in format_readers.py.
"""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import socket
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from format_cohorts import KINDS, make
from format_readers import READERS, marks

from synthcohort import plugins
from synthcohort.cohort import Cohort
from synthcohort.export import export

NAMES = plugins.names("formats")


def content(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_was_exported_comes_back(name: str, kind: str, tmp_path: Path) -> None:
    cohort = Cohort(make(tmp_path / "made", kind))
    folder = export(cohort.path, out=tmp_path / f"{name} {kind}", format=name)
    assert name in READERS, f"write a reader of {name} in format_readers.py"
    found = READERS[name](folder)
    assert len(found) == len(cohort)
    labels = cohort.label_matrix()
    for i, read in enumerate(found):
        want = cohort.images[i] if read.bits >= 8 * cohort.images.itemsize else cohort.images[i] >> 8
        np.testing.assert_array_equal(read.image, want)
        assert read.image.dtype.itemsize * 8 == min(read.bits, 8 * cohort.images.itemsize)
        assert (read.mask is None) == (cohort.masks is None)
        if read.mask is not None:
            np.testing.assert_array_equal(read.mask, cohort.masks[i])
        have = {key: np.nan if value is None else float(value) for key, value in read.labels.items()}
        np.testing.assert_array_equal([have[label] for label in cohort.facts.labels], labels[i])
        row = cohort.samples.iloc[i]
        assert read.split == row["split"]
        spacing = (row["spacing_y_mm"], row["spacing_x_mm"])
        if np.isnan(spacing).any():
            assert read.spacing is None
        else:
            np.testing.assert_allclose(read.spacing, spacing, rtol=1e-6)  # NIfTI holds float32
        shown = row["sample_id"].replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
        assert read.sample_id == {"=1+1": "'=1+1"}.get(shown, shown)  # no formula


@pytest.mark.parametrize("name", NAMES)
def test_repeats_stay_behind(name: str, tmp_path: Path) -> None:
    repeats = [0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 0, 1]
    cohort = Cohort(make(tmp_path / "made", "grey 8 with masks", repeats=repeats))
    folder = export(cohort.path, out=tmp_path / f"{name} repeats", format=name)
    found, left = READERS[name](folder), np.flatnonzero(np.array(repeats) == 0)
    assert len(found) == len(left) == 8
    for read, i in zip(found, left, strict=True):
        np.testing.assert_array_equal(read.image, cohort.images[i])
        np.testing.assert_array_equal(read.mask, cohort.masks[i])
    assert [read.sample_id[-1] for read in found] == [cohort.samples["sample_id"][i][-1] for i in left]


@pytest.mark.parametrize("name", NAMES)
def test_texts_of_a_cohort_are_no_markup(name: str, tmp_path: Path) -> None:
    tag = "<script>alert(1)</script>|![a](http://b)`"
    cohort = make(
        tmp_path / "made",
        "grey 16 with labels",
        named=tag,
        modality="<b>",
        licence=f"A & B {tag}",
        notice=tag,
        name=tag,
    )
    folder = export(cohort, out=tmp_path / "out", format=name)
    text = (folder / "README.md").read_text(encoding="utf-8")
    # Code, as the command to take it up again, and the YAML block of the Hub are shown as they are.
    shown = text.rpartition("\n---\n")[2] if name == "huggingface" else text
    lines = [line for line in shown.splitlines() if not line.startswith("    ")]
    assert not any("<script" in line or "![" in line or "`a" in line for line in lines)
    assert sum("&lt;script&gt;alert(1)&lt;/script&gt;\\|!&#91;a&#93;(http://b)&#96;" in line for line in lines) == 4
    assert any("A &amp; B" in line for line in lines)
    for path in folder.glob("croissant.json"):
        assert "<" not in path.read_text(encoding="utf-8")
        said = json.loads(path.read_text(encoding="utf-8"))
        assert said["name"] == tag
        assert f"A & B {tag}" in said["license"]  # as it is: this is no Markdown


@pytest.mark.parametrize("kind", ["grey 8 with masks", "grey 16 with labels"])
@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_that_it_is_synthetic(name: str, kind: str, tmp_path: Path) -> None:
    folder = export(make(tmp_path / "made", kind), out=tmp_path / "out", format=name)
    silent = [file for file, synthetic, _ in marks(folder) if not synthetic]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
def test_no_file_of_a_real_cohort_says_that_it_is_synthetic(name: str, tmp_path: Path) -> None:
    cohort = make(tmp_path / "made", "grey 8 with masks", "real", source="acdc")
    folder = export(cohort, out=tmp_path / "out", format=name, real=True)
    found = list(marks(folder))
    assert [file for file, synthetic, _ in found if synthetic] == []
    wordy = [text for file, _, text in found if not file.endswith(".csv")]
    assert all("real image" in text.lower() for text in wordy)
    assert all("ynthetic image" not in text for text in wordy)


def test_nothing_tells_who_where_when(tmp_path: Path) -> None:
    cohort = make(tmp_path / "made", "rgb 8 with masks and labels")
    first = {name: content(export(cohort, out=tmp_path / name, format=name)) for name in NAMES}
    for name in NAMES:
        for path in sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()):
            _tells_nothing(path.relative_to(tmp_path).as_posix(), path.read_bytes(), tmp_path)
    time.sleep(1.1)  # a gzip header would hold seconds
    again = {name: content(export(cohort, out=tmp_path / "elsewhere" / name, format=name)) for name in NAMES}
    assert again == first


def _tells_nothing(name: str, data: bytes, tmp_path: Path) -> None:
    today = time.gmtime()
    words = [str(tmp_path), str(Path.cwd()), str(Path.home()), "SECRET", socket.gethostname(), getpass.getuser()]
    words += [time.strftime(form, today) for form in ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y")]
    words = [word for word in words if len(word) > 3]  # "/root" and "/" would be anywhere
    for word in words:
        for code in ("utf-8", "utf-16-le"):
            assert word.encode(code) not in data, f"{name} holds {word}"
    if name.endswith(".gz"):
        import gzip

        assert data[4:8] == b"\0\0\0\0"  # the time of a gzip header
        _tells_nothing(name[:-3], gzip.decompress(data), tmp_path)
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            for each in file.namelist():
                _tells_nothing(each, file.read(each), tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_terms_go_along(name: str, tmp_path: Path) -> None:
    folder = export(make(tmp_path / "made", "grey 8"), out=tmp_path / "out", format=name)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "Ask before you share it" in text
    assert "<10" in text  # four images a split
    assert "| Images in train | 4 |" not in text

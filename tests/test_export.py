"""`export`: what may leave, all or nothing, and what only one of the formats promises."""

from __future__ import annotations

import errno
import io
import json
import shlex
import shutil
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from synthcohort import cli, plugins
from synthcohort.cohort import Cohort, writing_cohort
from synthcohort.errors import BadOption, BadOutput, InputError, Mismatch, NotACohort, UnknownName
from synthcohort.export import MARK, export
from synthcohort.format import Format, samples
from synthcohort.formats import _shards
from synthcohort.formats._card import readme, shown
from synthcohort.formats._png_file import png_file

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
from format_cohorts import KINDS, make
from format_readers import marks, picture, read_huggingface, read_nifti, table


class Stops(Format):
    """A format of somebody else's that fails half way."""

    REVISION = 1
    error: BaseException = KeyboardInterrupt()

    def write(self, cohort: Cohort, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise self.error


def refused(cohort: Path, out: Path, kind: type[InputError], words: str, **given: Any) -> None:
    with pytest.raises(kind, match=words or None) as caught:
        export(cohort, out=out, **{"format": "png", **given})
    assert "\n" not in str(caught.value)
    assert str(cohort.parent) not in str(caught.value)
    assert not out.exists()


class TestWhatMayLeave:
    def test_a_control_never_does(self, tmp_path: Path) -> None:
        cohort = make(tmp_path / "made", "grey 8", "control")
        refused(cohort, tmp_path / "out", Mismatch, "control")
        refused(cohort, tmp_path / "out", InputError, "control|shows nobody", real=True)

    def test_real_patients_only_when_asked_for(self, tmp_path: Path) -> None:
        cohort = make(tmp_path / "made", "grey 8", "real", source="acdc")
        refused(cohort, tmp_path / "out", Mismatch, "--real")
        assert export(cohort, out=tmp_path / "out", format="png", real=True) == tmp_path / "out"

    def test_real_is_not_said_of_images_of_nobody(self, tmp_path: Path) -> None:
        refused(make(tmp_path / "made", "grey 8"), tmp_path / "out", BadOption, "--real", real=True)

    def test_a_phantom_needs_no_permission_and_says_so(self, tmp_path: Path) -> None:
        cohort = make(tmp_path / "made", "grey 8", "real", source="phantom of acdc")
        found = list(marks(export(cohort, out=tmp_path / "out", format="png")))
        assert all(synthetic for _, synthetic, _ in found)
        assert "Images of a phantom" in (tmp_path / "out" / "README.md").read_text()

    def test_ids_of_real_samples_stay_behind(self, tmp_path: Path) -> None:
        cohort = make(tmp_path / "made", "grey 8 with masks", "real", source="acdc")
        rows = table(export(cohort, out=tmp_path / "out", format="png", real=True))
        assert [row["sample_id"] for row in rows] == [f"{i:08d}" for i in range(1, 13)]
        assert [row["patient"] for row in rows] == [f"p{i // 2 + 1:08d}" for i in range(12)]

    def test_a_damaged_cohort_does_not(self, tmp_path: Path) -> None:
        cohort = make(tmp_path / "made", "grey 8")
        data = bytearray((cohort / "images.npy").read_bytes())
        data[-1] ^= 1
        (cohort / "images.npy").write_bytes(data)
        refused(cohort, tmp_path / "out", NotACohort, "images.npy")

    def test_nor_one_of_two_channels(self, tmp_path: Path) -> None:
        facts = Cohort(make(tmp_path / "made", "grey 8")).facts
        row = {"sample_id": "a", "patient_id": "a", "group_id": "a", "slice_index": 0, "split": "train"}
        with writing_cohort(tmp_path / "two", replace(facts, shape=(2, 4, 4)), {"kind": "test"}, None) as writer:
            writer.append(np.zeros((2, 4, 4), np.uint8), None, row)
            writer.finish()
        refused(tmp_path / "two", tmp_path / "out", Mismatch, "2 channels")

    def test_labels_of_real_patients_are_flagged(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        made_by = {"generator": "flow", "labels": {"rule": "exact", "sha256": "0"}}
        export(make(tmp_path / "made", "grey 8", generator=made_by), out=tmp_path / "out", format="png")
        assert "--labels exact" in capsys.readouterr().err
        merged = {"generator": "flow", "labels": {"rule": "merged", "sha256": "0"}}
        export(make(tmp_path / "other", "grey 8", generator=merged), out=tmp_path / "merged", format="png")
        assert "--labels exact" not in capsys.readouterr().err

    def test_terms_are_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        export(make(tmp_path / "made", "grey 8"), out=tmp_path / "out", format="png")
        said = capsys.readouterr().err
        assert "Licence: CC BY 4.0" in said
        assert "Notice: Ask before you share it." in said
        stored = json.loads((tmp_path / "out" / MARK).read_text())
        assert (stored["licence"], stored["notice"]) == ("CC BY 4.0", "Ask before you share it.")


class TestTheLicenceOfAnExport:
    ACDC = "CC BY-NC-SA 4.0 (ACDC; research use)"

    @pytest.mark.parametrize(
        ("source", "notice", "chosen", "lost"),
        [
            (ACDC, "", "cc-by-4.0", "non-commercial, share alike"),
            (ACDC, "", "CC BY-SA 4.0", "non-commercial"),
            (ACDC, "", "https://creativecommons.org/licenses/by-nc/4.0/", "share alike"),
            (ACDC, "", "cc0-1.0", "non-commercial, share alike"),
            (ACDC, "", "apache-2.0", "non-commercial, share alike"),
            ("non-commercial research only, may not be passed on", "", "mit", "non-commercial, not to be passed on"),
            ("", "Its rules forbid passing on derived data.", "cc-by-nc-4.0", "not to be passed on, the notice above"),
            ("CC BY 4.0", "Ask before.", "cc-by-4.0", "the notice above"),
            (ACDC, "", "cc-by-nc-sa-4.0", ""),
            (ACDC, "", "", ""),  # the terms of the source stand there
            (ACDC, "", "other", ""),
            (ACDC, "", "nur mit Genehmigung", ""),
            ("CC BY 4.0 (IDRiD)", "", "cc-by-4.0", ""),
            ("no restriction on use; cite Wang et al.", "", "cc-by-4.0", ""),
        ],
    )
    def test_a_looser_one_is_flagged(
        self, source: str, notice: str, chosen: str, lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cohort = make(tmp_path / "made", "grey 8", licence=source, notice=notice)
        for name in ("huggingface", "croissant"):
            export(cohort, out=tmp_path / name, format=name, options={"licence": chosen})
            warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
            if not lost:
                assert warned == []
                continue
            (line,) = warned
            assert line.startswith(f"Warning: {chosen} allows more")
            assert f"({lost})" in line

    @pytest.mark.parametrize("name", ["acdc", "chexpert", "rsna_ich", "sliver07"])
    def test_the_terms_of_our_sources_are_understood(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = plugins.find("sources", name)
        cohort = make(tmp_path / "made", "grey 8", licence=source.LICENCE, notice=source.NOTICE)
        export(cohort, out=tmp_path / "out", format="huggingface", options=["licence=cc-by-4.0"])
        assert "Warning: cc-by-4.0 allows more" in capsys.readouterr().err


class TestAllOrNothing:
    def test_the_same_command_again_does_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        cohort, out = make(tmp_path / "made", "grey 8"), tmp_path / "out"
        export(cohort, out=out, format="png")
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        assert export(cohort, out=out, format="png") == out
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
        assert "finished already" in capsys.readouterr().err

    @pytest.mark.parametrize("change", ["format", "options", "cohort", "mark"])
    def test_another_command_is_refused(self, change: str, tmp_path: Path) -> None:
        cohort, out, given = make(tmp_path / "made", "grey 8"), tmp_path / "out", {"format": "huggingface"}
        export(cohort, out=out, **given)
        if change == "cohort":
            cohort = make(tmp_path / "other", "grey 8", notice="Another.")
        if change == "mark":
            (out / MARK).unlink()
        given |= {"format": {"format": "png"}, "options": {"options": ["name=x"]}}.get(change, {})
        with pytest.raises(Mismatch, match="same command"):
            export(cohort, out=out, **given)

    @pytest.mark.parametrize(
        ("error", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "full"), BadOutput)]
    )
    def test_a_stop_leaves_nothing(
        self, error: BaseException, seen: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Stops, "error", error)
        cohort = make(tmp_path / "made", "grey 8")
        with pytest.raises(seen):
            export(cohort, out=tmp_path / "out", format="test_export:Stops")
        assert [path.name for path in tmp_path.iterdir()] == ["made"]

    @pytest.mark.parametrize(
        ("given", "kind"),
        [
            ({"format": "pgn"}, UnknownName),
            ({"format": "png", "options": ["level=9"]}, BadOption),
            ({"format": "croissant", "options": ["published=tomorrow"]}, BadOption),
            ({"format": "croissant", "options": ["published=20300131"]}, BadOption),
            ({"format": "croissant", "options": ["version=two"]}, BadOption),
        ],
    )
    def test_wrong_options(self, given: dict[str, Any], kind: type[InputError], tmp_path: Path) -> None:
        refused(make(tmp_path / "made", "grey 8"), tmp_path / "out", kind, "", **given)

    def test_as_a_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        cohort, out = str(make(tmp_path / "made", "grey 8")), str(tmp_path / "out")
        assert cli.main(["export", cohort, "--format", "huggingface", "--out", out, "--set", "name=Ours"]) == 0
        assert capsys.readouterr().out.strip() == out
        assert cli.main(["export", cohort, "--format", "png", "--out", out]) == 2


class TestSamples:
    def test_groups_that_are_not_numbered_become_one_an_image(self, tmp_path: Path) -> None:
        path = make(tmp_path / "made", "grey 8")
        cohort = Cohort(path)
        cohort.samples["slice_index"] = 0
        found = list(samples(cohort))
        assert [each.group for each in found] == list(range(1, 13))
        assert {each.slice_index for each in found} == {0}
        assert [each.patient for each in found] == [i // 2 + 1 for i in range(12)]

    def test_slices_are_numbered_by_their_place(self, tmp_path: Path) -> None:
        cohort = Cohort(make(tmp_path / "made", "grey 8"))
        cohort.samples["slice_index"] = [20240131 + 7 * i for i in (1, 0)] * 6  # tells more than a place
        found = list(samples(cohort))
        assert [(each.group, each.slice_index) for each in found] == [(i // 2 + 1, 1 - i % 2) for i in range(12)]

    def test_repeats_do_not_leave(self, tmp_path: Path) -> None:
        cohort = Cohort(make(tmp_path / "made", "grey 8"))
        cohort.samples["repeat"] = [0, 1] * 6
        cohort.samples["slice_index"] = 0  # a repeat is in the same place
        found = list(samples(cohort))
        assert [(each.number, each.patient, each.group) for each in found] == [(i, i, i) for i in range(1, 7)]
        for i, each in enumerate(found):
            np.testing.assert_array_equal(each.image, cohort.images[2 * i])

    def test_repeats_are_not_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("synthcohort.formats._card.LEAST_SHOWN", 0)
        repeats = [0] * 6 + [1] * 6  # of each three images, one has the label and of one it is unknown
        cohort = Cohort(make(tmp_path / "made", "grey 16 with labels", repeats=repeats))
        lines = readme(cohort, files={}, reading=[]).splitlines()
        assert "| Edema | 2 | 2 |" in lines
        images = [line for line in lines if line.startswith("| Images in")]
        assert images == ["| Images in train | 2 |", "| Images in val | 2 |", "| Images in test | 2 |"]

    def test_no_id_is_a_formula_and_none_becomes_another(self, tmp_path: Path) -> None:
        cohort = Cohort(make(tmp_path / "made", "grey 8"))
        ids = ["=1", "'=1", "''=1", "+1", "-1", "@a", " =1", "\uff1d1", "'a", "a=1", "s00000001", "\t=1"]
        cohort.samples["sample_id"] = ids
        found = [each.sample_id for each in samples(cohort)]
        assert found[:8] == [f"'{each}" for each in ids[:8]]
        assert found[8:] == ["'a", "a=1", "s00000001", "\\t=1"]
        assert len(set(found)) == len(ids)

    def test_groups_of_two_patients_are_two(self, tmp_path: Path) -> None:
        found = list(samples(Cohort(make(tmp_path / "made", "grey 8"))))  # all are called the same there
        assert [(each.group, each.slice_index) for each in found] == [(i // 2 + 1, i % 2) for i in range(12)]

    def test_small_counts_are_not_shown(self) -> None:
        assert [shown(count) for count in (0, 1, 9, 10)] == ["0", "<10", "<10", "10"]


class TestPng:
    pixels = st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda dtype: arrays.arrays(dtype, st.tuples(st.sampled_from([1, 3]), st.integers(1, 7), st.integers(1, 7)))
    )

    @given(pixels=pixels, text=st.text())
    def test_pixels_and_text_come_back(self, pixels: Any, text: str) -> None:
        data = png_file(pixels, {"Description": text})
        if pixels.dtype == np.uint8 or len(pixels) == 1:
            np.testing.assert_array_equal(picture(data), pixels)
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()  # checks the sums of all chunks
            assert opened.text["Description"] == text.encode("latin-1", "replace").decode("latin-1")

    @pytest.mark.parametrize("kind", ["grey 8 with masks", "grey 16 with labels", "rgb 8 with masks and labels"])
    def test_the_source_folder_reads_it(self, kind: str, tmp_path: Path) -> None:
        cohort = Cohort(make(tmp_path / "made", kind))
        folder = export(cohort.path, out=tmp_path / "out", format="png")
        classes = cohort.facts.mask_classes
        source = plugins.find("sources", "folder")(folder, mask_classes=classes, provenance="synthetic")
        assert cohort.facts.labels == source.LABELS
        for i, record in enumerate(source.records()):
            np.testing.assert_array_equal(record.image, cohort.images[i])
            if classes:
                np.testing.assert_array_equal(record.mask, cohort.masks[i])
            have = [np.nan if record.labels[name] is None else record.labels[name] for name in source.LABELS]
            np.testing.assert_array_equal(have, cohort.label_matrix()[i])
            if kind.startswith("rgb") and i != 5:
                assert record.spacing_mm == (0.7, 0.7)
        assert i == 11

    def test_the_command_in_the_readme_gives_the_cohort_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))
        for kind in ("grey 8 with masks", "grey 16 with labels"):
            folder = export(make(tmp_path / kind, kind, square=True), out=tmp_path / f"{kind} out", format="png")
            lines = (folder / "README.md").read_text().splitlines()
            (line,) = [line.strip() for line in lines if line.startswith("    synthcohort prepare")]
            words = shlex.split(line.replace("THIS_FOLDER", f"'{folder}'").replace("COHORT", f"'{folder} again'"))
            assert cli.main(words[1:]) == 0
            made, again = Cohort(tmp_path / kind), Cohort(f"{folder} again")
            assert (again.facts.provenance, again.facts.licence) == ("synthetic", "CC BY 4.0")
            want, have = (Counter(image.tobytes() for image in cohort.images) for cohort in (made, again))
            assert have == want


class TestNifti:
    def test_upright_by_the_header(self, tmp_path: Path) -> None:
        """The first pixel of the first row is where a radiological viewer starts: on the right and in front, LPS."""
        cohort = Cohort(make(tmp_path / "made", "grey 8 with masks"))
        folder = export(cohort.path, out=tmp_path / "out", format="nifti")
        opened = nibabel.load(folder / "images" / "00000001.nii.gz")
        corner, right, below = (opened.affine @ (*index, 0, 1) for index in ((0, 0), (1, 0), (0, 1)))
        np.testing.assert_allclose((right - corner)[:3], (-1.25, 0, 0))  # RAS: to the left
        np.testing.assert_allclose((below - corner)[:3], (0, -1.5, 0))  # RAS: to the back
        assert opened.dataobj[1, 0, 0] == cohort.images[0][0, 0, 1]
        assert read_nifti(folder)[5].spacing is None

    @pytest.mark.parametrize("provenance", ["synthetic", "real"])
    def test_the_place_is_said_to_be_nominal(self, provenance: str, tmp_path: Path) -> None:
        cohort = make(tmp_path / "made", "grey 8 with masks", provenance)
        folder = export(cohort, out=tmp_path / "out", format="nifti", real=provenance == "real")
        for path in folder.rglob("*.nii.gz"):
            header = nibabel.load(path).header
            assert header["descrip"].item().decode().endswith("; axes nominal; synthcohort")  # not cut off
            assert "no place in a patient" in json.loads(header.extensions[0].get_content())["orientation"]
        text = " ".join((folder / "README.md").read_text().split())
        assert "nominal, for display only" in text
        assert "no place in a patient" in text
        assert "of a patient and rows" not in text

    def test_the_source_nifti_reads_it(self, tmp_path: Path) -> None:
        cohort = Cohort(make(tmp_path / "made", "grey 8 with masks"))
        folder = export(cohort.path, out=tmp_path / "out", format="nifti")
        source = plugins.find("sources", "nifti")(folder, mask_classes=cohort.facts.mask_classes)
        records = list(source.records())
        np.testing.assert_array_equal(np.stack([record.image for record in records]), cohort.images)
        np.testing.assert_array_equal(np.stack([record.mask for record in records]), cohort.masks)
        assert records[0].spacing_mm == (1.5, 1.25)
        assert [record.split for record in records] == cohort.samples["split"].tolist()


def exported_dicom(tmp_path: Path, provenance: str, **changes: Any) -> tuple[Any, Any]:
    """Return the first image and its mask."""
    cohort = make(tmp_path / "made", "grey 8 with masks", provenance, **changes)
    folder = export(cohort, out=tmp_path / "out", format="dicom", real=provenance == "real" and not changes)
    image, mask = (pydicom.dcmread(folder / name / "00000001.dcm") for name in ("images", "masks"))
    return image, mask


def dciodvfy(path: Path) -> list[str]:
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


class TestDicom:
    @pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy, of Debian's dicom3tools")
    @pytest.mark.parametrize("kind", ["grey 8 with masks", "grey 16 with labels", "rgb 8 with masks and labels"])
    @pytest.mark.parametrize("provenance", ["synthetic", "real"])
    def test_it_is_valid(self, kind: str, provenance: str, tmp_path: Path) -> None:
        real = provenance == "real"
        folder = export(make(tmp_path / "made", kind, provenance), out=tmp_path / "out", format="dicom", real=real)
        for number in (1, 6):  # with a spacing and without
            for path in folder.glob(f"*/{number:08d}.dcm"):
                # The dciodvfy of Debian 12, of 2022, does not know Synthetic Data.
                assert [line for line in dciodvfy(path) if "(0008,001c)" not in line] == []

    def test_patients_are_studies_and_groups_series(self, tmp_path: Path) -> None:
        cohort = Cohort(make(tmp_path / "made", "grey 8 with masks"))
        folder = export(cohort.path, out=tmp_path / "out", format="dicom")
        opened = {path: pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))}
        assert len({each.SOPInstanceUID for each in opened.values()}) == 24
        studies, series = defaultdict(set), defaultdict(set)
        for each in opened.values():
            studies[each.StudyInstanceUID].add(each.PatientID)
            series[each.SeriesInstanceUID].add((each.StudyInstanceUID, each.Modality))
            assert str(each.PatientName).startswith("Synthetic^")
            assert each.PatientID.startswith("SYN-")
            for keyword in ("StudyDate", "StudyTime", "PatientBirthDate", "PatientSex", "AccessionNumber"):
                assert each.get(keyword) == ""
            assert all(uid.startswith("2.25.") and uid.is_valid for uid in (each.SOPInstanceUID, each.StudyInstanceUID))
        assert [len(patients) for patients in studies.values()] == [1] * 6
        assert [len(found) for found in series.values()] == [1] * 12
        assert [each.InstanceNumber for each in list(opened.values())[:4]] == [1, 2, 1, 2]

    def test_the_source_dicom_reads_it(self, tmp_path: Path) -> None:
        cohort = Cohort(make(tmp_path / "made", "rgb 8 with masks and labels"))
        folder = export(cohort.path, out=tmp_path / "out", format="dicom")
        source = plugins.find("sources", "dicom")(folder, csv=Path("samples.csv"), by="image")
        records = list(source.records())  # the masks are left out
        np.testing.assert_array_equal(np.stack([record.image for record in records]), cohort.images)
        labels = [[np.nan if value is None else value for value in record.labels.values()] for record in records]
        np.testing.assert_array_equal(labels, cohort.label_matrix())
        assert len({record.patient for record in records}) == 6

    @pytest.mark.parametrize(
        ("provenance", "changes"), [("synthetic", {}), ("real", {}), ("real", {"source": "phantom of acdc"})]
    )
    def test_nothing_unproven_is_said_of_pixels(self, provenance: str, changes: dict[str, str], tmp_path: Path) -> None:
        image, mask = exported_dicom(tmp_path, provenance, **changes)
        real = provenance == "real" and not changes
        for each in (image, mask):
            assert not {"BurnedInAnnotation", "PatientIdentityRemoved"} & set(each.dir())
            assert ("pixels may still" in each.get("DeidentificationMethod", "")) == real
        assert "LossyImageCompression" not in image

    @pytest.mark.parametrize("provenance", ["synthetic", "real"])
    def test_who_drew_a_mask(self, provenance: str, tmp_path: Path) -> None:
        _, mask = exported_dicom(tmp_path, provenance)
        said = {(each.SegmentAlgorithmType, each.SegmentAlgorithmName) for each in mask.SegmentSequence}
        want = {
            "synthetic": ("AUTOMATIC", "generator flow"),
            "real": ("SEMIAUTOMATIC", "origin not stated; prepared by synthcohort"),
        }
        assert said == {want[provenance]}

    @pytest.mark.parametrize(
        ("value", "names"),
        [
            ("123037004", ["liver", "left_ventricle", "optic_disc", "cystic artery", "spinal cord"]),
            ("49755003", ["hard_exudates", "Liver tumour", "haemorrhages", "lung nodule", "renal cyst", "breast mass"]),
        ],
    )
    def test_a_lesion_is_abnormal(
        self, value: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(KINDS, "named", (1, "uint8", ("background", *names), (), None))
        folder = export(make(tmp_path / "made", "named"), out=tmp_path / "out", format="dicom")
        segments = pydicom.dcmread(folder / "masks" / "00000001.dcm").SegmentSequence
        found = {each.SegmentLabel: each.SegmentedPropertyCategoryCodeSequence[0] for each in segments}
        assert {name: code.CodeValue for name, code in found.items()} == dict.fromkeys(names, value)
        assert {code.CodingSchemeDesignator for code in found.values()} == {"SCT"}

    def test_another_cohort_has_other_identifiers(self, tmp_path: Path) -> None:
        folders = [
            export(make(tmp_path / kind, kind), out=tmp_path / f"{kind} out", format="dicom")
            for kind in ("grey 8", "grey 16 with labels")
        ]
        uids = [{row["SOPInstanceUID"] for row in table(folder)} for folder in folders]
        assert uids[0].isdisjoint(uids[1])

    def test_masks_of_background_only_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(KINDS, "empty", (1, "uint8", ("background",), (), None))
        refused(make(tmp_path / "made", "empty"), tmp_path / "out", Mismatch, "background", format="dicom")

    def test_labels_that_no_comment_holds_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(KINDS, "many", (1, "uint8", (), tuple(f"{i:0200d}" for i in range(60)), None))
        refused(make(tmp_path / "made", "many"), tmp_path / "out", Mismatch, "10240", format="dicom")


class TestCroissant:
    def issues(self, folder: Path) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlcroissant = pytest.importorskip("mlcroissant")
            found = mlcroissant.Dataset(str(folder / "croissant.json")).metadata.issues
        return [*found.errors, *found.warnings]

    def test_it_is_valid(self, tmp_path: Path) -> None:
        cohort = make(tmp_path / "made", "rgb 8 with masks and labels")
        options = ["published=2030-01-31", "creator=A hospital", "url=https://example.org", "licence=CC0-1.0"]
        assert self.issues(export(cohort, out=tmp_path / "out", format="croissant", options=options)) == []
        (only,) = self.issues(export(cohort, out=tmp_path / "undated", format="croissant"))
        assert "datePublished" in only  # the tool does not know when

    def test_a_changed_file_is_noticed(self, tmp_path: Path) -> None:
        folder = export(make(tmp_path / "made", "grey 8"), out=tmp_path / "out", format="croissant")
        path = folder / "samples.csv"
        path.write_text(path.read_text().replace("train", "val", 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlcroissant = pytest.importorskip("mlcroissant")
            with pytest.raises(Exception, match="Download"):
                list(mlcroissant.Dataset(str(folder / "croissant.json")).records("samples"))


class TestHuggingface:
    def test_features_and_card(self, tmp_path: Path) -> None:
        datasets, hub = pytest.importorskip("datasets"), pytest.importorskip("huggingface_hub")
        cohort = make(tmp_path / "made", "rgb 8 with masks and labels")
        folder = export(cohort, out=tmp_path / "out", format="huggingface", options=["licence=cc-by-4.0", "name=Ours"])
        card = hub.DatasetCard.load(folder / "README.md").data.to_dict()
        assert (card["license"], card["pretty_name"]) == ("cc-by-4.0", "Ours")
        assert {"synthetic", "medical"} <= set(card["tags"])
        assert card["task_categories"] == ["image-classification", "image-segmentation"]
        loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
        assert set(loaded) == {"train", "validation", "test"}
        features = loaded["train"].features
        assert isinstance(features["image"], datasets.Image)
        assert isinstance(features["mask"], datasets.Image)
        assert features["label.Glaucoma"].names == ["absent", "present"]
        assert features["synthetic"].dtype == "bool"

    def test_shards_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_shards, "_GROUP_BYTES", 300)
        monkeypatch.setattr(_shards, "_SHARD_BYTES", 600)
        cohort = Cohort(make(tmp_path / "made", "grey 8"))
        folder = export(cohort.path, out=tmp_path / "sharded", format="huggingface")
        names = sorted(path.name for path in folder.glob("data/*"))
        assert names[:2] == ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]
        np.testing.assert_array_equal(np.stack([each.image for each in read_huggingface(folder)]), cohort.images)

"""The preparation as configuration: every choice with its default, and the protocols that choose otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from . import plugins
from ._settings import setting
from .errors import BadOption
from .source import Source
from .types import SPLITS

PROTOCOLS = ("recommended", "paper", "code")
SHARES = (0.6, 0.1, 0.15, 0.15)
MAX_SIZE, MAX_FIELD_MM = 8192, 10_000
_OPTION = "--set "
RULES = ("type_range", "dicom_window", "volume_percentiles", "slice_percentiles", "slice_maximum")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What `prepare` is asked to do; the defaults are those of the protocol "recommended".

    Attributes:
        size: Side of the square images in pixels.
        intensity: Which intensities become the lowest and the highest pixel. "source" leaves it to the source;
            type_range is that of the file's type; "CENTRE,WIDTH" a window in native units (HU); dicom_window the first
            of the header; volume_percentiles and slice_percentiles are 0.5 and 99.5 %; slice_maximum is 0 and the
            slice's own maximum.
        geometry: "pad" to the longer side, "crop" or zero-pad around the centre without resampling, or "stretch".
        field_mm: Side of the centred square that is kept, in millimetres; None keeps the whole image.
        spacing_mm: Resample to this pixel spacing: the same as a field of `size` times it.
        resize: "bilinear" with antialiasing, or "pyramid" as in the code of study 003: to 256 px (1024 px if larger),
            then means of 2x2 pixels.
        bits: 8 or 16 a pixel.
        colour: Keep the "source"'s channels, or make "grey" (luma) or "rgb" of them.
        empty_slices: Probability that a slice without foreground in its mask stays.
        shares: Of patients in train, val, test and reference.
        split: "stratified" over findings or the source's strata, "plain" (a seeded order, cut), or "official".
        fold: (i, k) makes the i-th, from 1, of k folds of the patients the test split; the others are divided in
            proportion to the other shares. The same seed gives the same k folds.
        findings: Keep only these findings as labels, in this order; all of the source's when empty.
        min_finding_images: A finding that fewer images hold is no label.
        min_combination_images: Images whose combination of findings fewer images hold are dropped.
        count_combinations: Whether those are counted in the "pool", before the split, or in "train".
        balance: "no_finding" keeps as many images without a finding as there are with one.
        setting: One of the 33 published settings of study 003, e.g. chest-samples-3000.
        oversample: Repeat training images, evenly over combinations, up to this number; 0 repeats none.
    """

    size: int = 128
    intensity: str = "source"
    geometry: Literal["pad", "crop", "stretch"] = "pad"
    field_mm: float | None = None
    spacing_mm: float | None = None
    resize: Literal["bilinear", "pyramid"] = "bilinear"
    bits: Literal[8, 16] = 8
    colour: Literal["source", "grey", "rgb"] = "source"
    empty_slices: float = 1.0
    shares: tuple[float, ...] = SHARES
    split: Literal["stratified", "plain", "official"] = "stratified"
    fold: tuple[int, ...] = ()
    findings: tuple[str, ...] = ()
    min_finding_images: int = 0
    min_combination_images: int = 0
    count_combinations: Literal["pool", "train"] = "pool"
    balance: Literal["", "no_finding"] = ""
    setting: str = ""
    oversample: int = 0

    def __post_init__(self) -> None:
        """Check what does not depend on the source.

        Raises:
            BadOption: A choice is out of range, or two exclude each other.
        """
        for rule, wrong, offender, hint in self._rules():
            if wrong:
                raise BadOption(rule, offender, hint)

    def _rules(self) -> Iterator[tuple[str, bool, str, str]]:
        """Yield (rule, whether it is broken, offender, next step)."""
        shares, size = self.shares, self.size
        wrong = not 4 <= size <= MAX_SIZE
        yield f"Images are 4 to {MAX_SIZE} pixels wide", wrong, f"size {size}", "Choose another --size"
        field = self.field
        wrong = field is not None and not 1 <= field <= MAX_FIELD_MM
        yield f"A field of view is 1 to {MAX_FIELD_MM} mm", wrong, f"{field} mm", "Give other millimetres"
        wrong = self.field_mm is not None and self.spacing_mm is not None
        yield "A field and a spacing say the same thing", wrong, "both are given", "Leave one out"
        wrong = field is not None and self.geometry != "pad"
        yield "A field has its own geometry", wrong, f"geometry {self.geometry} and a field", "Leave one out"
        wrong = self.intensity not in ("source", *RULES) and _window(self.intensity) is None
        known = ", ".join(RULES)
        yield f"Intensity is source, CENTRE,WIDTH or one of {known}", wrong, f"'{self.intensity}'", "Write e.g. 40,80"
        wrong = self.resize == "pyramid" and not _halved(size)
        yield "A pyramid ends at 256 px or less, or at 1024 or 512, halved", wrong, f"size {size}", "Choose 128"
        wrong = not 0 <= self.empty_slices <= 1
        yield "empty_slices is a probability", wrong, f"{self.empty_slices}", "Give 0 to 1"
        valid = len(shares) == len(SPLITS) and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6  # not so with a NaN
        wrong = not valid or shares[0] == 0
        yield f"Four shares, of {', '.join(SPLITS)}, sum to 1", wrong, f"{tuple(shares)}", f"The default is {SHARES}"
        fold = self.fold
        wrong = bool(fold) and not (len(fold) == 2 and 1 <= fold[0] <= fold[1] and fold[1] >= 2)
        yield "A fold is one of two or more", wrong, "/".join(map(str, fold)), "Write 1/5 to 5/5"
        wrong = bool(fold) and self.split != "stratified"
        yield "Folds are stratified", wrong, f"split {self.split} and a fold", "Leave one out"
        wrong = self.oversample < 0
        yield "--oversample takes a number of images", wrong, f"{self.oversample}", "0 repeats none"

    @property
    def field(self) -> float | None:
        """Return the side of the kept square in millimetres, or None for the whole image."""
        return self.field_mm if self.spacing_mm is None else self.spacing_mm * self.size

    @property
    def dtype(self) -> str:
        """Return the type of a pixel."""
        return f"uint{self.bits}"

    def value_rule(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """Return which intensities are kept, given the source's own rule."""
        if self.intensity == "source":
            return dict(source)
        if window := _window(self.intensity):
            return {"rule": "fixed", "low": window[0] - window[1] / 2, "high": window[0] + window[1] / 2}
        limits = {name: source[name] for name in ("low", "high") if name in source}
        return {"rule": self.intensity, **(limits if self.intensity in ("dicom_window", source["rule"]) else {})}

    def to_json(self) -> dict[str, Any]:
        """Return all choices as JSON-ready types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def changed(self) -> dict[str, Any]:
        """Return the choices that are not the default ones, JSON-ready."""
        plain = Choices().to_json()
        return {name: value for name, value in self.to_json().items() if value != plain[name]}


def _window(text: str) -> tuple[float, float] | None:
    """Return the centre and width of "40,80", or None."""
    try:
        centre, width = (float(part) for part in text.split(","))
    except ValueError:
        return None
    return (centre, width) if math.isfinite(centre) and 0 < width < math.inf else None


def _halved(size: int) -> bool:
    base = 256 if size <= 256 else 1024
    return base % size == 0 and (base // size).bit_count() == 1


def choose(source: type[Source], name: str, protocol: str, given: Mapping[str, Any]) -> tuple[Choices, dict[str, Any]]:
    """Return the choices of a protocol, overridden by what is given, and the protocol's options of the source.

    Args:
        source: The plugin.
        name: What it is called.
        protocol: One of `PROTOCOLS`.
        given: Choices by name; None stands for one that is not given.

    Raises:
        BadOption: The source has no such protocol, or a choice is unknown or not valid.
    """
    preset = _preset(source, name, protocol, given.get("setting"))
    chosen = {key: value for key, value in preset.items() if key not in ("options", "assumed")}
    chosen |= {key: value for key, value in given.items() if value is not None}
    return Choices(**plugins.resolve(Choices, chosen)), dict(preset.get("options", {}))


def _preset(source: type[Source], name: str, protocol: str, wish: Any) -> Mapping[str, Any]:
    """Return a protocol's preset with what one of the published settings, if one is wished for, prepares."""
    preset = preset_of(source, name, protocol)
    if not wish:
        return preset
    wanted = setting(str(wish), protocol)
    if wanted.source != name:
        offender = f"{wish} is cut from {wanted.source}, not {name}"
        raise BadOption("A setting belongs to a source", offender, f"Prepare {wanted.source}")
    return {**preset, **wanted.preparation}


def preset_of(source: type[Source], name: str, protocol: str) -> Mapping[str, Any]:
    """Return what a protocol chooses for a source.

    Raises:
        BadOption: There is no such protocol.
    """
    known: dict[str, Mapping[str, Any]] = {"recommended": {}, **getattr(source, "PROTOCOLS", {})}
    if protocol not in known:
        offender = f"'{protocol}' for {name}"
        raise BadOption("A protocol is one that the source has", offender, f"Choose from {', '.join(known)}")
    return known[protocol]


def differences(source: type[Source], name: str, choices: Choices, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the protocols of a source choose differently: one row a choice, JSON-ready.

    Each row has the choice's name, what it was here, and what each protocol says; "assumed" lists the protocols whose
    study leaves it open. Options of the source come with "--set" before their name, and with a setting so do the
    numbers of images that it leaves in train, val and test.

    Args:
        source: The plugin.
        name: What it is called.
        choices: Those that were used.
        options: Of the source, as they were used.
    """
    presets = {each: preset_of(source, name, each) for each in ("recommended", *getattr(source, "PROTOCOLS", {}))}
    said = {each: _said(source, name, each, choices.setting) for each in presets}
    here = {**choices.to_json(), **_as_options(options)}
    rows = []
    for key in {**here, **said["recommended"]}:
        values = {each: content[key] for each, content in said.items()}
        if any(value != values["recommended"] for value in values.values()):
            plain = key.removeprefix(_OPTION)
            assumed = [each for each, preset in presets.items() if plain in preset.get("assumed", ())]
            used = {"here": here[key]} if key in here else {}
            rows.append({"choice": key, **used, **values, "assumed": assumed})
    return rows


def _said(source: type[Source], name: str, protocol: str, wish: str) -> dict[str, Any]:
    choices, options = choose(source, name, protocol, {"setting": wish or None})
    cut = {"images of the setting": list(setting(wish, protocol).images)} if wish else {}
    return {**choices.to_json(), **_as_options(plugins.resolve(source, options)), **cut}


def _as_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{_OPTION}{key}": list(value) if isinstance(value, tuple) else value
        for key, value in options.items()
        if not isinstance(value, Path)
    }

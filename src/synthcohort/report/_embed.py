"""Pictures as they stand in the page: base64, enlarged by whole pixels, and only those that may be shown."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from ..pictures import CLASS_COLOURS, contact_sheet, png_bytes
from ..types import Array
from . import _label_text, _text
from ._pictures import Pictures, read_pairs
from ._read import Evaluation

MAX_EXAMPLES, MAX_PAIRS = 32, 12


def _png_source(images: Array, masks: Array | None) -> str:
    sheet = contact_sheet(images, masks, columns=len(images))
    return f"data:image/png;base64,{base64.b64encode(png_bytes(sheet)).decode()}"


def examples(evaluation: Evaluation, *, show_real: bool) -> tuple[list[dict[str, str]], str]:
    """Return pictures of synthetic samples and a remark on what is held back; nothing that repeats a real image.

    Each has its source, and caption and full list of its findings, both empty where it has none to name. Findings
    that were copied one for one from patients are left out of a page that may not show real images.
    """
    if evaluation.synthetic.get("provenance") != "synthetic" and not show_real:
        return [], _text.WITHHELD_CONTROL
    stored = evaluation.examples
    if stored is None or not len(stored.images):
        return [], _text.NO_EXAMPLES
    kept = np.ones(len(stored.images), bool) if show_real else ~_flagged(evaluation, stored)
    withheld = int((~kept).sum())
    chosen = np.flatnonzero(kept)[:MAX_EXAMPLES]
    masks = stored.masks
    told = stored.findings if show_real or evaluation.label_rule != "exact" else None
    tiles = [
        {
            "source": _png_source(stored.images[[i]], None if masks is None else masks[[i]]),
            "caption": _label_text.caption(told[i]) if told else "",
            "findings": ", ".join(told[i]) if told else "",
        }
        for i in chosen
    ]
    judged = () if evaluation.samples is None else evaluation.samples.columns
    notes = [_text.withheld_copies(withheld, masks="mask_copy" in judged)] if withheld else []
    notes += [_label_text.WITHHELD_LABELS] if stored.findings and not told else []
    return tiles, " ".join(notes)


def _flagged(evaluation: Evaluation, stored: Pictures) -> Array:
    """Return which examples count as copies; all of them where that cannot be told and some sample does."""
    samples = evaluation.samples
    if samples is None or "copy" not in samples:
        return np.zeros(len(stored.images), bool)
    judged = samples[[name for name in ("copy", "mask_copy") if name in samples]]
    copies = samples.loc[judged.fillna(False).astype(bool).any(axis=1), "sample_id"].astype(str)
    if stored.sample_ids is None:
        return np.full(len(stored.images), bool(len(copies)))
    flagged: Array = np.isin(stored.sample_ids.astype(str), copies.to_numpy(dtype=str))
    return flagged


def legend(mask_classes: Sequence[str]) -> list[dict[str, str]]:
    """Return name and colour of every mask class but the background."""
    colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(max(0, len(mask_classes) - 1))]
    return [
        {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
        for name, colour in zip(mask_classes[1:], colours, strict=True)
    ]


def pairs(evaluation: Evaluation) -> list[str]:
    """Return pictures of synthetic samples beside the real image nearest to each: real pixels."""
    found = read_pairs(evaluation.folder)
    if found is None:
        return []
    synthetic, nearest = found
    shown = min(len(synthetic.images), len(nearest.images), MAX_PAIRS)
    both = [np.stack([synthetic.images[i], nearest.images[i]]) for i in range(shown)]
    return [_png_source(images, None) for images in both]

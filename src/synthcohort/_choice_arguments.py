"""The choices of `prepare` as arguments of the command line; one that is not given is None."""

from __future__ import annotations

from typing import Annotated

import typer

Protocol = Annotated[str, typer.Option("--protocol", help="Whose choices: recommended, paper or code.")]
Setting = Annotated[str | None, typer.Option("--setting", help="Of study 003, e.g. chest-samples-3000.")]
ChosenSize = Annotated[int | None, typer.Option("--size", help="Height and width in pixels; 128.")]
Intensity = Annotated[
    str | None,
    typer.Option("--intensity", help="source, 40,80 (HU), dicom_window, type_range, {slice,volume}_percentiles."),
]
Geometry = Annotated[str | None, typer.Option("--geometry", help="pad to a square, crop, or stretch.")]
FieldMm = Annotated[float | None, typer.Option("--field-mm", help="Keep a centred square of this width.")]
SpacingMm = Annotated[float | None, typer.Option("--spacing-mm", help="Resample to this pixel spacing.")]
Resize = Annotated[str | None, typer.Option("--resize", help="bilinear, or pyramid as in the code of study 003.")]
Bits = Annotated[int | None, typer.Option("--bits", help="8 or 16 a pixel.")]
Colour = Annotated[str | None, typer.Option("--colour", help="source, grey or rgb.")]
EmptySlices = Annotated[
    float | None, typer.Option("--empty-slices", help="Probability that a slice without foreground stays.")
]
Shares = Annotated[str | None, typer.Option("--shares", help="Train, val, test, reference: 0.6,0.1,0.15,0.15.")]
Split = Annotated[str | None, typer.Option("--split", help="stratified, plain, or official as in the download.")]
Fold = Annotated[str | None, typer.Option("--fold", help="1/5: the first of five folds is the test split.")]
ChosenMinFindingImages = Annotated[
    int | None, typer.Option("--min-finding-images", help="A finding in fewer images is no label.")
]
MinCombinationImages = Annotated[
    int | None, typer.Option("--min-combination-images", help="Drop images of rarer label combinations.")
]
CountCombinations = Annotated[
    str | None, typer.Option("--count-combinations", help="Where those are counted: pool or train.")
]
Balance = Annotated[str | None, typer.Option("--balance", help="no_finding: as many without as with one.")]
Oversample = Annotated[int | None, typer.Option("--oversample", help="Repeat training images up to this number.")]
Damaged = Annotated[str, typer.Option("--damaged", help="stop at an unreadable file, or skip and count it.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes that read; one a core.")]

"""The points of study 003's three axes as data: the 33 published ones, three beyond, and the same axes on any cohort.

DuMont Schütte et al. 2021 (npj Digital Medicine 4, 141): Table S1 and S.1 for what a point holds, section 3.3 for
brain-256, chest-256 and chest-512; the stop of a training is S.3's, the settings above 128 px those of the released
scripts (run_final_*.sh), since the text names none. A scaled axis keeps the published rule and the published ratios:
the most frequent combinations of findings, so many images of each, nested; or the same images at half the side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from .._cut import Cut
from .._findings import present_only
from .._labels import distinct
from .._settings import setting, settings
from ..cohort import Cohort
from ..errors import BadOption, InputError, UnknownName
from ..types import SPLITS, Array

Axis = Literal["classes", "samples", "resolution"]
AXES: tuple[Axis, ...] = ("classes", "samples", "resolution")
BEYOND = {"brain-resolution-256": 256, "chest-resolution-256": 256, "chest-resolution-512": 512}
"""Sides above those of Table S1; the images are those of its resolution rows. Only cpdgan was trained on them."""
LARGEST_TABLE_SIDE = 128
EXTREME_SEEDS = {"classes": 10, "samples": 20}
"""S.5: repeats at both ends of an axis; four elsewhere."""
SEEDS = 4
CLASSES = (20, 15, 10, 8, 6, 4, 2)
SHARES = (1.0, 4500 / 5950, 3000 / 5950, 1500 / 5950, 1000 / 5950, 500 / 5950, 400 / 5950, 200 / 5950)
"""Samples of each combination as shares of the most, as on the chest's axis."""
COMBINATIONS = 3
"""Of the samples axis, as on the chest's."""
LEAST_TRAIN, LEAST_HELD = 8, 2
"""Images of a combination below which a scaled point is not made: in train, and in val and in test."""
SMALLEST_SIDE = 16

# Images seen at the first look at the distance (S.3), and under "code" between looks and at most (released configs).
_STARTS = {32: 7_000_000, 64: 7_000_000, 128: 9_000_000}
_CODE = {32: (400_000, 12_000_000), 64: (320_000, 14_000_000), 128: (240_000, 16_000_000)}
_EVERY, _MOST = 400_000, 16_000_000
"""S.3: "every 400T real images"; the longest of its trainings, with few samples at 32 px, ended at 16 million."""
# Images seen, batch and learning rate above 128 px: released scripts of the 256 and 512 px work.
_FIXED = {("brain", 256): (6_096_000, 160, 0.005), ("chest", 256): (6_257_000, 160, 0.005)}
_FIXED |= {("chest", 512): (6_345_000, 64, 0.006)}
BATCH = 256


@dataclass(frozen=True)
class Point:
    """One cohort that a study makes: a row of Table S1, or one like it.

    Attributes:
        name: COHORT-AXIS-NUMBER.
        axis: Which axis it lies on.
        number: Where: combinations, training images of each, or pixels.
        size: Side in pixels.
        images: In train, val and test; None where it is known only when the cohort is there.
        combinations: Of findings.
        labels: Findings that are left.
        each: Least and most training images of a combination.
        extreme: Whether it is an end of its axis.
        setting: The published setting that it is, or is cut like; "" for a scaled point.
        cut: What a scaled point takes from the cohort.
        training: What its training differs in: images_seen, batch, stop and options of a generator.
    """

    name: str
    axis: Axis
    number: int
    size: int
    images: tuple[int | None, int | None, int | None]
    combinations: int
    labels: int
    each: tuple[int, int]
    extreme: bool = False
    setting: str = ""
    cut: Cut = field(default_factory=Cut)
    training: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the row that `--plan` and Table S1 show."""
        train, val, test = self.images
        return {
            "name": self.name,
            "axis": self.axis,
            "resolution": self.size,
            "labels": self.labels,
            "label_combinations": self.combinations,
            "train": train,
            "val": val,
            "test": test,
            "per_combination": list(self.each),
            "extreme": self.extreme,
        }


def published(cohort: str, protocol: str, *, axes: Sequence[str] = AXES, beyond: bool = True) -> list[Point]:
    """Return the published points of "chest" or "brain", in the order of Table S1, and those beyond it.

    Args:
        cohort: "chest" or "brain".
        protocol: "recommended", "paper" or "code": see `_settings`.
        axes: Which axes.
        beyond: Whether the sides above 128 px are there, too.
    """
    names = [name for name in settings() if name.startswith(f"{cohort}-") and name.split("-")[1] in axes]
    points = [_published(name, name, protocol) for name in names]
    if beyond and "resolution" in axes:
        base = f"{cohort}-resolution-{LARGEST_TABLE_SIDE}"
        points += [_published(name, base, protocol) for name in BEYOND if name.startswith(f"{cohort}-")]
    ends = {axis: [point.number for point in points if point.axis == axis] for axis in axes}
    return [marked(point, ends[point.axis]) for point in points]


def _published(name: str, cut_like: str, protocol: str) -> Point:
    cohort, axis, number = name.split("-")
    found = setting(cut_like, protocol)
    size = int(number) if axis == "resolution" else int(found.preparation["size"])
    return Point(
        name=name,
        axis=axis,  # type: ignore[arg-type]
        number=int(number),
        size=size,
        images=found.images,
        combinations=found.combinations,
        labels=found.labels,
        each=found.each,
        setting=cut_like,
        training=_training(cohort, size, protocol),
    )


def _training(cohort: str, size: int, protocol: str) -> dict[str, Any]:
    if (cohort, size) in _FIXED:
        seen, batch, rate = _FIXED[cohort, size]
        return {"images_seen": seen, "batch": batch, "options": {"learning_rate": rate}}
    every, most = _CODE[size] if protocol == "code" else (_EVERY, _MOST)
    against = "val" if protocol == "recommended" else "train"
    stop = {"every": every, "patience": 2 * every, "start": _STARTS[size], "against": against, "n": 10_000}
    return {"images_seen": most, "batch": BATCH, "stop": stop}


def marked(point: Point, numbers: Sequence[int]) -> Point:
    """Return a point that knows whether it is an end of its axis, which has these numbers."""
    return replace(point, extreme=point.number in (max(numbers), min(numbers)))


def seeds_of(point: Point, *, seeds: int, extreme_seeds: Mapping[str, int]) -> int:
    """Return how many whole pipelines a point gets."""
    return max(seeds, extreme_seeds.get(point.axis, seeds)) if point.extreme else seeds


def scaled(
    cohorts: Sequence[Cohort],
    *,
    axes: Sequence[str] = AXES,
    most: int = 8,
    sides: Sequence[int] = (),
    findings: Sequence[str] = (),
    name: str = "",
) -> list[Point]:
    """Return the points of the same three axes on a cohort that is there, or on the folds of one.

    A point of folds holds what every one of them has, so that it is cut alike from each.

    Args:
        cohorts: With labels; more than one are folds of the same patients.
        axes: Which axes.
        most: Points of an axis at most; its ends are always among them.
        sides: Of the resolution axis; when left out, the cohort's own and its halves down to 16 px.
        findings: Labels that count; all of the cohort's when left out.
        name: What the points' names begin with; the first cohort's name when left out.

    Raises:
        InputError: The cohort has no labels, a finding does not occur, or there are too few combinations or images.
    """
    pool = _Pool(cohorts, findings)
    made: dict[str, Callable[[], list[Point]]] = {"classes": pool.classes, "samples": pool.samples}
    made["resolution"] = lambda: pool.sides(sides)
    points: list[Point] = []
    for axis in axes:
        if axis not in made:
            raise BadOption("An axis is classes, samples or resolution", f"'{axis}'", "Name one of them")
        points += _thinned([_named(point, name or cohorts[0].facts.name) for point in made[axis]()], most)
    return points


def _named(point: Point, name: str) -> Point:
    return replace(point, name=f"{name}-{point.axis}-{point.number}")


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most so many of an axis's points, evenly spread, its ends among them and marked."""
    kept = sorted(set(np.linspace(0, len(points) - 1, min(max(most, 2), len(points))).round().astype(int).tolist()))
    chosen = [points[place] for place in kept]
    numbers = [point.number for point in chosen]
    return [marked(point, numbers) for point in chosen]


def _combinations(cohort: Cohort, findings: Sequence[str]) -> tuple[Array, Array]:
    """Return combinations of findings (V, L), the most frequent first, and the images (V, splits) of each."""
    kept = first_of_each(cohort)
    values = present_only(labels_of(cohort, findings))
    vectors, of_image, images = distinct(values[kept])
    places = np.array([SPLITS.index(split) for split in cohort.samples["split"].to_numpy()[kept]])
    have = np.bincount(of_image * len(SPLITS) + places, minlength=len(vectors) * len(SPLITS))
    first = np.full(len(vectors), len(of_image))
    np.minimum.at(first, of_image, np.arange(len(of_image)))
    order = np.lexsort((first, -images))  # as `_cut` orders them
    return vectors[order], have.reshape(len(vectors), len(SPLITS))[order]


class _Pool:
    """The combinations of a cohort, those with most images first, and how many images each split has of them.

    Of folds, each split has as many as the fold with the fewest.
    """

    def __init__(self, cohorts: Sequence[Cohort], findings: Sequence[str]) -> None:
        self.cohorts, self.cohort = cohorts, cohorts[0]
        names = findings or [name for name in occurring(self.cohort) if all(name in occurring(c) for c in cohorts)]
        counted = [_combinations(cohort, names) for cohort in cohorts]
        self.vectors = counted[0][0]
        if not all(np.array_equal(self.vectors, vectors) for vectors, _ in counted):
            raise InputError(
                "Folds hold the same images", self.cohort.path.name, "Prepare them anew in an empty folder"
            )
        self.have = np.minimum.reduce([have for _, have in counted])

    def usable(self) -> int:
        """Return how many of the most frequent combinations all have enough images in train, val and test."""
        enough = (self.have[:, 0] >= LEAST_TRAIN) & (self.have[:, 1:3] >= LEAST_HELD).all(1)
        return int(enough.argmin()) if not enough.all() else len(enough)

    def _checked(self, axis: str, least: int) -> int:
        count = self.usable()
        if count < least:
            rule = (
                f"The {axis} axis needs {least} combinations of findings with {LEAST_TRAIN} images in train and"
                f" {LEAST_HELD} in val and in test"
            )
            raise InputError(rule, f"{self.cohort.path.name} has {count}", "Prepare fewer findings or more patients")
        return count

    def _point(self, axis: Axis, number: int, combinations: int, each: int, held: tuple[int, int]) -> Point:
        return Point(
            name="",
            axis=axis,
            number=number,
            size=self.cohort.facts.shape[1],
            images=(combinations * each, combinations * held[0], combinations * held[1]),
            combinations=combinations,
            labels=int(self.vectors[:combinations].any(0).sum()),
            each=(each, each),
            cut=Cut(combinations=combinations, each=(each, *held)),
        )

    def classes(self) -> list[Point]:
        """Return points with ever fewer combinations; of each as many images as the rarest of them has."""
        count = self._checked("classes", 3)
        numbers = [count, *(number for number in CLASSES if number < count)]
        held = tuple(int(self.have[:count, split].min()) for split in (1, 2))
        return [
            self._point("classes", number, number, int(self.have[:number, 0].min()), (held[0], held[1]))
            for number in numbers
        ]

    def samples(self) -> list[Point]:
        """Return points with ever fewer images of the same combinations, nested."""
        count = min(self._checked("samples", 2), COMBINATIONS)
        most = int(self.have[:count, 0].min())
        numbers = list(dict.fromkeys(max(round(share * most), LEAST_TRAIN) for share in SHARES))
        if len(numbers) < 2:
            rule = f"The samples axis needs more than {LEAST_TRAIN} training images of each combination"
            raise InputError(rule, f"the rarest has {most}", "Prepare fewer findings or more patients")
        held = tuple(int(self.have[:count, split].min()) for split in (1, 2))
        return [self._point("samples", number, count, number, (held[0], held[1])) for number in numbers]

    def _images(self, split: str) -> int | None:
        """Return the images of a split; None where folds differ."""
        found = {cohort.counts().get(split, {}).get("images", 0) for cohort in self.cohorts}
        return found.pop() if len(found) == 1 else None

    def sides(self, wanted: Sequence[int]) -> list[Point]:
        """Return points with all images, at ever larger sides."""
        side = self.cohort.facts.shape[1]
        halves = [side >> step for step in range(side.bit_length()) if side % (1 << step) == 0]
        possible = sorted(each for each in halves if each >= SMALLEST_SIDE)
        for each in wanted:
            if each not in possible:
                offender = f"{each} px where the images have {side}"
                raise BadOption("A side is that of the cohort, halved", offender, f"Choose from {possible}")
        chosen = sorted(set(wanted)) if wanted else possible[-3:]
        if len(chosen) < 2:
            rule = f"The resolution axis needs two sides of {SMALLEST_SIDE} px or more"
            raise InputError(rule, f"the images have {side}", "Prepare the cohort at a larger --size")
        images = tuple(self._images(split) for split in SPLITS[:3])
        held = self.have[:, 0][self.have[:, 0] > 0]
        shown = int(self.vectors.any(0).sum())
        return [
            Point(
                name="",
                axis="resolution",
                number=pixels,
                size=pixels,
                images=(images[0], images[1], images[2]),
                combinations=len(self.vectors),
                labels=shown,
                each=(int(held.min()), int(held.max())),
            )
            for pixels in chosen
        ]


def occurring(cohort: Cohort) -> tuple[str, ...]:
    """Return the labels that some training image has: study 003's code, too, drops the others."""
    present = (cohort.label_matrix()[cohort.split("train")] == 1).any(0)
    return tuple(name for name, there in zip(cohort.facts.labels, present, strict=True) if there)


def labels_of(cohort: Cohort, findings: Sequence[str]) -> Array:
    """Return the labels (N, L) of some findings, or of all that occur.

    Raises:
        InputError: There are none, or one that is named is in no training image.
    """
    if not cohort.facts.labels:
        rule = "The study of data sharing needs a cohort with labels"
        raise InputError(rule, f"{cohort.path.name} has none", "Prepare one with --findings, or use gan-study")
    names = list(findings) or list(occurring(cohort))
    for name in names:
        if name not in cohort.facts.labels:
            known = ", ".join(cohort.facts.labels)
            raise UnknownName("A finding is one of the cohort's labels", f"no '{name}' there", f"Choose from {known}")
    values = cohort.label_matrix()[:, [cohort.facts.labels.index(name) for name in names]]
    present = (values[cohort.split("train")] == 1).any(0)
    if not present.all():
        gone = names[int(present.argmin())]
        rule = "A finding of a study is in some training image"
        raise InputError(rule, f"'{gone}' is in none of {cohort.path.name}", "Leave it out of --findings")
    return values


def first_of_each(cohort: Cohort) -> Array:
    """Return the positions of all samples but those that repeat another."""
    found: Array = np.sort(np.concatenate([cohort.split(split) for split in SPLITS]))
    return found

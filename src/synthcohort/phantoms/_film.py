"""A radiographic film: where its pixels lie in the patient, strokes and smooth fields on it, and its development.

Lengths in millimetres. x runs to the right of the film (the patient's left in a frontal view), y down; the origin is
the middle of the chest. What is drawn is density: 0 where nothing covers the film, about 1 for a chest wall, more is
whiter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from ..types import Array
from ._render import Canvas

_GRID = 0.65
"""Pixels drawn per stored pixel along a side: the stored film is no sharper than this."""

Stroke = tuple[Array, float, float]
"""(n, 2) points in the patient, width in millimetres, strength."""


@dataclass(frozen=True)
class Pose:
    """How one film was taken.

    Attributes:
        bedside: Taken from front to back of a lying patient (AP), not from back to front of a standing one (PA).
        shift: (x, y) of the chest's middle on the film.
        turn: Tilt of the body in radians.
        zoom: Millimetres at the film per millimetre of this patient.
        breath: How deep the breath was: 0 is usual, -1 shallow, 1 deep.
        twist: How far the middle of the chest moves sideways because the patient is rotated.
        field: Shorter side of the film in millimetres.
        shape: (height, width) of the film against its shorter side.
    """

    bedside: bool
    shift: tuple[float, float]
    turn: float
    zoom: float
    breath: float
    twist: float
    field: float
    shape: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, *, bedside: bool, lateral: bool = False) -> Pose:
        """Return a random pose; bedside films are less well centred and of a shallower breath."""
        loose = 1.6 if bedside else 1.0
        ratio = (1.0, 1.14, 1.2, 1.219)[rng.choice(4, p=(0.08, 0.1, 0.14, 0.68))]
        upright = bool(rng.random() < (0.9 if lateral else 0.05 if bedside else 0.22))
        return cls(
            bedside=bedside,
            shift=(float(rng.normal(0, 6 * loose)), float(rng.normal(8 if upright else 0, 8 * loose))),
            turn=float(rng.normal(0, 0.022 * loose)),
            zoom=float(np.clip(rng.normal(1.2 if bedside else 1.13, 0.05), 0.95, 1.36)),
            breath=float(rng.normal(-0.55 if bedside else 0.25, 0.5)),
            twist=float(rng.normal(0, 3.5 * loose)),
            field=float(np.clip(rng.normal(352, 16), 315, 400)),
            shape=(ratio, 1.0) if upright else (1.0, ratio),
        )


class Film:
    """An empty film of a pose.

    Args:
        pose: How it is taken.
        side: Pixels of the shorter side of the stored film.

    Attributes:
        x, y: (H, W) float32 place of each drawn pixel in the patient.
        size: (width, height) of the stored film.
    """

    def __init__(self, pose: Pose, side: int) -> None:
        self._pose = pose
        self.size = (round(side * pose.shape[1]), round(side * pose.shape[0]))
        width, height = (max(round(extent * _GRID), 16) for extent in self.size)
        self._spacing = pose.field * pose.shape[1] / width
        rows = (np.arange(height) - (height - 1) / 2) * self._spacing
        columns = (np.arange(width) - (width - 1) / 2) * self._spacing
        dx, dy = (columns - pose.shift[0]) / pose.zoom, (rows - pose.shift[1]) / pose.zoom
        cos, sin = np.cos(pose.turn), np.sin(pose.turn)
        self.x = np.add.outer(dy * sin, dx * cos).astype(np.float32)
        self.y = np.add.outer(dy * cos, -dx * sin).astype(np.float32)
        self._canvas = Canvas.blank(1, height, width, self._spacing)

    def noise(self, rng: np.random.Generator, length_mm: float) -> Array:
        """Return (H, W) float32 smooth noise of mean 0 and variance about 1."""
        return np.asarray(self._canvas.noise(rng, length_mm)[0])

    def strokes(self, strokes: Sequence[Stroke], blur_mm: float) -> Array:
        """Return (H, W) float32 lines of the given strengths; where lines cross, the last one is seen."""
        image = Image.new("F", self.x.shape[::-1])
        draw = ImageDraw.Draw(image)
        places = self._pixels(np.concatenate([points for points, _, _ in strokes])).ravel().tolist() if strokes else []
        first = 0
        for points, width, strength in strokes:
            pixels = width * self._pose.zoom / self._spacing
            fill = strength * min(1.0, pixels)
            draw.line(places[first : first + 2 * len(points)], fill=fill, width=max(round(pixels), 1))
            first += 2 * len(points)
        sigma = max(blur_mm / self._spacing, 0.45)
        return np.asarray(ndimage.gaussian_filter(np.asarray(image), sigma, truncate=2.5))

    def _pixels(self, points: Array) -> Array:
        cos, sin = np.cos(self._pose.turn), np.sin(self._pose.turn)
        turned = points @ np.array([[cos, sin], [-sin, cos]])
        millimetres = turned * self._pose.zoom + self._pose.shift
        middle = (np.array(self.x.shape[::-1]) - 1) / 2
        return np.asarray(millimetres / self._spacing + middle)

    def develop(self, density: Array, rng: np.random.Generator) -> Image.Image:
        """Return the stored film, mode "L": exposure, contrast, noise, side marker and collimation differ by film."""
        soft = rng.uniform(0.75, 1.05) if self._pose.bedside else rng.uniform(0.95, 1.3)
        grey = 1 - np.exp(-soft * np.maximum(density, 0))
        low, high = np.quantile(grey[::4, ::4], [0.02, 0.995])
        grey = np.clip((grey - low * 0.85) / (high - low * 0.85), 0, 1.05)
        grey **= np.float32(np.exp(rng.normal(-0.08, 0.2)))
        self._mark(grey, rng)
        self._collimate(grey, rng)
        top, floor = rng.uniform(215, 255), rng.uniform(0, 14)
        image = np.asarray(Image.fromarray(grey * (top - floor) + floor).resize(self.size, Image.Resampling.BICUBIC))
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1.2, 5.0))
        return Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))

    def _mark(self, grey: Array, rng: np.random.Generator) -> None:
        """Put the letter L where a technician would, or nothing."""
        height, width = grey.shape
        place = (rng.uniform(0.85, 0.95) * width, rng.uniform(0.04, 0.3) * height)
        if rng.random() < 0.7:
            size = height / rng.uniform(22, 36)
            image = Image.new("F", (width, height))
            corner = [place[0], place[1], place[0], place[1] + size, place[0] + 0.6 * size, place[1] + size]
            ImageDraw.Draw(image).line(corner, fill=1.0, width=max(round(size / 5), 1))
            np.maximum(grey, np.asarray(image), out=grey)

    def _collimate(self, grey: Array, rng: np.random.Generator) -> None:
        """Blacken a border on some sides of some films."""
        height, width = grey.shape
        edges = rng.uniform(0.01, 0.07, 4) * (rng.random(4) < 0.45) * (rng.random() < 0.3)
        top, bottom, left, right = (
            round(share * extent) for share, extent in zip(edges, (height, height, width, width), strict=True)
        )
        grey[:top], grey[height - bottom :], grey[:, :left], grey[:, width - right :] = 0, 0, 0, 0

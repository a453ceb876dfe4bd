"""Signs of diabetic retinopathy: where they lie in an eye, how many there are, and which pixels they cover.

Every lesion is made of spots: ellipses with a wavy outline and a soft border. A pixel that a lesion covers less than
`VISIBLE` is left as it is, so what is painted and what the mask says are the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._fundus import Eye, View

VISIBLE = 0.06
"""Least cover of a pixel that is painted and outlined."""
_FAINT = 0.25
"""Where a border has faded to this, it ends: what is fainter could not be outlined by anybody."""
_PRESENT = {"microaneurysm": 0.93, "haemorrhage": 0.86, "hard_exudate": 0.82, "soft_exudate": 0.48}
"""Share of eyes with a lesion type, in the order in which they are drawn."""
_WAVES = 4
_BATCH = 1_000_000
"""Pixels of spots that are computed at once: bounds the memory."""


@dataclass(frozen=True)
class Spots:
    """Ellipses with wavy outlines.

    Attributes:
        place: (n, 2) middles.
        radius: (n,) radius across.
        stretch: (n,) how much longer than wide, 1 or more.
        turn: (n,) direction of the long axis in radians.
        rough: (n,) height of the waves against the radius.
        phase: (n, 4) phases of the waves.
        soft: (n,) width of the border against the radius.
    """

    place: Array
    radius: Array
    stretch: Array
    turn: Array
    rough: Array
    phase: Array
    soft: Array

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        place: Array,
        radius: Array,
        *,
        stretch: Array | float = 1.0,
        turn: Array | None = None,
        rough: float = 0.0,
        soft: float = 0.3,
    ) -> Spots:
        """Return spots at places, with random outlines; `turn` is random where it is not given."""
        n = len(place)
        return cls(
            place,
            radius,
            np.broadcast_to(np.asarray(stretch, float), n),
            rng.uniform(0, np.pi, n) if turn is None else turn,
            rough * rng.uniform(0.5, 1.2, n),
            rng.uniform(0, 2 * np.pi, (n, _WAVES)),
            np.full(n, soft),
        )

    def cover(self, view: View) -> Array:
        """Return (H, W) float32, 0 to 1: how far the spots cover each pixel, spots that cross counted once."""
        result = np.zeros(view.shape, np.float32)
        reach = self.radius * self.stretch * (1 + self.rough) + np.maximum(self.soft * self.radius, view.pixel)
        halves = np.ceil(reach / view.pixel).astype(int)
        order = np.argsort(halves, kind="stable")
        first = 0
        while first < len(order):
            # Spots of like size share one array; a batch holds at least one.
            sizes = (2 * halves[order[first:]] + 1) ** 2
            fits = np.arange(1, len(sizes) + 1) * sizes <= _BATCH
            alike = halves[order[first:]] <= 2 * halves[order[first]] + 3
            count = max(int((fits & alike).sum()), 1)
            self._stamp(result, order[first : first + count], view)
            first += count
        return result

    def _stamp(self, result: Array, chosen: Array, view: View) -> None:
        middle = view.pixels(self.place[chosen])
        radius, stretch = (values[chosen][:, None, None].astype(np.float32) for values in (self.radius, self.stretch))
        soft = np.maximum(self.soft[chosen][:, None, None] * radius, view.pixel).astype(np.float32)
        half = int(np.ceil(float((radius * stretch * (1 + self.rough.max()) + soft).max()) / view.pixel))
        step = np.arange(-half, half + 1)
        corner = np.rint(middle).astype(int)
        columns, rows = corner[:, :1] + step, corner[:, 1:] + step
        dx, dy = columns - middle[:, :1], rows - middle[:, 1:]
        across, along = self._axes(chosen, dx.astype(np.float32), dy.astype(np.float32), view)
        along /= stretch
        angle = np.arctan2(across, along)
        outline = np.ones_like(angle)
        for wave, order in enumerate((2, 3, 5, 7)):
            height = (self.rough[chosen] * 2 / order).astype(np.float32)[:, None, None]
            outline += height * np.cos(order * angle + self.phase[chosen, wave].astype(np.float32)[:, None, None])
        cover = np.clip(0.5 - (np.hypot(across, along) - radius * outline) / soft, 0, 1)
        cover *= cover * (3 - 2 * cover)
        cover *= np.minimum(1, (2 * radius / np.float32(view.pixel)) ** 2 * np.sqrt(stretch))  # less than a pixel
        height_px, width_px = result.shape
        valid = ((rows >= 0) & (rows < height_px))[:, :, None] & ((columns >= 0) & (columns < width_px))[:, None, :]
        flat = rows[:, :, None] * width_px + columns[:, None, :]
        shown = valid & (cover > _FAINT)
        painted = VISIBLE + (cover[shown] - np.float32(_FAINT)) * np.float32((1 - VISIBLE) / (1 - _FAINT))
        np.maximum.at(result.reshape(-1), flat[shown], painted)

    def _axes(self, chosen: Array, dx: Array, dy: Array, view: View) -> tuple[Array, Array]:
        """Return (n, h, w) distances across and along the long axis."""
        back = np.linalg.inv(view.to_pixels)
        turn = self.turn[chosen]
        axes = np.stack([np.stack([-np.sin(turn), np.cos(turn)]), np.stack([np.cos(turn), np.sin(turn)])])
        weights = np.einsum("pe,aen->apn", back, axes).astype(np.float32)[..., None]
        across, along = (w[0][:, None, :] * dx[:, None, :] + w[1][:, :, None] * dy[:, :, None] for w in weights)
        return across, along


@dataclass(frozen=True)
class Lesions:
    """The lesions of an eye.

    Attributes:
        spots: Name -> its spots; a type that the eye does not have is absent.
    """

    spots: Mapping[str, Spots]

    @classmethod
    def draw(cls, rng: np.random.Generator, eye: Eye) -> Lesions:
        """Return random lesions: the more severe the disease, the more and the larger."""
        severity = float(rng.beta(1.3, 1.6))
        has = {name: rng.random() < share for name, share in _PRESENT.items()}
        makers = (_microaneurysms, _haemorrhages, _hard_exudates, _soft_exudates)
        streams = rng.spawn(len(makers))
        return cls(
            {
                name: make(stream, eye, severity)
                for name, make, stream in zip(_PRESENT, makers, streams, strict=True)
                if has[name]
            }
        )

    def covers(self, view: View) -> dict[str, Array]:
        """Return name -> (H, W) float32 cover, 0 or `VISIBLE` to 1, of the types that can be seen."""
        field = view.distance < 1
        found = {name: spots.cover(view) * field for name, spots in self.spots.items()}
        return {name: cover for name, cover in found.items() if cover.any()}


def _scatter(rng: np.random.Generator, eye: Eye, count: int, spread: float) -> Array:
    """Return (count, 2) places around the macula, inside the field and off the disc."""
    places = np.array(eye.fovea) + rng.normal(0, spread, (6 * count + 8, 2)) * (1.15, 0.9)
    off_disc = np.hypot(*(places - eye.disc).T) > 1.35 * eye.disc_radii[1]
    seen = (np.hypot(*places.T) < 0.92) & (np.abs(places[:, 1]) < 0.78)
    return np.asarray(places[off_disc & seen][:count])


def _sizes(rng: np.random.Generator, count: int, middle: float, spread: float, limits: tuple[float, float]) -> Array:
    return np.clip(middle * np.exp(rng.normal(0, spread, count)), *limits)


def _microaneurysms(rng: np.random.Generator, eye: Eye, severity: float) -> Spots:
    places = _scatter(rng, eye, int(3 + rng.poisson(8 + 70 * severity**2)), 0.42)
    radius = _sizes(rng, len(places), 0.0072, 0.3, (0.0042, 0.013))
    return Spots.draw(rng, places, radius, rough=0.06, soft=0.8)


def _haemorrhages(rng: np.random.Generator, eye: Eye, severity: float) -> Spots:
    blots = _scatter(rng, eye, int(1 + rng.poisson(2 + 26 * severity**2)), 0.48)
    radius = _sizes(rng, len(blots), 0.017 + 0.009 * severity, 0.5, (0.008, 0.075))
    round_ones = Spots.draw(rng, blots, radius, stretch=rng.uniform(1, 1.5, len(blots)), rough=0.17, soft=0.55)
    # A flame is a bundle of streaks along the nerve fibres, which come from the disc.
    flames = _scatter(rng, eye, int(rng.poisson(1 + 6 * severity)), 0.5)
    each = rng.integers(4, 10, len(flames))
    away = np.repeat(flames - eye.disc, each, axis=0)
    turn = np.arctan2(away[:, 1], away[:, 0]) + np.repeat(rng.normal(0, 0.25, len(flames)), each)
    size = np.repeat(_sizes(rng, len(flames), 0.03, 0.35, (0.015, 0.07)), each)
    shift = rng.normal(0, 1, (len(turn), 2)) * (0.35, 0.16) * size[:, None]
    axes = np.stack([np.cos(turn), np.sin(turn)], axis=1), np.stack([-np.sin(turn), np.cos(turn)], axis=1)
    streaks = np.repeat(flames, each, axis=0) + shift[:, :1] * axes[0] + shift[:, 1:] * axes[1]
    thick = np.maximum(size * rng.uniform(0.08, 0.16, len(turn)), 0.003)
    long_ones = Spots.draw(
        rng, streaks, thick, stretch=rng.uniform(4, 8, len(turn)), turn=turn + rng.normal(0, 0.07, len(turn)), soft=1.1
    )
    return _join(round_ones, long_ones)


def _hard_exudates(rng: np.random.Generator, eye: Eye, severity: float) -> Spots:
    """Return sharp yellow specks in rings and arcs (circinate) and in patches, close to the macula."""
    places, clusters = [], int(1 + rng.poisson(0.6 + 3.2 * severity))
    for middle in _scatter(rng, eye, clusters, 0.27):
        count = int(6 + rng.poisson(14 + 45 * severity))
        angle = rng.uniform(0, 2 * np.pi) + rng.uniform(1.2, 2 * np.pi) * rng.random(count)
        reach = rng.uniform(0.05, 0.16) if rng.random() < 0.65 else 0.0
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach
        places.append(middle + ring + rng.normal(0, 0.012 if reach else rng.uniform(0.02, 0.05), (count, 2)))
    spots = np.concatenate([*places, np.zeros((0, 2))])
    spots = spots[np.hypot(*(spots - eye.disc).T) > 1.2 * eye.disc_radii[1]]
    radius = _sizes(rng, len(spots), 0.0068, 0.5, (0.003, 0.024))
    return Spots.draw(rng, spots, radius, stretch=rng.uniform(1, 1.7, len(spots)), rough=0.2, soft=0.45)


def _soft_exudates(rng: np.random.Generator, eye: Eye, severity: float) -> Spots:
    """Return cotton wool: pale patches with fluffy borders, near the disc and the arcades."""
    middles = np.array(eye.disc) + rng.normal(0, 0.4, (40, 2)) * (1, 1.1)
    away, macula = np.hypot(*(middles - eye.disc).T), np.hypot(*(middles - eye.fovea).T)
    middles = middles[(away > 0.24) & (macula > 0.3) & (np.hypot(*middles.T) < 0.88) & (np.abs(middles[:, 1]) < 0.72)]
    middles = middles[: int(1 + rng.poisson(0.8 + 3.5 * severity))]
    each = rng.integers(3, 7, len(middles))
    size = np.repeat(_sizes(rng, len(middles), 0.034, 0.3, (0.018, 0.06)), each)
    places = np.repeat(middles, each, axis=0) + rng.normal(0, 0.5, (len(size), 2)) * size[:, None]
    return Spots.draw(rng, places, 0.6 * size, stretch=rng.uniform(1, 1.6, len(size)), rough=0.12, soft=1.9)


def _join(one: Spots, other: Spots) -> Spots:
    return Spots(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in Spots.__dataclass_fields__))

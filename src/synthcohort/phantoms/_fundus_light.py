"""The light of a fundus photograph: what retina, choroid, macula and disc reflect, what blood absorbs, what is stored.

Blood is a density: exp(-density) of the light is left, of green and blue less than of red. Everything after the tissue
is pointwise, so that a lesion changes no pixel beside its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..types import Array
from ._fundus import Eye, View
from ._fundus_vessels import draw
from ._render import inside

ABSORBS = (0.42, 1.0, 0.95)
"""How strongly blood absorbs red, green and blue light."""
BLOOD = {"microaneurysm": 0.85, "haemorrhage": 1.15}
"""Density of the lesions that are blood."""

_LIGHT, _DARK = (0.88, 0.5, 0.26), (0.68, 0.29, 0.1)
"""Colours of a little and of a strongly pigmented retina."""
_PIGMENT = (0.45, 0.85, 0.6)
"""How strongly the pigment of macula and choroid absorbs red, green and blue light."""
_RIM, _CUP, _ATROPHY = (1.0, 0.72, 0.4), (1.02, 0.9, 0.62), (0.97, 0.66, 0.4)
_HARD, _SOFT = (1.0, 0.92, 0.6), (0.95, 0.82, 0.53)
_BLACK = 0.012


def photograph(eye: Eye, view: View, lesions: Mapping[str, Array], rng: np.random.Generator) -> Array:
    """Return (3, H, W) float32 light on the sensor, 0 to about 1.

    Args:
        eye: The eye.
        view: Its pixels.
        lesions: Name -> (H, W) cover, 0 to 1.
        rng: Source of the textures; lesions draw nothing from it.
    """
    light = _tissue(eye, view, rng)
    gain = _illumination(eye, view, rng)
    blood = draw(eye.vessels, view.shape, view.to_pixels, view.middle, eye.blur / view.pixel)
    for name, density in BLOOD.items():
        if name in lesions:
            blood += np.float32(density) * lesions[name]
    _cover(light, lesions.get("hard_exudate"), _HARD)
    for channel, absorbs in zip(light, ABSORBS, strict=True):
        channel *= np.exp(blood * np.float32(-absorbs))
    _cover(light, lesions.get("soft_exudate"), _SOFT)
    field = view.field()
    for channel, tint in zip(light, eye.tint, strict=True):
        channel *= gain * np.float32(tint)
        channel *= field
    return light


def develop(light: Array, eye: Eye, rng: np.random.Generator) -> Array:
    """Return (H, W, 3) uint8 pixels: the sensor's noise is added, the camera's curve flattens the brightest parts."""
    values = light.transpose(1, 2, 0) + np.float32(_BLACK)
    np.minimum(values, 0.8 + 0.2 * np.tanh((values - 0.8) / 0.2), out=values, where=values > 0.8)
    values *= 255
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    values += noise * (np.float32(eye.noise) * (0.35 + 0.65 * np.minimum(values / 90, 1)))
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def disc(eye: Eye, view: View) -> tuple[tuple[slice, slice], Array, Array]:
    """Return a window around the optic disc, and there the distances from its outline and from that of its cup.

    Distances are negative inside, and right near the outline only.
    """
    window = view.window(eye.disc, 1.6 * eye.disc_radii[1])
    dx = (view.x[window] - np.float32(eye.disc[0])) / np.float32(eye.disc_radii[0])
    dy = (view.y[window] - np.float32(eye.disc[1])) / np.float32(eye.disc_radii[1])
    angle = np.arctan2(dy, dx)
    outline = np.ones_like(dx)
    for order, height, phase in eye.disc_waves:
        outline += np.float32(height) * np.cos(order * angle + np.float32(phase))
    shift, ratio = eye.cup
    inner = np.hypot(dx + np.float32(shift), dy * np.float32(0.92)) - np.float32(ratio)
    scale = np.float32(eye.disc_radii[0])
    return window, (np.hypot(dx, dy) - outline) * scale, inner * scale


def _tissue(eye: Eye, view: View, rng: np.random.Generator) -> Array:
    """Return (3, H, W) float32 light that the eye without blood reflects."""
    colour = (1 - eye.pigment) * np.array(_LIGHT) + eye.pigment * np.array(_DARK)
    dark = 0.1 * view.noise(rng, 0.45) + 0.025 * view.noise(rng, 0.03)
    away = (view.x - np.float32(eye.fovea[0])) ** 2 + (view.y - np.float32(eye.fovea[1])) ** 2
    radius, strength = eye.macula
    spot = np.exp(away * np.float32(-1 / radius**2))
    # The choroid's large vessels are pale stripes between pigment, outside the macula.
    stripes = np.abs(view.noise(rng, 0.085)) + 0.5 * np.abs(view.noise(rng, 0.05))
    dark += np.float32(eye.tessellation) * (stripes - 1) * (1 - spot)
    dark += np.float32(strength) * (spot + np.float32(0.7) * np.square(spot * spot * spot))
    result = np.stack([np.exp(dark * np.float32(-a)) * np.float32(c) for c, a in zip(colour, _PIGMENT, strict=True)])
    window = view.window(eye.fovea, 0.04)
    result[(slice(None), *window)] += np.float32(eye.reflex) * np.exp(away[window] * np.float32(-1 / 0.013**2))
    _fibres(result, eye, view, rng)
    _paint_disc(result, eye, view)
    return result


def _fibres(light: Array, eye: Eye, view: View, rng: np.random.Generator) -> None:
    """Brighten the bundles of nerve fibres that leave the disc, above and below most."""
    window = view.window(eye.disc, 0.55)
    dx, dy = view.x[window] - np.float32(eye.disc[0]), view.y[window] - np.float32(eye.disc[1])
    away = np.sqrt(dx * dx + dy * dy) + np.float32(1e-3)
    angle = np.arctan2(dy, dx)
    streaks = np.zeros_like(away)
    for order, phase in zip((17, 29, 43), rng.uniform(0, 2 * np.pi, 3), strict=True):
        streaks += np.cos(order * angle + np.float32(phase))
    sheen = np.exp(away * away * np.float32(-1 / 0.24**2)) * (np.float32(0.3) + np.float32(0.7) * (dy / away) ** 2)
    light[(slice(None), *window)] *= 1 + sheen * (np.float32(0.08) + np.float32(0.02) * streaks)


def _paint_disc(light: Array, eye: Eye, view: View) -> None:
    window, outer, inner = disc(eye, view)
    part = light[(slice(None), *window)]
    soft = max(0.024, 1.2 * view.pixel)
    temporal = np.clip((np.float32(eye.disc[0]) - view.x[window]) / np.float32(eye.disc_radii[0]), -1, 1)
    crescent = inside(outer - 0.035, 0.03) * np.clip(temporal, 0, 1)
    _cover(part, np.float32(min(eye.atrophy, 0.7)) * crescent, _ATROPHY)
    _cover(part, inside(outer, soft) * np.float32(0.9), _RIM)
    # The nasal side holds more fibres and is redder.
    part *= 1 - inside(outer, soft) * np.multiply.outer((0.02, 0.1, 0.16), 0.5 - 0.5 * temporal).astype(np.float32)
    _cover(part, inside(inner, 0.05) * inside(outer, soft), _CUP)


def _illumination(eye: Eye, view: View, rng: np.random.Generator) -> Array:
    """Return (H, W) float32 light that falls on the retina: brightest near the middle, unevenly."""
    brightness, fall, x, y, uneven = eye.light
    away = (view.x - np.float32(x)) ** 2 + (view.y - np.float32(y)) ** 2
    rim = np.clip((view.distance - np.float32(0.86)) / np.float32(0.14), 0, 1) ** 2
    gain = np.float32(brightness) * np.exp(np.float32(uneven) * view.noise(rng, 0.6) - np.float32(fall) * away)
    return np.asarray(gain * (1 - np.float32(0.3) * rim))


def _cover(light: Array, cover: Array | None, colour: tuple[float, float, float]) -> None:
    """Lay a colour over (3, H, W) light where `cover` (0 to 1) says so."""
    if cover is not None:
        for channel, value in zip(light, colour, strict=True):
            channel += cover * (np.float32(value) - channel)

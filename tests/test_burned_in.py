"""Text in pixels: planted lines are found, anatomy and lone letters are not."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from synthcohort._burned_in import has_text

NAMES = ("DejaVuSans.ttf", "DejaVuSansMono.ttf", "DejaVuSerif-Bold.ttf")
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@functools.cache
def anatomy(side: int = 512, seed: int = 0) -> np.ndarray:
    """Return (side, side) uint8: a smooth body with bright discs, dark ones, thin lines and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    body = 90.0 * (np.hypot(y - 0.5, (x - 0.5) * 1.2) < 0.42)
    for _ in range(12):
        row, column, radius = *rng.uniform(0.25, 0.75, 2), rng.uniform(0.02, 0.1)
        body += rng.uniform(-60, 80) * (np.hypot(y - row, x - column) < radius)
    for row in rng.uniform(0.2, 0.8, 6):
        body += 60 * (np.abs(y - row - 0.05 * np.sin(9 * x)) < 0.004)
    blurred = ndimage.gaussian_filter(body, 1.2) + rng.normal(30, 6, (side, side))
    return np.clip(blurred, 0, 255).astype(np.uint8)


def write(
    image: np.ndarray, text: str, size: int, place: tuple[int, int], fill: int, font: str = "DejaVuSans.ttf"
) -> np.ndarray:
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text(place, text, fill=fill, font=ImageFont.truetype(str(FONTS / font), size))
    return np.asarray(picture)


@pytest.mark.parametrize("side", [96, 128, 176, 256, 512])
def test_anatomy_is_no_text(side: int) -> None:
    assert not any(has_text(anatomy(side, seed)[None]) for seed in range(4))


def test_lines_are_found_light_and_dark_at_the_edge_and_on_the_body() -> None:
    image = anatomy()
    light = (255 - image // 4).astype(np.uint8)
    found = []
    for font, size, text in itertools.product(NAMES, (12, 16, 20, 30), ("MUELLER^ANNA", "1957-03-14", "ID 4711-22")):
        found.append(has_text(write(image, text, size, (4, 4), 255, font)[None]))
        found.append(has_text(write(image, text, size, (150, 240), 255, font)[None]))
        found.append(has_text(write(light, text, size, (4, 470), 0, font)[None]))
    assert np.mean(found) > 0.97  # of 108; the benchmark has more places and fonts


def test_a_turned_line_is_found() -> None:
    assert has_text(np.rot90(write(anatomy(), "SMITH 19570314", 16, (6, 6), 255))[None])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_number_types(dtype: type) -> None:
    plain = anatomy().astype(dtype) * dtype(12) if dtype is np.uint16 else anatomy().astype(dtype) * 8 - 1000
    assert not has_text(plain[None])
    text = write(anatomy(), "DOE JOHN 57Y", 16, (8, 8), 255).astype(dtype)
    assert has_text((text * 12 if dtype is np.uint16 else text * 8 - 1000)[None].astype(dtype))


def test_colour() -> None:
    grey = anatomy()
    for colour in ((255, 255, 255), (255, 255, 0), (0, 255, 0), (255, 60, 60)):
        picture = Image.fromarray(np.stack([grey // 2, grey // 3, grey // 4], axis=-1))
        ImageDraw.Draw(picture).text(
            (20, 20), "NAME 0042", fill=colour, font=ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 20)
        )
        assert has_text(np.asarray(picture).transpose(2, 0, 1)), colour


def test_large_letters_of_a_large_image_are_found_at_a_reduced_size() -> None:
    large = np.asarray(Image.fromarray(anatomy()).resize((2048, 2048), Image.Resampling.BILINEAR))
    assert not has_text(large[None])
    assert has_text(write(large, "MUELLER ANNA", 90, (60, 60), 255)[None])


def test_a_page_of_text_is_text() -> None:
    page = np.full((512, 512), 255, np.uint8)
    for row in range(4, 500, 14):
        page = write(page, "Patient Anna Mueller, born 14.03.1957, seen on Monday for a check", 12, (4, row), 0)
    assert has_text(page[None])


@pytest.mark.parametrize("text", ["L", "R", "AP"])
def test_a_side_marker_is_no_line(text: str) -> None:
    assert not has_text(write(anatomy(), text, 24, (470, 20), 255)[None])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 64, 64), np.uint8),
        np.full((3, 64, 64), 7, np.uint16),
        np.full((1, 40, 40), -1000, np.float32),
        np.zeros((1, 1, 1), np.uint8),
        np.zeros((1, 5, 900), np.uint8),
        np.full((1, 64, 64), np.nan, np.float32),
        np.random.default_rng(0).integers(0, 256, (1, 300, 300)).astype(np.uint8),
    ],
)
def test_what_shows_nothing_has_no_text(image: np.ndarray) -> None:
    assert not has_text(image)


def test_a_ruler_of_equal_ticks_is_no_text() -> None:
    image = anatomy()
    for tick in range(40, 480, 20):
        image[tick : tick + 2, 500:508] = 255
    assert not has_text(image[None])


@pytest.mark.parametrize(("fills", "expected"), [((255, 255, 255), True), ((255, 238, 225), False)])
def test_three_parts_are_a_line_only_when_alike(fills: tuple[int, ...], expected: bool) -> None:
    image = np.full((128, 128), 20, np.uint8)
    for place, (letter, fill) in enumerate(zip("ABE", fills, strict=True)):
        image = write(image, letter, 20, (40 + 16 * place, 50), fill)
    assert has_text(image[None]) is expected

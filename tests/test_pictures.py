"""Contact sheets and loss curves, on arrays small enough to work out by hand."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from synthcohort.pictures import CLASS_COLOURS, colour_tile, contact_sheet, loss_curves, outline, png_bytes


def test_a_tile_is_enlarged_by_whole_pixels_to_at_least_96() -> None:
    image = np.arange(40 * 40, dtype=np.uint8).reshape(1, 40, 40)
    tile = colour_tile(image)
    assert tile.shape == (120, 120, 3)  # three times: 80 would be too small
    np.testing.assert_array_equal(tile[::3, ::3, 1], image[0])
    assert len(np.unique(tile[:3, :3])) == 1
    assert colour_tile(np.zeros((1, 200, 100), np.uint8)).shape == (200, 100, 3)


def test_colours_are_kept_and_sixteen_bits_become_eight() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
    np.testing.assert_array_equal(colour_tile(rgb), rgb.transpose(1, 2, 0))
    deep = np.array([0, 257, 65535, 32896], np.uint16).reshape(1, 2, 2)
    assert colour_tile(deep)[::48, ::48, 0].ravel().tolist() == [0, 1, 255, 128]


def test_an_outline_is_the_border_of_a_class_in_its_colour() -> None:
    mask = np.zeros((5, 5), np.uint8)
    mask[0:4, 1:4] = 2  # touches the upper edge of the image, which is a border too
    drawn = outline(np.full((5, 5, 3), 9, np.uint8), mask)
    border = np.zeros((5, 5), bool)
    border[0:4, 1:4] = True
    border[1:3, 2] = False
    assert (drawn[border] == CLASS_COLOURS[1]).all()
    assert (drawn[~border] == 9).all()


def test_classes_beyond_the_colours_start_again_and_no_class_draws_nothing() -> None:
    tile = np.zeros((2, 2, 3), np.uint8)
    assert (outline(tile, np.full((2, 2), 7, np.uint8)) == CLASS_COLOURS[0]).all()
    np.testing.assert_array_equal(outline(tile, np.zeros((2, 2), np.uint8)), tile)


def test_a_sheet_has_each_row_of_images_above_the_same_row_outlined() -> None:
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 96, 96), np.uint8)
    masks = np.zeros((5, 96, 96), np.uint8)
    masks[:, 10:20, 10:20] = 1
    sheet = np.asarray(contact_sheet(images, masks, columns=3))
    assert sheet.shape == (4 * 96, 3 * 96, 3)
    tiles = sheet.reshape(4, 96, 3, 96, 3).swapaxes(1, 2)
    assert tiles[:, :, 50, 50, 0].tolist() == [[1, 2, 3], [1, 2, 3], [4, 5, 0], [4, 5, 0]]  # the last place is empty
    assert tiles[0::2, :, 10, 10].max() <= 5
    assert (tiles[1, :, 10, 10] == CLASS_COLOURS[0]).all()
    assert np.asarray(contact_sheet(images, None, columns=3)).shape == (2 * 96, 3 * 96, 3)


def test_a_png_holds_the_pixels_and_nothing_else() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    data = png_bytes(Image.fromarray(pixels))
    assert data == png_bytes(Image.fromarray(pixels))
    with Image.open(io.BytesIO(data)) as back:
        np.testing.assert_array_equal(np.asarray(back), pixels)
        assert back.info == {}


@pytest.mark.parametrize("rows", [[], [{"images_seen": 8, "critic": 1.0}]])
def test_curves_of_few_rows_are_a_picture(rows: list[dict[str, float]]) -> None:
    assert ET.fromstring(loss_curves(rows)).tag.endswith("svg")


def test_curves_show_every_loss_and_the_same_rows_give_the_same_bytes() -> None:
    rows = [{"images_seen": 8, "critic": 1.0}, {"images_seen": 16, "critic": 0.5, "generator": 2.0}]
    text = loss_curves(rows)
    assert loss_curves(rows) == text
    for words in ("training images seen", "critic", "generator"):
        assert f"<!-- {words} -->" in text
    assert loss_curves(rows[:1]) != text

"""Dice: shifted squares by hand, the empty-mask rule, and MONAI."""

from __future__ import annotations

import numpy as np
import pytest

from synthcohort.metrics import dice


def square(left, size=4, side=12, index=1):
    mask = np.zeros((side, side), np.uint8)
    mask[2 : 2 + size, left : left + size] = index
    return mask


def test_a_shifted_square():
    ids, table = dice.dice_table(square(1)[None], square(2)[None], np.array(["v"]), [1])
    assert ids.tolist() == ["v"]
    assert table.tolist() == [[2 * 12 / 32]]  # 4x4 squares that share 4x3


def test_slices_of_a_group_are_pooled():
    truth, predicted = np.stack([square(1), square(1, size=2)]), np.stack([square(1), square(6, size=2)])
    _, volume = dice.dice_table(truth, predicted, np.array([0, 0]), [1])
    _, slices = dice.dice_table(truth, predicted, np.arange(2), [1])
    assert volume.tolist() == [[2 * 16 / 40]]
    assert slices.tolist() == [[1.0], [0.0]]


def test_the_rule_for_empty_masks():
    empty = np.zeros((12, 12), np.uint8)
    _, table = dice.dice_table(
        np.stack([empty, empty, square(1)]), np.stack([empty, square(1), empty]), np.arange(3), [1]
    )
    assert np.isnan(table[0, 0])  # both empty: not counted
    assert table[1:].tolist() == [[0.0], [0.0]]  # one empty


def test_equals_monai():
    from monai.metrics.meandice import compute_dice
    from torch import from_numpy

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 6, 16, 16))
    _, table = dice.dice_table(truth, predicted, np.arange(6), [1, 2, 3])
    one_hot = [from_numpy(np.moveaxis(np.eye(4)[mask], -1, 1).copy()) for mask in (predicted, truth)]
    expected = compute_dice(*one_hot, include_background=False).numpy()
    np.testing.assert_allclose(table, expected, atol=1e-6)  # MONAI computes in float32


def test_score_gives_every_class_and_the_mean():
    truth = np.stack([square(1), square(2), square(3), square(1)])
    predicted = np.stack([square(1), square(3), square(3), square(2)])
    classes = {"ventricle": 1, "absent": 2}
    rows = dice.score(truth, predicted, np.arange(4), np.array(["a", "a", "b", "c"]), classes=classes, seed=0)
    by_label = {row.label: row for row in rows}
    assert by_label["ventricle"].value == pytest.approx((1 + 0.75 + 1 + 0.75) / 4)
    assert by_label["ventricle"].low == pytest.approx(0.75)  # patient c drawn three times is 1 draw in 27
    assert by_label["ventricle"].high == pytest.approx(1.0)
    assert by_label["absent"].status == "not_estimable"
    assert by_label["mean"].value == by_label["ventricle"].value


def test_mean_leaves_out_what_is_not_there():
    table = np.array([[1.0, np.nan], [0.5, np.nan]])
    np.testing.assert_equal(dice.mean_dice(table), [0.75, np.nan, 0.75])

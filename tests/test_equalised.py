"""Layers with an equalised learning rate, the fused side changes and the two norms against slow computations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu

from synthcohort.generators._equalised import (
    Conv2d,
    DownConv2d,
    Linear,
    UpConv2d,
    minibatch_stddev,
    pixel_norm,
)

EXACT = {"rtol": 0, "atol": 1e-11}  # float64, sums of a few hundred products


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def with_bias(layer):
    nn.init.normal_(layer.bias)
    return layer.double()


def test_a_linear_layer_scales_its_weights_when_it_runs():
    layer, x = with_bias(Linear(6, 4, gain=3.0)), noise(5, 6)
    rows = (layer.weight.detach() * 3 / math.sqrt(6)).tolist()
    expected = [[sum(w * v for w, v in zip(row, values, strict=True)) for row in rows] for values in x.tolist()]
    torch.testing.assert_close(layer(x), torch.tensor(expected, dtype=torch.float64) + layer.bias, **EXACT)


def test_a_layer_of_a_lower_rate_starts_alike_and_moves_less():
    torch.manual_seed(1)
    plain = Linear(6, 4, bias_start=2.0)
    torch.manual_seed(1)
    slow, x = Linear(6, 4, bias_start=2.0, rate=0.01), torch.randn(5, 6)
    torch.testing.assert_close(slow(x), plain(x), rtol=1e-5, atol=1e-5)  # float32
    before = slow(x)
    with torch.no_grad():
        slow.weight += 1
    torch.testing.assert_close(slow(x) - before, 0.01 / math.sqrt(6) * x.sum(1, keepdim=True).expand(5, 4),
                               rtol=0, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: Conv2d(6, 4, 3, gain=3.0), 6 * 9),
        (lambda: Conv2d(6, 4, 1, gain=3.0), 6),
        (lambda: Conv2d(6, 4, 3, gain=3.0, fan_in=36), 36),
        (lambda: UpConv2d(6, 4, gain=3.0), 6 * 9),
        (lambda: UpConv2d(6, 4, gain=3.0, fan_in=4 * 9), 4 * 9),
        (lambda: DownConv2d(6, 4, gain=3.0), 6 * 9),
    ],
)
def test_weights_are_stored_with_unit_spread_and_scaled_by_gain_and_fan_in(layer, fan_in):
    made = layer()
    assert made.scale == pytest.approx(3 / math.sqrt(fan_in))
    large = type(made)(64, 64, 3) if isinstance(made, Conv2d) else type(made)(64, 64)
    assert float(large.weight.detach().std()) == pytest.approx(1, abs=0.05)  # 4,096 draws or more: four standard errors
    assert float(large.bias.detach().abs().sum()) == 0


def test_up_is_a_convolution_of_the_doubled_image():
    layer, x = with_bias(UpConv2d(3, 5, gain=math.sqrt(2))), noise(2, 3, 4, 6).requires_grad_()
    plain = conv2d(interpolate(x, scale_factor=2, mode="nearest"), layer.weight * layer.scale, layer.bias, padding=1)
    compare_with_gradients(layer, x, layer(x), plain)


def test_down_is_the_mean_of_a_convolution():
    layer, x = with_bias(DownConv2d(3, 5, gain=math.sqrt(2))), noise(2, 3, 4, 6).requires_grad_()
    plain = avg_pool2d(conv2d(x, layer.weight * layer.scale, layer.bias, padding=1), 2)
    compare_with_gradients(layer, x, layer(x), plain)


def compare_with_gradients(layer, x, found, expected):
    torch.testing.assert_close(found, expected, **EXACT)
    seen, weights = noise(*found.shape), (x, *layer.parameters())
    for one, two in zip(
        torch.autograd.grad((found * seen).sum(), weights), torch.autograd.grad((expected * seen).sum(), weights),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one, two, **EXACT)


def test_the_gradient_of_a_gradient_through_down_is_that_of_the_plain_form():
    layer, x = with_bias(DownConv2d(3, 5)), noise(2, 3, 4, 4).requires_grad_()

    def penalty(out):
        (slope,) = torch.autograd.grad(leaky_relu(out, 0.2).square().sum(), x, create_graph=True)
        return torch.autograd.grad((slope.flatten(1).norm(dim=1) - 1).square().sum(), layer.weight)[0]

    expected = penalty(avg_pool2d(conv2d(x, layer.weight * layer.scale, layer.bias, padding=1), 2))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(penalty(layer(x)), expected, rtol=1e-10, atol=1e-10)


def test_pixel_norm_divides_each_place_by_its_root_mean_square():
    x = noise(2, 3, 4, 5)
    found = pixel_norm(x)
    for place in ((0, 0, 0), (1, 2, 3)):
        image, row, column = place
        values = x[image, :, row, column]
        length = math.sqrt(sum(float(v) ** 2 for v in values) / 3 + 1e-8)
        torch.testing.assert_close(found[image, :, row, column], values / length, rtol=1e-6, atol=0)  # float32 inside


def slow_minibatch_stddev(x, group):
    """Return the new channel's value for each image, one group, channel and place at a time."""
    count = len(x) // group
    values = torch.zeros(len(x), dtype=x.dtype)
    for first in range(count):
        members = [first + count * i for i in range(group)]
        spreads = []
        for place in x[members].flatten(1).T:
            middle = sum(place) / group
            spreads.append((sum((v - middle) ** 2 for v in place) / group + 1e-8) ** 0.5)
        values[members] = sum(spreads) / len(spreads)
    return values


@pytest.mark.parametrize(("count", "group"), [(8, 4), (12, 4), (4, 4), (6, 2), (3, 1)])
def test_minibatch_stddev_says_how_much_a_strided_group_differs(count, group):
    x = noise(count, 3, 2, 2)
    found = minibatch_stddev(x)
    assert found.shape == (count, 4, 2, 2)
    torch.testing.assert_close(found[:, :3], x, **EXACT)
    expected = slow_minibatch_stddev(x, group)[:, None, None].expand(-1, 2, 2)
    torch.testing.assert_close(found[:, 3], expected, rtol=1e-6, atol=1e-7)  # float32 inside


def test_minibatch_stddev_of_equal_images_has_a_finite_slope():
    x = torch.ones(4, 2, 2, 2, requires_grad=True)
    minibatch_stddev(x)[:, 2].sum().backward()
    assert x.grad.isfinite().all()

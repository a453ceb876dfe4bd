"""The U-Net of the flow: it starts at zero, keeps the shape, and attends as the reference does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from synthcohort.nets.unet import Attention, Block, TimeUNet, Upsample, _sinusoids

SMALL: dict[str, Any] = {"width": 16, "multipliers": (1, 2), "blocks": 1, "patch": 2, "attention_levels": 1}


def net(channels_in: int = 2, channels_out: int = 1, **changes: Any) -> TimeUNet:
    torch.manual_seed(0)
    return TimeUNet(channels_in, channels_out, **{**SMALL, **changes})


def stirred(module: nn.Module) -> Any:
    """Return the module with weights that are not zero anywhere, as after some training."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def test_the_output_starts_at_zero_whatever_goes_in() -> None:
    out = net(3, 4)(100 * noise(2, 3, 16, 16), torch.tensor([0.0, 0.9]))
    assert torch.equal(out, torch.zeros(2, 4, 16, 16))


def test_a_block_starts_as_the_identity() -> None:
    x = noise(2, 32, 4, 4)
    assert torch.equal(Block(32, 32, 8, attends=True)(x, noise(2, 8)), x)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"multipliers": (1,), "attention_levels": 1},
        {"multipliers": (1, 2, 2, 3), "blocks": 2},
        {"patch": 1, "attention_levels": 0},
        {"patch": 4, "attention_levels": 2},
        {"width": 64},  # several groups and several heads
    ],
)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 16)])
def test_the_shape_is_kept(changes: dict[str, Any], height: int, width: int) -> None:
    model = stirred(net(3, 5, **changes))
    out = model(noise(2, 3, height, width), torch.tensor([0.1, 0.9]))
    assert out.shape == (2, 5, height, width)
    assert torch.isfinite(out).all()
    assert out.std() > 0


def test_an_output_depends_on_its_own_time_and_image_only() -> None:
    model, x = stirred(net()), noise(2, 2, 16, 16)
    with torch.inference_mode():
        same, early, late = (model(x, torch.tensor([first, 0.5])) for first in (0.5, 0.1, 0.9))
        swapped = model(x.flip(0), torch.tensor([0.5, 0.5]))
    assert (early[0] - late[0]).abs().max() > 1e-3
    torch.testing.assert_close(early[1], late[1], rtol=0, atol=1e-5)  # sums in another order, float32
    torch.testing.assert_close(swapped.flip(0), same, rtol=0, atol=1e-5)


def test_every_pixel_reaches_every_pixel_through_attention() -> None:
    def reach(attention_levels: int) -> torch.Tensor:
        model = stirred(net(1, 1, multipliers=(1,), attention_levels=attention_levels)).double()
        x = noise(1, 1, 64, 64).double()
        changed = x.clone()
        changed[..., :2, :2] += 1
        # Group norm reaches everywhere too, but weakly; switched off to see attention alone.
        for module in model.modules():
            if isinstance(module, nn.GroupNorm):
                module.forward = lambda value: value  # type: ignore[method-assign]
        time = torch.tensor([0.5], dtype=torch.float64)
        with torch.inference_mode():
            return (model(changed, time) - model(x, time))[0, 0, -2:, -2:].abs().max()

    assert reach(0) == 0
    assert reach(1) > 0


def test_attention_equals_the_multi_head_attention_of_torch() -> None:
    features = 64
    attention = stirred(Attention(features))
    x = noise(2, features, 4, 3)
    tokens = attention.norm(x).flatten(2).permute(2, 0, 1)  # (positions, B, features)
    expected, _ = functional.multi_head_attention_forward(
        tokens, tokens, tokens, features, 2,
        attention.qkv.weight[:, :, 0, 0], attention.qkv.bias, None, None, False, 0.0,
        attention.project.weight[:, :, 0, 0], attention.project.bias,
    )  # fmt: skip
    found = attention(x) - x
    # The same sums in another order, float32.
    torch.testing.assert_close(found, expected.permute(1, 2, 0).reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_times_become_sines_and_cosines_from_one_to_a_thousand() -> None:
    time = torch.tensor([0.0, 0.25, 1.0])
    found = _sinusoids(time, 8)
    assert found.shape == (3, 8)
    assert found[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    rates = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
    expected = torch.cat([(time[:, None] * rates).cos(), (time[:, None] * rates).sin()], 1)
    # Angles up to 1000 have 6e-5 of float32 rounding.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-4)


def test_the_weights_are_those_of_its_layers_and_no_more() -> None:
    def conv(before: int, after: int, side: int = 3) -> int:
        return before * after * side**2 + after

    def block(before: int, after: int, time: int, *, attends: bool) -> int:
        own = 2 * before + conv(before, after) + 2 * after + conv(after, after) + (time + 1) * 2 * after
        skip = conv(before, after, 1) if before != after else 0
        return own + skip + (2 * after + conv(after, 3 * after, 1) + conv(after, after, 1) if attends else 0)

    time = 4 * 16
    expected = (
        (16 + 1) * time + (time + 1) * time  # the time
        + conv(2 * 4, 16) + block(16, 16, time, attends=False) + conv(16, 32)  # the door, level 1, down
        + block(32, 32, time, attends=True) * 2 + block(64, 32, time, attends=True)  # level 2, middle, level 2
        + conv(32, 16) + block(32, 16, time, attends=False) + 2 * 16 + conv(16, 4)  # up, level 1, out
    )  # fmt: skip
    assert sum(parameter.numel() for parameter in net().parameters()) == expected


def test_features_are_reduced_before_the_side_is_doubled() -> None:
    up = stirred(Upsample(8, 4))
    x = noise(2, 8, 3, 5)
    expected = up.conv(x).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(up(x), expected)

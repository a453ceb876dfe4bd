"""pix2pix: tables and parameter counts, what is dropped, one pass of the critic or two, one textbook step, options."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from synthcohort.errors import BadOption, InputError
from synthcohort.generators import pix2pix
from synthcohort.generators._pix2pix_network import NoisyUNet
from synthcohort.generators.pix2pix import Generator
from synthcohort.nets.generator import Draws, Streams
from synthcohort.types import Batch, Clock, Condition

EXACT = {"atol": 1e-5, "rtol": 1e-5}  # float32 sums in another order


def model(side=16, classes=("background", "a", "b"), channels=1, labels=(), **options):
    torch.manual_seed(0)
    small = {"filters": 4, "mask_source": "training", **options}
    return Generator(shape=(channels, side, side), labels=labels, mask_classes=classes, **small)


def masks(count, seed=1):
    coarse = torch.randint(3, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse.float(), (16, 16))[:, 0].long()


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(side, **options):
    with torch.device("meta"):
        return model(side=side, classes=("a", "b", "c"), channels=3, filters=64, **options)


class TestTables:
    @pytest.fixture(autouse=True)
    def without_drawing(self, monkeypatch):
        """There is nothing to draw on a device without values."""
        monkeypatch.setattr(pix2pix, "_initialise", lambda _: None)

    def test_parameters_at_256_are_the_published_table_and_what_released_code_prints(self):
        gan = on_meta(256, norm="batch")
        down = [3, 64, 128, 256, 512, 512, 512, 512, 512]
        up = [(512, 512), (1024, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64), (128, 3)]
        expected = sum(16 * a * b for a, b in pairwise(down)) + sum(16 * a * b for a, b in up)
        expected += 2 * sum(down[2:8]) + 2 * sum(b for _, b in up[:-1])  # gain and bias of every batch norm
        expected += 64 + 512 + 3  # biases where there is no norm
        assert count(gan.generator) == expected
        # Public logs of the authors' PyTorch code (RGB to RGB): 54.414 M and 2.769 M, without two of these biases.
        assert round((count(gan.generator) - 64 - 512) / 1e6, 3) == 54.414
        assert round(count(gan.critic) / 1e6, 3) == 2.769

    def test_the_critic_sees_patches_of_70_pixels_at_256_and_a_quarter_of_the_side_below(self):
        for side, patch in ((256, 70), (128, 34), (64, 16), (32, 16), (16, 16)):
            strides = [part.stride[0] for part in on_meta(side).critic.modules() if isinstance(part, nn.Conv2d)]
            field = 1
            for stride in reversed(strides):
                field = (field - 1) * stride + 4
            assert field == patch, side

    def test_the_bottom_is_one_place_with_no_norm_to_empty_it(self):
        gan = model(side=32)
        seen = []
        gan.generator.down[-1].register_forward_hook(lambda _, __, out: seen.append(out))
        noise = [torch.ones(2, *shape) for shape in gan.generator.noise]
        gan.generator(torch.rand(2, 3, 32, 32), noise)
        assert seen[0].shape[2:] == (1, 1)
        assert seen[0].abs().min() > 0
        assert len(gan.generator.down) == 5


class TestNoise:
    def test_half_of_the_first_doublings_is_dropped_and_the_rest_doubled(self):
        torch.manual_seed(0)
        network = NoisyUNet(3, 1, 16, filters=2, norm=nn.Identity)
        assert network.noise == [(8, 2, 2), (4, 4, 4), (2, 8, 8)]
        plan, seen = torch.rand(1, 3, 16, 16), []
        for layer in network.up[1:]:
            layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        outputs = []
        for layer in network.up[:3]:
            layer.register_forward_hook(lambda _, __, out: outputs.append(out))
        noise = [torch.rand(1, *shape) for shape in network.noise]
        network(plan, noise)
        for given, made, drawn in zip(seen, outputs, noise, strict=True):
            expected = torch.where(drawn >= 0.5, 2 * made, torch.zeros_like(made)).relu()
            torch.testing.assert_close(given[:, : made.shape[1]], expected, **EXACT)

    def test_one_mask_has_many_images_and_each_comes_again_with_its_seed(self):
        gan, shown = model().eval(), masks(1).expand(3, -1, -1)
        gan.generator.requires_grad_(False)
        for parameter in gan.generator.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        images = gan.sample(Condition(3, masks=shown), Streams((1, 2, 1))).images
        assert (images[0] - images[1]).abs().max() > 1e-3
        torch.testing.assert_close(images[0], images[2], **EXACT)

    def test_masks_given_back_come_with_the_same_images(self):
        gan = model()
        gan.fit(np.zeros((9, 1, 16, 16), np.float32), masks(9).numpy().astype(np.uint8), None, seed=0)
        one = gan.sample(Condition(3), Streams((1, 2, 3)))
        assert torch.equal(gan.sample(Condition(3, masks=one.masks), Streams((1, 2, 3))).images, one.images)


def test_only_images_whose_mask_changes_change():
    gan, shown = model(), masks(4)
    other = shown.clone()
    other[2] = (other[2] + 1) % 3
    one, two = (gan.sample(Condition(4, masks=given), Streams((1, 2, 3, 4))).images for given in (shown, other))
    assert [i for i in range(4) if (one[i] - two[i]).abs().max() > 1e-4] == [2]


def textbook_losses(gan, plan, real, fake):
    """Return the losses of generator and critic: two passes of the critic, binary cross-entropy with 1 and 0."""
    entropy = functional.binary_cross_entropy_with_logits
    on_real = gan.critic(torch.cat([plan, real], 1))[-1]
    on_fake = gan.critic(torch.cat([plan, fake.detach()], 1))[-1]
    critic = (entropy(on_real, torch.ones_like(on_real)) + entropy(on_fake, torch.zeros_like(on_fake))) / 2
    judged = gan.critic(torch.cat([plan, fake], 1))[-1]
    return entropy(judged, torch.ones_like(judged)) + 100 * functional.l1_loss(fake, real), critic


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("labels", [0, 2])
def test_a_step_has_the_gradients_of_the_textbook_with_two_passes(norm, labels):
    names, rng = tuple(f"finding{i}" for i in range(labels)), torch.Generator().manual_seed(2)
    gan = model(norm=norm, labels=names)
    for parameter in gan.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=rng)
    told = torch.randint(2, (4, labels), generator=rng).float() if labels else None
    shown = Batch(torch.rand((4, 1, 16, 16), generator=rng) * 2 - 1, masks(4), told, torch.arange(4))
    other, found = copy.deepcopy(gan), {}

    def update(name, loss, *, lr=None):
        gan.zero_grad()
        loss.backward()
        found[name] = {key: p.grad.clone() for key, p in gan.named_parameters() if p.grad is not None}

    losses = gan.step(shown, clock=Clock(0, 0, 800), rng=Draws(5), update=update)
    plan = functional.one_hot(shown.masks, 3).movedim(-1, 1).float()
    if labels:
        plan = torch.cat([plan, told[:, :, None, None].repeat(1, 1, 16, 16)], 1)
    draws = Draws(5)
    fake = other.generator(plan, [draws.uniform(4, *shape) for shape in other.generator.noise])
    painter, critic = textbook_losses(other, plan, shown.images, fake)
    torch.testing.assert_close(losses["pixels"] + losses["adversarial"], painter.detach(), **EXACT)
    torch.testing.assert_close(losses["critic"], critic.detach(), **EXACT)
    for name, loss in (("generator", painter), ("critic", critic)):
        own = {key: p for key, p in other.named_parameters() if key.startswith(name)}
        slopes = torch.autograd.grad(loss, list(own.values()), retain_graph=True)
        assert set(found[name]) == set(own)
        for key, slope in zip(own, slopes, strict=True):
            # A weight of 100 on sums over 4 x 16 x 16 places.
            torch.testing.assert_close(found[name][key], slope, atol=1e-4, rtol=1e-3, msg=key)


def test_batch_norm_keeps_real_and_fake_apart():
    """Over both together the score of a real image would change with the fakes."""
    for norm in ("instance", "batch"):
        gan = model(norm=norm)
        plan, real = torch.rand(4, 3, 16, 16), torch.rand(4, 1, 16, 16)
        one, _ = gan._both_scores(plan, real, torch.rand(4, 1, 16, 16))
        two, _ = gan._both_scores(plan, real, torch.rand(4, 1, 16, 16) - 1)
        torch.testing.assert_close(one, two, **EXACT)


@pytest.mark.parametrize("side", [8, 24])
def test_other_sides_are_refused(side):
    with pytest.raises(InputError, match="power of two from 16"):
        model(side=side)


@pytest.mark.parametrize("option", [{"filters": 0}, {"halvings": 4}, {"halvings": 0}, {"pixel_weight": -1.0}])
def test_numbers_out_of_range_are_refused(option):
    with pytest.raises(BadOption):
        model(**option)

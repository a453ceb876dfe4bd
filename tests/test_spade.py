"""SPADE: tables and parameter counts, special layers against slow computations, a textbook step, masks, options."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from synthcohort.errors import BadOption, InputError
from synthcohort.generators import _spade_networks, spade
from synthcohort.generators._patch_critic import InstanceNorm2d, MultiscaleCritic
from synthcohort.generators._spade_networks import (
    Modulation,
    SpadeBlock,
    SpadeGenerator,
    StyleEncoder,
    block_table,
    initialise,
)
from synthcohort.generators.spade import Generator, critic_loss, divergence_from_normal, generator_loss, matching_loss
from synthcohort.nets.generator import Draws, Streams
from synthcohort.types import Batch, Clock, Condition

EXACT = {"atol": 1e-5, "rtol": 1e-5}  # float32 sums in another order
CLASSES = ("background", "a", "b")


def model(side=16, labels=(), classes=CLASSES, channels=1, **options):
    torch.manual_seed(0)
    small = {"filters": 4, "hidden": 8, "latent": 6, "mask_source": "training", **options}
    return Generator(shape=(channels, side, side), labels=labels, mask_classes=classes, **small)


def masks(count, side=16, classes=3, seed=1):
    coarse = torch.randint(classes, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse.float(), (side, side))[:, 0].long()


def batch(count=4, labels=0):
    rng = torch.Generator().manual_seed(2)
    images = torch.rand((count, 1, 16, 16), generator=rng) * 2 - 1
    told = torch.randint(2, (count, labels), generator=rng).float() if labels else None
    return Batch(images, masks(count), told, torch.arange(count))


def run_step(gan, update, shown):
    return gan.step(shown, clock=Clock(0, 0, 800), rng=Draws(5), update=update)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def modulation_count(features, plan):
    return (9 * plan * 128 + 128) + 2 * (9 * 128 * features + features)


def block_count(inputs, outputs, plan):
    middle = min(inputs, outputs)
    total = modulation_count(inputs, plan) + modulation_count(middle, plan)
    total += 9 * inputs * middle + middle + 9 * middle * outputs + outputs
    return total + (modulation_count(inputs, plan) + inputs * outputs if inputs != outputs else 0)


def critic_count(inputs):
    """Two scales of 4x4 convolutions 64-128-256-512-1; only the first and the last have a bias."""
    widths = [64, 128, 256, 512]
    middle = sum(16 * a * b for a, b in pairwise(widths))
    return 2 * (16 * inputs * 64 + 64 + middle + 16 * 512 + 1)


class TestTables:
    @pytest.fixture(autouse=True)
    def without_drawing(self, monkeypatch):
        """There is nothing to draw on a device without values."""
        for module in (_spade_networks, spade):
            monkeypatch.setattr(module, "initialise", lambda _: None)

    def built(self, style, classes=4, channels=1):
        names = [f"class{i}" for i in range(classes)]
        with torch.device("meta"):
            return Generator(shape=(channels, 256, 256), labels=(), mask_classes=names, style=style)

    def test_blocks_are_the_published_ones_at_256_and_lose_the_widest_below(self):
        assert block_table(256, 64) == [(8, 1024), (16, 1024), (16, 1024), (32, 512), (64, 256), (128, 128), (256, 64)]
        assert block_table(128, 64) == [(4, 1024), (8, 1024), (8, 1024), (16, 512), (32, 256), (64, 128), (128, 64)]
        assert block_table(64, 64) == [(4, 1024), (8, 512), (8, 512), (16, 256), (32, 128), (64, 64)]
        assert block_table(16, 16) == [(4, 64), (8, 32), (8, 32), (16, 16)]
        assert block_table(512, 64)[0] == (16, 1024)

    @pytest.mark.parametrize("style", ["vae", "none"])
    def test_parameters_at_256_are_the_arithmetic_of_the_published_table(self, style):
        gan, plan = self.built(style), 4
        blocks = [(1024, 1024)] * 3 + [(1024, 512), (512, 256), (256, 128), (128, 64)]
        begin = 256 * 1024 * 64 + 1024 * 64 if style == "vae" else 9 * plan * 1024 + 1024
        paint = 9 * 64 * 1 + 1
        assert count(gan.generator) == begin + sum(block_count(*pair, plan) for pair in blocks) + paint
        assert count(gan.critic) == critic_count(plan + 1)
        if style == "none":
            assert gan.encoder is None
            return
        widths = [1, 64, 128, 256, 512, 512, 512]
        convolutions = sum(9 * a * b for a, b in pairwise(widths))
        assert count(gan.encoder) == convolutions + 2 * (512 * 16 * 256 + 256)

    def test_parameters_of_19_classes_and_rgb_are_those_that_the_released_code_prints(self):
        # A public log of that code with --label_nc 19 --no_instance: 92.5 million and 5.6 million.
        gan = self.built("none", classes=19, channels=3)
        assert round(count(gan.generator) / 1e6, 1) == 92.5
        assert round(count(gan.critic) / 1e6, 1) == 5.6

    def test_spectral_norm_is_where_it_is_published_to_be(self):
        gan = model(side=32)
        normed = {
            name.removesuffix(".parametrizations.weight.0") for name, _ in gan.named_modules() if "weight.0" in name
        }
        convolutions = {name for name, part in gan.named_modules() if isinstance(part, nn.Conv2d)}
        in_blocks = {name for name in convolutions if "blocks" in name and "told" not in name}
        in_critic = {f"critic.critics.{scale}.layers.{layer}.0" for scale in (0, 1) for layer in (1, 2, 3)}
        assert normed == in_blocks | in_critic | {name for name in convolutions if name.startswith("encoder")}

    def test_the_critic_sees_the_image_and_its_half_in_steps_of_the_published_strides(self):
        sides = [
            [layer.shape[2] for layer in scale]
            for scale in MultiscaleCritic(2, 2, initialise=initialise)(torch.zeros(1, 2, 64, 64))
        ]
        # 4x4 kernels with padding 2: n // 2 + 1 with stride 2, n + 1 without.
        assert sides == [[33, 17, 9, 10, 11], [17, 9, 5, 6, 7]]

    def test_the_half_is_the_mean_of_the_pixels_that_are_there(self):
        critic, x = MultiscaleCritic(1, 2, initialise=initialise), torch.rand(1, 1, 16, 16)
        seen = []
        critic.critics[1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        critic(x)
        for row, column in ((0, 0), (0, 3), (7, 7)):
            window = x[0, 0, max(2 * row - 1, 0) : 2 * row + 2, max(2 * column - 1, 0) : 2 * column + 2]
            assert seen[0][0, 0, row, column].item() == pytest.approx(window.mean().item(), rel=1e-5)


class TestLayers:
    def test_weights_start_as_published(self):
        torch.manual_seed(0)
        told, expected = Modulation(32, 3, 64), 0.02 * np.sqrt(2 / (9 * 64 + 9 * 32))
        told.apply(initialise)
        # Gamma's and beta's weights are of two convolutions: the spread of 18,432 draws is within 2 %.
        for half in told.both.weight.chunk(2):
            assert half.std().item() == pytest.approx(expected, rel=0.02)
        assert not told.both.bias.any()

    def test_spade_norm_is_the_slow_textbook_computation(self):
        torch.manual_seed(0)
        block, x = SpadeBlock(6, 4, 3, 5), torch.randn(3, 6, 8, 8)
        plan = functional.one_hot(masks(3, side=32), 3).movedim(-1, 1).float()
        for part in block.told.parameters():
            nn.init.normal_(part, 0.0, 0.3)
        small = functional.interpolate(plan, (8, 8), mode="nearest")
        found = block.told(block.norm(x), small)
        shared, both = block.told.shared, block.told.both
        for channel in range(6):
            values = x[:, channel].double()
            normal = (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()
            for i, row, column in ((0, 0, 0), (1, 3, 5), (2, 7, 7)):
                # The label map at this place of the small map is the nearest of the 32x32 one: every fourth.
                window = torch.zeros(5, 3, 3)
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        y, z = row + dy, column + dx
                        if 0 <= y < 8 and 0 <= z < 8:
                            window[:, dy + 1, dx + 1] = hidden_at(plan[i, :, ::4, ::4], shared, y, z)
                gamma = (both.weight[channel] * window).sum() + both.bias[channel]
                beta = (both.weight[6 + channel] * window).sum() + both.bias[6 + channel]
                expected = normal[i, row, column] * (1 + gamma.double()) + beta.double()
                assert found[i, channel, row, column].item() == pytest.approx(expected.item(), abs=1e-5)

    def test_a_block_is_the_published_residual(self):
        torch.manual_seed(0)
        block, x = SpadeBlock(6, 4, 3, 5).eval(), torch.randn(2, 6, 8, 8)
        plan = functional.one_hot(masks(2), 3).movedim(-1, 1).float()
        for part in block.parameters():
            nn.init.normal_(part, 0.0, 0.3)
        small = plan[:, :, ::2, ::2]
        normal = x / np.sqrt(1 + 1e-5)  # running statistics of a network that has seen nothing
        y = block.conv(functional.leaky_relu(block.told(normal, small), 0.2))
        y = block.conv_middle(functional.leaky_relu(block.told_middle(y / np.sqrt(1 + 1e-5), small), 0.2))
        shortcut = block.shortcut(block.told_shortcut(normal, small))
        torch.testing.assert_close(block(x, plan), y + shortcut, **EXACT)
        plain = SpadeBlock(4, 4, 3, 5)
        assert not hasattr(plain, "shortcut")

    def test_instance_norm_is_that_of_each_channel_of_each_image(self):
        x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
        found = InstanceNorm2d(4)(x)
        for i in range(3):
            for channel in range(4):
                values = x[i, channel].double()
                expected = (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()
                torch.testing.assert_close(found[i, channel].double(), expected, **EXACT)

    def test_the_divergence_is_that_of_two_normal_distributions(self):
        mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
        normal, other = torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0.0, 1.0)
        expected = torch.distributions.kl_divergence(normal, other).sum(1).mean()
        torch.testing.assert_close(divergence_from_normal(mean, log_variance), expected, **EXACT)

    @pytest.mark.parametrize("side", [16, 32, 64])
    def test_the_encoder_ends_at_4x4_whatever_the_side(self, side):
        encoder = StyleEncoder(2, side, filters=2, latent=3)
        mean, log_variance = encoder(torch.zeros(2, 2, side, side))
        assert mean.shape == log_variance.shape == (2, 3)
        assert encoder.mean.in_features == 16 * 2 * min(8, side // 8)


def hidden_at(plan, shared, row, column):
    """Return what the first convolution of a modulation says at a place of a map (K, 8, 8), after its ReLU."""
    window = functional.pad(plan, (1, 1, 1, 1))[:, row : row + 3, column : column + 3]
    return ((shared.weight * window).sum((1, 2, 3)) + shared.bias).relu()


class Gradients:
    """An update that changes nothing and keeps the gradient of every parameter by the name of the optimiser."""

    def __init__(self, gan):
        self.gan, self.found = gan, {}

    def __call__(self, name, loss, *, lr=None):
        self.gan.zero_grad()
        loss.backward()
        self.found[name] = {key: p.grad.clone() for key, p in self.gan.named_parameters() if p.grad is not None}


def textbook_losses(gan, shown, noise):
    """Return the losses of generator and critic: two passes of the critic, scale by scale, layer by layer."""
    plan = functional.one_hot(shown.masks, 3).movedim(-1, 1).float()
    if gan.labels:
        plan = torch.cat([plan, shown.labels[:, :, None, None].repeat(1, 1, 16, 16)], 1)
    mean, log_variance = gan.encoder(shown.images)
    fake = gan.generator(plan, mean + noise * (0.5 * log_variance).exp())
    seen_real = gan.critic(torch.cat([plan, shown.images], 1))
    seen_fake = gan.critic(torch.cat([plan, fake], 1))
    painter, critic = torch.zeros(()), torch.zeros(())
    for real_layers, fake_layers in zip(seen_real, seen_fake, strict=True):
        painter = painter - fake_layers[-1].mean() / 2
        critic = critic + (1 - real_layers[-1]).clamp(min=0).mean() / 2 + (1 + fake_layers[-1]).clamp(min=0).mean() / 2
        for real, made in list(zip(real_layers, fake_layers, strict=True))[:-1]:
            painter = painter + 10 / 2 * (real.detach() - made).abs().mean()
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum() / len(mean)
    return painter + 0.05 * divergence, critic


@pytest.mark.parametrize("labels", [0, 2])
def test_a_step_has_the_gradients_of_the_textbook_with_two_passes(labels):
    names = tuple(f"finding{i}" for i in range(labels))
    gan, shown = model(labels=names), batch(labels=labels)
    for parameter in gan.parameters():  # at the published start all scores are nearly 0, whatever is wrong
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    for part in gan.modules():  # power iterations move with every pass, so here none is made
        if type(part).__name__ == "SpectralNorm":
            part.eval()
    other, gradients = copy.deepcopy(gan), Gradients(gan)
    losses = run_step(gan, gradients, shown)
    painter, critic = textbook_losses(other, shown, Draws(5).normal(4, 6))
    total = losses["adversarial"] + losses["matching"] + losses["divergence"]
    torch.testing.assert_close(total, painter.detach(), **EXACT)
    torch.testing.assert_close(losses["critic"], critic.detach(), **EXACT)
    for name, loss in (("generator", painter), ("critic", critic)):
        own = [key for key, _ in other.named_parameters() if key.startswith("critic") == (name == "critic")]
        own = [key for key in own if not key.startswith("bank")]
        parameters = dict(other.named_parameters())
        slopes = torch.autograd.grad(loss, [parameters[key] for key in own], retain_graph=True)
        assert set(gradients.found[name]) == set(own)
        largest = max(slope.abs().max() for slope in slopes)
        for key, slope in zip(own, slopes, strict=True):
            error = (gradients.found[name][key] - slope).abs().max()
            # Sums of thousands of float32 terms; before a norm, those of a bias cancel and only rounding is left.
            assert error < 1e-4 * max(slope.abs().max(), largest / 20), (key, error)


def test_losses_are_the_closed_forms():
    def scales(value):
        return [[torch.full((2, 3, 4, 4), value), torch.full((2, 1, 5, 5), value)] for _ in range(2)]

    assert critic_loss(scales(0.5), scales(-0.25)).item() == pytest.approx(0.5 + 0.75)
    assert critic_loss(scales(2.0), scales(-3.0)).item() == 0
    assert generator_loss(scales(0.5)).item() == -0.5
    assert matching_loss(scales(0.5), scales(2.0)).item() == 1.5


class TestSamples:
    def drawn(self, gan, shown=None, seeds=(1, 2, 3, 4), labels=None):
        return gan.sample(Condition(len(seeds), masks=shown, labels=labels), Streams(seeds))

    def ready(self, **options):
        gan = model(**options)
        gan.fit(np.zeros((9, 1, 16, 16), np.float32), masks(9).numpy().astype(np.uint8), None, seed=0)
        for parameter in gan.generator.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
        return gan

    def test_only_images_whose_mask_changes_change(self):
        gan, shown = self.ready(), masks(4)
        other = shown.clone()
        other[2] = (other[2] + 1) % 3
        one, two = self.drawn(gan, shown), self.drawn(gan, other)
        assert torch.equal(one.masks, shown)
        changed = [i for i in range(4) if (one.images[i] - two.images[i]).abs().max() > 1e-3]
        assert changed == [2]

    def test_masks_given_back_come_with_the_same_images(self):
        gan = self.ready()
        one = self.drawn(gan)
        assert torch.equal(self.drawn(gan, one.masks).images, one.images)

    def test_one_mask_has_many_images_with_a_style_and_one_without(self):
        shown = masks(1).expand(2, -1, -1)
        varied, plain = (self.drawn(self.ready(style=style), shown, seeds=(1, 2)).images for style in ("vae", "none"))
        assert (varied[0] - varied[1]).abs().max() > 1e-3
        torch.testing.assert_close(plain[0], plain[1], **EXACT)


@pytest.mark.parametrize("side", [8, 24, 48])
def test_other_sides_are_refused(side):
    with pytest.raises(InputError, match="power of two from 16"):
        model(side=side)


def test_a_cohort_without_masks_is_refused():
    with pytest.raises(BadOption, match="needs a cohort with masks"):
        model(classes=())


@pytest.mark.parametrize("option", [{"filters": 0}, {"latent": 0}, {"divergence": -1.0}, {"perceptual": -1.0}])
def test_numbers_out_of_range_are_refused(option):
    with pytest.raises(BadOption):
        model(**option)


def test_there_is_no_encoder_and_no_noise_without_a_style():
    network = SpadeGenerator(3, 1, 32, filters=2, hidden=4, latent=0)
    assert isinstance(network.begin, nn.Conv2d)
    assert model(style="none").encoder is None

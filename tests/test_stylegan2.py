"""StyleGAN2: layers against slow ones, parameter counts against tables, one step written out, penalties, schedules."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.signal import upfirdn
from torch import nn
from torch.nn import functional
from torch.nn.functional import softplus

from synthcohort.errors import InputError
from synthcohort.generators import _stylegan2_networks as networks
from synthcohort.generators._equalised import minibatch_stddev
from synthcohort.generators._stylegan2_networks import Block, Critic, Mapping, StyledConv, ToImage
from synthcohort.generators._upfirdn import DoublingConv, Filtered, HalvingConv
from synthcohort.generators.stylegan2 import Generator, channel_widths, lazy_adam, paired, path_lengths, unpaired
from synthcohort.nets.generator import Draws, Streams
from synthcohort.types import Batch, Clock, Condition

FINDINGS = ("a", "b", "c")
TAPS = np.array([1.0, 3, 3, 1]) / 8
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32, sums in another order


def model(side=16, labels=(), shape=None, **options):
    torch.manual_seed(0)
    small = {
        "channel_max": 8,
        "latent": 16,
        "augment": "none",
        "path_length_weight": 2.0,
        "style_mixing": 0.9,
        **options,
    }
    return Generator(shape=shape or (1, side, side), labels=labels, mask_classes=(), **small)


def moved(gan):
    """Return the model with nothing left at 0, so that every factor says something."""
    with torch.no_grad():
        for parameter in gan.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return gan


def batch(count=8, side=16, labels=False, channels=1):
    rng = torch.Generator().manual_seed(1)
    images = torch.rand((count, channels, side, side), generator=rng) * 2 - 1
    shown = torch.randint(2, (count, len(FINDINGS)), generator=rng).float() if labels else None
    return Batch(images, None, shown, torch.arange(count))


def run_step(gan, update, step=1, data=None, seed=5):
    data = batch(labels=gan.conditional) if data is None else data
    return gan.step(data, clock=Clock(step, 8 * step, 800), rng=Draws(seed), update=update)


class Recorder:
    """An update that really updates and keeps losses and gradients."""

    def __init__(self, gan):
        self.gan, self.optimisers, self.calls = gan, gan.optimisers(), []

    def __call__(self, name, loss, *, lr=None):
        self.optimisers[name].zero_grad()
        loss.backward()
        grads = {key: value.grad.clone() for key, value in self.gan.named_parameters() if value.grad is not None}
        self.calls.append((name, float(loss.detach()), grads))
        self.optimisers[name].step()


def far(image, up=1, down=1, pad=(0, 0), gain=1.0):
    """Return (H, W) resampled by scipy, the filter along each axis after `pad` zeros or crops at either end."""
    for axis in (0, 1):
        length = image.shape[axis]
        image = upfirdn(TAPS, image, up, 1, axis=axis) * math.sqrt(gain)
        image = np.moveaxis(image, axis, 0)
        wide = np.pad(image, [(3, 3), (0, 0)])
        # The filter's output at k has seen inputs k - 3 ... k of the stuffed image, which ends with up - 1 zeros.
        image = wide[3 + 3 - pad[0] : 3 + up * length + pad[1]]
        image = np.moveaxis(image[::down], 0, axis)
    return image


class TestFilters:
    @pytest.mark.parametrize(
        ("made", "options"),
        [
            (Filtered(3, padding=2), {"pad": (2, 2)}),
            (Filtered(3, padding=1, gain=4.0), {"pad": (1, 1), "gain": 4.0}),
            (Filtered(3, doublings=-1), {"down": 2, "pad": (1, 1)}),
            (Filtered(3, doublings=1, gain=4.0), {"up": 2, "pad": (2, 1), "gain": 4.0}),
        ],
        ids=["blur", "blur after doubling", "halving", "doubling"],
    )
    def test_is_scipys(self, made, options):
        x = torch.randn(2, 3, 6, 6)
        expected = np.stack([[far(channel, **options) for channel in image] for image in x.double().numpy()])
        assert made(x).shape == expected.shape
        assert torch.allclose(made(x).double(), torch.from_numpy(expected), **CLOSE)

    @pytest.mark.parametrize("made", [Filtered(2, padding=2), Filtered(2, doublings=-1), Filtered(2, doublings=1)])
    def test_gradients_of_both_orders_are_right(self, made):
        x = torch.randn(1, 2, 4, 4, dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(made, x)
        assert torch.autograd.gradgradcheck(made, x)

    def test_doubling_convolution_is_zeros_filter_convolution(self):
        x, weight = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3)
        doubled = Filtered(3, doublings=1, gain=4.0)(x)
        expected = functional.conv2d(doubled, weight.flip(2, 3), padding=1)
        assert torch.allclose(DoublingConv(4)(x, weight)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], **CLOSE)
        # At the border the convolution meets what the filter spread beyond it, which the expected one cuts off.
        wide = torch.zeros(2, 3, 14, 14)
        wide[..., 2:-2:2, 2:-2:2] = x
        wide = functional.conv2d(wide, weight.flip(2, 3), padding=1)
        expected = Filtered(4, padding=2, gain=4.0)(wide)[..., 2:12, 2:12]
        assert torch.allclose(DoublingConv(4)(x, weight), expected, **CLOSE)

    def test_halving_convolution_is_filter_convolution_every_other(self):
        x, weight, bias = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3), torch.randn(4)
        filtered = Filtered(3, padding=2)(x)
        expected = functional.conv2d(filtered, weight, bias)[..., ::2, ::2]
        assert torch.allclose(HalvingConv(3)(x, weight, bias), expected, **CLOSE)


class TestLayers:
    @pytest.mark.parametrize("doubling", [False, True])
    def test_styled_convolution_is_a_kernel_for_each_image(self, doubling):
        torch.manual_seed(0)
        layer = moved(StyledConv(3, 4, 5, doubling=doubling))
        x, style = torch.randn(2, 3, 6, 6), torch.randn(2, 5)
        side = 12 if doubling else 6
        noise = torch.randn(2, 1, side, side)
        found = layer(x, style, noise)
        for image in range(2):
            scale = layer.affine.weight @ style[image] / math.sqrt(5) + layer.affine.bias
            kernel = layer.weight * scale[None, :, None, None]
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            one = x[image][None]
            y = DoublingConv(4)(one, kernel) if doubling else functional.conv2d(one, kernel, padding=1)
            y = y + noise[image] * layer.strength + layer.bias[:, None, None]
            expected = functional.leaky_relu(y, 0.2) * math.sqrt(2)
            assert torch.allclose(found[image], expected[0], **CLOSE)

    def test_image_layer_is_a_kernel_for_each_image_without_demodulation(self):
        torch.manual_seed(0)
        layer = moved(ToImage(3, 2, 5))
        x, style = torch.randn(2, 3, 6, 6), torch.randn(2, 5)
        for image, found in enumerate(layer(x, style)):
            scale = (layer.affine.weight @ style[image] / math.sqrt(5) + layer.affine.bias) / math.sqrt(3)
            expected = functional.conv2d(x[image], layer.weight * scale[:, None, None], layer.bias)
            assert torch.allclose(found, expected, **CLOSE)

    def test_mapping_is_the_textbook_one(self):
        torch.manual_seed(0)
        mapping = moved(Mapping(6, 3, 5, 2))
        latent, labels = torch.randn(4, 6), torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]])
        told = torch.cat([labels, torch.ones(4, 1)], 1) @ mapping.embed.weight.T / 2 + mapping.embed.bias
        x = torch.cat([part / part.square().mean(1, keepdim=True).sqrt() for part in (latent, told)], 1)
        for layer in mapping.layers:
            weight = layer.weight * 0.01 / math.sqrt(x.shape[1])
            x = functional.leaky_relu(x @ weight.T + layer.bias * 0.01, 0.2) * math.sqrt(2)
        assert torch.allclose(mapping(latent, labels), x, **CLOSE)
        assert 70 < mapping.layers[0].weight.std() < 130  # stored 1 / 0.01 as large

    def test_critic_is_the_textbook_one_with_gains_after_activations(self):
        torch.manual_seed(0)
        critic = moved(Critic(16, 2, {4: 6, 8: 5, 16: 4}, 3))
        x, labels = torch.randn(8, 2, 16, 16), torch.randint(2, (8, 3)).float()

        def weight(layer):
            return layer.weight / math.sqrt(layer.weight[0].numel())

        def active(y, share=1.0):
            return functional.leaky_relu(y, 0.2) * math.sqrt(2 * share)

        found = critic(x, labels)
        y = active(functional.conv2d(x, weight(critic.image), critic.image.bias))
        for block in critic.blocks:
            skip = functional.conv2d(block.filter(y), weight(block.skip)) * math.sqrt(0.5)
            y = active(functional.conv2d(y, weight(block.first), block.first.bias, padding=1))
            y = functional.conv2d(Filtered(y.shape[1], padding=2)(y), weight(block.second), stride=2)
            y = skip + active(y + block.second.bias[:, None, None], share=0.5)
        y = active(functional.conv2d(minibatch_stddev(y), weight(critic.last), critic.last.bias, padding=1))
        y = active(y.flatten(1) @ weight(critic.hidden).T + critic.hidden.bias)
        y = y @ weight(critic.out).T + critic.out.bias
        expected = (y * critic.mapping(None, labels)).sum(1) / math.sqrt(6)
        assert torch.allclose(found, expected, **CLOSE)
        assert len(critic.mapping.layers) == 8

    def test_an_image_is_the_sum_of_what_each_side_adds(self):
        synthesis = moved(model(side=16)).generator.synthesis
        assert synthesis.sides == [4, 8, 8, 16, 16]
        assert synthesis.layers == 2 * 4 - 2
        assert synthesis.noise == 16 + 2 * 64 + 2 * 256
        styles, noise = torch.randn(2, 6, 16), torch.randn(2, synthesis.noise)
        x, joint, at = synthesis.start.expand(2, -1, -1, -1), 0.0, 0
        doubled = Filtered(1, doublings=1, gain=4.0)
        for index, side in enumerate(synthesis.sides):
            x = synthesis.convs[index](x, styles[:, index], noise[:, at : at + side**2].reshape(2, 1, side, side))
            at += side**2
            if side == 4 or index % 2 == 0:
                joint = joint + synthesis.images[index // 2](x, styles[:, index + 1])
                joint = doubled(joint) if side < 16 else joint
        assert torch.allclose(synthesis(styles, noise), joint, **CLOSE)

    def test_bf16_is_near_fp32_and_sums_images_in_fp32(self):
        gan = moved(model(side=16, labels=FINDINGS))
        styles, noise = torch.randn(4, 6, 16), torch.randn(4, gan.generator.synthesis.noise)
        labels = torch.ones(4, 3)
        full = gan.generator.synthesis(styles, noise)
        with torch.autocast("cpu", torch.bfloat16):
            half, scores = gan.generator.synthesis(styles, noise), gan.critic(full, labels)
        assert half.dtype == scores.dtype == torch.float32
        expected = gan.critic(full, labels)
        # 8 bits of mantissa, a handful of layers: a few percent of the spread.
        assert (half - full).std() < 0.05 * full.std()
        assert (scores - expected).abs().max() < 0.1 * expected.abs().mean()


def mapping_count(inputs, layers, width=512):
    return inputs * width + width + (layers - 1) * (width * width + width)


def generator_count(side, base, channels, layers, labels=0, style=512):
    widths = [min(base // 2**power, 512) for power in range(2, side.bit_length())]
    count = mapping_count(style * (2 if labels else 1), layers) + ((labels + 1) * style + style if labels else 0)
    count += 16 * widths[0]  # the first input

    def affine(width):
        return style * width + width

    def conv(inputs, outputs):
        return 9 * inputs * outputs + outputs + 1 + affine(inputs)  # kernel, bias, strength of the noise, style

    count += conv(widths[0], widths[0])
    count += sum(conv(low, high) + conv(high, high) for low, high in pairwise(widths))
    return count + sum(width * channels + channels + affine(width) for width in widths)


def critic_count(side, base, channels, labels=0):
    widths = [min(base // 2**power, 512) for power in range(2, side.bit_length())]
    count = channels * widths[-1] + widths[-1]
    for low, high in pairwise(widths):
        count += 9 * high * high + high + 9 * high * low + low + high * low
    last = widths[0]
    count += 9 * (last + 1) * last + last + (16 * last * last + last)
    if not labels:
        return count + last + 1
    return count + last * last + last + (labels + 1) * last + last + mapping_count(last, 8, last)


def number(module):
    return sum(parameter.numel() for parameter in module.parameters())


class TestTables:
    # Channels at 256: 64, 128, 256, 512 ... for 16384 and twice as many, up to 512, for 32768.
    @pytest.mark.parametrize("labels", [(), FINDINGS])
    @pytest.mark.parametrize("side", [128, 256])
    def test_counts_of_parameters_are_those_of_the_tables(self, side, labels):
        for protocol, base, layers in (("recommended", 16384, 2), ("paper", 32768, 8)):
            with torch.device("meta"):
                gan = Generator(shape=(3, side, side), labels=labels, mask_classes=(), protocol=protocol)
            assert number(gan.generator) == generator_count(side, base, 3, layers, len(labels))
            assert number(gan.critic) == critic_count(side, base, 3, len(labels))

    def test_counts_written_out(self):
        # 256 px, base 16384, eight mapping layers, three channels: by hand from the widths 512 x 5, 256, 128, 64.
        mapping = 8 * (512 * 512 + 512)
        wide = 9 * 512 * 512 + 512 + 1 + 512 * 512 + 512  # 512 to 512
        convs = 16 * 512 + 9 * wide  # one at 4, two each at 8, 16, 32 and 64 (the last of which gets 256)
        convs -= 2 * wide
        convs += 9 * 512 * 256 + 256 + 1 + 513 * 512 + 9 * 256 * 256 + 256 + 1 + 513 * 256  # 64 px
        convs += 9 * 256 * 128 + 128 + 1 + 513 * 256 + 9 * 128 * 128 + 128 + 1 + 513 * 128  # 128 px
        convs += 9 * 128 * 64 + 64 + 1 + 513 * 128 + 9 * 64 * 64 + 64 + 1 + 513 * 64  # 256 px
        images = sum(3 * width + 3 + 513 * width for width in (512, 512, 512, 512, 256, 128, 64))
        with torch.device("meta"):
            gan = Generator(shape=(3, 256, 256), labels=(), mask_classes=(), mapping_layers=8)
        assert channel_widths(256, 16384, 512) == {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64}
        assert number(gan.generator) == mapping + convs + images

    @pytest.mark.parametrize(("side", "most"), [(16, 32), (64, 32), (128, 512)])
    def test_recommended_networks_are_small_up_to_64_pixels(self, side, most):
        with torch.device("meta"):
            gan = Generator(shape=(1, side, side), labels=(), mask_classes=())
        assert gan.generator.synthesis.convs[0].weight.shape[0] == most

    def test_protocols(self):
        with torch.device("meta"):
            paper = Generator(shape=(1, 32, 32), labels=(), mask_classes=(), protocol="paper")
            plain = Generator(shape=(1, 32, 32), labels=(), mask_classes=())
            large = Generator(shape=(1, 128, 128), labels=(), mask_classes=())
        assert (paper.learning_rate, paper.r1_weight, len(paper.generator.mapping.layers)) == (0.002, 10.0, 8)
        assert paper.augmentation is None
        assert paper.generator.synthesis.convs[0].weight.shape[0] == 512
        assert (plain.learning_rate, plain.r1_weight, len(plain.generator.mapping.layers)) == (0.0025, 10.0, 2)
        assert (plain.path_length_weight, plain.style_mixing) == (0.0, 0.0)
        assert (paper.path_length_weight, paper.style_mixing) == (2.0, 0.9)
        assert (large.path_length_weight, large.style_mixing, large.r1_weight) == (2.0, 0.9, None)
        assert plain.augmentation.pipe == "anatomy"
        assert paper.ema_weight(Clock(0, 0, 10**6), 100) == pytest.approx(1 - 0.5 ** (100 / 10_000))
        # batch x 10 / 32 thousand images, and 5 % of those seen while that is less
        assert plain.ema_weight(Clock(9, 10**6, 10**7), 64) == pytest.approx(1 - 0.5 ** (64 / 20_000))
        assert plain.ema_weight(Clock(9, 10**4, 10**7), 64) == pytest.approx(1 - 0.5 ** (64 / 500))
        assert plain.ema_weight(Clock(0, 0, 10**7), 64) == 1

    @pytest.mark.parametrize(
        ("side", "options", "words"),
        [
            ((1, 24, 24), {}, "power of two"),
            ((1, 16, 32), {}, "power of two"),
            ((1, 4, 4), {}, "8 to 1024"),
            ((1, 16, 16), {"latent": 0}, "at least 1"),
            ((1, 16, 16), {"channel_max": -1}, "at least 1"),
            ((1, 16, 16), {"channel_max": 0}, "at least 1"),
            ((1, 16, 16), {"channel_base": 0}, "at least 1"),
            ((1, 16, 16), {"ema_half_life": -1.0}, "negative"),
            ((1, 16, 16), {"style_mixing": 1.5}, "share"),
            ((1, 16, 16), {"r1_weight": -1.0}, "negative"),
            ((1, 16, 16), {"path_length_weight": -1.0}, "negative"),
        ],
    )
    def test_what_cannot_work_is_refused_in_a_line(self, side, options, words):
        with pytest.raises(InputError, match=words) as caught:
            model(shape=side, **options)
        assert "\n" not in str(caught.value)


class TestPairing:
    def test_unpaired_undoes_paired(self):
        rows = torch.randn(16, 3)
        assert torch.equal(unpaired(paired(rows, 4), 4), rows)

    @pytest.mark.parametrize("count", [8, 6, 5])
    def test_one_pass_is_two_passes_scores_and_gradients(self, count):
        critic = moved(model(side=8, labels=FINDINGS)).critic
        real, fake, labels = torch.randn(count, 1, 8, 8), torch.randn(count, 1, 8, 8), torch.rand(count, 3).round()
        group = math.gcd(count, 4)
        told = paired(torch.cat([labels, labels]), group)
        one = unpaired(critic(paired(torch.cat([real, fake]), group), told, group), group)
        two = torch.cat([critic(real, labels), critic(fake, labels)])
        assert torch.allclose(one, two, **CLOSE)
        sign = torch.cat([-torch.ones(count), torch.ones(count)])
        weights = list(critic.parameters())
        slopes = [torch.autograd.grad(softplus(sign * scores).mean(), weights) for scores in (one, two)]
        for found, expected in zip(*slopes, strict=True):
            assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-7  # sums over rows in another order


class TestStep:
    @pytest.mark.parametrize("labels", [(), FINDINGS])
    def test_is_the_textbook_step(self, labels):
        gan = moved(model(labels=labels, style_mixing=0.5))
        reference, recorder = copy.deepcopy(gan), Recorder(gan)
        run_step(gan, recorder, step=1)  # neither regularised
        assert [name for name, _, _ in recorder.calls] == ["critic", "generator"]
        rng, data, layers = Draws(5), batch(labels=bool(labels)), 6
        mixed = rng.uniform(8) < 0.5
        crossing = rng.integers(layers - 1, 8) + 1
        latents, noise = rng.normal(8, 2, 16), rng.normal(8, reference.generator.synthesis.noise)
        styles = torch.zeros(8, layers, 16)
        told = (lambda i: data.labels[i : i + 1]) if labels else (lambda i: None)
        for i in range(8):
            first, second = (reference.generator.mapping(latents[i, j][None], told(i))[0] for j in (0, 1))
            for layer in range(layers):
                styles[i, layer] = second if mixed[i] and layer >= crossing[i] else first
        fake = reference.generator.synthesis(styles, noise)
        optimisers = reference.optimisers()
        real_scores = reference.critic(data.images, data.labels)
        loss = softplus(-real_scores).mean() + softplus(reference.critic(fake.detach(), data.labels)).mean()
        loss.backward()
        optimisers["critic"].step()
        assert recorder.calls[0][1] == pytest.approx(float(loss.detach()), rel=1e-5)
        loss = softplus(-reference.critic(fake, data.labels)).mean()
        loss.backward()
        optimisers["generator"].step()
        assert recorder.calls[1][1] == pytest.approx(float(loss.detach()), rel=1e-4)
        for (name, found), expected in zip(gan.named_parameters(), reference.parameters(), strict=True):
            # Adam's first step is the sign of the gradient times the rate, 0.0025 here; noise of a gradient near 0 may
            # turn its sign, so nearly all of them agree.
            agree = (found - expected).abs() < 1e-4
            assert agree.float().mean() > 0.99 or agree.sum() >= agree.numel() - 1, name
        assert 0 < mixed.sum() < 8

    def test_the_style_mean_follows_the_first_styles(self):
        gan = model(style_mixing=1.0)
        run_step(gan, Recorder(gan))
        rng = Draws(5)
        rng.uniform(8), rng.integers(5, 8)
        expected = 0.005 * model().generator.mapping(rng.normal(8, 2, 16)[:, 0], None).mean(0)
        assert torch.allclose(gan.generator.style_mean, expected, **CLOSE)

    def test_regularising_steps_come_when_they_are_due(self):
        for step, expected in {0: "cCgG", 1: "cg", 4: "cgG", 8: "cgG", 16: "cCgG"}.items():
            gan, calls = model(), []
            losses = run_step(gan, lambda name, loss, calls=calls: calls.append(name), step=step)
            assert len(calls) == len(expected)
            assert ("r1" in losses) is ("C" in expected)
            assert ("path_length" in losses) is ("G" in expected)
        gan, calls = model(r1_weight=0.0, path_length_weight=0.0), []
        run_step(gan, lambda name, loss: calls.append(name), step=0)
        assert calls == ["critic", "generator"]

    def test_lazy_r1_is_the_penalty_times_the_interval(self):
        gan = moved(model(labels=FINDINGS, r1_weight=3.0))
        data, calls = batch(labels=True), []
        run_step(gan, lambda name, loss: calls.append(loss), step=16)
        shown = data.images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(gan.critic(shown, data.labels).sum(), shown, create_graph=True)
        expected = 16 * 3.0 / 2 * slope.square().sum((1, 2, 3)).mean()
        assert torch.allclose(calls[1], expected, **CLOSE)
        weights = [value for name, value in gan.critic.named_parameters() if name not in ("out.bias",)]
        wanted = torch.autograd.grad(expected, weights, allow_unused=True)
        found = torch.autograd.grad(calls[1], weights, allow_unused=True)
        for one, other in zip(found, wanted, strict=True):
            assert (one is None) is (other is None)
            assert one is None or (one - other).norm() <= 1e-4 * other.norm() + 1e-6
        assert any(one is not None and one.norm() > 0 for one in found)

    def test_r1_weight_follows_side_and_batch(self):
        losses = {}
        for weight in (None, 0.0002 * 16**2 / 8):
            calls = []
            gan = moved(model())
            gan.r1_weight = weight
            run_step(
                gan,
                lambda name, loss, calls=calls: calls.append(float(loss.detach())),
                step=16,
            )
            losses[weight] = calls[1]
        assert len(set(losses.values())) == 1

    def test_path_lengths_are_those_of_the_jacobian(self):
        gan = moved(model(side=8))
        synthesis = gan.generator.synthesis
        styles, noise = torch.randn(2, synthesis.layers, 16), torch.randn(2, synthesis.noise)
        seen = torch.randn(2, 1, 8, 8)
        leaf = styles.clone().requires_grad_()
        found = path_lengths(synthesis(leaf, noise), leaf, seen)
        for i in range(2):
            jacobian = torch.autograd.functional.jacobian(
                lambda style, i=i: synthesis(style[None], noise[i : i + 1])[0].flatten(), styles[i]
            )  # (pixels, layers, S)
            slope = torch.einsum("p,pls->ls", seen[i].flatten() / 8, jacobian)  # 8: root of the number of pixels
            expected = slope.square().sum(1).mean().sqrt()
            assert torch.allclose(found[i], expected, rtol=1e-3)

    def test_path_length_step_pulls_lengths_to_their_running_mean(self):
        gan, calls = moved(model()), []
        gan.path_length.fill_(2.0)
        before = copy.deepcopy(gan)
        run_step(gan, lambda name, loss: calls.append(loss), step=4)
        given = before._drawn(8, None, rng := Draws(5)).half()
        assert len(given.latent) == 4
        styles = before._styles(given)
        lengths = path_lengths(before.generator.synthesis(styles, given.noise), styles, rng.normal(4, 1, 16, 16))
        mean = 0.99 * 2.0 + 0.01 * lengths.mean().detach()
        assert torch.allclose(gan.path_length, mean, **CLOSE)
        expected = 2.0 * 4 * (lengths - mean).square().mean()
        assert torch.allclose(calls[2], expected, rtol=1e-3)
        weights = list(gan.generator.synthesis.convs[1].parameters())
        found = torch.autograd.grad(calls[2], weights)
        wanted = torch.autograd.grad(expected, list(before.generator.synthesis.convs[1].parameters()))
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one, other, rtol=1e-2, atol=1e-3 * float(other.abs().max()))

    def test_the_running_mean_starts_at_the_first_lengths(self):
        # So that the first penalties do not pull a fresh generator to one image.
        gan, calls = moved(model()), []
        run_step(gan, lambda name, loss: calls.append(loss), step=4)
        before, rng = moved(model()), Draws(5)
        given = before._drawn(8, None, rng).half()
        styles = before._styles(given)
        lengths = path_lengths(before.generator.synthesis(styles, given.noise), styles, rng.normal(4, 1, 16, 16))
        assert torch.allclose(gan.path_length, lengths.mean(), **CLOSE)
        assert torch.allclose(calls[2], 8 * lengths.var(unbiased=False), rtol=1e-3)

    def test_the_critic_step_leaves_no_gradient_in_the_generator_nor_the_other_way_round(self):
        recorder = Recorder(gan := moved(model(augment="anatomy")))
        run_step(gan, recorder, step=16)
        assert [name for name, _, _ in recorder.calls] == ["critic", "critic", "generator", "generator"]
        assert not any(key.startswith("generator") for key in recorder.calls[0][2] | recorder.calls[1][2])
        assert all(parameter.requires_grad for parameter in gan.parameters())
        before = {key: grad for key, grad in recorder.calls[1][2].items() if key.startswith("critic")}
        after = recorder.calls[2][2]
        assert all(torch.equal(after[key], grad) for key, grad in before.items())


def test_adam_is_corrected_for_steps_that_only_regularise():
    layer = nn.Linear(2, 2)
    group = lazy_adam(layer, 0.0025, 16).param_groups[0]
    assert group["lr"] == pytest.approx(0.0025 * 16 / 17)
    assert group["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    # k steps with the old momentum forget as much as k + 1 with the new one.
    assert group["betas"][1] ** 17 == pytest.approx(0.99**16)
    assert group["eps"] == 1e-8
    assert lazy_adam(layer, 0.0025, None).param_groups[0]["betas"] == (0.0, 0.99)
    made = model().optimisers()
    assert made["generator"].param_groups[0]["lr"] == pytest.approx(0.0025 * 4 / 5)
    assert made["critic"].param_groups[0]["lr"] == pytest.approx(0.0025 * 16 / 17)
    assert model(r1_weight=0.0).optimisers()["critic"].param_groups[0]["lr"] == 0.0025


class TestSampling:
    def drawn(self, gan, **options):
        with torch.inference_mode():
            return gan.sample(Condition(4), Streams((1, 2, 3, 4)), **options).images

    def test_truncation_moves_styles_to_their_mean(self):
        gan = moved(model())
        gan.generator.style_mean.normal_()
        rng = Streams((1, 2, 3, 4))
        style = gan.generator.mapping(rng.normal(16), None)
        mean = gan.generator.style_mean
        for psi in (1.0, 0.5):
            wanted = gan.generator.everywhere(mean + psi * (style - mean))
            expected = gan.generator.synthesis(wanted, gan.generator.synthesis.pattern).clamp(-1, 1)
            found = self.drawn(gan, truncation=psi, noise="constant")
            assert torch.allclose(found, expected, **CLOSE)
        flat = self.drawn(gan, truncation=0.0, noise="constant")
        assert torch.allclose(flat, flat[:1].expand_as(flat), **CLOSE)

    def test_noise_differs_from_sample_to_sample_unless_it_is_constant(self):
        gan = moved(model())
        free = self.drawn(gan, truncation=0.0)
        assert (free[0] - free[1]).abs().max() > 1e-3
        assert torch.equal(self.drawn(gan), self.drawn(gan, noise="random"))


def test_blocks_exist_for_every_side():
    critic = model(side=32).critic
    assert [type(block) for block in critic.blocks] == [Block] * 3
    assert networks.GROUP == 4

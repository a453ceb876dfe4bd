"""`r3gan` and its convolution: layers, penalties and a training step against slow textbook ones, counts, refusals."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from synthcohort.errors import BadOption, InputError
from synthcohort.generators import r3gan
from synthcohort.generators._r3gan_networks import GAIN, Block, stage_sides, stage_widths
from synthcohort.generators._slope_conv import SlopeConv2d
from synthcohort.nets.generator import Draws, Streams
from synthcohort.types import Batch, Clock, Condition

CLASSES, FINDINGS = ("ground", "disc", "ring"), ("a", "b")
SMALL = {"width": 8, "max_width": 16, "group_size": 4, "latent": 8}
COUNT, SIDE = 6, 16


def model(labels=FINDINGS, masks="joint", classes=CLASSES, shape=(1, SIDE, SIDE), **options):
    torch.manual_seed(0)
    gan = r3gan.Generator(shape=shape, labels=labels, mask_classes=classes, masks=masks, **{**SMALL, **options})
    for parameter in gan.parameters():  # no layer at 0, so that every gradient says something
        nn.init.normal_(parameter, 0.0, 0.3)
    return gan


def batch(channels=1):
    rng = torch.Generator().manual_seed(1)
    images = torch.rand((COUNT, channels, SIDE, SIDE), generator=rng) * 2 - 1
    masks = torch.randint(len(CLASSES), (COUNT, SIDE, SIDE), generator=rng)
    return Batch(images, masks, torch.randint(2, (COUNT, len(FINDINGS)), generator=rng).float(), torch.arange(COUNT))


class Gradients:
    """An update that changes nothing and keeps the losses, the rates and the gradients."""

    def __init__(self, gan):
        self.gan, self.found, self.losses, self.rates = gan, {}, {}, {}

    def __call__(self, name, loss, *, lr=None):
        network = getattr(self.gan, name, None)
        if network is None:  # the mask bank's
            return
        parameters = dict(network.named_parameters())
        slopes = torch.autograd.grad(loss, parameters.values(), retain_graph=True)
        self.found[name] = dict(zip(parameters, slopes, strict=True))
        self.losses[name], self.rates[name] = loss.detach(), lr


def run_step(gan, step=0, total=100):
    update = Gradients(gan)
    losses = gan.step(batch(), clock=Clock(step, step, total), rng=Draws(5), update=update)
    return update, losses


def plain(network):
    """Return a copy whose convolutions leave every gradient to PyTorch."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, SlopeConv2d):
            module.__class__ = nn.Conv2d
    return copied


def test_the_loss_of_pairs_is_the_closed_form():
    found = r3gan.relativistic(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert float(found) == pytest.approx(expected, rel=1e-6)  # float32


def test_schedules_are_half_cosines_over_the_burn_in():
    values = [r3gan.scheduled(1.0, 0.2, fraction, 0.5) for fraction in (0.0, 0.125, 0.25, 0.5, 1.0)]
    assert values == pytest.approx([1.0, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.2, 0.2], rel=1e-12)  # float64


def test_rates_momentum_and_penalty_follow_the_clock():
    gan = model(learning_rate=0.1, gamma=3.0, burn_in=0.5)
    optimisers = gan.optimisers()
    for step, share in ((0, 0.0), (25, 0.5), (80, 1.0)):
        update, losses = run_step(gan, step)
        rate = 0.1 + (0.025 - 0.1) * share
        assert update.rates == pytest.approx({"critic": rate, "generator": rate}, rel=1e-9)
        penalty = float(update.losses["critic"] - losses["critic"]) / float(losses["r1"] + losses["r2"])
        assert penalty == pytest.approx((3.0 + (0.3 - 3.0) * share) / 2, rel=1e-4)  # a difference of float32 losses
        for optimiser in optimisers.values():
            optimiser.step()
            assert optimiser.param_groups[0]["betas"] == pytest.approx((0.0, 0.9 + 0.09 * share), rel=1e-9)


@pytest.mark.parametrize(("kernel", "groups", "bias"), [(1, 1, True), (1, 1, False), (3, 1, True), (3, 4, True)])
def test_the_convolution_has_pytorchs_second_gradients(kernel, groups, bias):
    torch.manual_seed(0)
    convs = nn.Sequential(
        SlopeConv2d(8, 8, kernel, padding=kernel // 2, groups=groups, bias=bias),
        nn.LeakyReLU(0.2, inplace=True),
        SlopeConv2d(8, 8, kernel, padding=kernel // 2, groups=groups, bias=bias),
    ).double()
    images, found = torch.randn(3, 8, 5, 7, dtype=torch.float64), []
    for network in (convs, plain(convs)):
        shown = images.clone().requires_grad_()
        scores = network(shown).square().sum((1, 2, 3))
        (slopes,) = torch.autograd.grad(scores.sum(), shown, create_graph=True)
        loss = scores.mean() + slopes.square().sum() / 7
        found.append(torch.autograd.grad(loss, [*network.parameters()]))
    for one, other in zip(*found, strict=True):
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)  # float64, another order of sums


def test_the_convolution_refuses_the_second_gradients_that_it_does_not_have():
    conv = SlopeConv2d(2, 2, 3, padding=1)
    loss = conv(torch.randn(1, 2, 4, 4, requires_grad=True)).square().sum()
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(loss, conv.weight, create_graph=True)


def test_a_block_starts_as_its_skip_and_its_other_layers_are_scaled_by_depth():
    torch.manual_seed(0)
    depth, block = 5, Block(64, 2, 16, 5)
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(block(x), x)
    wide, grouped = block.layers[0].weight, block.layers[2].weight
    assert grouped.shape == (128, 16, 3, 3)
    for weight, fan_in in ((wide, 64), (grouped, 16 * 9)):
        expected = GAIN * depth**-0.25 / math.sqrt(fan_in)
        assert float(weight.detach().std()) == pytest.approx(
            expected, rel=0.05
        )  # 8,192 draws or more: 0.8 % is one deviation


@pytest.mark.parametrize("patch", [1, 2])
def test_a_network_starts_linear_and_without_the_detail_of_patches(patch):
    torch.manual_seed(0)
    gan = r3gan.Generator(shape=(1, 16, 16), labels=(), mask_classes=(), **{**SMALL, "patch": patch})
    latent = torch.randn(3, 8)
    one, two = gan.generator(latent, None, None), gan.generator(2 * latent, None, None)
    torch.testing.assert_close(2 * one, two, rtol=1e-4, atol=1e-4)  # float32 through a dozen layers
    assert one.std() > 0.1
    assert gan.generator.paint.weight.any() == (patch == 1)
    if patch == 2:
        detail = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat(8, 8)
        gan.generator.paint.bias.data.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        torch.testing.assert_close(gan.generator(latent, None, None) - one, detail.expand_as(one), rtol=0, atol=1e-5)


def textbook_losses(gan, given, gamma):
    """Return critic and generator loss on separate passes, with PyTorch's own second gradients."""
    data, latent = batch(), Draws(5).normal(COUNT, gan.latent)
    maps = functional.one_hot(data.masks, len(CLASSES)).movedim(-1, 1).float() * 2 - 1
    real = data.images if given else torch.cat([data.images, maps], 1)
    fake = gan.generator(latent, data.labels, maps if given else None)
    if not given:  # mask channels lie between the -1 and +1 of real ones, and the classes of a place add up to one
        images, free = fake[:, : -len(CLASSES)], torch.exp(3 * fake[:, -len(CLASSES) :])
        fake = torch.cat([images, free / free.sum(1, keepdim=True) * 2 - 1], 1)

    def score(images):
        return gan.critic(torch.cat([images, maps], 1) if given else images, data.labels)

    def squared_slope(images):
        shown = images.detach().requires_grad_()
        (slope,) = torch.autograd.grad(score(shown).sum(), shown, create_graph=True)
        return sum(slope[i].square().sum() for i in range(COUNT)) / COUNT

    contrast = torch.log1p(torch.exp(-(score(real) - score(fake.detach())))).mean()
    critic = contrast + gamma / 2 * squared_slope(real) + gamma / 2 * squared_slope(fake)
    generator = torch.log1p(torch.exp(-(score(fake) - score(real)))).mean()
    return {"critic": critic, "generator": generator}


@pytest.mark.parametrize("masks", ["joint", "given"])
def test_a_step_is_the_textbook_step_on_separate_passes(masks):
    gan = model(masks=masks, gamma=3.0, mask_source="training")
    if gan.bank is not None:
        gan.fit(batch().images.numpy(), batch().masks.byte().numpy(), batch().labels.numpy(), seed=0)
    update, losses = run_step(gan)
    assert list(losses) == ["critic", "r1", "r2", "generator"]
    slow = copy.deepcopy(gan)
    slow.critic = plain(gan.critic)
    for name, loss in textbook_losses(slow, masks == "given", 3.0).items():
        torch.testing.assert_close(update.losses[name], loss.detach(), rtol=1e-5, atol=1e-6)  # float32 sums
        parameters = dict(getattr(slow, name).named_parameters())
        slopes = torch.autograd.grad(loss, parameters.values(), retain_graph=True)
        for key, slope in zip(parameters, slopes, strict=True):
            assert slope.abs().max() > 0, key
            # Float32 and another order of sums; gradients of a parameter differ by many powers of ten.
            error = (update.found[name][key] - slope).abs().max() / slope.abs().max()
            assert error < 1e-4, (name, key)


def test_penalties_stay_in_full_precision_under_autocast():
    gan = model()
    _, exact = run_step(gan)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = run_step(gan)
    assert torch.equal(found["r1"], exact["r1"])  # the same reals through the same layers
    assert found["r2"] != exact["r2"]  # of fakes that were made in bfloat16


def test_the_critics_last_layer_is_a_depthwise_convolution_and_a_projection():
    gan = model(labels=FINDINGS)
    critic = gan.critic
    kept = []
    critic.blocks[-1].register_forward_hook(lambda *args: kept.append(args[-1]))
    labels = batch().labels
    found = critic(gan.joint(batch()), labels)
    basis = functional.conv2d(kept[0], critic.basis[:, None], groups=len(critic.basis))[:, :, 0, 0]
    features = basis @ critic.score.weight.T
    for i in range(COUNT):
        said = [critic.embedding.weight[:, k] for k in range(len(FINDINGS)) if labels[i, k]]
        expected = sum((features[i] * each).sum() for each in [critic.embedding.bias, *said]) / math.sqrt(8)
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)  # float32 sums


def test_maps_are_added_to_every_stage_as_the_share_of_each_class():
    gan = model(masks="given", mask_source="training", patch=1)
    seen = []
    for layer in gan.generator.maps:
        layer.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    maps = gan.onehot(batch().masks) * 2 - 1
    gan.generator(torch.zeros(COUNT, 8), batch().labels, maps)
    assert [tuple(each.shape[2:]) for each in seen] == [(4, 4), (8, 8), (16, 16)]
    assert torch.equal(seen[2], maps)
    expected = maps[2, 1, 4:8, 8:12].mean()
    torch.testing.assert_close(seen[0][2, 1, 1, 2], expected, rtol=1e-6, atol=1e-6)


def test_it_paints_over_the_masks_that_it_is_given():
    gan = model(labels=(), masks="given", mask_source="jittered")
    gan.fit(batch().images.numpy(), batch().masks.byte().numpy(), None, seed=0)
    masks = batch().masks
    made = gan.sample(Condition(COUNT, masks=masks), Streams(range(COUNT)))
    assert torch.equal(made.masks, masks)
    assert made.images.shape == (COUNT, 1, SIDE, SIDE)


@pytest.mark.parametrize(("side", "patch", "blocks", "labels"), [(32, 2, 1, 0), (64, 2, 2, 3), (128, 1, 2, 14)])
def test_parameters_are_as_many_as_the_layers_have(side, patch, blocks, labels):
    width, most, latent, channels = 64, 128, 64, 5
    with torch.device("meta"):
        gan = r3gan.Generator(
            shape=(1, side, side), labels=tuple(map(str, range(labels))), mask_classes=tuple("abcd"),
            width=width, max_width=most, blocks=blocks, patch=patch,
        )  # fmt: skip
    sides = int(math.log2(side // patch)) - 1  # 4, 8, ... to side / patch
    widths = [min(width * 2**level, most) for level in reversed(range(sides))]
    shared = 0
    for features in widths:
        inner = 2 * features
        shared += blocks * (features * inner + inner + inner * 16 * 9 + inner + inner * features)
    shared += sum(one * two for one, two in itertools.pairwise(widths) if one != two)
    painted = channels * patch**2
    expected = shared + widths[0] * 16 + latent * widths[0] + widths[-1] * painted + painted
    expected += widths[-1] * channels + channels if patch > 1 else 0
    expected += latent * labels + latent * widths[0] if labels else 0
    assert sum(p.numel() for p in gan.generator.parameters()) == expected
    expected = shared + painted * widths[-1] + widths[-1] + widths[0] * 16
    expected += widths[0] * latent + latent * labels + latent if labels else widths[0]
    assert sum(p.numel() for p in gan.critic.parameters()) == expected


def test_sides_and_widths_of_the_stages():
    assert stage_sides((1, 32, 32), 2) == [(4, 4), (8, 8), (16, 16)]
    assert stage_sides((1, 96, 160), 1) == [(6, 10), (12, 20), (24, 40), (48, 80), (96, 160)]
    assert stage_widths(4, 192, 768) == [768, 768, 384, 192]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group_size": 7}, "group_size divides"),
        ({"max_width": 4}, "max_width from width"),
        ({"blocks": 0}, "positive"),
        ({"gamma": -1.0}, "gamma"),
        ({"gamma": math.nan}, "gamma"),
        ({"burn_in": 0.0}, "burn_in"),
        ({"shape": (1, 30, 30)}, "30x30"),
        ({"patch": 3}, "16x16"),
        ({"masks": "given", "classes": ()}, "masks"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(options, said):
    with pytest.raises(InputError, match=said) as refusal:
        model(**options)
    assert isinstance(refusal.value, BadOption)
    assert "\n" not in str(refusal.value)

"""proggan: layer tables, growth by the clock, fades, the auxiliary classifier, and a step against slow computations."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu, linear

from synthcohort.errors import BadOption, InputError
from synthcohort.generators._progressive_networks import ProgressiveCritic, ProgressiveGenerator, at_level
from synthcohort.generators._wasserstein import label_loss, wasserstein
from synthcohort.generators.proggan import Generator
from synthcohort.nets.generator import Draws, Streams
from synthcohort.types import Batch, Clock, Condition

FINDINGS = ("a", "b", "c")
SMALL = {"channel_base": 32, "channel_max": 6, "latent": 5}
ROOT = math.sqrt(2)

# Channels of the study's table, by side.
WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def made(side=32, labels=(), **options):
    return Generator(shape=(1, side, side), labels=labels, mask_classes=(), **{**SMALL, **options})


def clock(seen, total=1000, batch=8):
    return Clock(seen // batch, seen, total)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def blocks(side):
    """Return (channels in, channels out) of the up-sampling blocks of the table."""
    sides = [s for s in WIDTHS if s <= side]
    return [(WIDTHS[low], WIDTHS[high]) for low, high in itertools.pairwise(sides)]


@pytest.mark.parametrize("resized", ["resampling", "plain"])
@pytest.mark.parametrize("findings", [0, 14])
@pytest.mark.parametrize("side", [32, 64, 128, 256, 512])
def test_parameters_are_those_of_the_study(side, findings, resized):
    labels = [f"finding {i}" for i in range(findings)]
    with torch.device("meta"):
        model = Generator(
            shape=(1, side, side), labels=labels, mask_classes=(), protocol="paper", resized=resized
        )  # fmt: skip
    generator = (512 + findings) * 512 * 16 + 512 + 9 * 512 * 512 + 512
    critic = 9 * 513 * 512 + 512 + 8192 * 512 + 512 + 512 * (1 + findings) + 1 + findings
    for low, width in blocks(side):
        generator += width + 1  # to the image, at each side from 8
        critic += width + width
        if resized == "resampling":
            generator += 9 * low * width + width + 9 * width * width + width
            critic += 9 * width * width + width + 9 * width * low + low
        else:
            generator += 9 * low * low + low + 9 * low * width + width
            critic += 9 * width * low + low + 9 * low * low + low
    assert count(model.generator) == generator
    assert count(model.critic) == critic


def slow_norm(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def slow_conv(w, x, name, gain):
    weight = w[f"{name}.weight"]
    return conv2d(x, weight * gain / math.sqrt(weight[0].numel()), w[f"{name}.bias"], padding=weight.shape[-1] // 2)


def slow_generator(net, vector, side, fade=None):
    """Write the generator's table out; with `fade`, the blend with half the side."""
    w = dict(net.named_parameters())
    vector = slow_norm(vector)
    x = linear(vector, w["first.dense.weight"] * (ROOT / 4) / math.sqrt(vector.shape[1])).reshape(len(vector), -1, 4, 4)
    x = slow_norm(leaky_relu(x + w["first.bias"], 0.2))
    x = slow_norm(leaky_relu(slow_conv(w, x, "conv", ROOT), 0.2))
    for i in range(int(math.log2(side)) - 2):
        before, x = x, interpolate(x, scale_factor=2, mode="nearest")
        x = slow_norm(leaky_relu(slow_conv(w, x, f"ups.{i}", ROOT), 0.2))
        x = slow_norm(leaky_relu(slow_conv(w, x, f"convs.{i}", ROOT), 0.2))
    image = slow_conv(w, x, f"to_image.{i}", 1)
    if fade is None:
        return image
    smaller = interpolate(slow_conv(w, before, f"to_image.{i - 1}", 1), scale_factor=2, mode="nearest")
    return (1 - fade) * smaller + fade * image


def slow_critic(net, images, fade=None):
    """Write the critic's table out; returns (B, 1 + L)."""
    w = dict(net.named_parameters())
    top = int(math.log2(images.shape[2])) - 3

    def block(x, i):
        x = leaky_relu(slow_conv(w, x, f"convs.{i}", ROOT), 0.2)
        return leaky_relu(avg_pool2d(slow_conv(w, x, f"downs.{i}", ROOT), 2), 0.2)

    x = block(leaky_relu(slow_conv(w, images, f"from_image.{top}", ROOT), 0.2), top)
    if fade is not None:
        smaller = leaky_relu(slow_conv(w, avg_pool2d(images, 2), f"from_image.{top - 1}", ROOT), 0.2)
        x = (1 - fade) * smaller + fade * x
    for i in reversed(range(top)):
        x = block(x, i)
    groups = x.reshape(4, -1, *x.shape[1:])
    spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(4)
    x = torch.cat([x, spread[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    x = leaky_relu(slow_conv(w, x, "end.conv", ROOT), 0.2).flatten(1)
    x = leaky_relu(linear(x, w["end.dense.weight"] * ROOT / math.sqrt(x.shape[1]), w["end.dense.bias"]), 0.2)
    return linear(x, w["output.weight"] / math.sqrt(x.shape[1]), w["output.bias"])


def with_biases(net):
    for name, parameter in net.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter)
    return net.double()


LEVELS = [(3.0, 8, None), (3.25, 16, 0.25), (4.0, 16, None), (4.75, 32, 0.75), (5.0, 32, None)]


@pytest.mark.parametrize("resized", ["resampling", "plain"])
@pytest.mark.parametrize(("level", "side", "fade"), LEVELS)
def test_the_networks_are_their_tables(level, side, fade, resized):
    generator = with_biases(ProgressiveGenerator(7, [6, 5, 4, 3], 2, resized))
    vector = torch.randn(8, 7).double()
    made, expected = generator(vector, level), slow_generator(generator, vector, side, fade)
    assert expected.shape == (8, 2, side, side)
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)  # the image is float32
    critic = with_biases(ProgressiveCritic(2, [6, 5, 4, 3], 3, resized))
    scores, logits = critic(expected, level)
    expected_scores = slow_critic(critic, expected, fade)
    # Float32 in the minibatch standard deviation and in the results.
    torch.testing.assert_close(scores.double(), expected_scores[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.double(), expected_scores[:, 1:], rtol=1e-5, atol=1e-5)


def test_two_batches_in_one_pass_are_two_passes():
    net = ProgressiveCritic(1, [6, 5, 4], 3, "resampling").double()
    real, fake = torch.randn(2, 8, 1, 16, 16).double()
    together = [part.chunk(2) for part in net(torch.cat([real, fake]), 3.5, parts=2)]
    for place, images in enumerate((real, fake)):
        for found, expected in zip(together, net(images, 3.5), strict=True):
            torch.testing.assert_close(found[place], expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(net(torch.cat([real, fake]), 3.5)[0][:8], together[0][0], atol=1e-4)


def test_a_fade_begins_as_the_smaller_and_ends_as_the_larger_network():
    model = made()
    vector, images = torch.randn(4, 5), torch.randn(4, 1, 32, 32)
    small, near = model.generator(vector, 4.0), model.generator(vector, 4 + 1e-7)
    torch.testing.assert_close(near, interpolate(small, scale_factor=2, mode="nearest"), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.generator(vector, 5 - 1e-7), model.generator(vector, 5.0), rtol=0, atol=1e-5)
    shown = {level: at_level(images, level) for level in (4.0, 4 + 1e-7, 5 - 1e-7, 5.0)}
    doubled = interpolate(avg_pool2d(images, 2), scale_factor=2, mode="nearest")
    torch.testing.assert_close(shown[4 + 1e-7], doubled, rtol=0, atol=1e-5)
    torch.testing.assert_close(shown[5 - 1e-7], images, rtol=0, atol=1e-5)
    assert torch.equal(shown[5.0], images)
    torch.testing.assert_close(at_level(images, 3.0), avg_pool2d(images, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(model.critic(shown[4 + 1e-7], 4 + 1e-7)[0], model.critic(shown[4.0], 4.0)[0],
                               rtol=0, atol=1e-4)  # fmt: skip
    torch.testing.assert_close(model.critic(images, 5 - 1e-7)[0], model.critic(images, 5.0)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("seen", "level"),
    [(0, 3), (99, 3), (100, 3), (125, 3.25), (199, 3.99), (200, 4), (299, 4), (350, 4.5), (400, 5), (999, 5)],
)
def test_the_clock_decides_the_level(seen, level):
    assert made(phase_images=100).level(clock(seen)) == pytest.approx(level)


@pytest.mark.parametrize("side", [16, 32, 128])
def test_the_recommended_growth_takes_two_fifths_of_any_training(side):
    model = made(side)
    for total in (999, 60_000, 2_000_000):
        levels = [model.level(Clock(0, int(share * total), total)) for share in (0, 0.39, 0.4, 0.99)]
        assert levels[0] == 3
        assert levels[1] < math.log2(side)
        assert levels[2:] == [math.log2(side)] * 2


@pytest.mark.parametrize(("side", "length"), [(32, 1_400_000), (64, 1_000_000), (128, 1_000_000)])
def test_the_papers_phases_are_the_papers(side, length):
    with torch.device("meta"):
        model = Generator(shape=(1, side, side), labels=(), mask_classes=(), protocol="paper")
    levels = [model.level(Clock(0, int(phases * length), 12_000_000)) for phases in (0.9, 1.5, 2, 3, 3.25, 4)]
    assert levels == [3, 3.5, 4, 4, 4.25, 5]


def test_a_training_too_short_to_grow_up_is_refused_in_one_line():
    with pytest.raises(
        BadOption, match="4 phases before the full side take 400 images: the training has 400"
    ) as caught:
        made(phase_images=100).level(clock(0, total=400))
    assert "\n" not in str(caught.value)
    assert made(phase_images=100).level(clock(0, total=401)) == 3


class Descent:
    """An update by plain gradient descent, which small differences do not make large; keeps losses and gradients."""

    def __init__(self, model, rate=1e-3):
        self.model, self.rate, self.names, self.losses, self.gradients = model, rate, [], [], []

    def __call__(self, name, loss, *, lr=None):
        network = getattr(self.model, name)
        self.model.zero_grad()
        loss.backward()
        others = [key for key, p in self.model.named_parameters() if p.grad is not None and not key.startswith(name)]
        assert others == []
        self.gradients.append({key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None})
        self.names.append(name)
        self.losses.append(float(loss.detach()))
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.grad is not None:
                    parameter -= self.rate * parameter.grad


@pytest.mark.parametrize(("labels", "seen"), [((), 150), (FINDINGS, 150), (FINDINGS, 500)])
def test_a_step_is_the_textbook_step(labels, seen):
    options = {"labels": labels, "phase_images": 100, "auxiliary": "shares"}
    model, twin = made(16, **options), made(16, **options)
    twin.load_state_dict(model.state_dict())
    images = torch.rand(8, 1, 16, 16) * 2 - 1
    shown = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]])
    shown = shown.float()[:, : len(labels)]
    found, expected = Descent(model), Descent(twin)
    losses = model.step(Batch(images, None, shown if labels else None, torch.arange(8)), clock=clock(seen),
                        rng=Draws(5), update=found)  # fmt: skip

    draws = torch.Generator().manual_seed(5)
    fade = 0.5 if seen == 150 else None
    real = images if fade is None else (images + interpolate(avg_pool2d(images, 2), scale_factor=2)) / 2

    def fakes():
        return slow_generator(twin.generator, torch.cat([torch.randn((8, 5), generator=draws), shown], 1), 16, fade)

    def naming(out):  # softmax cross-entropy with labels divided by their sum; nothing for images without
        if not labels:
            return 0
        shares = shown / shown.sum(1, keepdim=True).clip(1)
        return -(shares * out[:, 1:].log_softmax(1)).sum(1).mean()

    fake = fakes().detach()
    share = torch.rand((8, 1, 1, 1), generator=draws)
    mixed = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(slow_critic(twin.critic, mixed, fade)[:, 0].sum(), mixed, create_graph=True)
    penalty = (slope.square().sum((1, 2, 3)).sqrt() - 1).square()
    of_real, of_fake = slow_critic(twin.critic, real, fade), slow_critic(twin.critic, fake, fade)
    loss = (of_fake[:, 0] - of_real[:, 0] + 10 * penalty + 0.001 * of_real[:, 0].square()).mean()
    expected("critic", loss + naming(of_real) + naming(of_fake))
    twin.critic.requires_grad_(False)
    out = slow_critic(twin.critic, fakes(), fade)
    expected("generator", -out[:, 0].mean() + naming(out))

    assert found.names == ["critic", "generator"]
    assert found.losses == pytest.approx(expected.losses, rel=1e-4)
    assert ("labels" in losses) is bool(labels)
    for one, two in zip(found.gradients, expected.gradients, strict=True):
        assert one.keys() == two.keys()
        for key, value in one.items():
            # Float32, sums in another order: a ten-thousandth of the largest gradient of the layer.
            torch.testing.assert_close(value, two[key], rtol=0, atol=1e-4 * float(two[key].abs().max()) + 1e-7)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_labels_are_named_in_the_codes_the_texts_and_our_way():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0], [1.0, 1.0, -2.0]])
    labels = torch.tensor([[1.0, 0, 0], [1.0, 0, 1.0], [0, 0, 0]])
    logs = [[v - math.log(sum(math.exp(x) for x in row)) for v in row] for row in logits.tolist()]
    first, second, third = logs[0][0], logs[1][0], logs[1][2]
    assert float(label_loss(logits, labels, "shares")) == pytest.approx(-(first + second / 2 + third / 2) / 3)
    assert float(label_loss(logits, labels, "labels")) == pytest.approx(-(first + second + third) / 3)
    each = sum(
        math.log1p(math.exp(-v if y else v))
        for row, told in zip(logits.tolist(), labels.tolist(), strict=True)
        for v, y in zip(row, told, strict=True)
    )
    assert float(label_loss(logits, labels, "each")) == pytest.approx(each / 3)


def test_the_drift_term_is_on_the_scores_of_real_images():
    real, fake = torch.tensor([3.0, -1.0]), torch.tensor([2.0, 5.0])
    assert float(wasserstein(real, fake, 0.001)) == pytest.approx(3.5 - 1 + 0.001 * (9 + 1) / 2)


def test_the_papers_protocol_has_the_papers_values():
    with torch.device("meta"):
        model = Generator(shape=(1, 32, 32), labels=FINDINGS, mask_classes=(), protocol="paper")
    for optimiser in model.optimisers().values():
        assert isinstance(optimiser, torch.optim.Adam)
        group = optimiser.param_groups[0]
        assert {key: group[key] for key in ("lr", "betas", "eps", "weight_decay")} == {
            "lr": 0.001, "betas": (0.0, 0.99), "eps": 1e-8, "weight_decay": 0,
        }  # fmt: skip
    assert (model.penalty, model.drift, model.chosen.auxiliary) == (10, 0.001, "shares")
    # One critic step of 256 images at side 8, four of 64 at side 32: 0.999 each.
    at_start, grown = Clock(0, 0, 12_000_000), Clock(40_000, 10_000_000, 12_000_000)
    assert model.ema_weight(at_start, 256) == pytest.approx(0.001)
    assert model.ema_weight(grown, 256) == pytest.approx(1 - 0.999**4)


@pytest.mark.parametrize(("seen", "updates"), [(0, [32]), (150, [16, 16]), (200, [16, 16]), (400, [8, 8, 8, 8])])
def test_a_batch_is_split_as_the_side_grows(seen, updates, monkeypatch):
    monkeypatch.setattr("synthcohort.generators.proggan.UPDATE_PIXELS", 256)
    model, sizes = made(phase_images=100, protocol="paper"), []
    model.generator.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    batch = Batch(torch.randn(32, 1, 32, 32), None, None, torch.arange(32))
    descent = Descent(model)
    model.step(batch, clock=clock(seen), rng=Draws(5), update=descent)
    assert sizes == [size for size in updates for _ in range(2)]
    assert descent.names == ["critic", "generator"] * len(updates)


def test_optimisers_forget_at_each_phase_and_only_then():
    model = made(phase_images=16)
    optimisers = model.optimisers()

    def update(name, loss, *, lr=None):
        optimisers[name].zero_grad()
        loss.backward()
        optimisers[name].step()

    steps = []
    for seen in range(0, 96, 8):
        batch = Batch(torch.randn(8, 1, 32, 32), None, None, torch.arange(8))
        model.step(batch, clock=clock(seen), rng=Draws(seen), update=update)
        weight = model.critic.end.conv.weight  # it works in every phase
        steps.append(int(optimisers["critic"].state[weight]["step"]))
    # At image 16 the fade is 0 and the side still 8: the phase begins for the networks at 24.
    assert steps == [1, 2, 3, 1, 1, 2, 3, 1, 1, 2, 3, 4]
    model.optimisers()
    copy.deepcopy(model)  # does not copy the state


def test_a_run_resumed_in_a_fade_goes_on_alike():
    def go(model, optimisers, first, stop):
        def update(name, loss, *, lr=None):
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()

        for seen in range(first, stop, 8):
            images = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(seen))
            model.step(Batch(images, None, None, torch.arange(8)), clock=clock(seen), rng=Draws(seen), update=update)

    whole = made(phase_images=24)
    resumed = copy.deepcopy(whole)
    part = copy.deepcopy(whole)
    go(whole, whole.optimisers(), 0, 72)
    optimisers = part.optimisers()
    go(part, optimisers, 0, 40)
    assert float(part.generator.level) == pytest.approx(3 + 8 / 24)  # in the fade from 8 to 16
    resumed.load_state_dict(part.state_dict())
    again = resumed.optimisers()
    for name, optimiser in again.items():
        optimiser.load_state_dict(optimisers[name].state_dict())
    go(resumed, again, 40, 72)
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())


def test_what_is_sampled_before_it_has_grown_is_coarse():
    model = made()
    images = model.sample(Condition(2), Streams([1, 2])).images
    assert images.shape == (2, 1, 32, 32)
    assert torch.equal(images, interpolate(images[..., ::4, ::4], scale_factor=4, mode="nearest"))
    model.generator.level.fill_(5)
    images = model.sample(Condition(2), Streams([1, 2])).images
    assert not torch.equal(images[..., ::2, :], images[..., 1::2, :])


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 24, 24), (1, 32, 16)])
def test_other_sides_are_refused(shape):
    with pytest.raises(InputError, match="power of two"):
        Generator(shape=shape, labels=(), mask_classes=())


@pytest.mark.parametrize("options", [{"latent": 0}, {"channel_max": 0}, {"phase_images": 0}, {"drift": -1.0}])
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match=r"(posi|nega)tive"):
        made(**options)

"""cpdgan: layer tables, conditional pixel norm, the projection, and a training step against slow computations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu, linear

from synthcohort.errors import BadOption, InputError
from synthcohort.generators._cpd_networks import STARTS, ConditionalPixelNorm, CpdCritic, CpdGenerator
from synthcohort.generators._progressive_networks import channel_widths
from synthcohort.generators.cpdgan import Generator
from synthcohort.nets.generator import Draws
from synthcohort.types import Batch, Clock

FINDINGS = ("a", "b", "c")
SMALL = {"channel_base": 32, "channel_max": 6, "latent": 5}
CLOSE = {"rtol": 1e-6, "atol": 1e-6}  # float64 with norms in float32

# Channels of the study's table, by side.
WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def made(side=16, labels=(), **options):
    return Generator(shape=(1, side, side), labels=labels, mask_classes=(), **{**SMALL, **options})


def blocks(side):
    """Return (channels in, channels out) of the up-sampling blocks of the table."""
    sides = [s for s in WIDTHS if s <= side]
    return [(WIDTHS[low], WIDTHS[high]) for low, high in itertools.pairwise(sides)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("findings", [0, 14])
@pytest.mark.parametrize("side", [32, 64, 128, 256, 512])
def test_parameters_are_those_of_the_study(side, findings):
    with torch.device("meta"):
        labels = [f"finding {i}" for i in range(findings)]
        model = Generator(shape=(1, side, side), labels=labels, mask_classes=(), protocol="paper")
    c = 512 + findings  # what a norm, the dense layer and nothing else sees
    generator = c * 512 * 16 + 512  # dense, a bias per channel
    generator += 9 * 512 * 512 + 512  # 3x3
    generator += 2 * 2 * (c * 512 + 512)  # two norms, W1, W2, b1, b2 each
    generator += 512 + 1  # to the image
    for low, width in blocks(side):
        generator += 9 * low * width + width + 9 * width * width + width
        generator += 2 * 2 * (c * width + width) + width + 1
    assert count(model.generator) == generator
    critic = WIDTHS[side] + WIDTHS[side]  # from the image
    for low, width in blocks(side):
        critic += 9 * width * width + width + 9 * width * low + low + width * low
    critic += 9 * 513 * 512 + 512 + 8192 * 512 + 512
    critic += 512 * max(findings, 1) + max(findings, 1)
    assert count(model.critic) == critic


@pytest.mark.parametrize("side", [16, 32, 64, 128])
def test_there_are_two_norms_at_each_side(side):
    with torch.device("meta"):
        model = made(side)
    norms = [module for module in model.generator.modules() if isinstance(module, ConditionalPixelNorm)]
    assert len(norms) == 2 * math.log2(side) - 2


def test_channels_are_those_of_the_table():
    assert channel_widths((1, 512, 512), 16384, 512) == list(WIDTHS.values())
    assert channel_widths((1, 128, 128), 8192, 512) == [512, 512, 512, 512, 256, 128]
    assert channel_widths((1, 16, 16), 4, 512) == [2, 1, 1]  # never none


def line(norm, row, vector):
    """Return W z + b of one row, weights scaled by the square root of what they sum over."""
    weights, bias = norm.affine.weight[row].tolist(), float(norm.affine.bias[row].detach())
    return sum(w / math.sqrt(len(weights)) * v for w, v in zip(weights, vector.tolist(), strict=True)) + bias


def test_conditional_pixel_norm_is_the_papers_equation():
    norm, x, vector = (
        ConditionalPixelNorm(5, 3, STARTS["study"]).double(),
        torch.randn(2, 3, 4, 4).double(),
        torch.randn(2, 5).double(),
    )
    torch.nn.init.normal_(norm.affine.bias)
    found = norm(x, vector)
    for image, channel, row, column in ((0, 0, 0, 0), (1, 2, 3, 1), (1, 0, 2, 2)):
        features = x[image, :, row, column].tolist()
        rms = math.sqrt(sum(f * f for f in features) / 3 + 1e-8)
        expected = features[channel] / rms * line(norm, channel, vector[image]) + line(norm, 3 + channel, vector[image])
        assert float(found[image, channel, row, column].detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("start", "middle", "spread"), [("study", 0, 1), ("calm", 1, 0.25)])
def test_the_scale_of_a_norm_starts_around_zero_in_the_study(start, middle, spread):
    norm = ConditionalPixelNorm(100, 200, STARTS[start])
    scale, shift = norm.affine(torch.randn(50, 100)).detach().chunk(2, 1)
    for values, expected in ((scale, middle), (shift, 0)):
        assert float(values.mean()) == pytest.approx(expected, abs=0.1)
        assert float(values.std()) == pytest.approx(spread, rel=0.05)  # 10,000 values


def slow_norm(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def slow_generator(net, vector, *, normalise, up_fan_in, start="study"):
    """Write the generator's table out; weights by name, nothing fused."""
    w = dict(net.named_parameters())
    norms = iter(range(100))
    gain, to_image = (1, 1) if start == "study" else (0.25, 0.3)

    def finish(x):  # bias is in x: leaky ReLU, then the norm
        affine = f"norms.{next(norms)}.affine"
        steer = linear(vector, w[f"{affine}.weight"] * gain / math.sqrt(vector.shape[1]), w[f"{affine}.bias"])
        scale, shift = steer.chunk(2, 1)
        return slow_norm(leaky_relu(x, 0.2)) * scale[:, :, None, None] + shift[:, :, None, None]

    def conv(x, name, gain, fan_in=None):
        weight = w[f"{name}.weight"]
        scale = gain / math.sqrt(fan_in or weight[0].numel())
        return conv2d(x, weight * scale, w[f"{name}.bias"], padding=weight.shape[-1] // 2)

    start = slow_norm(vector) if normalise else vector
    x = linear(start, w["first.dense.weight"] / math.sqrt(vector.shape[1])).reshape(len(vector), -1, 4, 4)
    x = finish(x + w["first.bias"])
    x = finish(conv(x, "conv", 1))
    image = conv(x, "to_image.0", to_image)
    for i in range(len(net.ups)):
        outputs, inputs = w[f"ups.{i}.weight"].shape[:2]
        fan_in = 9 * (outputs if up_fan_in == "outputs" else inputs)
        x = finish(conv(interpolate(x, scale_factor=2, mode="nearest"), f"ups.{i}", math.sqrt(2), fan_in))
        x = finish(conv(x, f"convs.{i}", 1))
        image = interpolate(image, scale_factor=2, mode="nearest") + conv(x, f"to_image.{i + 1}", to_image)
    return image


def with_biases(net):
    for name, parameter in net.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter)
    return net.double()


@pytest.mark.parametrize(
    ("normalise", "up_fan_in", "start"),
    [(True, "outputs", "study"), (False, "inputs", "study"), (True, "inputs", "calm")],
)
def test_the_generator_is_its_table(normalise, up_fan_in, start):
    net = with_biases(CpdGenerator(7, [6, 5, 4], 2, normalise=normalise, fan_in=up_fan_in, start=STARTS[start]))
    vector = torch.randn(3, 7).double()
    expected = slow_generator(net, vector, normalise=normalise, up_fan_in=up_fan_in, start=start)
    assert expected.shape == (3, 2, 16, 16)
    torch.testing.assert_close(net(vector).double(), expected, rtol=1e-5, atol=1e-5)  # the image is float32


def slow_critic(net, images, labels, projection):
    """Write the critic's table out; weights by name, nothing fused."""
    w = dict(net.named_parameters())

    def conv(x, name, gain=1.0):
        weight = w[f"{name}.weight"]
        return conv2d(x, weight * gain / math.sqrt(weight[0].numel()), w.get(f"{name}.bias"),
                      padding=weight.shape[-1] // 2)  # fmt: skip

    def dense(x, name):
        weight = w[f"{name}.weight"]
        return linear(x, weight / math.sqrt(weight.shape[1]), w.get(f"{name}.bias"))

    x = leaky_relu(conv(images, "from_image"), 0.2)
    for i in range(len(net.blocks)):
        main = leaky_relu(conv(x, f"blocks.{i}.conv"), 0.2)
        main = leaky_relu(avg_pool2d(conv(main, f"blocks.{i}.down", math.sqrt(2)), 2), 0.2)
        x = (main + avg_pool2d(conv(x, f"blocks.{i}.skip", math.sqrt(2)), 2)) / math.sqrt(2)
    groups = x.reshape(4, -1, *x.shape[1:])
    spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(4)
    x = torch.cat([x, spread[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    features = leaky_relu(dense(leaky_relu(conv(x, "end.conv"), 0.2).flatten(1), "end.dense"), 0.2)
    if not labels.shape[1]:
        return dense(features, "output")[:, 0]
    if projection == "labels":
        return (labels * dense(features, "output")).sum(1)
    return dense(features, "output")[:, 0] + (labels * dense(features, "projection")).sum(1)


@pytest.mark.parametrize(("findings", "projection"), [(0, "labels"), (0, "miyato"), (3, "labels"), (3, "miyato")])
def test_the_critic_is_its_table(findings, projection):
    net = with_biases(CpdCritic(2, [6, 5, 4], findings, projection))
    images = torch.randn(8, 2, 16, 16).double()
    labels = torch.randint(2, (8, findings)).double()
    expected = slow_critic(net, images, labels, projection)
    torch.testing.assert_close(net(images, labels).double(), expected, **CLOSE)


def test_images_without_findings_have_a_score_only_beside_an_unconditional_one():
    images, none = torch.randn(4, 1, 16, 16), torch.zeros(4, 3)
    assert not CpdCritic(1, [6, 5, 4], 3, "labels")(images, none).any()
    assert CpdCritic(1, [6, 5, 4], 3, "miyato")(images, none).all()


def test_two_batches_in_one_pass_are_two_passes():
    net, real, fake = CpdCritic(1, [6, 5, 4], 3, "miyato").double(), *torch.randn(2, 8, 1, 16, 16).double()
    labels = torch.randint(2, (8, 3)).double()
    seen = torch.randn(8).double()

    def gradients(scores):
        return torch.autograd.grad((scores[0] * seen).sum() - scores[1].square().sum(), list(net.parameters()))

    apart = [net(real, labels), net(fake, labels)]
    together = net(torch.cat([real, fake]), torch.cat([labels, labels]), parts=2).chunk(2)
    for one, two in zip(together, apart, strict=True):
        torch.testing.assert_close(one, two, **CLOSE)
    mixed = net(torch.cat([real, fake]), torch.cat([labels, labels])).chunk(2)
    assert not torch.allclose(mixed[0], apart[0], atol=1e-4)  # groups over both would be something else
    for one, two in zip(gradients(together), gradients(apart), strict=True):
        torch.testing.assert_close(one, two, **CLOSE)


class Descent:
    """An update by plain gradient descent, which small differences do not make large; keeps losses and gradients."""

    def __init__(self, model, rate=1e-3):
        self.model, self.rate, self.losses, self.gradients = model, rate, [], []

    def __call__(self, name, loss, *, lr=None):
        network = getattr(self.model, name)
        self.model.zero_grad()
        loss.backward()
        others = [key for key, p in self.model.named_parameters() if p.grad is not None and not key.startswith(name)]
        assert others == []
        self.gradients.append({key: p.grad.clone() for key, p in network.named_parameters()})
        self.losses.append(float(loss.detach()))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= self.rate * parameter.grad


@pytest.mark.parametrize(("images", "sizes"), [(0, [32]), (16, [16, 16]), (12, [12, 12, 8]), (64, [32])])
def test_a_batch_may_be_several_updates(images, sizes):
    model, seen = made(update_images=images), []
    model.generator.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    found = Descent(model)
    batch = Batch(torch.randn(32, 1, 16, 16), None, None, torch.arange(32))
    losses = model.step(batch, clock=Clock(0, 0, 800), rng=Draws(5), update=found)
    assert seen == [size for size in sizes for _ in range(2)]
    assert float(losses["generator"]) == pytest.approx(sum(found.losses[1::2]) / len(sizes), rel=1e-5)
    paper = made(protocol="paper", update_images=images)
    assert paper.ema_weight(Clock(0, 0, 800), 32) == pytest.approx(1 - 0.999 ** len(sizes))


@pytest.mark.parametrize("projection", [None, "labels", "miyato"])
def test_a_step_is_the_textbook_step(projection):
    labels = FINDINGS if projection else ()
    options = {"labels": labels, **({"projection": projection} if projection else {})}
    model, twin = made(**options), made(**options)
    twin.load_state_dict(model.state_dict())
    images = torch.rand(8, 1, 16, 16) * 2 - 1
    shown = torch.randint(2, (8, len(labels))).float()
    found, expected = Descent(model), Descent(twin)
    model.step(
        Batch(images, None, shown if labels else None, torch.arange(8)),
        clock=Clock(3, 24, 800),
        rng=Draws(5),
        update=found,
    )

    draws = torch.Generator().manual_seed(5)

    def fakes():
        latent = torch.randn((8, 5), generator=draws)
        return slow_generator(twin.generator, torch.cat([latent, shown], 1),
                              normalise=True, up_fan_in="inputs", start="calm")  # fmt: skip

    def score(seen):  # a pass of its own for real, fake and mixed images
        return slow_critic(twin.critic, seen, shown, projection)

    fake = fakes().detach()
    share = torch.rand((8, 1, 1, 1), generator=draws)
    mixed = (share * images + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(score(mixed).sum(), mixed, create_graph=True)
    norms = slope.square().sum((1, 2, 3)).sqrt()
    scores = score(images)
    expected("critic", (score(fake) - scores + 10 * (norms - 1).square() + 0.001 * scores.square()).mean())
    twin.critic.requires_grad_(False)
    expected("generator", -score(fakes()).mean())

    assert found.losses == pytest.approx(expected.losses, rel=1e-4)
    for one, two in zip(found.gradients, expected.gradients, strict=True):
        for key, value in one.items():
            # Float32, sums in another order: a ten-thousandth of the largest gradient of the layer.
            torch.testing.assert_close(value, two[key], rtol=0, atol=1e-4 * float(two[key].abs().max()) + 1e-7)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_papers_protocol_has_the_papers_values():
    with torch.device("meta"):
        model = Generator(shape=(1, 32, 32), labels=FINDINGS, mask_classes=(), protocol="paper")
    for optimiser in model.optimisers().values():
        assert isinstance(optimiser, torch.optim.Adam)
        group = optimiser.param_groups[0]
        assert {key: group[key] for key in ("lr", "betas", "eps", "weight_decay")} == {
            "lr": 0.005, "betas": (0.0, 0.99), "eps": 1e-8, "weight_decay": 0,
        }  # fmt: skip
    weights = [model.ema_weight(Clock(10, 2560, 12_000_000), 256), model.ema_weight(Clock(9, 5, 10), 8)]
    assert weights == pytest.approx([1 - 0.999] * 2)
    assert (model.penalty, model.drift) == (10, 0.001)
    assert not any(norm.affine.bias.any() for norm in made(protocol="paper").generator.norms)
    assert model.critic.projection is None
    assert model.generator.normalise
    assert model.generator.first.dense.weight.shape == (8192, 515)


def test_up_convolutions_are_scaled_as_the_released_code_does_under_the_papers_protocol():
    with torch.device("meta"):
        paper = Generator(shape=(1, 128, 128), labels=(), mask_classes=(), protocol="paper")
        text = Generator(shape=(1, 128, 128), labels=(), mask_classes=(), protocol="paper", up_fan_in="inputs")
    last, before = paper.generator.ups[-1], paper.generator.ups[-2]
    assert last.scale == pytest.approx(math.sqrt(2) / math.sqrt(9 * 256))  # 512 to 256 channels
    assert before.scale == text.generator.ups[-2].scale == pytest.approx(math.sqrt(2) / math.sqrt(9 * 512))
    assert last.scale == pytest.approx(math.sqrt(2) * text.generator.ups[-1].scale)


def test_an_option_goes_before_the_protocol():
    assert made(protocol="paper", learning_rate=0.006).optimisers()["critic"].param_groups[0]["lr"] == 0.006
    assert made(labels=FINDINGS, protocol="paper", projection="miyato").critic.projection is not None


def test_images_without_findings_are_refused_where_they_teach_nothing():
    model, images = made(labels=FINDINGS, projection="labels"), np.zeros((3, 1, 16, 16), np.float32)
    labels = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]], np.float32)
    with pytest.raises(InputError, match="1 of 3 training images have none") as caught:
        model.fit(images, None, labels, seed=0)
    assert "\n" not in str(caught.value)
    model.fit(images, None, np.maximum(labels, np.float32([0, 0, 1])), seed=0)
    made(labels=FINDINGS).fit(images, None, labels, seed=0)
    made(labels=FINDINGS, projection="labels", conditional=False).fit(images, None, labels, seed=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 24, 24), (1, 32, 16)])
def test_other_sides_are_refused(shape):
    with pytest.raises(InputError, match="power of two"):
        Generator(shape=shape, labels=(), mask_classes=())


@pytest.mark.parametrize("options", [{"latent": 0}, {"channel_max": 0}, {"channel_base": 0}, {"penalty": -1.0}])
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match=r"(posi|nega)tive"):
        made(**options)


def test_a_build_says_it_in_one_line():
    from synthcohort.cohort import Facts
    from synthcohort.nets.generator import build

    facts = Facts(name="x", modality="n", provenance="real", shape=(1, 16, 16), dtype="uint8",
                  value_range=(0.0, 255.0), mask_classes=())  # fmt: skip
    with pytest.raises(BadOption) as caught:
        build("cpdgan", facts, {"latent": 0})
    assert "\n" not in str(caught.value)

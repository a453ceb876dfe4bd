"""`biggan`: special layers, regularisation and a training step against slow textbook ones, counts, protocols."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from synthcohort.errors import InputError
from synthcohort.generators import _biggan_networks, biggan
from synthcohort.generators._biggan_networks import (
    ConditionalNorm,
    CriticNetwork,
    DownAttention,
    DownBlock,
    GeneratorNetwork,
    SelfAttention,
    UpAttention,
    UpBlock,
    overlap,
    stage_widths,
)
from synthcohort.nets.generator import Draws
from synthcohort.types import Batch, Clock

FINDINGS, COUNT, SIDE = ("a", "b", "c"), 6, 16


def model(labels=FINDINGS, shape=(1, SIDE, SIDE), **options):
    torch.manual_seed(0)
    return biggan.Generator(shape=shape, labels=labels, mask_classes=(), **{"width": 8, "latent": 12, **options})


def batch():
    rng = torch.Generator().manual_seed(1)
    images = torch.rand((COUNT, 1, SIDE, SIDE), generator=rng) * 2 - 1
    return Batch(images, None, torch.randint(2, (COUNT, 3), generator=rng).float(), torch.arange(COUNT))


@pytest.fixture
def networks(monkeypatch):
    """Return both networks without numbers in them, nor the estimates of the spectral norm, which needs numbers."""
    monkeypatch.setattr(_biggan_networks, "normalise_spectrally", lambda network: None)

    def built(widths, labels=0):
        with torch.device("meta"):
            made = GeneratorNetwork(widths, channels=1, latent=120, labels=labels)
            return made, CriticNetwork(widths, channels=1, labels=labels)

    return built


def test_the_hinge_is_the_closed_form():
    found = biggan.hinge_loss(torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 0.25]))
    assert float(found) == pytest.approx(0.5 / 2 + 1.25 / 2, rel=1e-6)


def test_self_attention_is_the_slow_computation():
    torch.manual_seed(0)
    layer, x = SelfAttention(16).double(), torch.randn(2, 16, 4, 6, dtype=torch.float64)
    assert torch.equal(layer(x), x)  # its strength starts at 0
    nn.init.constant_(layer.strength, 0.7)
    query, key, value, out = (
        getattr(layer, name).weight[:, :, 0, 0] for name in ("query", "key", "value", "out")
    )  # fmt: skip
    assert (len(query), len(key), len(value)) == (2, 2, 8)
    expected = x.clone()
    for image in range(2):
        at = x[image]
        keys, values = [], []
        for row in range(0, 4, 2):
            for column in range(0, 6, 2):
                four = [at[:, row + i, column + j] for i in (0, 1) for j in (0, 1)]
                keys.append(torch.stack([key @ each for each in four]).amax(0))
                values.append(torch.stack([value @ each for each in four]).amax(0))
        for row in range(4):
            for column in range(6):
                asked = query @ at[:, row, column]
                weights = torch.stack([(asked * each).sum() for each in keys]).exp()
                seen = sum(w * v for w, v in zip(weights / weights.sum(), values, strict=True))
                expected[image, :, row, column] += 0.7 * (out @ seen)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)  # float64


def test_conditional_norm_is_the_slow_computation_and_runs_in_eval():
    torch.manual_seed(0)
    layer, x, told = ConditionalNorm(4, 3), torch.randn(5, 4, 6, 6) * 3 + 1, torch.randn(5, 3)
    found = layer(x, told)
    for channel in range(4):
        values = x[:, channel]
        normal = (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()
        for image in range(5):
            gain = 1 + layer.gain.weight[channel] @ told[image]
            bias = layer.bias.weight[channel] @ told[image]
            expected = normal[image] * gain + bias
            torch.testing.assert_close(found[image, channel], expected, rtol=1e-4, atol=1e-4)  # float32 statistics
    layer.eval()
    torch.testing.assert_close(layer(x, told)[1:2], layer(x[1:2], told[1:2]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 2, 3, 3), (40, 2, 3, 3)])
def test_overlap_is_the_slow_sum_over_pairs_of_filters(shape):
    torch.manual_seed(0)
    layer = nn.Module()
    layer.weight, layer.bias = nn.Parameter(torch.randn(shape, dtype=torch.float64)), nn.Parameter(torch.ones(3))
    rows = layer.weight.detach().flatten(1)
    pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
    found = overlap(layer)
    assert float(found.detach()) == pytest.approx(sum(float(rows[i] @ rows[j]) ** 2 for i, j in pairs), rel=1e-10)
    # Its gradient as Brock et al. use it, with the factor 4 of the square that their code halves.
    away = rows @ rows.T * (1 - torch.eye(len(rows)))
    (slope,) = torch.autograd.grad(found, layer.weight)
    torch.testing.assert_close(slope.flatten(1), 4 * away @ rows, rtol=1e-9, atol=1e-9)  # float64


def test_weights_start_orthogonal_and_every_weight_is_normalised():
    gan = model()
    for network in (gan.generator, gan.critic):
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        assert all(hasattr(layer, "parametrizations") for layer in layers)
        for layer in layers:
            raw = layer.parametrizations.weight.original.flatten(1)
            small = raw @ raw.T if len(raw) <= raw.shape[1] else raw.T @ raw
            torch.testing.assert_close(small, torch.eye(len(small)), rtol=0, atol=1e-5)  # float32 QR
        network.eval()
        assert all(torch.linalg.matrix_norm(layer.weight.flatten(1), 2) < 1.01 for layer in layers)


@pytest.mark.parametrize(("side", "widths"), [(32, [256, 256, 128, 64]), (128, [256, 256, 256, 256, 128, 64])])
def test_attention_replaces_the_block_at_half_the_side(side, widths, networks):
    assert stage_widths((1, side, side), 64) == widths
    made, critic = networks(widths)
    kinds = [type(step) for step in made.steps]
    assert kinds == [*[UpBlock] * (len(widths) - 3), UpAttention, UpBlock]
    assert [type(step) for step in critic.steps] == [DownBlock, DownAttention, *[DownBlock] * (len(widths) - 3)]
    assert made.steps[-2].attention.out.out_channels == widths[-2]
    assert critic.steps[1].attention.out.out_channels == widths[-2]


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize("labels", [0, 14])
def test_parameters_are_as_many_as_the_description_has(side, labels, networks):
    widths, channels = stage_widths((1, side, side), 64), 1
    made, critic = networks(widths, labels)
    # 120 numbers in equal parts for the dense layer and each residual block: 8 and R at 32, 8, 16 and R at 64, ...
    pieces = 1 + int(math.log2(side)) - 3
    assert 120 % pieces == 0
    assert (made.pieces, made.piece) == (pieces, 120 // pieces)
    told = 120 // pieces + (128 if labels else 0)

    def attention(width):
        return 2 * width * width // 8 + width * width // 2 + width // 2 * width + 1

    def convs(inputs, outputs):  # two 3x3 and the 1x1 of the skip, with biases
        return inputs * outputs * 9 + outputs + outputs * outputs * 9 + outputs + inputs * outputs + outputs

    steps = list(itertools.pairwise(widths))
    expected = 128 * labels + told * widths[0] * 16 + widths[0] * 16
    for index, (inputs, outputs) in enumerate(steps):
        if index == len(steps) - 2:
            expected += inputs * outputs + outputs + attention(outputs)
        else:
            expected += convs(inputs, outputs) + 2 * told * (inputs + outputs)
    expected += 2 * widths[-1] + widths[-1] * channels * 9 + channels
    assert sum(p.numel() for p in made.parameters()) == expected

    expected, inputs = widths[0] * (1 + labels) + 1, channels
    for index, outputs in enumerate(reversed(widths[:-1])):
        expected += inputs * outputs + outputs + attention(inputs) if index == 1 else convs(inputs, outputs)
        inputs = outputs
    assert sum(p.numel() for p in critic.parameters()) == expected


def test_a_score_is_that_of_the_summed_features_and_what_the_findings_add():
    critic, images, labels = model().critic.eval(), batch().images, batch().labels
    kept = []
    critic.steps[-1].register_forward_hook(lambda *args: kept.append(args[-1]))
    found = critic(images, labels)
    features = kept[0].clamp(min=0).sum((2, 3))
    score, projection = critic.score, critic.projection.weight.T
    for i in range(COUNT):
        expected = features[i] @ score.weight[0] + score.bias[0]
        expected = expected + sum(features[i] @ projection[k] for k in range(3) if labels[i, k])
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)  # float32 sums


def test_each_block_has_a_piece_of_the_latent_vector_of_its_own():
    generator, labels = model(shape=(1, 32, 32), latent=12).generator.eval(), torch.zeros(1, 3)
    assert (generator.pieces, generator.piece) == (3, 4)
    outputs = []
    for step in generator.steps:
        step.register_forward_hook(lambda *args: outputs.append(args[-1]))
    base = torch.zeros(1, 12)
    for piece, unchanged in ((0, 0), (1, 0), (2, 2)):
        other = base.clone()
        other[:, 4 * piece : 4 * piece + 4] = 1
        outputs.clear()
        generator(base, labels)
        generator(other, labels)
        same = [torch.equal(one, two) for one, two in zip(outputs[:3], outputs[3:], strict=True)]
        assert same == [True] * unchanged + [False] * (3 - unchanged)


class Gradients:
    """An update that changes nothing and keeps losses and gradients."""

    def __init__(self, gan):
        self.gan, self.losses, self.found = gan, {}, {}

    def __call__(self, name, loss, *, lr=None):
        self.losses[name] = loss.detach()
        parameters = dict(getattr(self.gan, name).named_parameters())
        slopes = torch.autograd.grad(loss, parameters.values(), retain_graph=True)
        self.found[name] = dict(zip(parameters, slopes, strict=True))


def test_a_step_is_the_textbook_step_on_separate_passes():
    gan, data = model(orthogonality=0.01), batch()
    gan.critic.eval()  # the estimate of the spectral norm stands still, or it would move once more in two passes
    update = Gradients(gan)
    losses = gan.step(data, clock=Clock(1, 8, 800), rng=Draws(5), update=update)
    fake = gan.generator(Draws(5).normal(COUNT, 12), data.labels)  # the norm of the pass before: within 1e-3
    real_scores, fake_scores = gan.critic(data.images, data.labels), gan.critic(fake.detach(), data.labels)
    hinge = (1 - real_scores).clamp(min=0).mean() + (1 + fake_scores).clamp(min=0).mean()
    expected = {
        "critic": hinge + 0.01 * overlap(gan.critic),
        "generator": -gan.critic(fake, data.labels).mean() + 0.01 * overlap(gan.generator),
    }
    assert float(losses["critic"]) == pytest.approx(float(hinge.detach()), rel=5e-3)
    for name, loss in expected.items():
        assert float(update.losses[name]) == pytest.approx(float(loss.detach()), rel=5e-3, abs=5e-3)
        parameters = dict(getattr(gan, name).named_parameters())
        slopes = torch.autograd.grad(loss, parameters.values(), retain_graph=True)
        for (key, found), slope in zip(update.found[name].items(), slopes, strict=True):
            assert (found - slope).norm() <= 0.02 * slope.norm() + 1e-6, (name, key)


def test_the_generator_steps_after_every_second_critic_step():
    gan, named = model(orthogonality=0.0), []
    for step in range(4):
        gan.step(batch(), clock=Clock(step, 8 * step, 800), rng=Draws(step), update=lambda name, _: named.append(name))
    assert named == ["critic", "critic", "generator"] * 2
    assert all(parameter.requires_grad for parameter in gan.parameters())


def test_protocols_name_their_rates_and_averages():
    paper, ours = model(protocol="paper"), model()
    rates = [{key: each.param_groups[0]["lr"] for key, each in gan.optimisers().items()} for gan in (paper, ours)]
    assert rates == [{"critic": 0.04, "generator": 0.01}, {"critic": 4e-4, "generator": 1e-4}]
    assert model(protocol="paper", critic_learning_rate=0.5).optimisers()["critic"].param_groups[0]["lr"] == 0.5
    # Generator step g ends critic step 2 g + 1; between them nothing is averaged, and from g = 20,000 on slowly.
    weights = [paper.ema_weight(Clock(step, step, 10**6), 1) for step in (0, 1, 39_998, 39_999, 40_000, 40_001)]
    assert weights == [0.0, 1.0, 0.0, 1.0, 0.0, pytest.approx(1e-4, rel=1e-9)]
    assert ours.ema_weight(Clock(0, 0, 100), 1) == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"critic_steps": 0}, "critic_steps"),
        ({"orthogonality": -1.0}, "orthogonality"),
        ({"orthogonality": math.nan}, "orthogonality"),
        ({"width": 12}, "multiple of 8"),
        ({"latent": 1}, "latent"),
        ({"shape": (1, 24, 24)}, "24x24"),
        ({"shape": (1, 16, 32)}, "16x32"),
        ({"shape": (1, 8, 8)}, "8x8"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(options, said):
    with pytest.raises(InputError, match=said) as refusal:
        model(**options)
    assert "\n" not in str(refusal.value)

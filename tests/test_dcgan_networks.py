"""The adversarial family's networks: widths, parameter counts, norms, activations, first weights, spectral norm."""

from __future__ import annotations

import copy
import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

from synthcohort.errors import InputError
from synthcohort.generators._dcgan_networks import Critic, Look, channel_widths, finish, generator_network
from synthcohort.generators._penalties import gradient_penalty
from synthcohort.generators._slope_conv import SlopeConv2d
from synthcohort.generators._spectral import SpectralNorm, normalise_spectrally
from synthcohort.generators.dcgan import DCGAN

FINDINGS = ("a", "b", "c")
MADE, JUDGED = Look("relu", "batch"), Look("leaky_relu", "batch")
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU}


def model(side=16, labels=(), **options):
    torch.manual_seed(0)
    return DCGAN(shape=(1, side, side), labels=labels, mask_classes=(), **{"filters": 8, "latent": 16, **options})


def images(count=8, side=16):
    return torch.rand((count, 1, side, side), generator=torch.Generator().manual_seed(1)) * 2 - 1


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("side", "filters", "widths"),
    [
        (16, 64, [128, 64]),
        (32, 64, [256, 128, 64]),
        (64, 64, [512, 256, 128, 64]),  # Radford et al. 2016, figure 1, at half width
        (256, 64, [512, 512, 512, 256, 128, 64]),  # widest would be 2048: capped
    ],
)
def test_widths_double_towards_4x4_up_to_the_cap(side, filters, widths):
    assert channel_widths((1, side, side), filters) == widths


def test_networks_have_the_published_parameter_count():
    # The common 64-px network (3 channels, 64 filters, latent 100), and biases where no norm follows.
    widths = channel_widths((3, 64, 64), 64)
    generator, critic = generator_network(100, widths, 3, MADE), Critic(3, widths[::-1], JUDGED)
    assert size(generator) == 3_576_704 + 3
    assert size(critic) == 2_765_568 + 64 + 1
    assert generator(torch.zeros(2, 100)).shape == (2, 3, 64, 64)
    assert critic(torch.zeros(2, 3, 64, 64)).shape == (2,)


def arithmetic(side, filters, norm, inputs, channels):
    """Return the parameters of generator and critic by the table: 4x4 kernels, widths that double towards 4x4."""
    stages = int(math.log2(side)) - 2
    widths = [filters * 2**stage for stage in range(stages)]  # from the image inwards
    each = 1 if norm == "none" else 2  # a bias for each channel, or a norm's gain and bias
    inner = sum(16 * a * b for a, b in itertools.pairwise(widths))
    generator = 16 * inputs * widths[-1] + inner + 16 * widths[0] * channels + channels
    generator += each * sum(widths) if norm != "none" else sum(widths[:-1]) + 16 * widths[-1]
    critic = 16 * channels * widths[0] + widths[0] + inner + each * sum(widths[1:]) + 16 * widths[-1] + 1
    return generator, critic


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("filters", [16, 32, 64, 128])
def test_every_size_of_table_1_has_the_parameters_of_the_arithmetic(filters, norm):
    with torch.device("meta"):
        gan = DCGAN(
            shape=(1, 32, 32), labels=(), mask_classes=("a", "b"), filters=filters, critic_filters=16,
            generator_norm=norm, critic_norm=norm,
        )  # fmt: skip
    assert size(gan.generator) == arithmetic(32, filters, norm, 128, 3)[0]
    assert size(gan.critic) == arithmetic(32, 16, norm, 128, 3)[1]


def test_a_labelled_network_adds_inputs_to_the_plain_one():
    added = 3 * 16 * 16 + 3 * 8 * 2 * 16  # 16 channels of 4x4 before the first norm; 16 of 4x4 before the score
    assert size(model(labels=FINDINGS)) - size(model()) == added


def test_a_projection_of_no_finding_scores_like_the_critic_without_labels():
    critic = model(labels=FINDINGS).critic
    plain = copy.deepcopy(critic)
    plain.projection = None
    assert torch.equal(critic(images(), torch.zeros(8, 3)), plain(images()))


@torch.no_grad()
def test_the_projection_is_the_sum_over_findings_written_out():
    # Miyato & Koyama 2018, eq. 3, with several findings in place of one class.
    critic, shown = model(labels=FINDINGS).critic.double(), images().double()
    told = torch.randint(2, (8, 3), generator=torch.Generator().manual_seed(3)).double()
    seen, weight, bias = critic.features(shown).numpy(), critic.score.weight.numpy()[0], float(critic.score.bias)
    matrix = critic.projection.weight.numpy()
    for h, y, score in zip(seen, told.tolist(), critic(shown, told).tolist(), strict=True):
        assert score == pytest.approx(weight @ h + bias + sum(y[k] * (matrix[k] @ h) for k in range(3)), rel=1e-10)
    assert told.sum(1).max() > 1


@pytest.mark.parametrize("norm", ["batch", "instance", "layer", "none"])
@pytest.mark.parametrize("option", ["generator_norm", "critic_norm"])
def test_the_norm_of_each_network_can_be_chosen(option, norm):
    norm = "none" if (option, norm) == ("generator_norm", "layer") else norm  # layer norm is for the critic
    gan = model(side=32, **{"critic_norm": "none", "generator_norm": "none", option: norm})
    network, other = (gan.generator, gan.critic) if option == "generator_norm" else (gan.critic, gan.generator)
    kinds = (nn.BatchNorm2d, nn.GroupNorm)
    norms = [layer for layer in network.modules() if isinstance(layer, kinds)]
    stages = 3 if option == "generator_norm" else 2  # none after the critic's first convolution
    assert len(norms) == (0 if norm == "none" else stages)
    assert all(isinstance(layer, nn.BatchNorm2d) == (norm == "batch") for layer in norms)
    if norm in ("instance", "layer"):
        assert all(layer.num_groups == (layer.num_channels if norm == "instance" else 1) for layer in norms)
    assert not any(isinstance(layer, kinds) for layer in other.modules())


def test_instance_norm_is_that_of_every_channel_of_every_image():
    look = Look("relu", "instance")
    network = generator_network(4, [3, 2], 1, look)
    norm = next(layer for layer in network if isinstance(layer, nn.GroupNorm))
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    centred = x - x.mean((2, 3), keepdim=True)
    expected = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    # float32, values of order 1.
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["instance", "layer", "none"])
def test_without_batch_norm_a_score_depends_on_its_own_image_only(norm):
    critic = model(critic_norm=norm).critic
    # 1e-6: convolutions of another batch sum in another order.
    assert torch.allclose(critic(images())[:1], critic(images()[:1]), atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_can_be_chosen(name):
    gan = model(generator_activation=name, critic_activation=name)
    for network, count in ((gan.generator, 2), (gan.critic, 2)):
        found = [layer for layer in network.modules() if isinstance(layer, tuple(ACTIVATIONS.values()))]
        assert [type(layer) for layer in found] == [ACTIVATIONS[name]] * count
    default = model()
    assert isinstance(default.generator[3], nn.ReLU)
    assert default.critic.features[1].negative_slope == 0.2


@pytest.mark.parametrize("look", [Look("leaky_relu", "layer"), Look("elu", "instance", spectral=True)])
def test_the_critics_penalty_has_the_gradients_of_plain_convolutions(look):
    torch.manual_seed(0)
    critic = Critic(2, [4, 6], look)
    finish(critic, look, "xavier", 1.0)
    critic, found = critic.double().eval(), []  # at rest, so that both divide by the same singular values
    real, fake = torch.rand((2, 4, 2, 16, 16), dtype=torch.float64) * 2 - 1
    for _ in range(2):
        scores = critic(torch.cat([real, fake]))
        penalty = gradient_penalty(critic, real, fake, torch.full((4, 1, 1, 1), 0.3, dtype=torch.float64))
        loss = scores.square().mean() + 10 * penalty
        found.append(torch.autograd.grad(loss, list(critic.parameters())))
        for module in critic.modules():
            if isinstance(module, SlopeConv2d):
                module.forward = partial(nn.Conv2d.forward, module)
    for one, other in zip(*found, strict=True):
        assert one.abs().max() > 1e-6
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)  # float64, another order of sums


def test_weights_start_at_the_published_spread():
    torch.manual_seed(0)
    parameters = {
        name: p.detach() for name, p in DCGAN(shape=(1, 32, 32), labels=(), mask_classes=()).named_parameters()
    }
    weights = torch.cat([p.flatten() for p in parameters.values() if p.dim() == 4])
    # 1.3 million draws: standard errors are 1e-5 of the deviation and 2e-5 of the mean.
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    assert abs(float(weights.mean())) < 2e-4
    gains = torch.cat([p for name, p in parameters.items() if p.dim() == 1 and name.endswith("weight")])
    assert float(gains.mean()) == pytest.approx(1.0, abs=0.01)


SPREADS = {  # of weights, by inputs and outputs of the layer: Glorot & Bengio 2010, eq. 12; He et al. 2015, eq. 10
    "normal": lambda fan_in, fan_out: 1.0,
    "xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "xavier_uniform": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "kaiming": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
}


@pytest.mark.parametrize("how", SPREADS)
@pytest.mark.parametrize("gain", [0.02, 1.0])
def test_first_weights_have_the_spread_of_their_rule(how, gain):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(40, 80, 4, 2, 1), nn.ConvTranspose2d(40, 80, 4, 2, 1), nn.Linear(300, 200))
    finish(layers, MADE, how, gain)
    # A 4x4 kernel of stride 2 lays 4 weights of each channel on an output, turned round on an input.
    fans = [(40 * 16, 80 * 4), (40 * 4, 80 * 16), (300, 200)]
    for layer, (fan_in, fan_out) in zip(layers, fans, strict=True):
        spread = gain * SPREADS[how](fan_in, fan_out)
        # 51,200 and 60,000 draws: the deviation's standard error is 0.3 %.
        assert float(layer.weight.detach().std()) == pytest.approx(spread, rel=0.015)
        assert not layer.bias.any()
        widest = float(layer.weight.detach().abs().max()) / spread
        assert widest <= math.sqrt(3) * 1.0001 if how == "xavier_uniform" else widest > 3


def test_kaiming_keeps_the_spread_through_layers_without_a_norm():
    torch.manual_seed(0)
    look = Look("relu", "none")
    network = generator_network(64, [64, 64, 64], 64, look)
    finish(network, look, "kaiming", 1.0)
    spreads = [float(network[:end](torch.randn(256, 64)).detach().std()) for end in (1, 4, 6)]
    # sqrt 2 behind every layer, a tenth less for each time that edges see fewer inputs; PyTorch's own count of inputs
    # would halve it with every layer.
    assert spreads == [pytest.approx(math.sqrt(2) * 0.92**stage, rel=0.06) for stage in range(3)]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (24, 24), (32, 64), (48, 48), (0, 0)])
def test_other_sides_are_refused_in_one_line(height, width):
    with pytest.raises(InputError, match=f"{height}x{width}") as caught:
        DCGAN(shape=(1, height, width), labels=(), mask_classes=())
    assert "\n" not in str(caught.value)


def test_every_power_of_two_makes_images_of_its_side():
    for side, channels in itertools.product((16, 32, 128), (1, 4)):
        widths = channel_widths((channels, side, side), 4)
        assert generator_network(3, widths, channels, MADE)(torch.zeros(2, 3)).shape == (2, channels, side, side)


@pytest.mark.parametrize("kind", ["conv", "transposed", "linear"])
def test_spectral_norm_divides_by_the_largest_singular_value(kind):
    torch.manual_seed(0)
    layer = {
        "conv": nn.Conv2d(3, 5, 4), "transposed": nn.ConvTranspose2d(3, 5, 4), "linear": nn.Linear(7, 4)
    }[kind]  # fmt: skip
    raw = layer.weight.detach().double()
    by_output = (raw.transpose(0, 1) if kind == "transposed" else raw).flatten(1)
    largest = float(torch.linalg.svdvals(by_output)[0])
    normalise_spectrally(layer)
    for _ in range(200):
        found = layer.weight
    # A power iteration to the end, in float32.
    torch.testing.assert_close(found.detach(), (raw / largest).float(), rtol=1e-4, atol=1e-6)


def test_one_iteration_is_the_textbook_one_and_its_vectors_are_constants():
    # Miyato et al. 2018, algorithm 1: v = W'u, u = Wv, sigma = u'Wv, differentiated by W alone.
    torch.manual_seed(0)
    weight = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    norm = SpectralNorm(weight, transposed=False)
    u = norm.left.clone()
    v = weight.detach().t() @ u
    v = v / v.norm()
    u = weight.detach() @ v
    u = u / u.norm()
    expected = weight / (u @ weight @ v)
    probe = torch.randn(4, 6, dtype=torch.float64)
    (wanted,) = torch.autograd.grad((expected * probe).sum(), weight)
    (found,) = torch.autograd.grad((norm(weight) * probe).sum(), weight)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_spectral_norm_stands_on_every_weight_and_rests_in_eval():
    gan = model(labels=FINDINGS, generator_spectral=True, critic_spectral=True, critic_norm="instance")
    for network in (gan.generator, gan.critic):
        layers = [x for x in network.modules() if isinstance(x, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
        assert len([x for x in network.modules() if isinstance(x, SpectralNorm)]) == len(layers) >= 3
    plain = model(labels=FINDINGS, critic_norm="instance")
    assert size(gan) == size(plain)
    first = gan.generator[0].parametrizations.weight.original
    assert torch.equal(first, plain.generator[0].weight)  # the same draws
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    gan.eval().generator(torch.zeros(2, 16 + 3))
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())
    gan.train().generator(torch.zeros(2, 16 + 3))
    assert not torch.equal(
        gan.generator[0].parametrizations.weight[0].left, before["generator.0.parametrizations.weight.0.left"]
    )


def test_spectral_norm_leaves_autocast(monkeypatch):
    # Which takes a matrix times a vector in bfloat16 on a GPU, and not on a CPU.
    layer, seen = nn.Linear(5, 4), []
    normalise_spectrally(layer)
    matrix = SpectralNorm._matrix

    def noting(norm, weight):
        seen.append(torch.is_autocast_enabled("cpu"))
        return matrix(norm, weight)

    monkeypatch.setattr(SpectralNorm, "_matrix", noting)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32
    assert seen == [False]

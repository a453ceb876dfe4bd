"""The adversarial family: textbook steps, who is updated by what and when, labels, shapes, refused options."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from synthcohort.errors import BadOption, InputError
from synthcohort.generators._dcgan_networks import (
    ProjectionCritic,
    channel_widths,
    critic_network,
    generator_network,
)
from synthcohort.generators.dcgan import DCGAN, LSGAN, WGAN, WGANGP, Hinge
from synthcohort.nets.generator import Draws
from synthcohort.types import Batch, Clock

KINDS = (DCGAN, LSGAN, WGAN, WGANGP, Hinge)
EVERY_STEP = {"critic_steps": 1, "critic_warmup": 0}
FINDINGS = ("a", "b", "c")


def model(kind=DCGAN, side=16, labels=(), **options):
    torch.manual_seed(0)
    return kind(shape=(1, side, side), labels=labels, mask_classes=(), **{"filters": 8, "latent": 16, **options})


def batch(count=8, side=16, labels=False):
    rng = torch.Generator().manual_seed(1)
    images = torch.rand((count, 1, side, side), generator=rng) * 2 - 1
    shown = torch.randint(2, (count, len(FINDINGS)), generator=rng).float() if labels else None
    return Batch(images, None, shown, torch.arange(count))


def run_step(gan, update, step=0):
    clock, rng = Clock(step, 8 * step, 800), Draws(5)
    return gan.step(batch(labels=gan.conditional), clock=clock, rng=rng, update=update)


class Recorder:
    """An update that really updates and notes who, and what every parameter was before and after."""

    def __init__(self, gan):
        self.gan, self.optimisers, self.changed, self.grads = gan, gan.optimisers(), [], []

    def __call__(self, name, loss, *, lr=None):
        before = {key: value.detach().clone() for key, value in self.gan.named_parameters()}
        self.optimisers[name].zero_grad()
        loss.backward()
        self.grads.append({key for key, value in self.gan.named_parameters() if value.grad is not None})
        self.optimisers[name].step()
        after = dict(self.gan.named_parameters())
        moved = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
        self.changed.append((name, moved))


@pytest.mark.parametrize(
    ("kind", "optimiser", "facts"),
    [
        # Optimisers, rates and critic schedules of the papers or of the code released with them.
        (DCGAN, torch.optim.Adam, {"lr": 2e-4, "betas": (0.5, 0.999)}),
        (LSGAN, torch.optim.RMSprop, {"lr": 1e-4}),
        (WGAN, torch.optim.RMSprop, {"lr": 5e-5}),
        (WGANGP, torch.optim.Adam, {"lr": 1e-4, "betas": (0.0, 0.9)}),
    ],
)
def test_optimisers_are_the_published_ones(kind, optimiser, facts):
    for name, made in model(kind).optimisers().items():
        assert isinstance(made, optimiser), name
        assert {key: made.param_groups[0][key] for key in facts} == facts


@pytest.mark.parametrize("labels", [(), FINDINGS])
@pytest.mark.parametrize("kind", KINDS)
def test_each_update_changes_its_own_network_only(kind, labels):
    recorder = Recorder(model(kind, labels=labels, **EVERY_STEP))
    losses = run_step(recorder.gan, recorder)
    assert recorder.changed == [("critic", {"critic"}), ("generator", {"generator"})]
    assert list(losses) == ["critic", *(["penalty"] if kind is WGANGP else []), "generator"]
    assert all(parameter.requires_grad for parameter in recorder.gan.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_critic_step_leaves_no_gradient_in_the_generator(kind):
    recorder = Recorder(model(kind, **EVERY_STEP))
    run_step(recorder.gan, recorder)
    assert not any(key.startswith("generator") for key in recorder.grads[0])


@pytest.mark.parametrize("labels", [(), FINDINGS])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_is_the_textbook_step(kind, labels):
    # The same step written out: critic on detached fakes, then generator through the updated critic; one label each.
    gan, reference = model(kind, labels=labels, **EVERY_STEP), model(kind, labels=labels, **EVERY_STEP)
    run_step(gan, Recorder(gan))
    rng, data = torch.Generator().manual_seed(5), batch(labels=bool(labels))
    latent = torch.randn((8, 16), generator=rng)
    fake = reference.generator(torch.cat([latent, data.labels], 1) if labels else latent)
    told = (data.labels,) if labels else ()
    optimisers = reference.optimisers()
    if kind is WGAN:
        for parameter in reference.critic.parameters():
            parameter.data = parameter.data.clip(-0.01, 0.01)
    loss = kind.objective.critic(reference.critic(data.images, *told), reference.critic(fake.detach(), *told))
    if kind is WGANGP:
        share = torch.rand((8, 1, 1, 1), generator=rng)
        mixed = (fake.detach() + share * (data.images - fake.detach())).requires_grad_()
        slopes = torch.autograd.grad(reference.critic(mixed, *told).sum(), mixed, create_graph=True)[0]
        loss = loss + 10 * (slopes.square().sum((1, 2, 3)).sqrt() - 1).square().mean()
    loss.backward()
    optimisers["critic"].step()
    kind.objective.generator(reference.critic(fake, *told)).backward()
    optimisers["generator"].step()
    for (name, found), expected in zip(gan.named_parameters(), reference.parameters(), strict=True):
        # Bitwise but for the penalty, whose norm is summed in another order; Adam turns that into a share of its rate.
        assert torch.allclose(found, expected, rtol=0, atol=2e-6 if kind is WGANGP else 0), name


def test_the_clock_sets_the_critic_steps_per_generator_step():
    gan = model(critic_steps=3)
    recorder = Recorder(gan)
    for step in range(6):
        run_step(gan, recorder, step)
    names = [name for name, _ in recorder.changed]
    assert names == ["critic", "critic", "critic", "generator"] * 2


def simple(kind, **options):
    """Return a generator whose networks are so small that thousands of steps take a second."""
    gan = model(kind, **options)
    gan.generator = nn.Sequential(nn.Linear(16, 256), nn.Unflatten(1, (1, 16, 16)))
    gan.critic = nn.Sequential(nn.Flatten(), nn.Linear(256, 1), nn.Flatten(0))
    return gan


def critic_steps_taken(kind, first, stop, **options):
    """Return the critic steps before each generator step, counted at the update, and those after the last."""
    names = []
    gan = simple(kind, **options)
    for step in range(first, stop):
        run_step(gan, lambda name, loss, *, lr=None: names.append(name), step)
    return [len(list(group)) for name, group in itertools.groupby(names) if name == "critic"]


def test_wgan_takes_the_published_critic_steps():
    # 100 before each of the first 25 generator steps and before the one after every 500th, otherwise 5.
    assert critic_steps_taken(WGAN, 0, 4990) == [100] * 25 + [5] * 475 + [100] + [5] * 3
    # A resumed run knows nothing but the clock.
    assert critic_steps_taken(WGAN, 4870, 4990) == [5] + [100] + [5] * 3
    assert critic_steps_taken(WGAN, 4900, 4990) == [75] + [5] * 3


def test_the_other_schedules():
    assert critic_steps_taken(WGANGP, 0, 50) == [5] * 10
    assert critic_steps_taken(LSGAN, 0, 10) == [1] * 10
    assert critic_steps_taken(WGAN, 0, 50, critic_warmup=0) == [5] * 10
    assert critic_steps_taken(WGAN, 0, 230, critic_warmup=2) == [100, 100] + [5] * 6


def test_every_critic_step_of_wgan_starts_from_clipped_parameters():
    gan = model(WGAN, labels=FINDINGS, **EVERY_STEP)
    recorder, widest = Recorder(gan), []

    def update(name, loss, *, lr=None):
        widest.append((name, max(float(value.detach().abs().max()) for value in gan.critic.parameters())))
        recorder(name, loss)

    assert max(float(value.detach().abs().max()) for value in gan.critic.parameters()) > 0.9  # gains of norms
    for step in range(3):
        run_step(gan, update, step)
    before_critic = [bound for name, bound in widest if name == "critic"]
    before_generator = [bound for name, bound in widest if name == "generator"]
    assert before_critic == [pytest.approx(0.01, rel=1e-6)] * 3
    # After a critic step they may stand outside, by RMSprop's longest stride: its rate / sqrt(1 - 0.99).
    assert all(0.01 < bound <= 0.01 + 5e-5 * 10.001 for bound in before_generator)


def test_no_other_objective_clips():
    for kind in (DCGAN, LSGAN, WGANGP, Hinge):
        gan = model(kind)
        run_step(gan, lambda *_, **__: None)
        assert all(
            torch.equal(a, b) for a, b in zip(gan.critic.parameters(), model(kind).critic.parameters(), strict=True)
        )


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (WGANGP, {"critic_norm": "batch"}, "batch norm"),
        (DCGAN, {"penalty": 1.0}, "batch norm"),
        (DCGAN, {"critic_steps": 0}, "critic_steps"),
        (WGAN, {"critic_warmup": -1}, "critic_warmup"),
        (WGAN, {"clip": -0.01}, "clip"),
        (WGANGP, {"penalty": -10.0}, "penalty"),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_line(kind, options, said):
    with pytest.raises(BadOption, match=said) as caught:
        model(kind, **options)
    assert "\n" not in str(caught.value)


def test_a_projection_of_no_finding_scores_like_the_critic_without_labels():
    critic = model(labels=FINDINGS).critic
    plain = critic_network(1, [8, 16], "batch")
    *shared, _ = critic.state_dict().values()
    plain.load_state_dict(dict(zip(plain.state_dict(), shared, strict=True)))
    images = batch().images
    assert torch.equal(critic(images, torch.zeros(8, 3)), plain(images))


@torch.no_grad()
def test_the_projection_is_the_sum_over_findings_written_out():
    # Miyato & Koyama 2018, eq. 3, with several findings in place of one class.
    critic = model(labels=FINDINGS).critic.double()
    data = batch(labels=True)
    seen = critic.features(data.images.double()).numpy()
    weight, bias = critic.score.weight.numpy()[0], float(critic.score.bias)
    matrix = critic.projection.weight.numpy()
    found = critic(data.images.double(), data.labels.double()).tolist()
    for h, y, score in zip(seen, data.labels.tolist(), found, strict=True):
        told = sum(y[k] * (matrix[k] @ h) for k in range(3))
        assert score == pytest.approx(weight @ h + bias + told, rel=1e-10)
    assert data.labels.sum(1).max() > 1


def test_a_labelled_network_adds_inputs_to_the_plain_one():
    labelled, plain = model(labels=FINDINGS), model()
    added = 3 * 16 * 16 + 3 * 8 * 2 * 16  # 16 channels of 4x4 before the first norm; 16 of 4x4 before the score
    count = sum(p.numel() for p in labelled.parameters()) - sum(p.numel() for p in plain.parameters())
    assert count == added
    assert isinstance(labelled.critic, ProjectionCritic)


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("layer", nn.GroupNorm), ("none", None)])
def test_the_norm_of_the_critic_can_be_chosen(norm, kind):
    critic = model(critic_norm=norm, side=32).critic
    norms = [layer for layer in critic if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm)]
    assert len(norms) == (0 if kind is None else 2)  # stages to 8 and 4; none after the first convolution
    assert all(isinstance(layer, kind) for layer in norms)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_without_batch_norm_a_score_depends_on_its_own_image_only(norm):
    critic = model(critic_norm=norm).critic
    images = batch().images
    # 1e-6: convolutions of another batch sum in another order.
    assert torch.allclose(critic(images)[:1], critic(images[:1]), atol=1e-6)


def test_options_override_the_objective():
    optimisers = model(Hinge, generator_learning_rate=1e-3).optimisers()
    assert optimisers["generator"].param_groups[0]["lr"] == 1e-3
    assert optimisers["critic"].param_groups[0]["lr"] == Hinge.objective.critic_learning_rate
    assert optimisers["critic"].param_groups[0]["betas"] == (0.0, 0.9)


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
    generator, critic = generator_network(100, widths, 3), critic_network(3, widths[::-1], "batch")
    assert sum(p.numel() for p in generator.parameters()) == 3_576_704 + 3
    assert sum(p.numel() for p in critic.parameters()) == 2_765_568 + 64 + 1
    assert generator(torch.zeros(2, 100)).shape == (2, 3, 64, 64)
    assert critic(torch.zeros(2, 3, 64, 64)).shape == (2,)


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


@pytest.mark.parametrize(("height", "width"), [(8, 8), (24, 24), (32, 64), (48, 48), (0, 0)])
def test_other_sides_are_refused_in_one_line(height, width):
    with pytest.raises(InputError, match=f"{height}x{width}") as caught:
        DCGAN(shape=(1, height, width), labels=(), mask_classes=())
    assert "\n" not in str(caught.value)


def test_every_power_of_two_makes_images_of_its_side():
    for side, channels in itertools.product((16, 32, 128), (1, 4)):
        widths = channel_widths((channels, side, side), 4)
        assert generator_network(3, widths, channels)(torch.zeros(2, 3)).shape == (2, channels, side, side)

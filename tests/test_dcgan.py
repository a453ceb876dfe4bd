"""The adversarial family: textbook losses, who is updated by what, shapes of the networks, refused sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from synthcohort.errors import InputError
from synthcohort.generators.dcgan import DCGAN, Hinge, channel_widths, critic_network, generator_network
from synthcohort.types import Batch, Clock

REAL = torch.tensor([2.5, -0.3, 0.9, -4.0])
FAKE = torch.tensor([-1.5, 0.2, 3.0, -0.7])


def model(kind=DCGAN, side=16, **options):
    torch.manual_seed(0)
    return kind(shape=(1, side, side), labels=(), mask_classes=(), filters=8, latent=16, **options)


def batch(count=8, side=16):
    images = torch.rand((count, 1, side, side), generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(images, None, None, torch.arange(count))


def run_step(gan, update, step=0):
    return gan.step(batch(), clock=Clock(step, 8 * step, 800), rng=torch.Generator().manual_seed(5), update=update)


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


def sigmoid(x):
    return 1 / (1 + np.exp(-x.double().numpy()))


def test_dcgan_losses_are_the_textbook_cross_entropies():
    # Goodfellow et al. 2014, eq. 1 and the non-saturating form of section 3.
    critic = -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean()
    assert float(DCGAN.objective.critic(REAL.double(), FAKE.double())) == pytest.approx(critic, rel=1e-12)
    generator = -np.log(sigmoid(FAKE)).mean()
    assert float(DCGAN.objective.generator(FAKE.double())) == pytest.approx(generator, rel=1e-12)


def test_hinge_losses_are_the_textbook_hinges():
    real, fake = REAL.double().numpy(), FAKE.double().numpy()
    critic = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    assert float(Hinge.objective.critic(REAL.double(), FAKE.double())) == pytest.approx(critic, rel=1e-12)
    assert float(Hinge.objective.generator(FAKE.double())) == pytest.approx(-fake.mean(), rel=1e-12)


def test_a_confident_critic_does_not_overflow():
    assert torch.isfinite(DCGAN.objective.critic(torch.tensor([-1e4]), torch.tensor([1e4])))


@pytest.mark.parametrize("kind", [DCGAN, Hinge])
def test_each_update_changes_its_own_network_only(kind):
    recorder = Recorder(model(kind))
    losses = run_step(recorder.gan, recorder)
    assert recorder.changed == [("critic", {"critic"}), ("generator", {"generator"})]
    assert list(losses) == ["critic", "generator"]
    assert all(parameter.requires_grad for parameter in recorder.gan.parameters())


def test_the_critic_step_leaves_no_gradient_in_the_generator():
    recorder = Recorder(model())
    run_step(recorder.gan, recorder)
    assert not any(key.startswith("generator") for key in recorder.grads[0])


def test_the_first_step_is_the_textbook_step():
    # The same step written out: critic on detached fakes, then generator through the updated critic.
    gan, reference = model(), model()
    run_step(gan, Recorder(gan))
    latent = torch.randn((8, 16), generator=torch.Generator().manual_seed(5))
    optimisers = reference.optimisers()
    fake = reference.generator(latent)
    loss = DCGAN.objective.critic(reference.critic(batch().images), reference.critic(fake.detach()))
    loss.backward()
    optimisers["critic"].step()
    DCGAN.objective.generator(reference.critic(fake)).backward()
    optimisers["generator"].step()
    for (name, found), expected in zip(gan.named_parameters(), reference.parameters(), strict=True):
        assert torch.equal(found, expected), name


def test_the_clock_sets_the_critic_steps_per_generator_step():
    gan = model(critic_steps=3)
    recorder = Recorder(gan)
    for step in range(6):
        run_step(gan, recorder, step)
    names = [name for name, _ in recorder.changed]
    assert names == ["critic", "critic", "critic", "generator"] * 2


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

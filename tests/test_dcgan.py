"""The adversarial family: textbook steps, who is updated by what and when, what options do, refused options."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from synthcohort.errors import BadOption
from synthcohort.generators import dcgan
from synthcohort.generators._objective import feature_distance
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
        (LSGAN, torch.optim.Adam, {"lr": 1e-3, "betas": (0.5, 0.999)}),
        (WGAN, torch.optim.RMSprop, {"lr": 5e-5, "alpha": 0.99}),
        (WGANGP, torch.optim.Adam, {"lr": 5e-4, "betas": (0.0, 0.9)}),
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
    loss = kind.objective.critic(reference.critic(data.images, *told), reference.critic(fake.detach(), *told), 1.0)
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
        # Bitwise with batch norm. Others score reals and fakes in one pass, and the penalty's norm is summed in another
        # order; Adam turns that into a share of its rate, 1e-4 and 5e-4.
        exact = kind.objective.critic_norm == "batch"
        assert torch.allclose(found, expected, rtol=0, atol=0 if exact else 5e-6), name


def test_the_clock_sets_the_critic_steps_per_generator_step():
    gan = model(critic_steps=3)
    recorder = Recorder(gan)
    for step in range(6):
        run_step(gan, recorder, step)
    names = [name for name, _ in recorder.changed]
    assert names == ["critic", "critic", "critic", "generator"] * 2


class LinearCritic(nn.Module):
    """The smallest network that looks like `Critic`."""

    def __init__(self):
        super().__init__()
        self.features, self.score = nn.Flatten(), nn.Linear(256, 1)

    def forward(self, joint, labels=None):
        return self.judge(self.features(joint))

    def judge(self, features, labels=None):
        return self.score(features).flatten()


def simple(kind, **options):
    """Return a generator whose networks are so small that thousands of steps take a second."""
    gan = model(kind, **options)
    gan.generator = nn.Sequential(nn.Linear(16, 256), nn.Unflatten(1, (1, 16, 16)))
    gan.critic = LinearCritic()
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
    # A resumed run knows nothing but the clock; test_objective counts from the first step.
    assert critic_steps_taken(WGAN, 2200, 2550) == [100] * 3 + [5] * 10
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
        (DCGAN, {"feature_matching": -1.0}, "feature_matching"),
        (DCGAN, {"real_target": 0.0}, "real_target"),
        (DCGAN, {"real_target": 1.1}, "real_target"),
        (Hinge, {"real_target": 0.9}, "target"),
        (WGAN, {"real_target": 0.9, "protocol": "paper"}, "target"),
        (DCGAN, {"diffaugment": ("colour",)}, "color, translation, cutout"),
        (DCGAN, {"diffaugment": ("cutout", "cutout")}, "each once"),
        (DCGAN, {"data_augmentation": ("zoom",)}, "flip, rotation, shift"),
        (DCGAN, {"filters": 0}, "filters"),
        (DCGAN, {"critic_filters": 0}, "critic_filters"),
        (DCGAN, {"latent": 0}, "latent"),
        (DCGAN, {"initialisation_gain": 0.0}, "initialisation_gain"),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_line(kind, options, said):
    with pytest.raises(BadOption, match=said) as caught:
        model(kind, **options)
    assert "\n" not in str(caught.value)


def test_options_override_the_objective():
    optimisers = model(Hinge, generator_learning_rate=1e-3).optimisers()
    assert optimisers["generator"].param_groups[0]["lr"] == 1e-3
    assert optimisers["critic"].param_groups[0]["lr"] == Hinge.objective.critic_learning_rate
    assert optimisers["critic"].param_groups[0]["betas"] == (0.0, 0.9)


def losses_and_slopes(gan, scores):
    """Return the critic's loss and gradients where `scores` says how reals and fakes are judged."""
    data, fake = batch(labels=gan.conditional), torch.rand((8, 1, 16, 16), generator=torch.Generator().manual_seed(2))
    loss = gan.chosen.critic(*scores(data.images, fake, data.labels), 1.0)
    return loss.detach(), torch.autograd.grad(loss, [p for _, p in gan.critic.named_parameters()])


@pytest.mark.parametrize("labels", [(), FINDINGS])
@pytest.mark.parametrize("options", [{}, {"critic_norm": "instance"}, {"critic_norm": "none"}])
def test_one_pass_over_reals_and_fakes_is_two(labels, options):
    gan, passes = model(Hinge, labels=labels, **options).double(), []
    gan.critic.features.register_forward_hook(lambda *_: passes.append(1))

    def in_two(real, fake, told):
        return gan._scores(real.double(), told), gan._scores(fake.double(), told)

    def in_one(real, fake, told):
        return gan._both_scores(real.double(), fake.double(), told)

    two, one = losses_and_slopes(gan, in_two), losses_and_slopes(gan, in_one)
    assert len(passes) == 3
    # Scores are returned as float32: 1e-7 of them, in the loss; the gradients that flow back are the same doubles.
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-8)


def test_batch_norm_sees_reals_and_fakes_apart():
    gan, sizes = model(**EVERY_STEP), []
    gan.critic.features.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    run_step(gan, Recorder(gan))
    assert sizes == [8, 8, 8]
    gan, sizes = model(Hinge, **EVERY_STEP), []
    gan.critic.features.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    run_step(gan, Recorder(gan))
    assert sizes == [16, 8]


PAPER_LOSSES = {DCGAN: (0, 0), LSGAN: (0, 0), WGAN: (0.01, 0), WGANGP: (0, 10), Hinge: (0, 0)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_paper_swaps_nothing_but_the_loss(kind):
    gan, shared = model(kind, protocol="paper"), model(DCGAN, protocol="paper")
    assert [str(each) for each in gan.children()] == [str(each) for each in shared.children()]
    assert all(torch.equal(a, b) for a, b in zip(gan.parameters(), shared.parameters(), strict=True))
    for made in gan.optimisers().values():
        assert isinstance(made, torch.optim.Adam)
        assert {key: made.param_groups[0][key] for key in ("lr", "betas")} == {"lr": 2e-4, "betas": (0.5, 0.999)}
    assert (gan.chosen.clip, gan.chosen.penalty) == PAPER_LOSSES[kind]  # which are part of the loss
    assert (gan.chosen.critic_steps, gan.chosen.critic_warmup) == (1, 0)
    assert model(kind, protocol="paper", critic_norm="none").chosen.critic_norm == "none"  # options come first


@pytest.mark.parametrize(
    ("kind", "options", "warned"),
    [
        (WGANGP, {"protocol": "paper"}, True),
        (DCGAN, {"protocol": "paper", "penalty": 1.0}, True),
        (WGANGP, {"protocol": "paper", "critic_norm": "instance"}, False),
        (WGANGP, {"protocol": "paper", "penalty": 0.0}, False),
        (WGANGP, {}, False),
        (DCGAN, {"protocol": "paper"}, False),
    ],
)
def test_a_penalty_on_batch_norm_is_the_papers_and_said_once(kind, options, warned, capsys):
    gan = model(kind, **options)
    gan.fit(batch().images.numpy(), None, None, seed=0)
    for step in range(2):
        run_step(gan, Recorder(gan), step)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == warned
    assert all("batch norm" in line for line in said)


def test_the_penalty_on_batch_norm_is_that_of_all_scores_together():
    # What the warning is about: a score's slope is then taken at the other images, too.
    gan = model(WGANGP, protocol="paper", critic_steps=1).double()
    images = batch().images.double().requires_grad_()
    (slope,) = torch.autograd.grad(gan.critic(images)[0], images)
    assert slope[1:].abs().max() > 1e-6


@pytest.mark.parametrize("kind", [DCGAN, LSGAN])
def test_smoothing_moves_the_target_of_reals_alone(kind):
    real, fake = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 0.1])
    smooth = model(kind, real_target=0.9).chosen
    found = float(smooth.critic(real, fake, smooth.real_target))
    odds = torch.sigmoid(real)
    wanted = {
        DCGAN: -(0.9 * odds.log() + 0.1 * (1 - odds).log()).mean() - (1 - torch.sigmoid(fake)).log().mean(),
        LSGAN: ((real - 0.9).square().mean() + fake.square().mean()) / 2,
    }
    assert found == pytest.approx(float(wanted[kind]), rel=1e-6)
    steps = {target: model(kind, real_target=target, **EVERY_STEP) for target in (1.0, 0.9)}
    for gan in steps.values():
        run_step(gan, Recorder(gan))
    assert not torch.equal(steps[1.0].critic.score.weight, steps[0.9].critic.score.weight)


@pytest.mark.parametrize("kind", [DCGAN, Hinge])
def test_feature_matching_is_added_to_the_generators_loss_alone(kind):
    seen = {}
    for weight in (0.0, 10.0):
        seen[weight] = run_step(model(kind, feature_matching=weight, **EVERY_STEP), lambda *_, **__: None)
    plain, matched = seen[0.0], seen[10.0]
    gan = model(kind, feature_matching=10.0, **EVERY_STEP)
    fake = gan.generator(torch.randn((8, 16), generator=torch.Generator().manual_seed(5)))
    apart = gan.critic.features(batch().images).mean(0) - gan.critic.features(fake).mean(0)
    # float32 sums in another order.
    torch.testing.assert_close(matched["feature_matching"], (apart**2).sum().detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        matched["generator"], plain["generator"] + 10 * matched["feature_matching"], rtol=1e-5, atol=0
    )
    assert torch.equal(matched["critic"], plain["critic"])


def test_the_feature_distance_is_that_of_means_and_pulls_fakes_alone():
    real, fake = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    real.requires_grad_(), fake.requires_grad_()
    distance = feature_distance(real, fake)
    assert float(distance.detach()) == (2 - 1) ** 2 + (3 - 1) ** 2
    distance.backward()
    assert real.grad is None
    assert fake.grad.tolist() == [[-1.0, -2.0], [-1.0, -2.0]]  # 2 (1 - 2) / 2 and 2 (1 - 3) / 2


class Noted:
    """Stands for an alteration: notes what it is given and returns it shifted."""

    def __init__(self):
        self.given = []

    def __call__(self, joint, *_):
        self.given.append(joint)
        return joint + 1


def test_the_critic_sees_nothing_unaltered(monkeypatch):
    alter, seen = Noted(), []
    monkeypatch.setattr(dcgan, "diffaugment", alter)
    gan = model(WGANGP, feature_matching=1.0, critic_steps=1)
    gan.critic.register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    gan.critic.features.register_forward_hook(lambda _, given, __: seen.append(given[0].detach()))
    run_step(gan, Recorder(gan))
    # Real, fake for the critic and fake for the generator; gradients flow through the last alone.
    assert [each.requires_grad for each in alter.given] == [False, False, True]
    assert torch.equal(alter.given[1], alter.given[2])
    assert len(seen) == 6  # one pass, the mixtures, the generator's fakes, the reals to match
    # Images are in [-1, 1] and altered ones in [0, 2], so their mixtures are.
    assert all(each.min() >= 0 for each in seen)
    assert alter.given[0].min() < -0.9


def test_alterations_reach_the_generators_gradient():
    slopes = {}
    for policy in ((), ("color", "translation", "cutout")):
        gan = model(Hinge, diffaugment=policy, **EVERY_STEP)
        run_step(gan, Recorder(gan))
        slopes[policy] = [p.grad for p in gan.generator.parameters()]
    assert all(slope.isfinite().all() and slope.abs().max() > 0 for slope in slopes["color", "translation", "cutout"])
    assert not torch.allclose(slopes[()][0], slopes["color", "translation", "cutout"][0])


def test_training_images_are_augmented_with_their_masks(monkeypatch):
    given = []

    def augmented(joint, channels, kinds, rng):
        given.append((joint.shape, channels, kinds))
        return torch.full_like(joint, 0.5)

    monkeypatch.setattr(dcgan, "augmented", augmented)
    torch.manual_seed(0)
    gan = DCGAN(shape=(1, 16, 16), labels=(), mask_classes=("a", "b"), filters=4, data_augmentation=("flip",))
    seen = []
    gan.critic.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    images = Batch(batch().images, torch.zeros((8, 16, 16), dtype=torch.int64), None, torch.arange(8))
    gan.step(images, clock=Clock(0, 0, 80), rng=Draws(5), update=lambda *_, **__: None)
    assert given == [((8, 3, 16, 16), 1, ("flip",))]
    assert torch.equal(seen[0], torch.full((8, 3, 16, 16), 0.5))

"""Adversarial generators over one shared convolutional generator and critic.

Each objective comes with the optimiser, learning rates, critic norm and critic steps of its reference, so that more
than the loss differs unless options make them equal. Every hyper-parameter that study 000 searched over (Skandarani,
Jodoin, Lalande; table 1) is an option, but for the VGG loss: it compares a fake with the real image of the same mask,
and here no fake has one. The generators that paint over masks, `spade` and `pix2pix`, have it.

`protocol=paper` is that study's section 3.2: one generator and critic for all, where only the loss is swapped, with
clipping for `wgan` and the penalty for `wgan_gp`. What all share is not stated beyond table 1; we read it as the
generator and critic of Radford et al. 2016 with batch norm in both, their Adam at 2e-4, and a generator step after
each critic step. The study swaps the loss under that batch norm; a penalty does not go with it (see `penalty`), which
the paper does not mention: `wgan_gp` then says so and trains.

A new objective is one `Objective` and one subclass. What an objective is stands in `_objective.py`, the networks in
`_dcgan_networks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import BadOption
from ..nets.generator import Draws, Generator, Streams
from ..progress import say
from ..types import Array, Batch, Clock, Condition, Generated, Update
from ._data_augmentation import KINDS, augmented
from ._dcgan_networks import (
    Activation,
    Critic,
    CriticNorm,
    GeneratorNorm,
    Initialisation,
    Look,
    channel_widths,
    finish,
    generator_network,
)
from ._diffaugment import ALTERATIONS, check_names, diffaugment
from ._objective import (
    Objective,
    adam,
    clip_parameters,
    feature_distance,
    generator_turn,
    hinge,
    least_squares,
    log_loss,
    rmsprop,
    wasserstein,
)
from ._penalties import gradient_penalty

NAMES = {"dcgan": "DCGAN", "hinge": "Hinge", "lsgan": "LSGAN", "wgan": "WGAN", "wgan_gp": "WGANGP"}
PAPER_SETTINGS: dict[str, Any] = {
    "generator_learning_rate": 2e-4,
    "critic_learning_rate": 2e-4,
    "optimiser": adam(0.5, 0.999),
    "critic_steps": 1,
    "critic_warmup": 0,
    "critic_norm": "batch",
}


class DCGAN(Generator):
    """Non-saturating GAN (Goodfellow et al. 2014) with the optimiser of Radford et al. 2016.

    Where the cohort has labels, they stand beside the latent vector at the generator's door and the critic scores an
    image together with them (`Critic`).

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names.
        mask_classes: Class names; masks are generated as one-hot channels beside the image.
        protocol: "recommended" or "paper": where options that are None take their value from, each objective's own
            reference or study 000 (above).
        filters: Channels of the generator at half the full side; they double with each halving, up to 512.
        critic_filters: The same of the critic; None takes `filters`.
        latent: Length of the latent vector.
        generator_activation: "relu", "leaky_relu" (slope 0.2), "elu" or "selu".
        critic_activation: One of the same.
        generator_norm: "batch", "instance" or "none".
        critic_norm: "batch", "instance", "layer" or "none"; None takes the objective's, here and below.
        generator_spectral: Whether the generator's weights are divided by their largest singular value.
        critic_spectral: Whether the critic's are.
        initialisation: How first weights are drawn: "normal", "xavier", "xavier_uniform" or "kaiming"; see `finish`.
        initialisation_gain: Their standard deviation ("normal") or what it is multiplied by (the others).
        generator_learning_rate: Learning rate of the generator.
        critic_learning_rate: Learning rate of the critic.
        critic_steps: Critic steps, each on a batch of its own, per generator step.
        critic_warmup: Generator steps at the start that follow 100 critic steps each, as does every 500th later; 0 for
            `critic_steps` throughout. The 25 of `wgan` are 2,500 batches: in a training of minutes that is nearly all.
        clip: Bound of the critic's parameters before each of its steps; 0 for none.
        penalty: Weight of the gradient penalty; 0 for none. It looks at each image alone, so the critic may have no
            batch norm; under `protocol=paper` it may, with a warning.
        feature_matching: Weight of the squared distance between the mean critic features, those that the score is made
            from, of real images and fakes; 0 for none.
        real_target: What real scores aim at. Below 1, 0.9 in common use, it is label smoothing, for `dcgan` and
            `lsgan`: the others have no target. Fakes keep 0, as Salimans et al. 2016 advise.
        diffaugment: Any of "color", "translation", "cutout", in this order in the reference: what happens to all
            images, real and fake, before the critic sees them; the penalty is on the altered ones. See `diffaugment`.
        data_augmentation: Any of "flip", "rotation", "shift": what happens to training images with their masks, which
            the generator then learns to make. See `augmented`.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The images are not square, their side is no power of two from 16, or the options exclude each other.
    """

    REVISION: ClassVar[int] = 2
    PAPER: ClassVar[str] = "Radford, Metz, Chintala, 2016, arXiv 1511.06434"
    accepts: ClassVar[frozenset[str]] = frozenset({"labels"})
    objective: ClassVar[Objective] = Objective(
        critic=log_loss,
        generator=lambda fake: softplus(-fake).mean(),
        generator_learning_rate=2e-4,
        critic_learning_rate=2e-4,
        optimiser=adam(0.5, 0.999),
        has_target=True,
    )

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        protocol: Literal["recommended", "paper"] = "recommended",
        filters: int = 64,
        critic_filters: int | None = None,
        latent: int = 128,
        generator_activation: Activation = "relu",
        critic_activation: Activation = "leaky_relu",
        generator_norm: GeneratorNorm = "batch",
        critic_norm: CriticNorm | None = None,
        generator_spectral: bool = False,
        critic_spectral: bool = False,
        initialisation: Initialisation = "normal",
        initialisation_gain: float = 0.02,
        generator_learning_rate: float | None = None,
        critic_learning_rate: float | None = None,
        critic_steps: int | None = None,
        critic_warmup: int | None = None,
        clip: float | None = None,
        penalty: float | None = None,
        feature_matching: float = 0.0,
        real_target: float = 1.0,
        diffaugment: tuple[str, ...] = (),
        data_augmentation: tuple[str, ...] = (),
        conditional: bool = True,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        given = {
            "generator_learning_rate": generator_learning_rate,
            "critic_learning_rate": critic_learning_rate,
            "critic_steps": critic_steps,
            "critic_warmup": critic_warmup,
            "critic_norm": critic_norm,
            "clip": clip,
            "penalty": penalty,
            "feature_matching": feature_matching,
            "real_target": real_target,
        }
        self.chosen = self._settled(protocol, given)
        critic_filters = filters if critic_filters is None else critic_filters
        if min(filters, critic_filters, latent) < 1 or initialisation_gain <= 0:
            found = f"{filters}, {critic_filters}, {latent} and {initialisation_gain}"
            rule = "filters, critic_filters, latent and initialisation_gain are above 0"
            raise BadOption(rule, found, "Give such numbers")
        check_names("diffaugment", diffaugment, tuple(ALTERATIONS))
        check_names("data_augmentation", data_augmentation, KINDS)
        self.latent, self.diffaugment, self.data_augmentation = latent, diffaugment, data_augmentation
        made = Look(generator_activation, generator_norm, generator_spectral)
        judged = Look(critic_activation, self.chosen.critic_norm, critic_spectral)
        self.generator = generator_network(
            latent + len(self.labels), channel_widths(shape, filters), self.channels, made
        )
        seen = channel_widths(shape, critic_filters)[::-1]
        self.critic = Critic(self.channels, seen, judged, len(self.labels))
        finish(self.generator, made, initialisation, initialisation_gain)
        finish(self.critic, judged, initialisation, initialisation_gain)

    def _settled(self, protocol: str, given: Mapping[str, Any]) -> Objective:
        """Return the objective with what the protocol and the options say.

        Raises:
            BadOption: They exclude each other.
        """
        usual = PAPER_SETTINGS if protocol == "paper" else {}
        asked = {field: value for field, value in given.items() if value is not None}
        chosen = replace(self.objective, **{**usual, **asked})
        if chosen.penalises_batch_norm and protocol != "paper":
            rule = "A gradient penalty looks at each image alone, which batch norm in the critic mixes with others"
            found = f"penalty={chosen.penalty} with critic_norm=batch"
            raise BadOption(rule, found, "Set critic_norm=layer, instance or none")
        return chosen

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Warn, once a training, of a penalty on a critic with batch norm; nothing is learnt here."""
        if self.chosen.penalises_batch_norm:
            say("Warning: the gradient penalty looks at each image alone, and the critic's batch norm mixes them")

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimisers "critic" and "generator"."""
        make = self.chosen.optimiser
        return {
            "critic": make(self.critic, self.chosen.critic_learning_rate),
            "generator": make(self.generator, self.chosen.generator_learning_rate),
        }

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network."""
        return {"generator": self.generator}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic step and, when it is the generator's turn, a generator step on the same fakes and labels.

        Sharing the fakes saves a pass through the generator; its gradient flows only where it will be used.
        """
        labels = self._told(batch.labels)
        real = augmented(self.joint(batch), self.shape[0], self.data_augmentation, rng)
        latent = rng.normal(len(real), self.latent)
        turn = generator_turn(clock.step, self.chosen.critic_steps, self.chosen.critic_warmup)
        with torch.set_grad_enabled(turn):
            fake = self._fakes(latent, labels)
        real = self._shown(real, rng)
        losses = self._critic_step(real, self._shown(fake.detach(), rng), labels, rng, update)
        if turn:
            # Frozen: no gradients of its weights, and no low-precision copies of them from before their update.
            self.critic.requires_grad_(False)
            losses.update(self._generator_step(real, self._shown(fake, rng), labels, update))
            self.critic.requires_grad_(True)
        return losses

    def _critic_step(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, rng: Draws, update: Update
    ) -> dict[str, float | Tensor]:
        clip_parameters(self.critic, self.chosen.clip)
        loss = self.chosen.critic(*self._both_scores(real, fake, labels), self.chosen.real_target)
        parts: dict[str, float | Tensor] = {}
        if self.chosen.penalty:
            shares = rng.uniform(len(real), 1, 1, 1)
            penalty = gradient_penalty(lambda joint: self._scores(joint, labels), real, fake, shares)
            loss = loss + self.chosen.penalty * penalty
            parts["penalty"] = penalty.detach()
        update("critic", loss)
        return {"critic": loss.detach(), **parts}

    def _generator_step(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, update: Update
    ) -> dict[str, float | Tensor]:
        features = self.critic.features(fake)
        loss = self.chosen.generator(self.critic.judge(features, labels).float())
        parts: dict[str, float | Tensor] = {}
        if self.chosen.feature_matching:
            with torch.no_grad():
                wanted = self.critic.features(real)
            distance = feature_distance(wanted, features)
            loss = loss + self.chosen.feature_matching * distance
            parts["feature_matching"] = distance.detach()
        update("generator", loss)
        return {"generator": loss.detach(), **parts}

    def _told(self, labels: Tensor | None) -> Tensor | None:
        if not self.conditional:
            return None
        assert labels is not None, "a conditional generator is given labels"
        return labels

    def _fakes(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        joint: Tensor = self.generator(latent if labels is None else torch.cat([latent, labels], 1))
        return joint

    def _shown(self, joint: Tensor, rng: Draws) -> Tensor:
        """Return what the critic sees of images."""
        return diffaugment(joint, self.shape[0], self.diffaugment, rng)

    def _both_scores(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the scores of real images and of fakes with the same labels.

        In one pass, but where batch statistics over both would let a real image's score depend on the fakes.
        """
        if self.chosen.critic_norm == "batch":
            return self._scores(real, labels), self._scores(fake, labels)
        both = torch.cat([real, fake.to(real.dtype)])
        scores = self._scores(both, None if labels is None else torch.cat([labels, labels]))
        return scores[: len(real)], scores[len(real) :]

    def _scores(self, joint: Tensor, labels: Tensor | None) -> Tensor:
        scores: Tensor = self.critic(joint, labels)
        return scores.float()  # Losses in full precision.

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        joint, labels = self.joint(batch), self._told(batch.labels)
        if self.chosen.critic_norm != "batch":
            return -self._scores(joint, labels).reshape(-1)
        # A batch of one: over several images, statistics would let a score depend on who else is asked.
        told = [None] * len(joint) if labels is None else labels.split(1)
        alone = [self._scores(image, label) for image, label in zip(joint.split(1), told, strict=True)]
        return -torch.cat(alone).reshape(-1)

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples; batch norm uses its running statistics, so none depends on the others."""
        training = self.generator.training
        self.generator.eval()
        joint = self._fakes(rng.normal(self.latent), self._told(condition.labels))
        self.generator.train(training)
        return self.separate(joint)


class Hinge(DCGAN):
    """Hinge GAN (Lim & Ye 2017), Adam's momenta as in Miyato et al. 2018 (arXiv 1802.05957, section 4).

    Lim and Ye's own code keeps DCGAN's batch norm and takes RMSprop at 2e-4. Optimiser, learning rates and norm are our
    choice for trainings of minutes. On 700 cardiac slices of 32 px with masks, with 32 filters and 32,000 images seen,
    one trial each, the samples' spread (standard deviation over samples, mean over pixels; 0.45 for the real ones) was
    0.07 with batch norm and SAGAN's 1e-4 and 4e-4, 0.11 with batch norm and 2e-4, 0.25 with layer norm and 2e-4, 0.37
    with layer norm and 5e-4.
    """

    PAPER: ClassVar[str] = "Lim, Ye, 2017, arXiv 1705.02894"
    objective: ClassVar[Objective] = Objective(
        critic=hinge,
        generator=lambda fake: -fake.mean(),
        generator_learning_rate=5e-4,
        critic_learning_rate=5e-4,
        optimiser=adam(0.0, 0.9),
        critic_norm="layer",
    )


class LSGAN(DCGAN):
    """Least-squares GAN (Mao et al. 2017, arXiv 1611.04076, eq. 9: targets 0 and 1, one half before every square).

    Adam with a first momentum of 0.5 at 1e-3, as in the code released with it. Revision 1 took RMSprop at 1e-4 from the
    least-squares mode of the code released with Gulrajani et al. 2017, which is for trainings of days: on 32 px hearts
    with 32 filters its samples were still noise after 60,000 images; these are hearts after 30,000 (a trial each).
    """

    PAPER: ClassVar[str] = "Mao, Li, Xie, Lau, Wang, Smolley, 2017, arXiv 1611.04076"
    objective: ClassVar[Objective] = Objective(
        critic=least_squares,
        generator=lambda fake: (fake - 1).square().mean() / 2,
        generator_learning_rate=1e-3,
        critic_learning_rate=1e-3,
        optimiser=adam(0.5, 0.999),
        has_target=True,
    )


class WGAN(DCGAN):
    """Wasserstein GAN with clipped critic parameters (Arjovsky, Chintala, Bottou 2017, arXiv 1701.07875, algorithm 1).

    The critic keeps DCGAN's batch norm, whose gains are clipped too. Its schedule is that of the released code (see
    `generator_turn`), as is RMSprop's decay of 0.99, PyTorch's.
    """

    PAPER: ClassVar[str] = "Arjovsky, Chintala, Bottou, 2017, arXiv 1701.07875"
    objective: ClassVar[Objective] = Objective(
        critic=wasserstein,
        generator=lambda fake: -fake.mean(),
        generator_learning_rate=5e-5,
        critic_learning_rate=5e-5,
        optimiser=rmsprop,
        critic_steps=5,
        critic_warmup=25,
        clip=0.01,
    )


class WGANGP(DCGAN):
    """Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1).

    The critic has layer norm, as in the released code: the penalty is on the gradient of each image alone. Learning
    rates are five times the paper's 1e-4, which is for 200,000 generator steps: revision 2 took it, and after 106,000
    images its hearts of 32 px taught a segmentation network less than `gaussian` did (benchmark/learning.py).
    """

    REVISION: ClassVar[int] = 3
    PAPER: ClassVar[str] = "Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, 2017, arXiv 1704.00028"
    objective: ClassVar[Objective] = Objective(
        critic=wasserstein,
        generator=WGAN.objective.generator,
        generator_learning_rate=5e-4,
        critic_learning_rate=5e-4,
        optimiser=adam(0.0, 0.9),
        critic_steps=5,
        critic_norm="layer",
        penalty=10.0,
    )

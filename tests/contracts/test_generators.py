"""The exam that every generator sits: options, samples, labels, seeds, learning, resuming, bad shapes.

A new file in generators/ is found by itself; SMALL only makes a big network small enough for a test.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from synthcohort import plugins, runs
from synthcohort.cohort import Facts
from synthcohort.errors import InputError
from synthcohort.nets.generator import RESERVED, Draws, Generator, Streams, build
from synthcohort.train._checkpoint import load_checkpoint, save_checkpoint
from synthcohort.train._data import batch_positions
from synthcohort.train._update import Updater, average, averaged_state
from synthcohort.types import Batch, Clock, Condition

NAMES = plugins.names("generators")
ITERATIVE = [name for name in NAMES if plugins.find("generators", name).ITERATIVE]
CONTROLS = ("copycat", "gaussian", "holdout", "memoriser")
SERVED_IN_ORDER = {"holdout"}
"""Draw nothing: their samples depend on the index and not on the seed."""
SMALL = {
    "dcgan": {"filters": 8, "latent": 16},
    "hinge": {"filters": 8, "latent": 16},
    "lsgan": {"filters": 8, "latent": 16},
    "wgan": {"filters": 8, "latent": 16, "critic_warmup": 0},  # else the generator first learns at the hundredth step
    "wgan_gp": {"filters": 8, "latent": 16},
    "flow": {"width": 16, "multipliers": (1, 2), "components": 2},
    "memoriser": {"code": 32, "hidden": 64},
}
SIDE, COUNT, BATCH = 16, 40, 8
MODES = {  # channels, mask classes, findings
    "grey": (1, 0, 0),
    "grey+mask": (1, 3, 0),
    "rgb+mask": (3, 2, 0),
    "grey+labels": (1, 0, 2),
    "grey+mask+labels": (1, 3, 2),
}
LABELLED = [mode for mode, (_, _, findings) in MODES.items() if findings]
ASKED = ((0, 0), (1, 0), (0, 1), (1, 1))


def discs(channels, classes, findings=0, count=COUNT, side=SIDE):
    """Return images (N, C, H, W) in [-1, 1] of a bright disc on a shaded ground, masks of rings in it, and labels.

    Each finding is a row of pixels that turns bright.
    """
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:side, :side] / side
    centre, radius = rng.uniform(0.4, 0.6, (count, 2, 1, 1)), rng.uniform(0.2, 0.35, (count, 1, 1))
    distance = np.hypot(y - centre[:, 0], x - centre[:, 1]) / radius
    grey = np.where(distance < 1, 0.7, -0.8 + 0.4 * y) + 0.05 * rng.normal(size=(count, side, side))
    images = np.repeat(grey[:, None].clip(-1, 1), channels, 1).astype(np.float32)
    inside = np.floor((1 - distance).clip(0, 0.999) * classes).astype(np.uint8)
    masks = np.where(distance < 1, inside % max(classes - 1, 1) + 1, 0).astype(np.uint8) if classes else None
    labels = rng.integers(2, size=(count, findings)).astype(np.float32) if findings else None
    for finding in range(findings):
        images[labels[:, finding] == 1, :, finding] = 0.5
    return images, masks, labels


def facts(channels, classes, findings=0, side=SIDE):
    names = tuple(f"class{i}" for i in range(classes))
    return Facts(
        name="discs", modality="none", provenance="real", shape=(channels, side, side), dtype="uint8",
        value_range=(0.0, 255.0), mask_classes=names, labels=tuple(f"finding{i}" for i in range(findings)),
    )  # fmt: skip


def built(name, mode="grey+mask", seed=0, **options):
    return build(name, facts(*MODES[mode]), {**SMALL.get(name, {}), **options}, seed=seed)


def fitted(name, mode="grey+mask", seed=0):
    model = built(name, mode, seed)
    model.fit(*discs(*MODES[mode]), seed=3)
    return model


class Training:
    """The loop of `train` on the discs, without files."""

    def __init__(self, name, mode="grey+mask", precision="fp32"):
        self.model, self.mode, self.precision = fitted(name, mode), mode, precision
        self.optimisers = dict(self.model.optimisers())
        self.averages = {key: copy.deepcopy(module).eval() for key, module in self.model.averaged().items()}
        self.update = Updater(self.optimisers, torch.device("cpu"), precision)

    def steps(self, first, stop, total=30):
        for step in range(first, stop):
            self.step(step, total, self.update)
            average(
                self.model.averaged(),
                self.averages,
                weight=self.model.ema_weight(Clock(step, step * BATCH, total * BATCH), BATCH),
            )

    def step(self, step, total, update):
        images, masks, labels = discs(*MODES[self.mode])
        chosen = batch_positions(COUNT, step * BATCH, BATCH, seed=1)
        index = None if masks is None else torch.from_numpy(masks[chosen].astype(np.int64))
        shown = None if labels is None else torch.from_numpy(labels[chosen])
        batch = Batch(torch.from_numpy(images[chosen]), index, shown, torch.from_numpy(chosen))
        rng = Draws(runs.derive_seed(1, "step", step))
        clock = Clock(step, step * BATCH, total * BATCH)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model.step(batch, clock=clock, rng=rng, update=update)

    def losses(self, count):
        """Return the first loss of some steps that update nothing."""
        first = [next(iter(self.step(step, count, lambda *_, **__: None).values())) for step in range(count)]
        return [float(torch.as_tensor(loss).detach()) for loss in first]


def trained(name, mode):
    """Return a generator after a few steps, so that layers that start at zero say something; or only fitted."""
    if name not in ITERATIVE:
        return fitted(name, mode)
    training = Training(name, mode)
    training.steps(0, 8)
    return training.model


def drawn(model, seeds=(11, 12, 13, 14), first=0, asked=ASKED):
    labels = torch.tensor(asked, dtype=torch.float32)[: len(seeds)] if model.conditional else None
    with torch.inference_mode():
        return model.sample(Condition(len(seeds), first=first, labels=labels), Streams(seeds))


def digest(made):
    parts = [part.numpy().tobytes() for part in (made.images, made.masks, made.labels) if part is not None]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("name", NAMES)
class TestEvery:
    def test_options_are_readable_and_survive_json(self, name):
        plugin = plugins.find("generators", name)
        options = plugins.resolve(plugin, (), reserved=RESERVED)
        assert set(options).isdisjoint(RESERVED)
        again = plugins.resolve(plugin, json.loads(json.dumps(options)), reserved=RESERVED)
        assert again == options
        plugins.resolve(plugin.sample, ())
        assert isinstance(plugin.REVISION, int)
        assert issubclass(plugin, Generator)

    @pytest.mark.parametrize("mode", MODES)
    def test_samples_have_the_shape_and_range_of_the_data(self, name, mode):
        channels, classes, _ = MODES[mode]
        made = drawn(fitted(name, mode))
        assert made.images.shape == (4, channels, SIDE, SIDE)
        assert made.images.dtype == torch.float32
        assert made.images.abs().max() <= 1
        if not classes:
            assert made.masks is None
            return
        assert made.masks.shape == (4, SIDE, SIDE)
        assert made.masks.dtype == torch.int64
        assert made.masks.min() >= 0
        assert made.masks.max() < classes

    @pytest.mark.parametrize("mode", MODES)
    def test_samples_carry_labels_of_their_own_only_where_the_generator_says_so(self, name, mode):
        model, findings = fitted(name, mode), len(facts(*MODES[mode]).labels)
        assert model.conditional is (bool(findings) and "labels" in model.accepts)
        made = drawn(model)
        if not findings or "labels" not in model.emits:
            assert made.labels is None
            return
        assert not model.conditional  # Labels are asked for or served, not both.
        assert made.labels.shape == (4, findings)
        assert made.labels.dtype == torch.float32
        assert set(made.labels.unique().tolist()) <= {0.0, 1.0}

    @pytest.mark.parametrize("mode", LABELLED)
    def test_a_condition_changes_the_sample_that_it_is_for(self, name, mode):
        model = trained(name, mode)
        other = ((0, 0), (1, 0), (1, 1), (1, 1))
        one, two = drawn(model).images, drawn(model, asked=other).images
        changed = [i for i in range(4) if not torch.allclose(one[i], two[i], atol=1e-5)]
        assert changed == ([2] if model.conditional else [])

    def test_unconditional_on_request_is_the_generator_of_an_unlabelled_cohort(self, name):
        plugin = plugins.find("generators", name)
        if "labels" not in plugin.accepts:
            assert "conditional" not in inspect.signature(plugin).parameters
            return
        images, masks, labels = discs(*MODES["grey+mask+labels"])
        model, plain = built(name, "grey+mask+labels", conditional=False), built(name, "grey+mask")
        model.fit(images, masks, labels, seed=3)
        plain.fit(images, masks, None, seed=3)
        assert not model.conditional
        assert not model.labelled
        state, expected = model.state_dict(), plain.state_dict()
        assert list(state) == list(expected)
        assert all(torch.equal(value, expected[key]) for key, value in state.items())
        assert digest(drawn(model)) == digest(drawn(plain))

    def test_the_seed_alone_decides(self, name):
        model = fitted(name)
        torch.manual_seed(1)
        first = drawn(model)
        torch.manual_seed(2)
        assert digest(drawn(model)) == digest(first)
        if name not in SERVED_IN_ORDER:
            assert digest(drawn(model, seeds=(21, 22, 23, 24))) != digest(first)

    @pytest.mark.parametrize("mode", ["grey+mask", "grey+mask+labels"])
    def test_a_sample_does_not_depend_on_its_neighbours(self, name, mode):
        model = fitted(name, mode).train()
        among, alone = drawn(model), drawn(model, seeds=(13,), first=2, asked=ASKED[2:])
        # A matrix product of another height sums in another order: 1e-5 of a unit range, not a grey level (8e-3).
        assert torch.allclose(among.images[2], alone.images[0], atol=1e-5)
        assert (among.masks[2] == alone.masks[0]).float().mean() > 0.99
        assert among.labels is None or torch.equal(among.labels[2], alone.labels[0])

    def test_sampling_leaves_no_trace(self, name):
        model = fitted(name).train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        drawn(model)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert all(module.training for module in model.modules())

    @pytest.mark.parametrize("mode", ["grey", "grey+mask", "grey+mask+labels"])
    def test_a_weights_file_gives_the_same_samples(self, name, mode, tmp_path):
        model = fitted(name, mode)
        runs.save_tensors(tmp_path / "w.safetensors", model.state_dict(), {"kind": "test"})
        other = built(name, mode, seed=9)
        other.load_state_dict(runs.load_tensors(tmp_path / "w.safetensors")[0])
        assert digest(drawn(other)) == digest(drawn(model))

    def test_an_odd_shape_is_refused_or_served(self, name):
        odd = facts(1, 2, side=20)
        odd = Facts(**{**vars(odd), "shape": (1, 20, 12)})
        try:
            model = build(name, odd, SMALL.get(name, {}))
        except InputError:
            return
        images, masks, _ = discs(1, 2, side=20)
        model.fit(images[..., :12].copy(), masks[..., :12].copy(), None, seed=0)
        assert drawn(model).images.shape == (4, 1, 20, 12)

    def test_a_control_says_so(self, name):
        assert plugins.find("generators", name).CONTROL is (name in CONTROLS)


@pytest.mark.parametrize("name", ITERATIVE)
class TestTrainedInSteps:
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_the_first_loss_falls(self, name, precision):
        training = Training(name, precision=precision)
        before = training.losses(10)
        training.steps(0, 30)
        after = training.losses(10)
        assert np.isfinite([*before, *after]).all()
        # Same images and random numbers before and after, so the difference is what was learnt.
        assert np.mean(after) < 0.95 * np.mean(before)

    @pytest.mark.parametrize("mode", ["grey", "rgb+mask", "grey+mask+labels"])
    def test_learns_from_every_kind_of_image(self, name, mode):
        training = Training(name, mode)
        before = {key: value.clone() for key, value in training.model.state_dict().items()}
        training.steps(0, 8)  # What lies behind layers that start at zero moves some steps later.
        weights = {key: value for key, value in training.model.named_parameters() if value.dim() > 1}
        assert [key for key, value in weights.items() if torch.equal(value, before[key])] == []

    @pytest.mark.parametrize("mode", ["grey+mask", "grey+mask+labels"])
    def test_resumed_is_bitwise_the_same_as_uninterrupted(self, name, mode, tmp_path):
        whole = Training(name, mode)
        whole.steps(0, 6)
        part, path = Training(name, mode), tmp_path / "checkpoint.safetensors"
        part.steps(0, 3)
        save_checkpoint(path, {"kind": "test"}, 3 * BATCH, part.model, part.averages, part.optimisers)
        torch.manual_seed(99)  # Nothing may come from the global stream.
        resumed = Training(name, mode)
        assert load_checkpoint(path, {"kind": "test"}, resumed.model, resumed.averages, resumed.optimisers) == 3 * BATCH
        resumed.steps(3, 6)
        expected = averaged_state(whole.model, whole.averages)
        found = averaged_state(resumed.model, resumed.averages)
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
        state, again = whole.model.state_dict(), resumed.model.state_dict()
        assert all(torch.equal(value, again[key]) for key, value in state.items())


def digests():
    return {name: digest(drawn(fitted(name, "grey+mask+labels"))) for name in NAMES}


def test_another_process_with_another_hash_seed_draws_the_same_bits():
    threads = torch.get_num_threads()
    code = f"import torch; torch.set_num_threads({threads})\n"
    code += "import json, test_generators\nprint(json.dumps(test_generators.digests()))"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(plugins.__file__).parents[1])])
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == digests()

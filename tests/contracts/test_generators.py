"""The exam that every generator sits: options, samples, labels, masks, seeds, learning, resuming, sharing, bad shapes.

A new file in generators/ is found by itself; SMALL only makes a big network small enough for a test. A generator that
can be given masks is examined so in the modes with "over masks"; one that paints over masks whatever its options are is
in every mode that has masks, and is refused where there are none.
"""

from __future__ import annotations

import copy
import datetime
import hashlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from filelock import FileLock

from synthcohort import plugins, runs
from synthcohort.cohort import Facts
from synthcohort.errors import InputError
from synthcohort.generators._mask_bank import MaskBank, MaskSource
from synthcohort.nets.generator import RESERVED, Draws, Generator, Streams, build
from synthcohort.parallel import rank, world
from synthcohort.train._checkpoint import load_checkpoint, save_checkpoint
from synthcohort.train._data import batch_positions
from synthcohort.train._update import Updater, average, averaged_state
from synthcohort.types import Batch, Clock, Condition

NAMES = plugins.names("generators")
ITERATIVE = [name for name in NAMES if plugins.find("generators", name).ITERATIVE]
CONTROLS = ("copycat", "gaussian", "holdout", "memoriser", "mixup")
SERVED_IN_ORDER = {"holdout"}
"""Draw nothing: their samples depend on the index and not on the seed."""
SMALL = {
    "dcgan": {"filters": 8, "latent": 16},
    "hinge": {"filters": 8, "latent": 16},
    "lsgan": {"filters": 8, "latent": 16},
    "wgan": {"filters": 8, "latent": 16, "critic_warmup": 0},  # else the generator first learns at the hundredth step
    "wgan_gp": {"filters": 8, "latent": 16},
    "flow": {"width": 16, "multipliers": (1, 2), "components": 2},
    "edm": {"width": 16, "multipliers": (1, 2)},
    "memoriser": {"code": 32, "hidden": 64},
    "cpdgan": {"channel_max": 16, "latent": 16},
    "proggan": {"channel_max": 16, "latent": 16, "phase_images": 16},  # grown up before the eighth step
    "stylegan2": {"channel_max": 8, "latent": 16},
    "pix2pix": {"filters": 8},
    "spade": {"filters": 8, "hidden": 8, "latent": 8, "critic_learning_rate": 2e-3},
    "r3gan": {"width": 16, "latent": 16, "learning_rate": 2e-3, "gamma": 0.1},
    "biggan": {"width": 8},
}
SIDE, COUNT, BATCH = 16, 40, 8
MODES = {  # channels, mask classes, findings
    "grey": (1, 0, 0),
    "grey+mask": (1, 3, 0),
    "rgb+mask": (3, 2, 0),
    "grey+labels": (1, 0, 2),
    "grey+mask+labels": (1, 3, 2),
    "grey over masks": (1, 3, 0),
    "grey over masks+labels": (1, 3, 2),
}
OVER_MASKS = [mode for mode in MODES if "over masks" in mode]
SHARED_MODES = ("grey+mask+labels", "grey over masks+labels")
SHARED_STEPS = (0, 4, 5)  # among them lazy penalties, and a turn of a generator whose critic makes five steps
LABELLED = [mode for mode, (_, _, findings) in MODES.items() if findings]
ASKED = ((0, 0), (1, 0), (0, 1), (1, 1))


def may_be_given_masks(name):
    """Return whether an option decides if masks are given or made with the images."""
    plugin = plugins.find("generators", name)
    return "masks" in plugin.accepts and "masks" in inspect.signature(plugin).parameters


def needs_masks(name):
    """Return whether a generator paints over masks whatever its options are."""
    return "masks" in plugins.find("generators", name).accepts and not may_be_given_masks(name)


def sits(name, mode):
    """Return whether a generator is examined in a mode."""
    if mode in OVER_MASKS:
        return may_be_given_masks(name)
    return bool(MODES[mode][1]) or not needs_masks(name)


def exam(names, modes):
    """Return the mark for a test of each generator in each mode that it is examined in."""
    cases = [pytest.param(name, mode, id=f"{name}-{mode}") for name in names for mode in modes if sits(name, mode)]
    return pytest.mark.parametrize(("name", "mode"), cases)


def painted(names):
    """Return the mark for a test of each generator that is given masks, without labels and with."""
    with_masks = [(name, mode) for name in names for mode in ("grey+mask", "grey+mask+labels") if needs_masks(name)]
    given = [(name, mode) for name in names for mode in OVER_MASKS if may_be_given_masks(name)]
    cases = [pytest.param(name, mode, id=f"{name}-{mode}") for name, mode in (*with_masks, *given)]
    return pytest.mark.parametrize(("name", "mode"), cases)


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
    given = {"masks": "given"} if mode in OVER_MASKS else {}
    return build(name, facts(*MODES[mode]), {**SMALL.get(name, {}), **given, **options}, seed=seed)


def fitted(name, mode="grey+mask", seed=0, **options):
    model = built(name, mode, seed, **options)
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
        chosen = batch_positions(COUNT, step * BATCH, BATCH, seed=1)[rank() :: world()]
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


def drawn(model, seeds=(11, 12, 13, 14), first=0, asked=ASKED, masks=None):
    labels = torch.tensor(asked, dtype=torch.float32)[: len(seeds)] if model.conditional else None
    with torch.inference_mode():
        return model.sample(Condition(len(seeds), first=first, labels=labels, masks=masks), Streams(seeds))


def given_masks(mode):
    """Return four masks (4, H, W) int64 of the discs."""
    return torch.from_numpy(discs(*MODES[mode])[1][:4].astype(np.int64))


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

    def test_says_what_it_is_and_where_it_comes_from(self, name):
        plugin = plugins.find("generators", name)
        assert plugin.CONTROL is (name in CONTROLS)
        assert "\n" not in plugin.PAPER
        assert plugin.CONTROL or any(year in plugin.PAPER for year in map(str, range(2014, 2030)))

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
        # Masks from a network that learnt nothing are all alike, and all that is random may be the mask.
        model = fitted(name, **({"mask_source": "jittered"} if needs_masks(name) else {}))
        torch.manual_seed(1)
        first = drawn(model)
        torch.manual_seed(2)
        assert digest(drawn(model)) == digest(first)
        if name not in SERVED_IN_ORDER:
            assert digest(drawn(model, seeds=(21, 22, 23, 24))) != digest(first)

    def test_sampling_leaves_no_trace(self, name):
        model = fitted(name).train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        drawn(model)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert all(module.training for module in model.modules())

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


class TestEveryMode:
    @exam(NAMES, MODES)
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

    @exam(NAMES, MODES)
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

    @exam(NAMES, LABELLED)
    def test_a_condition_changes_the_sample_that_it_is_for(self, name, mode):
        model = trained(name, mode)
        other = ((0, 0), (1, 0), (1, 1), (1, 1))
        masks = given_masks(mode) if model.mask_conditional else None  # Else the labels may change but the mask.
        one, two = drawn(model, masks=masks).images, drawn(model, asked=other, masks=masks).images
        changed = [i for i in range(4) if not torch.allclose(one[i], two[i], atol=1e-5)]
        assert changed == ([2] if model.conditional else [])

    @exam(NAMES, ["grey+mask", "grey+mask+labels", *OVER_MASKS])
    def test_a_sample_does_not_depend_on_its_neighbours(self, name, mode):
        model = fitted(name, mode).train()
        among, alone = drawn(model), drawn(model, seeds=(13,), first=2, asked=ASKED[2:])
        # A matrix product of another height sums in another order: 1e-5 of a unit range, not a grey level (8e-3).
        assert torch.allclose(among.images[2], alone.images[0], atol=1e-5)
        assert (among.masks[2] == alone.masks[0]).float().mean() > 0.99
        assert among.labels is None or torch.equal(among.labels[2], alone.labels[0])

    @exam(NAMES, ["grey", "grey+mask", "grey+mask+labels", *OVER_MASKS])
    def test_the_weights_score_each_image_by_itself(self, name, mode):
        """An attack on released weights asks of one image; every generator but the controls answers."""
        model = trained(name, mode).eval()
        images, masks, labels = (None if part is None else torch.from_numpy(part) for part in discs(*MODES[mode]))

        def surprise(chosen):
            index = torch.tensor(chosen)
            told = None if labels is None else labels[index]
            given = Batch(images[index], None if masks is None else masks[index].long(), told, index)
            return model.surprise(given, Draws(5))

        found, other = surprise([0, 1, 2, 3]), surprise([4, 5, 2, 7])
        if found is None:
            assert name in CONTROLS
            return
        assert found.shape == (4,)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()
        assert not found.requires_grad
        assert torch.equal(surprise([0, 1, 2, 3]), found)
        # Sums may run in another order; scores of unlike images differ by far more.
        assert torch.allclose(found[2], other[2], rtol=1e-4, atol=1e-5)
        assert len(found.unique()) == 4

    @exam(NAMES, ["grey", "grey+mask", "grey+mask+labels", *OVER_MASKS])
    def test_a_weights_file_gives_the_same_samples(self, name, mode, tmp_path):
        model = fitted(name, mode)
        runs.save_tensors(tmp_path / "w.safetensors", model.state_dict(), {"kind": "test"})
        other = built(name, mode, seed=9)
        other.load_state_dict(runs.load_tensors(tmp_path / "w.safetensors")[0])
        assert digest(drawn(other)) == digest(drawn(model))


class TestOverMasks:
    @painted(NAMES)
    def test_a_mask_changes_the_image_that_is_painted_over_it(self, name, mode):
        model, masks = trained(name, mode), given_masks(mode)
        other = masks.clone()
        other[2] = masks[2].roll(3, 0)
        one, two = drawn(model, masks=masks), drawn(model, masks=other)
        assert torch.equal(one.masks, masks)
        assert torch.equal(two.masks, other)
        changed = [i for i in range(4) if not torch.allclose(one.images[i], two.images[i], atol=1e-5)]
        assert changed == [2]

    @painted(NAMES)
    @pytest.mark.parametrize("source", get_args(MaskSource))
    def test_without_masks_it_draws_them_from_the_bank(self, name, mode, source, monkeypatch):
        model, drawn_masks, draw = fitted(name, mode, mask_source=source), [], MaskBank.draw

        def recording(bank, condition, rng):
            drawn_masks.append(draw(bank, condition, rng))
            return drawn_masks[-1]

        monkeypatch.setattr(MaskBank, "draw", recording)
        made = drawn(model)
        assert len(drawn_masks) == 1
        assert torch.equal(made.masks, drawn_masks[0])
        again = drawn(model, masks=made.masks)  # The images were painted over these masks and no others.
        assert torch.equal(again.masks, made.masks)
        assert source != "training" or all(len(each.unique()) > 1 for each in made.masks)

    @painted(NAMES)
    def test_a_cohort_without_masks_is_refused_in_one_line(self, name, mode):
        options = {**SMALL.get(name, {}), **({"masks": "given"} if mode in OVER_MASKS else {})}
        channels, _, findings = MODES[mode]
        with pytest.raises(InputError) as refusal:
            build(name, facts(channels, 0, findings), options)
        assert "masks" in str(refusal.value)
        assert "\n" not in str(refusal.value)


class TestTrainedInSteps:
    @exam(ITERATIVE, ["grey+mask", "grey over masks"])
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_the_first_loss_falls(self, name, mode, precision):
        training = Training(name, mode, precision=precision)
        before = training.losses(10)
        training.steps(0, 30)
        after = training.losses(10)
        assert np.isfinite([*before, *after]).all()
        # Same images and random numbers before and after, so the difference is what was learnt.
        assert np.mean(after) < 0.95 * np.mean(before)

    @exam(ITERATIVE, ["grey", "rgb+mask", "grey+mask+labels", "grey over masks+labels"])
    def test_learns_from_every_kind_of_image(self, name, mode):
        training = Training(name, mode)
        before = {key: value.clone() for key, value in training.model.state_dict().items()}
        training.steps(0, 8)  # What lies behind layers that start at zero moves some steps later.
        weights = {key: value for key, value in training.model.named_parameters() if value.dim() > 1}
        assert [key for key, value in weights.items() if torch.equal(value, before[key])] == []

    @exam(ITERATIVE, ["grey+mask", "grey+mask+labels", "grey over masks+labels"])
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


def untrained_digest(name):
    return digest(drawn(fitted(name, "grey+mask+labels")))


def environment():
    """Return the environment of a process that can import this file, with another hash seed."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(plugins.__file__).parents[1])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "4711"}


class Plain(torch.optim.SGD):
    """Gradient descent at a rate of its own that keeps every gradient that it follows.

    Adam would turn the rounding of a gradient near zero into a whole step.
    """

    def __init__(self, optimiser):
        super().__init__([p for group in optimiser.param_groups for p in group["params"]], lr=1e-3)
        self.followed = []

    def step(self):
        (group,) = self.param_groups
        group["lr"] = 1e-3  # whatever the generator's schedule says
        self.followed.append([None if p.grad is None else p.grad.clone() for p in group["params"]])
        super().step()


def shared(name, mode):
    """Return (gradients of every optimiser and step, state) after steps on this process's share of the batches."""
    training = Training(name, mode)
    training.optimisers = {key: Plain(optimiser) for key, optimiser in training.optimisers.items()}
    training.update = Updater(training.optimisers, torch.device("cpu"), "fp32")
    for step in SHARED_STEPS:
        training.steps(step, step + 1)
    gradients = {key: optimiser.followed for key, optimiser in training.optimisers.items()}
    return {"gradients": gradients, "state": dict(training.model.state_dict())}


def share(number, names, out):
    """Train generators as one of two processes, and write what came out; the first also what untrained ones draw."""
    if number == 0:
        (out / "digests.json").write_text(json.dumps({name: untrained_digest(name) for name in NAMES}))
    limit = datetime.timedelta(seconds=300)
    meeting = {"init_method": (out / "meeting").as_uri(), "rank": number, "world_size": 2, "timeout": limit}
    torch.distributed.init_process_group("gloo", **meeting)
    for name in names:
        try:
            found = {mode: shared(name, mode) for mode in SHARED_MODES if sits(name, mode)}
        except Exception as error:  # the others are examined all the same
            found = {"error": repr(error)}
        torch.save(found, out / f"{name}-{number}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves(request, tmp_path_factory):
    """Train all generators that are examined now by two processes, once; return the folder of what came out."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own  # of this run of all workers
    tests = [item for item in request.session.items if "halves" in getattr(item, "fixturenames", ())]
    trained = [item.callspec.params["name"] for item in tests if "mode" in item.callspec.params]
    names = list(dict.fromkeys(trained))
    with FileLock(root / "halves.lock"):
        out = root / "halves"
        if not out.exists():
            out.mkdir()
            train_halves(names, out)
    return out


def train_halves(names, out):
    code = f"import torch; torch.set_num_threads({torch.get_num_threads()})\n"
    code += "import sys, json, pathlib, test_generators\n"
    code += "test_generators.share(int(sys.argv[1]), json.loads(sys.argv[2]), pathlib.Path(sys.argv[3]))"
    commands = [[sys.executable, "-c", code, str(number), json.dumps(names), str(out)] for number in range(2)]
    pair = [subprocess.Popen(command, env=environment()) for command in commands]
    try:
        assert [process.wait(timeout=900) for process in pair] == [0, 0]
    finally:
        for process in pair:
            process.kill()
            process.wait()


@exam(ITERATIVE, SHARED_MODES)
def test_two_processes_on_half_a_batch_each_are_one(name, mode, halves):
    whole = shared(name, mode)
    for number in range(2):
        half = torch.load(halves / f"{name}-{number}.pt", weights_only=True)
        assert "error" not in half, half["error"]
        for key, followed in whole["gradients"].items():
            pairs = zip(followed, half[mode]["gradients"][key], strict=True)
            for step, (expected, found) in enumerate(pairs):
                size = torch.stack([each.norm() for each in expected if each is not None]).max()
                for one, other in zip(expected, found, strict=True):
                    assert (one is None) is (other is None)
                    # Sums in another order: 1e-7 of what is summed, which cancels to a hundredth, and grows by step.
                    assert one is None or (one - other).norm() <= 1e-3 * one.norm() + 1e-5 * size, (key, step)
        for key, expected in whole["state"].items():  # Buffers, too: running means, probabilities.
            found = half[mode]["state"][key]
            assert torch.allclose(found.double(), expected.double(), rtol=1e-4, atol=1e-5), key


@pytest.mark.parametrize("name", NAMES)
def test_another_process_with_another_hash_seed_draws_the_same_bits(name, halves):
    assert json.loads((halves / "digests.json").read_text())[name] == untrained_digest(name)

"""Adaptive augmentation: each operation against a slow one, the identity at 0, speed of the probability, resuming."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import upfirdn

from synthcohort.generators import _ada
from synthcohort.generators._ada import SYM6, Augmentation, Plan, resampling
from synthcohort.generators.stylegan2 import Generator
from synthcohort.nets.generator import Draws
from synthcohort.types import Batch, Clock

SIDE = 16
GATES = ("flip", "turn", "shift", "zoom", "first turn", "squeeze", "last turn", "fine shift")
COLOURS = ("brightness", "contrast", "invert", "hue", "saturation")
NAMES = GATES + COLOURS


def pipe(channels=1, name="bgc", probability=1.0, side=SIDE):
    made = Augmentation(channels, side, name)
    made.probability.fill_(probability)
    return made


def images(count=3, channels=3, side=SIDE):
    rng = torch.Generator().manual_seed(3)
    coarse = torch.randn((count, channels, side // 4, side // 4), generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    return smooth + 0.1 * torch.randn((count, channels, side, side), generator=rng)


class Chosen:
    """Draws in which some gates are open and the others shut, and which are remembered."""

    def __init__(self, *open_gates, seed=0):
        self.open, self.rng = open_gates, torch.Generator().manual_seed(seed)

    def uniform(self, count, width):
        if width == _ada.GATES:
            return torch.tensor([0.0 if name in self.open else 2.0 for name in NAMES]).repeat(count, 1)
        self.u = torch.rand((count, width), generator=self.rng)
        return self.u

    def normal(self, count, width):
        self.n = torch.randn((count, width), generator=self.rng)
        return self.n


def slow(image, inverse):
    """Return one (H, W) image moved: twice the side by scipy, a place at a time, and back."""
    side, taps = image.shape[0], np.array(SYM6)
    margin = 8
    fine = np.pad(image, margin, mode="reflect")
    for axis in (0, 1):
        fine = upfirdn(taps * math.sqrt(2), fine, 2, axis=axis)
    start = 2 * margin  # the filter's first output that belongs to pixel 0

    def at(x, y):
        """Return the finer image at a place in half pixels from the first pixel."""
        end = 2 * (side - 1)
        place = []
        for value in (x, y):
            if not -_ada.CENTRE <= value <= end + 11 - _ada.CENTRE:  # as far as the filter reaches; then by reflection
                value = value % (2 * end)
                value = min(value, 2 * end - value)
            place.append(value + start + _ada.CENTRE)
        (left, right), (top, low) = (divmod(value, 1) for value in place)
        left, top = int(left), int(top)
        row0, row1 = fine[top], fine[top + 1]
        return (1 - low) * ((1 - right) * row0[left] + right * row0[left + 1]) + low * (
            (1 - right) * row1[left] + right * row1[left + 1]
        )

    count, middle = 2 * side + 10, (side - 1) / 2
    moved = np.zeros((count, count))
    for row in range(count):
        for column in range(count):
            here = np.array([(column - _ada.CENTRE) / 2 - middle, (row - _ada.CENTRE) / 2 - middle, 1])
            x, y = (inverse @ here + middle) * 2
            moved[row, column] = at(x, y)
    for axis in (0, 1):
        moved = upfirdn(taps[::-1] / math.sqrt(2), moved, axis=axis).take(range(11, 11 + 2 * side, 2), axis=axis)
    return moved


class TestResampling:
    def test_wavelet_is_what_defines_it(self):
        taps = np.array(SYM6)
        assert taps.sum() == pytest.approx(math.sqrt(2), abs=1e-11)
        for shift in range(6):  # orthogonal to its even shifts
            assert taps[2 * shift :] @ taps[: 12 - 2 * shift] == pytest.approx(float(shift == 0), abs=1e-11)
        places = np.arange(12)
        for power in range(6):  # six vanishing moments of its mirror filter
            assert ((-1.0) ** places * places**power) @ taps == pytest.approx(0, abs=1e-8)
        assert round(places @ taps / taps.sum()) == _ada.CENTRE

    @pytest.mark.parametrize("side", [8, 16, 32])
    def test_back_after_there_is_the_identity(self, side):
        up, down = resampling(side)
        assert up.shape == (2 * side + 10, side)
        assert torch.allclose(down @ up, torch.eye(side), atol=1e-6)

    def test_there_is_scipys_upsampling_of_the_reflected_line(self):
        line = np.random.default_rng(0).normal(size=SIDE)
        wide = upfirdn(np.array(SYM6) * math.sqrt(2), np.pad(line, 8, mode="reflect"), 2)
        found = resampling(SIDE)[0].double().numpy() @ line
        assert found == pytest.approx(wide[16 : 16 + len(found)], abs=1e-5)
        back = upfirdn(np.array(SYM6)[::-1] / math.sqrt(2), found, 1, 1)[11::2]
        assert resampling(SIDE)[1].double().numpy() @ found == pytest.approx(back[:SIDE], abs=1e-5)


def turned(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def expected_inverse(name, u, n):
    """Return the matrix (2, 2) and the shift (2,) that take a place of the result back to the image."""
    still = np.zeros(2)
    return {
        "flip": (np.diag([1.0 if u[0] < 0.5 else -1.0, 1.0]), still),
        "turn": (turned(math.floor(4 * u[1]) * math.pi / 2), still),
        "shift": (np.eye(2), -np.rint((2 * u[2:4] - 1) * 0.125 * SIDE)),
        "zoom": (np.eye(2) / 2 ** (0.2 * n[0]), still),
        "first turn": (turned((2 * u[4] - 1) * math.pi), still),
        "squeeze": (np.diag([2 ** (-0.2 * n[1]), 2 ** (0.2 * n[1])]), still),
        "last turn": (turned((2 * u[5] - 1) * math.pi), still),
        "fine shift": (np.eye(2), -n[2:4] * 0.125 * SIDE),
    }[name]


class TestPlaces:
    @pytest.mark.parametrize("name", GATES)
    def test_each_operation_is_the_slow_one(self, name):
        augmentation, draws = pipe(), Chosen(name, seed=1)
        plan, shown = augmentation.draw(3, draws), images(3, 1)
        found = augmentation(shown, plan)
        for i in range(3):
            linear, shift = expected_inverse(name, draws.u[i].double().numpy(), draws.n[i].double().numpy())
            inverse = np.column_stack([linear, shift])
            assert plan.inverse[i].numpy() == pytest.approx(inverse, abs=1e-5)
            # Places are in float32, and a pixel differs from the next by a unit or so.
            assert found[i, 0].numpy() == pytest.approx(slow(shown[i, 0].double().numpy(), inverse), abs=1e-3)

    def test_operations_follow_each_other_in_their_order(self):
        augmentation, draws = pipe(), Chosen(*GATES, seed=2)
        plan = augmentation.draw(2, draws)
        for i in range(2):
            whole = np.eye(3)
            for name in GATES:
                linear, shift = expected_inverse(name, draws.u[i].double().numpy(), draws.n[i].double().numpy())
                whole = whole @ np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])
            assert plan.inverse[i].numpy() == pytest.approx(whole[:2], abs=1e-5)

    def test_what_keeps_the_pixels_moves_them_exactly(self):
        augmentation, shown = pipe(), images(1, 2)
        matrices = {
            "left-right": ([[-1.0, 0, 0], [0, 1, 0]], shown.flip(3)),
            "quarter": ([[0.0, -1, 0], [1, 0, 0]], shown.rot90(1, (2, 3))),
            "half": ([[-1.0, 0, 0], [0, -1, 0]], shown.flip(2, 3)),
        }
        shift = torch.nn.functional.pad(shown, (3, 3, 3, 3), mode="reflect")[..., 5 : 5 + SIDE, :SIDE]
        matrices["shift"] = ([[1.0, 0, -3], [0, 1, 2]], shift)
        plan = augmentation.draw(1, Chosen())
        for name, (inverse, expected) in matrices.items():
            found = augmentation(shown, plan._replace(inverse=torch.tensor([inverse])))
            # The wavelet is not quite symmetric: what stands mirrored on its half pixels is off by some percent.
            tolerance = 1e-4 if name == "shift" else 0.15
            inside = (..., slice(6, -6), slice(6, -6)) if name == "shift" else (...,)
            assert (found - expected)[inside].abs().max() < tolerance, name

    def test_anatomy_knows_no_flips_and_no_quarter_turns(self):
        plan = pipe(name="anatomy").draw(20, Chosen("flip", "turn"))
        assert torch.allclose(plan.inverse, torch.eye(3)[:2].expand(20, 2, 3))
        assert not torch.allclose(pipe().draw(20, Chosen("flip", "turn")).inverse, torch.eye(3)[:2].expand(20, 2, 3))


class TestColours:
    @pytest.mark.parametrize("channels", [1, 2, 3])
    @pytest.mark.parametrize("name", COLOURS)
    def test_each_operation_is_the_slow_one(self, name, channels):
        augmentation, draws = pipe(channels), Chosen(name, seed=4)
        plan, shown = augmentation.draw(4, draws), images(4, channels)
        found = augmentation(shown, plan)
        for i in range(4):
            u, n = draws.u[i].double().numpy(), draws.n[i].double().numpy()
            pixels = shown[i].double().numpy().reshape(channels, -1)
            mean = pixels.mean(0)
            expected = {
                "brightness": pixels + 0.2 * n[4],
                "contrast": pixels * 2 ** (0.5 * n[5]),
                "invert": pixels - 2 * mean * (u[6] >= 0.5),
                "hue": pixels,
                "saturation": pixels,
            }[name]
            if channels == 3 and name == "saturation":
                expected = mean + (pixels - mean) * 2 ** n[6]
            if channels == 3 and name == "hue":  # Rodrigues' rotation about the grey axis
                angle, axis = (2 * u[7] - 1) * math.pi, np.ones((3, 1)) / math.sqrt(3)
                across = np.cross(np.broadcast_to(axis, pixels.shape), pixels, axis=0)
                expected = pixels * math.cos(angle) + across * math.sin(angle) + mean * (1 - math.cos(angle))
            assert found[i].flatten(1).numpy() == pytest.approx(expected, abs=2e-5)

    def test_operations_follow_each_other_in_their_order(self):
        augmentation, draws = pipe(2), Chosen(*COLOURS, seed=4)
        plan, shown = augmentation.draw(4, draws), images(4, 2)
        found = augmentation(shown, plan)
        for i in range(4):
            u, n = draws.u[i], draws.n[i]
            x = (shown[i] + 0.2 * n[4]) * 2 ** (0.5 * n[5])
            x = x - 2 * x.mean(0) * (u[6] >= 0.5)
            assert torch.allclose(found[i], x, atol=2e-5)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_masks_keep_their_values(self, channels):
        shown = images(3, channels + 2)
        augmentation = pipe(channels)
        found = augmentation(shown, augmentation.draw(3, Chosen(*COLOURS)))
        assert torch.allclose(found[:, channels:], shown[:, channels:], atol=1e-5)
        assert (found[:, :channels] - shown[:, :channels]).abs().amax((1, 2, 3)).min() > 0.05

    def test_masks_move_with_their_image(self):
        shown = images(3, 1).repeat(1, 2, 1, 1)
        augmentation = pipe(1)
        found = augmentation(shown, augmentation.draw(3, Chosen(*GATES)))
        assert torch.equal(found[:, 0], found[:, 1])
        assert (found - shown).abs().amax((1, 2, 3)).min() > 0.05


class TestProbability:
    def test_nothing_happens_at_0(self):
        augmentation, shown = pipe(3, probability=0.0), images(5, 4)
        assert torch.allclose(augmentation(shown, augmentation.draw(5, Draws(0))), shown, atol=2e-5)

    def test_each_operation_has_it(self):
        count, probability = 4000, 0.3
        plan = pipe(3, probability=probability).draw(count, Draws(1))
        still = (plan.inverse - torch.eye(3)[:2]).abs().amax((1, 2)) < 1e-6
        # The eight gates, of which flip, turn and integer shift change nothing in 1 of 2, 4 and 25 of their draws.
        shifts = np.rint((2 * np.linspace(0, 1, 100_001) - 1) * 0.125 * SIDE)
        useless = (shifts == 0).mean() ** 2
        expected = (1 - 0.3 / 2) * (1 - 0.3 * 3 / 4) * (1 - 0.3 * (1 - useless)) * 0.7**4  # both turns count once
        assert float(still.float().mean()) == pytest.approx(expected, abs=4 * math.sqrt(expected / count))
        plain = (plan.offset.abs().amax((1, 2)) < 1e-7).float().mean()
        assert float(plain) == pytest.approx(0.7, abs=0.03)  # brightness alone adds something; 4 standard errors

    def test_moves_by_one_in_500_000_images(self):
        augmentation = pipe(probability=0.0)
        for step in range(12):
            augmentation.follow(torch.ones(64), step=step, batch=64)
            assert float(augmentation.probability) == pytest.approx((step + 1) // 4 * 4 * 64 / 500_000)

    @pytest.mark.parametrize(("positive", "direction"), [(9, 1), (7, -1)])
    def test_follows_the_share_of_signs_beyond_the_target(self, positive, direction):
        scores = torch.cat([torch.full((positive,), 0.1), torch.full((10 - positive,), -9.0)])  # means 0.8 and 0.4
        augmentation = pipe(probability=0.5)
        for step in range(4):
            augmentation.follow(scores, step=step, batch=10)
        assert float(augmentation.probability) == pytest.approx(0.5 + direction * 40 / 500_000, abs=1e-7)

    def test_stays_between_0_and_1(self):
        for sign, start in ((-1, 0.0), (1, 1.0)):
            augmentation = pipe(probability=start)
            for step in range(4):
                augmentation.follow(torch.full((4,), float(sign)), step=step, batch=10**6)
            assert float(augmentation.probability) == start

    def test_survives_a_checkpoint_between_two_checks(self):
        def made():
            torch.manual_seed(0)
            return Generator(shape=(1, 8, 8), labels=(), mask_classes=(), channel_max=4, latent=8)

        def step(model, number):
            data = Batch(images(4, 1, 8), None, None, torch.arange(4))
            model.step(data, clock=Clock(number, 4 * number, 400), rng=Draws(number), update=lambda *_: None)

        whole, part, resumed = made(), made(), made()
        for model in (whole, part):
            model.augmentation.probability.fill_(0.5)
            for number in range(2):
                step(model, number)
        resumed.load_state_dict(part.state_dict())
        assert float(part.augmentation.signs) != 0
        for model in (whole, resumed):
            for number in range(2, 4):
                step(model, number)
        assert float(whole.augmentation.probability) != 0.5
        assert torch.equal(resumed.augmentation.probability, whole.augmentation.probability)


def test_gradients_of_both_orders_are_those_of_a_matrix():
    side = 8
    augmentation = pipe(1, side=side)
    plan = augmentation.draw(1, Draws(3))
    pixels = torch.eye(side**2).reshape(-1, 1, side, side)
    many = Plan(*(part.expand(side**2, *part.shape[1:]) for part in plan))
    shift = augmentation(torch.zeros(1, 1, side, side), plan).flatten()
    matrix = (augmentation(pixels, many).flatten(1) - shift).T
    found, expected = [], []
    for result, moved in ((found, augmentation), (expected, None)):
        shown = images(1, 1, side).requires_grad_()
        seen = moved(shown, plan).flatten() if moved else matrix @ shown.flatten() + shift
        (slope,) = torch.autograd.grad(seen.pow(3).sum(), shown, create_graph=True)
        (curve,) = torch.autograd.grad(slope.square().sum(), shown)
        result += [slope.detach(), curve]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
    assert matrix.abs().sum() > 1

"""The mask bank: the sampler on a posterior that is known, the loss and the jitter by hand, the nearest labels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from synthcohort import runs
from synthcohort.generators._mask_bank import ROTATION, SCALE, SHIFT, STEPS, MaskBank, _grid, _jittered
from synthcohort.nets.generator import Draws, Streams
from synthcohort.types import Batch, Clock, Condition

SIDE, CLASSES = 16, ("background", "ring", "core")


def bank(source="generated", labels=(), side=SIDE):
    torch.manual_seed(0)
    return MaskBank(shape=(1, side, side), mask_classes=CLASSES, labels=labels, source=source)


def rings(count, side=SIDE, seed=0):
    """Return masks (N, side, side) uint8 of a core in a ring, of random place and size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    centre, radius = rng.uniform(0.35, 0.65, (count, 2, 1, 1)), rng.uniform(0.15, 0.3, (count, 1, 1))
    distance = np.hypot(y - centre[:, 0], x - centre[:, 1]) / radius
    return ((distance < 1).astype(np.uint8) + (distance < 0.6)).astype(np.uint8)


def batch_of(masks, labels=None):
    images = torch.zeros(len(masks), 1, *masks.shape[1:])
    shown = None if labels is None else torch.from_numpy(labels)
    return Batch(images, torch.from_numpy(masks.astype(np.int64)), shown, torch.arange(len(masks)))


class TestGenerated:
    def test_it_keeps_no_training_mask(self):
        model = bank()
        model.fit(rings(20), None, seed=0)
        assert model.masks is None
        assert dict(model.named_buffers()) == {}

    def test_the_loss_is_the_cross_entropy_of_the_classes_behind_the_noise(self):
        model, masks, losses = bank(), rings(3), []
        nn.init.normal_(model.network.leave[-1].weight, std=0.3)  # It starts at zero, where all is equally probable.
        model.step(
            batch_of(masks),
            clock=Clock(0, 0, 9),
            rng=Draws(5),
            update=lambda _, loss, **__: losses.append(loss.detach()),
        )
        rng, expected = Draws(5), []
        times, noise = rng.normal(3).sigmoid(), rng.normal(3, 3, SIDE, SIDE)
        for i in range(3):
            x = 2 * np.eye(3)[masks[i]].transpose(2, 0, 1) - 1
            x_t = times[i] * torch.from_numpy(x).float() + (1 - times[i]) * noise[i]
            chance = model.network(x_t[None], times[i : i + 1])[0].softmax(0).detach()
            for y, x in itertools.product(range(SIDE), repeat=2):
                expected.append(-math.log(chance[masks[i, y, x], y, x]))
        assert float(losses[0]) == pytest.approx(np.mean(expected), rel=1e-5)  # float32 sums

    def test_towards_one_map_the_path_is_a_straight_line(self):
        # Where the same map c is always expected, x_t = (1 - t) z + t c solves the equation exactly.
        logits, path = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), []

        class Known(nn.Module):
            def forward(self, x_t, time, told):
                path.append((float(time[0]), x_t))
                return logits.expand(len(x_t), -1, -1, -1)

        model = bank()
        model.network = Known()
        drawn = model.draw(Condition(2), Streams([4, 5]))
        noise, expected = Streams([4, 5]).normal(3, SIDE, SIDE), 2 * logits.softmax(0) - 1
        assert [time for time, _ in path] == pytest.approx([0, *np.repeat(np.arange(1, STEPS) / STEPS, 2)])
        for time, x_t in path:
            assert torch.allclose(x_t, (1 - time) * noise + time * expected, atol=1e-4)  # rounding, over 1 - t
        assert torch.equal(drawn, logits.argmax(0).expand(2, -1, -1))

    def test_the_sampler_draws_from_a_distribution_whose_posterior_is_known(self):
        # Three masks with chances 1/2, 1/3, 1/6: behind x_t lies mask m with a weight of chance * N(x_t; t m, (1 - t)).
        masks, chances = torch.from_numpy(rings(3, seed=3)).long(), torch.tensor([1 / 2, 1 / 3, 1 / 6])
        onehot = nn.functional.one_hot(masks, 3).movedim(-1, 1).float()

        class Posterior(nn.Module):
            def forward(self, x_t, time, told):
                distance = (x_t[:, None] - time[0] * (2 * onehot - 1)).square().sum((2, 3, 4))
                weight = (chances.log() - distance / (2 * (1 - time[0]) ** 2)).softmax(1)
                return torch.einsum("bm,mkhw->bkhw", weight, onehot).clamp(min=1e-12).log()

        model = bank()
        model.network = Posterior()
        drawn = model.draw(Condition(600), Streams(range(600)))
        found = (drawn[:, None] == masks).flatten(2).all(2)
        # Each is one of the three, but for some that the steps leave between two.
        assert found.any(1).float().mean() > 0.97
        # 3 standard errors of a share of 600, and what the steps blur.
        assert torch.allclose(found.float().mean(0), chances, atol=0.06 + 0.03)

    def test_masks_are_learnt(self):
        model, masks = bank(), rings(64)
        optimiser = model.optimisers()["masks"]

        def update(name, loss, *, lr):
            assert name == "masks"
            optimiser.param_groups[0]["lr"] = lr
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        rng = np.random.default_rng(0)
        for step in range(60):
            chosen = masks[rng.integers(64, size=16)]
            model.step(batch_of(chosen), clock=Clock(step, step * 16, 60 * 16), rng=Draws(step), update=update)
        with torch.inference_mode():
            drawn = model.draw(Condition(32), Streams(range(32)))
        area, expected = (drawn > 0).float().mean(), (masks > 0).mean()
        assert 0.5 * expected < area < 2 * expected
        assert (drawn[:, [0, -1]] == 0).float().mean() > 0.95  # No ring touches the edge.
        assert len({mask.numpy().tobytes() for mask in drawn}) > 24

    def test_labels_change_the_mask_that_they_are_for(self):
        model = bank(labels=("a", "b"))
        nn.init.normal_(model.network.leave[-1].weight)
        nn.init.normal_(model.network.places)
        labels = torch.tensor([[0.0, 0], [1, 0]])
        other = torch.tensor([[0.0, 0], [1, 1]])
        one, two = (model.draw(Condition(2, labels=asked), Streams([1, 2])) for asked in (labels, other))
        assert torch.equal(one[0], two[0])
        assert not torch.equal(one[1], two[1])

    @pytest.mark.parametrize(
        ("sides", "expected"),
        [((16, 16), (16, 16)), ((20, 12), (20, 12)), ((128, 128), (32, 32)), ((96, 64), (32, 20)), ((9, 5), (8, 4))],
    )
    def test_the_grid_keeps_the_proportions(self, sides, expected):
        assert _grid(*sides) == expected

    def test_a_large_mask_is_drawn_from_the_coarse_grid(self):
        model = bank(side=64)
        assert model.draw(Condition(2), Streams([1, 2])).shape == (2, 64, 64)
        assert STEPS > 1


class TestStored:
    @pytest.mark.parametrize("source", ["jittered", "training"])
    def test_labels_choose_among_the_masks_that_go_with_the_nearest(self, source):
        rng = np.random.default_rng(1)
        labels = rng.integers(2, size=(40, 3)).astype(np.float32)
        labels = labels[labels.sum(1) < 3]  # (1, 1, 1) is asked for and has no mask.
        masks = np.zeros((len(labels), SIDE, SIDE), np.uint8)
        masks[np.arange(len(labels)), :, :] = np.arange(len(labels))[:, None, None]  # uniform, so that jitter keeps it
        model = bank(source, labels=("a", "b", "c"))
        model.fit(masks, labels, seed=2)
        asked = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 1]]).repeat(100, 1)
        drawn = model.draw(Condition(300, labels=asked), Streams(range(300)))[:, 0, 0].numpy()
        for row in range(3):
            away = np.abs(labels - asked[row].numpy()).sum(1)
            assert set(drawn[row::3]) == set(np.flatnonzero(away == away.min()))  # All of them, and no others.

    def test_unaltered_masks_are_unaltered_and_drawn_with_replacement(self):
        masks = rings(5)
        model = bank("training")
        model.fit(masks, None, seed=0)
        drawn = model.draw(Condition(50), Streams(range(50))).numpy().astype(np.uint8)
        assert {mask.tobytes() for mask in drawn} == {mask.tobytes() for mask in masks}

    @pytest.mark.parametrize("sides", [(12, 12), (10, 16)])
    def test_jitter_is_turn_scale_and_shift_by_the_nearest_pixel(self, sides):
        height, width = sides
        masks = torch.from_numpy(np.random.default_rng(0).integers(3, size=(6, *sides)).astype(np.uint8))
        moved = _jittered(masks, Streams(range(6)))
        drawn = 2 * Streams(range(6)).uniform(4).double() - 1
        compared = 0
        for i in range(6):
            turn, scale, down, right = drawn[i].tolist()
            angle, size = turn * ROTATION, 1 / (1 + scale * SCALE)
            for y, x in itertools.product(range(height), range(width)):
                across, along = x - (width - 1) / 2, y - (height - 1) / 2
                column = size * (math.cos(angle) * across - math.sin(angle) * along) + right * SHIFT * width
                row = size * (math.sin(angle) * across + math.cos(angle) * along) + down * SHIFT * height
                column, row = column + (width - 1) / 2, row + (height - 1) / 2
                if min(abs(column % 1 - 0.5), abs(row % 1 - 0.5)) < 1e-3:
                    continue  # Half-way between two pixels, rounding decides.
                column, row = min(max(round(column), 0), width - 1), min(max(round(row), 0), height - 1)
                assert moved[i, y, x] == masks[i, row, column]
                compared += 1
        assert compared > 0.95 * masks.numel()
        assert not torch.equal(moved.byte(), masks)

    @pytest.mark.parametrize("source", ["jittered", "training"])
    @pytest.mark.parametrize("labels", [(), ("a",)])
    def test_a_weights_file_holds_the_masks(self, source, labels, tmp_path):
        model, other = bank(source, labels), bank(source, labels)
        told = np.ones((7, 1), np.float32) if labels else None
        model.fit(rings(7), told, seed=0)
        assert list(model.optimisers()) == list(model.averaged()) == []
        assert model.step(batch_of(rings(2)), clock=Clock(0, 0, 9), rng=Draws(0), update=None) == {}
        runs.save_tensors(tmp_path / "w.safetensors", model.state_dict(), {"kind": "test"})
        other.load_state_dict(runs.load_tensors(tmp_path / "w.safetensors")[0])
        asked = Condition(4, labels=torch.ones(4, 1) if labels else None)
        one, two = (each.draw(asked, Streams(range(4))) for each in (model, other))
        assert torch.equal(one, two)


@pytest.mark.parametrize("source", ["generated", "jittered", "training"])
def test_masks_that_are_given_are_taken(source):
    model, given = bank(source), torch.from_numpy(rings(2)).long()
    model.fit(rings(7), None, seed=0)
    assert torch.equal(model.draw(Condition(2, masks=given), Streams([1, 2])), given)


@pytest.mark.parametrize("source", ["generated", "jittered", "training"])
def test_a_mask_depends_on_its_own_stream(source):
    model = bank(source)
    if source == "generated":
        nn.init.normal_(model.network.leave[-1].weight)
    model.fit(rings(30), None, seed=0)
    among = model.draw(Condition(3), Streams([1, 2, 3]))
    alone = model.draw(Condition(1), Streams([2]))
    assert among.dtype == torch.int64
    assert torch.equal(among[1], alone[0])
    assert not torch.equal(among[0], among[1])

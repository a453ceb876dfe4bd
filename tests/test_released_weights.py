"""The attack on released weights: who can be attacked, what a model that knows its members scores, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from synthcohort import plugins
from synthcohort.errors import Mismatch
from synthcohort.evaluate import _released, _rows
from synthcohort.evaluate._sets import ImageSet
from synthcohort.nets.generator import Draws
from synthcohort.types import Batch

SMALL = {"flow": {"width": 16, "blocks": 1}, "edm": {"width": 16, "blocks": 1}, "wgan_gp": {}, "dcgan": {}}


def images(name, first, count=60):
    pixels = (np.arange(first, first + count) % 256).astype(np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), "u1")
    patients = np.array([f"{name}{number}" for number in range(count)])
    return ImageSet(name, pixels, None, np.empty((count, 0), np.float32), patients, patients, name)


class Knows:
    """Fits pixels under 60 well: those of the members."""

    SPLIT, labels = "train", ()

    def surprise(self, batch, rng):
        level = (batch.images[:, 0, 0, 0] + 1) * 127.5
        return (level > 59.5) * 1.0 + 0.1 * rng.uniform(len(level))


def attacked(model, monkeypatch):
    monkeypatch.setattr(_released, "load_generator", lambda run, device: (model, {}))
    real = SimpleNamespace(train=images("train", 0), held_out=images("held", 70), holdout=images("out", 140))
    rows = _rows.Rows("toy", "", 0, {})
    _released.add_attack(rows, Path("run"), real, (0.0, 255.0))
    return rows.scores


def test_weights_that_know_their_members_give_them_away(monkeypatch):
    found = {s.role: s for s in attacked(Knows(), monkeypatch) if (s.metric, s.label) == ("membership_auc", "loss")}
    assert found["subject"].value == 1
    assert found["ceiling"].low <= 0.5 <= found["ceiling"].high
    assert found["subject"].extractor == "weights"


def test_weights_that_say_nothing_are_not_estimable(monkeypatch):
    silent = SimpleNamespace(SPLIT="train", labels=(), surprise=lambda batch, rng: None)
    scores = attacked(silent, monkeypatch)
    assert {score.status for score in scores} == {"not_estimable"}
    assert "say nothing of one image" in scores[0].reason


def test_weights_of_another_cohort_are_refused(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"fingerprint": "f", "config": {"kind": "train", "cohort": "another"}})
    )
    with pytest.raises(Mismatch, match="trained on another"):
        _released.manifest(tmp_path, "this")


@pytest.mark.parametrize("name", SMALL)
def test_a_generator_scores_every_image_and_itself_alike(name):
    torch.manual_seed(0)
    model = plugins.find("generators", name)(
        shape=(1, 32, 32), labels=("a",), mask_classes=("none", "disc"), **SMALL[name]
    )
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (6, 1, 32, 32)).astype(np.float32)
    masks = rng.integers(0, 2, (6, 32, 32)).astype(np.uint8)
    labels = np.tile([[0.0], [1.0]], (3, 1)).astype(np.float32)
    model.fit(pixels, masks, labels, seed=0)
    model.eval()
    batch = Batch(
        torch.from_numpy(pixels), torch.from_numpy(masks.astype(np.int64)), torch.from_numpy(labels), torch.arange(6)
    )
    found = model.surprise(batch, Draws(3))
    assert found.shape == (6,)
    assert torch.isfinite(found).all()
    assert (model.surprise(batch, Draws(3)) == found).all()
    assert not found.requires_grad

"""What a generator was asked for can be read from its images by networks that learnt from real phantoms alone.

Slow: every generator is trained for minutes. The networks are smaller than the defaults, and each sees as many images
as it needs for its conditions to show, not for good images.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthcohort import plugins
from synthcohort.nets.generator import Streams
from synthcohort.prepare import prepare
from synthcohort.sample import load_generator, sample
from synthcohort.statistics import auc
from synthcohort.tasks import classification, segmentation
from synthcohort.train import train
from synthcohort.types import Condition, from_unit_range

pytestmark = pytest.mark.slow

SIDE, BATCH, CHUNK = 32, 16, 64
FINDINGS = ("Cardiomegaly", "Edema", "Pleural Effusion", "Support Devices")
IMAGES_SEEN = 30_000
OPTIONS = {
    "cpdgan": {"channel_max": 64, "latent": 64},
    "proggan": {"channel_max": 64, "latent": 64, "phase_images": 3_000},
    "biggan": {"width": 32},
    "edm": {"width": 48},
    "flow": {"width": 48},
    "spade": {"filters": 16, "hidden": 32, "latent": 32},
    "pix2pix": {"filters": 32},
    "wgan": {"critic_warmup": 0},  # of 160,000 images
}


def options_of(plugin):
    return plugins.options(plugin, reserved=("shape", "labels", "mask_classes"))


def trained_on_labels(name):
    plugin = plugins.find("generators", name)
    over_masks = "masks" in plugin.accepts and "masks" not in options_of(plugin)
    return "labels" in plugin.accepts and plugin.ITERATIVE and not plugin.CONTROL and not over_masks


LABELLED = [name for name in plugins.names("generators") if trained_on_labels(name)]
OVER_MASKS = [name for name in plugins.names("generators") if "masks" in plugins.find("generators", name).accepts]


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """A cohort of chest phantoms, and a classifier fitted on its training split."""
    root = tmp_path_factory.mktemp("chest")
    plugins.find("phantoms", "chexpert")(patients=600).write(root / "download", seed=0)
    cohort = prepare("chexpert", root / "download", out=root / "cohort", size=SIDE, findings=FINDINGS)
    return cohort, fitted(classification.Task, cohort, cohort.label_matrix())


@pytest.fixture(scope="module")
def heart(tmp_path_factory):
    """A cohort of heart phantoms, and a segmentation network fitted on its training split."""
    root = tmp_path_factory.mktemp("heart")
    plugins.find("phantoms", "acdc")(patients=100).write(root / "download", seed=0)
    cohort = prepare("acdc", root / "download", out=root / "cohort", size=SIDE)
    return cohort, fitted(segmentation.Task, cohort, np.asarray(cohort.masks))


def fitted(task, cohort, targets):
    facts, (train_on, val) = cohort.facts, (cohort.split("train"), cohort.split("val"))
    model = task(shape=facts.shape, mask_classes=facts.mask_classes, labels=facts.labels)
    images = np.asarray(cohort.images)
    model.fit(images[train_on], targets[train_on], images[val], targets[val], value_range=facts.value_range, seed=0)
    return model.eval()


def run_of(name, cohort, out, **further):
    given = {**OPTIONS.get(name, {}), **further}
    return train(cohort.path, generator=name, out=out, images_seen=IMAGES_SEEN, batch=BATCH, options=given)


def mean_auc(truth, found):
    return float(np.mean([auc(truth[:, place], found[:, place]) for place in range(truth.shape[1])]))


@pytest.mark.parametrize("name", LABELLED)
def test_a_classifier_of_real_images_finds_the_asked_labels(name, chest, tmp_path):
    real, judge = chest
    test = real.split("test")
    on_real = mean_auc(real.label_matrix()[test], judge.predict(np.asarray(real.images)[test], real.facts.value_range))
    assert on_real > 0.8  # Else it is no judge.
    made = sample(run_of(name, real, tmp_path / "run"), out=tmp_path / "made", like=real.path)
    kept = np.sort(np.random.default_rng(0).permutation(len(made))[:800])
    asked = made.label_matrix()[kept]
    found = judge.predict(np.asarray(made.images)[kept], made.facts.value_range)
    # Half is chance, with a standard error below 0.03 where a tenth of 800 images has a finding.
    assert mean_auc(asked, found) > 0.5 + 0.5 * (on_real - 0.5)


def dice(one, other, classes):
    """Return the mean Dice over classes but the background of masks (n, H, W) against others."""
    overlaps = [
        2 * ((one == i) & (other == i)).sum() / ((one == i).sum() + (other == i).sum()) for i in range(1, classes)
    ]
    return float(np.mean(overlaps))


@pytest.mark.parametrize("name", OVER_MASKS)
def test_a_network_of_real_images_finds_the_given_masks(name, heart, tmp_path):
    real, judge = heart
    classes, test = len(real.facts.mask_classes), real.split("test")[:256]
    masks = np.asarray(real.masks)[test]
    on_real = dice(judge.predict(np.asarray(real.images)[test], real.facts.value_range), masks, classes)
    assert on_real > 0.7  # Else it is no judge.
    given = {"masks": "given"} if "masks" in options_of(plugins.find("generators", name)) else {}
    model = load_generator(run_of(name, real, tmp_path / "run", **given), torch.device("cpu"))[0]
    images = []
    for first in range(0, len(masks), CHUNK):  # masks of patients that it never saw
        some = torch.from_numpy(masks[first : first + CHUNK].astype(np.int64))
        streams = Streams(range(first, first + len(some)))
        with torch.inference_mode():
            made = model.sample(Condition(len(some), first=first, masks=some), streams)
        assert torch.equal(made.masks, some)
        images.append(from_unit_range(made.images.numpy(), real.facts.value_range, real.facts.dtype))
    found = judge.predict(np.concatenate(images), real.facts.value_range)
    assert dice(found, masks, classes) > 0.7 * on_real
    others = np.roll(masks, len(masks) // 2, axis=0)  # of other patients: it is this mask and no usual one.
    assert dice(found, others, classes) < 0.5 * on_real

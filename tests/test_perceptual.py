"""The VGG19 loss: names and shapes of the published file, its value by hand, what a run keeps of it, its file."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from synthcohort.errors import BadOption, InputError, Mismatch
from synthcohort.generators import _perceptual
from synthcohort.generators._perceptual import Perceptual, layer_names, load, shapes
from synthcohort.generators.pix2pix import Generator as Pix2Pix
from synthcohort.generators.spade import Generator as Spade
from synthcohort.nets.generator import Draws
from synthcohort.types import Batch, Clock

NARROW = (2, 3, 4, 5, 6)


def draw(seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {name: 0.5 * torch.randn(shape, generator=rng) for name, shape in shapes().items()}


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """A folder for a VGG19 of few channels, and the path of its weights."""
    monkeypatch.setattr(_perceptual, "WIDTHS", NARROW)
    monkeypatch.setattr(_perceptual, "FILE", "vgg19.safetensors")
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights" / "vgg19.safetensors"


def models(**options):
    torch.manual_seed(0)
    cohort = {"shape": (1, 16, 16), "labels": (), "mask_classes": ("background", "a"), "mask_source": "training"}
    return [Spade(**cohort, filters=2, hidden=4, latent=3, **options), Pix2Pix(**cohort, filters=2, **options)]


def run_step(gan, update=lambda *_, **__: None):
    rng = torch.Generator().manual_seed(1)
    images = torch.rand((4, 1, 16, 16), generator=rng) * 2 - 1
    shown = Batch(images, torch.randint(2, (4, 16, 16), generator=rng), None, torch.arange(4))
    return gan.step(shown, clock=Clock(0, 0, 80), rng=Draws(5), update=update)


def test_the_layers_are_those_of_the_published_file():
    # torchvision's vgg19().features counts convolutions, ReLUs and poolings; these are all before the fifth pooling's.
    convolutions = [name for stage in layer_names() for name in stage]
    assert convolutions == [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)]
    assert shapes()["features.0.weight"] == (64, 3, 3, 3)
    assert shapes()["features.19.weight"] == (512, 256, 3, 3)
    # Up to relu5_1: 12,944,960 of the 20,024,384 parameters of the features.
    assert sum(int(np.prod(shape)) for shape in shapes().values()) == 20_024_384 - 3 * (9 * 512 * 512 + 512)


def test_the_loss_is_the_weighted_sum_over_five_layers_of_tiled_grey(narrow):
    tensors, rng = draw(), torch.Generator().manual_seed(3)
    fake, real = (torch.rand((2, 1, 32, 32), generator=rng) * 2 - 1 for _ in range(2))

    def walk(x):
        seen = {}
        for name in ("1_1", "1_2", "p", "2_1", "2_2", "p", "3_1", "3_2", "3_3", "3_4", "p", *"abcd", "p", "5_1"):
            if name == "p":
                x = functional.max_pool2d(x, 2, 2)
                continue
            key = sorted({k.rsplit(".", 1)[0] for k in tensors}, key=lambda k: int(k.split(".")[1]))[len(seen)]
            x = functional.conv2d(x, tensors[f"{key}.weight"], tensors[f"{key}.bias"], padding=1).clamp(min=0)
            seen[name] = x
        return [seen[name] for name in ("1_1", "2_1", "3_1", "a", "5_1")]

    pairs = zip(walk(fake.repeat(1, 3, 1, 1)), walk(real.repeat(1, 3, 1, 1)), (32, 16, 8, 4, 1), strict=True)
    expected = sum((made - shown).abs().mean() / share for made, shown, share in pairs)
    torch.testing.assert_close(Perceptual(tensors)(fake, real), expected, atol=1e-6, rtol=1e-5)  # float32


def test_gradients_flow_to_the_fake_alone(narrow):
    loss, fake, real = Perceptual(draw()), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    fake.requires_grad_()
    real.requires_grad_()
    loss(fake, real).backward()
    assert fake.grad.abs().max() > 0
    assert real.grad is None


@pytest.mark.parametrize("kind", [0, 1])
def test_a_generator_uses_it_and_keeps_nothing_but_its_digest(narrow, kind):
    save_file(draw(), narrow)
    plain, gan = models()[kind], models(perceptual=10.0)[kind]
    assert run_step(gan)["perceptual"] > 0
    assert "perceptual" not in run_step(plain)
    assert set(gan.state_dict()) == {*plain.state_dict(), "vgg_sha256"}
    assert bytes(gan.vgg_sha256.tolist()).hex() == hashlib.sha256(narrow.read_bytes()).hexdigest()
    assert len(list(gan.parameters())) == len(list(plain.parameters()))
    assert copy.deepcopy(gan)._vgg is gan._vgg


@pytest.mark.parametrize("kind", [0, 1])
def test_its_weight_counts_in_the_update_of_the_generator(narrow, kind):
    save_file(draw(), narrow)
    sums = {}
    for weight in (10.0, 20.0):
        gan, seen = models(perceptual=weight)[kind], {}
        losses = run_step(gan, lambda name, loss, seen=seen, **_: seen.update({name: loss.detach()}))
        parts = [value for name, value in losses.items() if name != "critic"]
        torch.testing.assert_close(seen["generator"], torch.stack(parts).sum(), atol=1e-5, rtol=1e-5)  # float32
        sums[weight] = losses["perceptual"]
    torch.testing.assert_close(2 * sums[10.0], sums[20.0], atol=1e-6, rtol=1e-6)


def test_a_run_goes_on_with_the_weights_it_began_with(narrow):
    save_file(draw(), narrow)
    recorded = torch.zeros(32, dtype=torch.uint8)
    load(recorded)
    load(recorded)
    save_file(draw(seed=1), narrow)
    with pytest.raises(Mismatch, match="another file"):
        load(recorded)


@pytest.mark.parametrize("kind", [0, 1])
def test_without_the_file_training_stops_before_it_begins_and_says_where_to_put_it(narrow, kind):
    gan = models(perceptual=1.0)[kind]
    images, masks = np.zeros((4, 1, 16, 16), np.float32), np.zeros((4, 16, 16), np.uint8)
    with pytest.raises(InputError) as caught:
        gan.fit(images, masks, None, seed=0)
    assert str(narrow) in str(caught.value)
    assert "\n" not in str(caught.value)
    models()[kind].fit(images, masks, None, seed=0)


def test_a_file_of_another_network_is_refused(narrow):
    tensors = draw()
    del tensors["features.28.bias"]
    save_file(tensors, narrow)
    with pytest.raises(InputError, match=r"VGG19: features\.28\.bias is missing"):
        load(torch.zeros(32, dtype=torch.uint8))


def test_a_published_name_with_other_content_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "vgg19-dcbb9e9d.pth").write_bytes(b"something else")
    with pytest.raises(InputError, match="digest that its name ends in"):
        load(torch.zeros(32, dtype=torch.uint8))


def test_images_that_vgg_cannot_see_are_refused():
    with pytest.raises(BadOption, match="grey and RGB"):
        Spade(shape=(2, 16, 16), labels=(), mask_classes=("a", "b"), perceptual=1.0, filters=2, hidden=2, latent=2)

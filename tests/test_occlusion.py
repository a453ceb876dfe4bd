"""Maps of importance: a closed form, a slow textbook loop, Captum; the folded network against the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synthcohort.tasks import _densenet, _folded, _occlusion
from synthcohort.tasks.classification import Task

NETWORKS = {"small": (1, 32), "densenet121": (3, 64)}


def _random(network: nn.Module) -> nn.Module:
    """Give every normalisation statistics, scales of both signs, and one scale of zero."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(generator=draw).mul_(0.2)
                module.running_var.uniform_(0.5, 2.0, generator=draw)
                module.weight.normal_(generator=draw)
                module.weight[0] = 0.0
                module.bias.normal_(generator=draw).mul_(0.2)
    return network.eval()


def _network(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _random(_densenet.small(1, 3) if name == "small" else _densenet.densenet121(3))


def _loss(scores: Tensor, targets: Tensor) -> float:
    known = [place for place in range(len(targets)) if not torch.isnan(targets[place])]
    each = []
    for place in known:
        probability = torch.sigmoid(scores[place].double())
        each.append(-torch.log(probability if targets[place] == 1 else 1 - probability))
    return float(torch.stack(each).mean())


def _slow(network: nn.Module, image: Tensor, targets: Tensor, tile: int) -> np.ndarray:
    """The textbook loop: one tile, one pass."""
    with torch.no_grad():
        base = _loss(network(image[None])[0], targets)
        found = []
        for y in range(0, image.shape[1], tile):
            found.append([])
            for x in range(0, image.shape[2], tile):
                hidden = image.clone()
                hidden[:, y : y + tile, x : x + tile] = 0
                found[-1].append(_loss(network(hidden[None])[0], targets) - base)
    return np.array(found)


def test_map_of_a_linear_classifier_is_the_closed_form() -> None:
    draw = torch.Generator().manual_seed(0)
    image, weights = (torch.randn(1, 6, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    found = _occlusion.loss_increases(
        lambda images: (images * weights).sum(dim=(1, 2, 3))[:, None], image, torch.tensor([1.0]), tile=2, batch=4
    )
    # Hiding a tile takes its part w.x from the score s: the loss is log(1 + exp(-s)).
    parts = (weights * image)[0].reshape(3, 2, 3, 2).sum(dim=(1, 3)).numpy()
    score = parts.sum()
    expected = np.log1p(np.exp(-(score - parts))) - np.log1p(np.exp(-score))
    np.testing.assert_allclose(found, expected, atol=1e-12, rtol=0)  # both float64


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("batch", [None, 5])
def test_map_is_that_of_the_textbook_loop(name: str, batch: int | None) -> None:
    channels, side = NETWORKS[name]
    network, tile = _network(name), 8 if name == "small" else 24  # 24 does not divide 64: the last tiles are cut off
    image = torch.randn(channels, side, side, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([1.0, float("nan"), 0.0])
    found = _occlusion.loss_increases(_folded.Folded(network), image, targets, tile=tile, batch=batch)
    expected = _slow(network, image, targets, tile)
    assert found.shape == expected.shape == (-(-side // tile),) * 2
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0)  # float32 sums in another order


def test_map_agrees_with_captum() -> None:
    attr = pytest.importorskip("captum.attr")
    network, targets = _network("small"), torch.tensor([1.0, 0.0, 0.0])
    image = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(2))

    def losses(images: Tensor) -> Tensor:
        each = nn.functional.binary_cross_entropy_with_logits(
            network(images), targets.expand(len(images), -1), reduction="none"
        )
        return each.mean(dim=1)

    window = (1, 4, 4)
    theirs = attr.Occlusion(losses).attribute(
        image[None], sliding_window_shapes=window, strides=window, baselines=0, perturbations_per_eval=16
    )
    ours = _occlusion.loss_increases(_folded.Folded(network), image, targets, tile=4)
    np.testing.assert_allclose(ours, -theirs[0, 0, ::4, ::4].numpy(), atol=2e-6, rtol=0)  # float32


@pytest.mark.parametrize("name", list(NETWORKS))
def test_folded_network_answers_as_the_network_and_leaves_it_alone(name: str) -> None:
    network, (channels, side) = _network(name), NETWORKS[name]
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    folded = _folded.Folded(network)
    for count in (3, 16, 2):  # its memory is used again
        images = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            torch.testing.assert_close(folded(images), network(images), atol=1e-5, rtol=1e-5)  # float32, other order
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_tiles_cover_every_pixel_once_and_cut_off_ones_stay_inside() -> None:
    places = _occlusion.tile_places(5, 7, 2)
    assert places.shape == (12, 4)
    covered = [set(tile.tolist()) for tile in places]
    assert sorted(place for tile in covered for place in tile) == list(range(35))
    assert covered[0] == {0, 1, 7, 8}
    assert covered[-1] == {34}


def test_forms_are_those_of_the_text_and_the_code() -> None:
    increases = np.array([[0.3, -0.2], [0.0, 0.1]])
    np.testing.assert_array_equal(_occlusion.attribution(increases, "signed"), increases)
    floored = _occlusion.attribution(increases, "floored")
    np.testing.assert_array_equal(floored, [[0.3, 1e-7], [1e-7, 0.1]])
    normalised = _occlusion.attribution(increases, "normalised")
    np.testing.assert_allclose(normalised, floored / 0.4000002, atol=1e-15, rtol=0)


def test_a_map_of_a_hidden_image_is_flat() -> None:
    found = _occlusion.loss_increases(
        _folded.Folded(_network("small")), torch.zeros(1, 32, 32), torch.tensor([1.0, 0.0, 1.0]), tile=16
    )
    assert not found.any()


def _task(**options: object) -> Task:
    return Task(shape=(1, 32, 32), mask_classes=(), labels=("a", "b"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocol", "expected"), [("recommended", (2, "signed")), ("paper", (2, "normalised")), ("code", (4, "floored"))]
)
def test_protocols_differ_in_tile_and_form(protocol: str, expected: tuple[int, str]) -> None:
    assert _task(protocol=protocol).maps == expected


def test_large_images_take_tiles_of_four_pixels() -> None:
    assert Task(shape=(1, 128, 128), mask_classes=(), labels=("a",)).maps == (4, "signed")


def test_importance_is_of_the_stored_image(tmp_path: Path) -> None:
    task = _task().eval()
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8)
    found = task.importance(image, np.array([1.0, np.nan]), (0.0, 255.0))
    prepared = torch.from_numpy(image.astype(np.float32) / 127.5 - 1)
    expected = _slow(task.network, prepared, torch.tensor([1.0, float("nan")]), 2)
    assert found.shape == (16, 16)
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0)  # float32

"""The classification task: learns findings, repeats bitwise, masks the unknown, and follows the study to the letter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from synthcohort import plugins
from synthcohort.errors import Diverged, InputError
from synthcohort.statistics import auc
from synthcohort.tasks import _densenet, _study, classification
from synthcohort.tasks.classification import Task, masked_loss

RANGE = (0.0, 255.0)
LABELS = ("disc", "bar")


def films(count: int, seed: int, *, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images (n, 1, side, side) uint8, each with or without a disc and a bar, and which (n, 2)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = rng.integers(0, 2, (count, 2)).astype(np.float32)
    centre = rng.uniform(side * 0.3, side * 0.7, (3, count, 1, 1))
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < (side * 0.2) ** 2
    bar = np.abs(y - centre[2]) < side * 0.06
    images = rng.normal(60, 15, (count, side, side))
    images += 60 * disc * labels[:, 0, None, None] + 60 * bar * labels[:, 1, None, None]
    return np.clip(images, 0, 255).astype(np.uint8)[:, None], labels


def make(shape: tuple[int, int, int] = (1, 32, 32), labels: tuple[str, ...] = LABELS, **options: Any) -> Task:
    if options.get("protocol", "recommended") == "recommended":
        options = {"images_seen": 640, "batch": 16, "learning_rate": 1e-2, **options}
    return Task(shape=shape, mask_classes=(), labels=labels, **options)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture
def quick_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's protocol on a network and a side that take no time."""
    tiny = {"init_features": 8, "growth_rate": 8, "block_config": (2, 2)}
    monkeypatch.setattr(_densenet, "densenet121", lambda findings: _densenet._built(3, findings, **tiny))
    monkeypatch.setattr(_densenet, "SIDE", 32)


def test_it_learns_two_findings_and_repeats_bitwise() -> None:
    train, val, test = films(160, 1), films(32, 2), films(64, 3)
    first, second, other = make(images_seen=1280), make(images_seen=1280), make(images_seen=16)
    log = first.fit(*train, *val, value_range=RANGE, seed=5)
    torch.rand(1)  # the global stream must not matter
    assert second.fit(*train, *val, value_range=RANGE, seed=5) == log
    other.fit(*train, *val, value_range=RANGE, seed=6)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    predicted = first.predict(test[0], RANGE)
    assert predicted.shape == (64, 2)
    assert predicted.dtype == np.float32
    assert predicted.min() >= 0
    assert predicted.max() <= 1
    for place in range(2):
        assert auc(test[1][:, place], predicted[:, place]) > 0.9  # chance is 0.5
    assert log[-1]["images_seen"] == 1280
    assert set(log[-1]) == {"images_seen", "train_loss", "val_loss", "val_auc"}


def test_fitting_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    make(images_seen=16).fit(*films(16, 1), *films(4, 2), value_range=RANGE, seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_the_weights_with_the_lowest_validation_loss_are_kept() -> None:
    train, (images, labels) = films(64, 1), films(16, 2)
    val = images, 1 - labels  # wrong on purpose: what is learnt makes the validation loss rise
    task = make(images_seen=960)
    log = task.fit(*train, *val, value_range=RANGE, seed=1)
    best = min(range(len(log)), key=lambda place: log[place]["val_loss"])
    assert best < len(log) - 1
    stopped = make(images_seen=960, patience_images=1).fit(*train, *val, value_range=RANGE, seed=1)
    assert stopped == log[: len(stopped)]
    assert len(stopped) < len(log)
    again, _ = task._look(0, [torch.zeros(1)], *val, RANGE)
    assert again["val_loss"] == pytest.approx(log[best]["val_loss"], rel=1e-6)


class TestUnknownAndConstant:
    def test_the_loss_is_the_mean_over_what_is_known(self) -> None:
        scores = torch.tensor([[0.0, 2.0], [1.0, -1.0]], requires_grad=True)
        loss = masked_loss(scores, torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))
        expected = (np.log(2) + np.log1p(np.exp(1)) + np.log1p(np.exp(1))) / 3
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)  # float32
        loss.backward()
        assert scores.grad[0, 1] == 0
        assert masked_loss(scores.detach(), torch.full((2, 2), float("nan"))) == 0

    def test_unknown_findings_stand_in_nobodys_way(self) -> None:
        (images, labels), (val_images, val_labels), (test_images, test_labels) = (
            films(200, 1),
            films(32, 2),
            films(64, 3),
        )
        stated = np.random.default_rng(0).random(200) < 0.7
        labels = np.stack([np.where(stated, labels[:, 0], np.nan), np.full(200, np.nan)], axis=1)
        task = make(images_seen=1280)
        log = task.fit(images, labels, val_images, val_labels * [1, np.nan], value_range=RANGE, seed=0)
        predicted = task.predict(test_images, RANGE)
        assert auc(test_labels[:, 0], predicted[:, 0]) > 0.9
        assert np.isfinite(predicted).all()
        assert np.isfinite(log[-1]["val_auc"])

    def test_a_constant_finding_is_learned_as_it_is(self) -> None:
        images, labels = films(64, 1)
        constant = np.stack([labels[:, 0], np.ones(64)], axis=1)
        task = make(images_seen=960)
        log = task.fit(images, constant, images[:16], constant[:16], value_range=RANGE, seed=0)
        assert task.predict(films(32, 3)[0], RANGE)[:, 1].min() > 0.8
        ones = constant[:, 1:]
        only = make(images_seen=64, labels=("bar",)).fit(images, ones, images, ones, value_range=RANGE, seed=0)
        assert "val_auc" in log[-1]
        assert "val_auc" not in only[-1]

    def test_nothing_stated_is_refused(self) -> None:
        images, labels = films(16, 1)
        with pytest.raises(InputError, match="every one is unknown"):
            make().fit(images, labels * np.nan, images, labels, value_range=RANGE, seed=0)


def test_features_are_pooled_and_do_not_depend_on_the_batch() -> None:
    task, (images, _) = make(), films(300, 4)
    together = task.features(images, RANGE)
    assert together.dtype == np.float32
    head = task.network.class_layers[-1]
    with torch.inference_mode():
        probabilities = head(torch.from_numpy(together)).sigmoid().numpy()
    np.testing.assert_allclose(probabilities, task.predict(images, RANGE), rtol=1e-4, atol=1e-5)
    # Convolutions may sum in another order for another batch size: float32 rounding only.
    np.testing.assert_allclose(task.features(images[290:], RANGE), together[290:], rtol=1e-4, atol=1e-5)
    deep = images.astype(np.uint16) * 257
    np.testing.assert_allclose(task.features(deep, (0.0, 65535.0)), together, rtol=1e-4, atol=1e-5)
    assert task.predict(images[:0], RANGE).shape == (0, 2)


def test_empty_splits_are_refused_and_a_loss_that_is_not_finite_stops_the_fit() -> None:
    images, labels = films(16, 1)
    with pytest.raises(InputError, match="there are no validation images"):
        make().fit(images, labels, images[:0], labels[:0], value_range=RANGE, seed=0)
    with pytest.raises(InputError, match="there are no training images"):
        make().fit(images[:0], labels[:0], images, labels, value_range=RANGE, seed=0)
    with pytest.raises(Diverged, match="learning_rate"):
        make(learning_rate=float("inf")).fit(images, labels, images, labels, value_range=RANGE, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ()}, "the cohort has no labels"),
        ({"shape": (1, 8, 8)}, "16 px or more"),
        ({"shape": (1, 16, 16), "network": "densenet121"}, "32 px or more"),
        ({"shape": (2, 32, 32), "network": "densenet121"}, "2 channels"),
        ({"batch": 1}, "batch=1"),
        ({"images_seen": 0}, "'images_seen' is at least 1"),
        ({"weights": Path("w.pth")}, "Add network=densenet121"),
        ({"protocol": "paper", "batch": 64}, "batch=64. Leave batch out"),
        ({"protocol": "code", "learning_rate": 0.1}, "protocol=code fixes every training value: learning_rate"),
        ({"protocol": "code", "augment": False}, "augment=False"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(**options)
    assert "\n" not in str(caught.value)


def test_the_signature_is_the_configuration() -> None:
    known = plugins.options(Task, reserved=("weights",))
    assert "weights" not in known
    assert plugins.resolve(Task, ["batch=8", "protocol=paper"], reserved=("weights",))["protocol"] == "paper"
    assert set(classification._TRAINING) <= set(known)


class TestStudy:
    @pytest.mark.parametrize(("count", "steps", "batch"), [(10, 1, 10), (47, 1, 47), (100, 2, 48), (7000, 104, 48)])
    def test_an_epoch(self, count: int, steps: int, batch: int) -> None:
        epochs = _study.Epochs(count, 0)
        assert epochs.images == steps * batch
        assert (epochs.total, epochs.patience) == (100 * steps * batch, 3 * steps * batch)
        order = iter(epochs)
        first, second = ([next(order) for _ in range(steps)] for _ in range(2))
        assert [len(positions) for positions in first] == [batch] * steps
        assert len(np.unique(np.concatenate(first))) == steps * batch  # none twice in an epoch
        assert not np.array_equal(np.concatenate(first), np.concatenate(second))

    def test_the_rate_falls_after_two_epochs_without_a_better_auc(self) -> None:
        adam, plateau = _study.optimiser_of(torch.nn.Linear(1, 1))
        rates = []
        for value in (0.6, 0.6, 0.59, 0.61, 0.5, 0.5, 0.5, 0.5, *[0.5] * 8):
            plateau.step(value)
            rates.append(adam.param_groups[0]["lr"])
        # One epoch of patience is left after the first; after the second the count begins anew. .61 is a new best.
        expected = [1e-4, 1e-4, 1e-5, 1e-5, 1e-5, 1e-6, 1e-6, 1e-7, 1e-7, *[1e-8] * 7]
        assert rates == pytest.approx(expected)

    @pytest.mark.usefixtures("quick_study")
    @pytest.mark.parametrize("protocol", ["paper", "code"])
    def test_a_fit(self, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
        flips, looked = [], []
        look, flipped, optimiser_of = Task._look, _study.flipped, _study.optimiser_of
        made: list[Any] = []
        monkeypatch.setattr(_study, "optimiser_of", lambda network: made.append(optimiser_of(network)) or made[-1])
        monkeypatch.setattr(_study, "flipped", lambda images, seed: flips.append(seed) or flipped(images, seed))

        def seen(self: Task, images_seen: int, losses: Any, images: Any, *rest: Any) -> Any:
            looked.append((len(losses), len(images)))
            row, _ = look(self, images_seen, losses, images, *rest)
            return row, np.array([fed[len(looked) - 1], np.nan])

        fed = [0.6, 0.7, 0.7, 0.65, 0.69, 0.9]  # the fourth to the last are never better than the second
        monkeypatch.setattr(Task, "_look", seen)
        task = make(protocol=protocol)
        log = task.fit(*films(100, 1), *films(60, 2), value_range=RANGE, seed=0)
        scale = 0.5 if protocol == "code" else 1  # the finding with one class counts 0, or is left out
        assert [row["val_auc"] for row in log] == pytest.approx([scale * value for value in fed[:5]])
        assert [row["images_seen"] for row in log] == [96, 192, 288, 384, 480]
        assert looked == [(2, 48 if protocol == "code" else 60)] * 5  # steps an epoch, and validation images
        assert made[0][0].param_groups[0]["lr"] == pytest.approx(1e-5)  # after two epochs without a better one
        assert len(flips) == (10 if protocol == "code" else 0)
        monkeypatch.undo()
        monkeypatch.setattr(_densenet, "SIDE", 32)
        again, _ = task._look(0, [torch.zeros(1)], *(part[: looked[0][1]] for part in films(60, 2)), RANGE)
        assert again["val_loss"] == pytest.approx(log[1]["val_loss"], rel=1e-6)  # the best one's weights

    @pytest.mark.usefixtures("quick_study")
    def test_it_repeats_bitwise_and_the_two_protocols_differ(self) -> None:
        train, val = films(48, 1), films(48, 2)
        logs = [make(protocol=p).fit(*train, *val, value_range=RANGE, seed=0) for p in ("paper", "paper", "code")]
        assert logs[0] == logs[1]
        assert logs[0] != logs[2]

    def test_flips_are_left_to_right_and_half_of_all(self) -> None:
        images = torch.arange(4000.0).reshape(1000, 1, 2, 2)
        moved = _study.flipped(images, 3)
        same = (moved == images).all(dim=(1, 2, 3))
        assert torch.equal(moved[~same], images[~same].flip(3))
        assert float(same.float().mean()) == pytest.approx(0.5, abs=4 * 0.5 / 1000**0.5)

    @pytest.mark.usefixtures("quick_study")
    def test_what_cannot_be_stopped_by_is_refused(self) -> None:
        images, labels = films(48, 1)
        with pytest.raises(InputError, match="20 validation images leave none"):
            make(protocol="code").fit(images, labels, images[:20], labels[:20], value_range=RANGE, seed=0)
        with pytest.raises(InputError, match="both values among the validation images"):
            make(protocol="paper").fit(images, labels, images, labels * 0, value_range=RANGE, seed=0)

    def test_it_is_densenet121_with_1024_features(self) -> None:
        task = make(shape=(1, 16, 16), protocol="paper", labels=tuple("abcdefgh"))
        assert task.features(films(1, 0, side=16)[0], RANGE).shape == (1, 1024)
        weights = sum(p.numel() for p in task.parameters())
        assert weights == 7_978_856 - 1_025_000 + 1025 * 8  # torchvision's densenet121 with another head


class TestPixels:
    def test_imagenet_scale_and_repeated_grey(self) -> None:
        grey = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)
        black, white = _densenet.imagenet_pixels(grey)[:, :, 0, 0]
        np.testing.assert_allclose(black, [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6)
        np.testing.assert_allclose(white, [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-6)

    def test_the_two_resizes_by_hand(self) -> None:
        row = torch.tensor([0.0, 8.0]).expand(1, 1, 2, 2)
        # 2 -> 4. Half-pixel: -.25, .25, .75, 1.25, cut to the image; TensorFlow 1: 0, .5, 1, 1.5, cut.
        np.testing.assert_allclose(_densenet._resize(row, 4)[0, 0, 0], [0, 2, 6, 8], atol=1e-6)
        np.testing.assert_allclose(_densenet._tensorflow_resize(row, 4)[0, 0, 1], [0, 4, 8, 8], atol=1e-6)
        ramp = torch.arange(6.0).reshape(1, 1, 2, 3)
        found = _densenet._tensorflow_resize(ramp, 6)[0, 0]
        np.testing.assert_allclose(found[0], [0, 0.5, 1, 1.5, 2, 2], atol=1e-6)
        np.testing.assert_allclose(found[:, 0], [0, 1, 2, 3, 3, 3], atol=1e-6)

    def test_each_protocol_sees_its_own(self) -> None:
        images = torch.linspace(-1, 1, 32 * 32).reshape(1, 1, 32, 32)
        expected = {
            "paper": _densenet.imagenet_pixels(images, 224),
            "code": _densenet.imagenet_pixels(images, 224, shifted=True),
        }
        assert not torch.equal(expected["paper"], expected["code"])
        for protocol, pixels in expected.items():
            assert torch.equal(make(protocol=protocol)._prepared(images), pixels)
        assert torch.equal(make()._prepared(images), images)
        assert torch.equal(make(network="densenet121")._prepared(images), _densenet.imagenet_pixels(images))


BLOCKS = (6, 12, 24, 16)


def torchvision_tensors(*, old: bool) -> dict[str, torch.Tensor]:
    """Return random tensors with the names and shapes of torchvision's densenet121; `old` as in the published file."""
    generator, found = torch.Generator().manual_seed(0), {}

    def add(name: str, *shape: int) -> None:
        fan_in = int(np.prod(shape[1:]))
        found[name] = torch.randn(shape, generator=generator) * (2 / max(fan_in, 1)) ** 0.5

    def norm(name: str, width: int) -> None:
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            found[f"{name}.{part}"] = low + torch.rand(width, generator=generator)
        if not old:
            found[f"{name}.num_batches_tracked"] = torch.tensor(7)

    dot, width = "." if old else "", 64
    add("features.conv0.weight", 64, 3, 7, 7)
    norm("features.norm0", 64)
    for block, layers in enumerate(BLOCKS, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{name}.norm{dot}1", width)
            add(f"{name}.conv{dot}1.weight", 128, width, 1, 1)
            norm(f"{name}.norm{dot}2", 128)
            add(f"{name}.conv{dot}2.weight", 32, 128, 3, 3)
            width += 32
        if block < len(BLOCKS):
            norm(f"features.transition{block}.norm", width)
            add(f"features.transition{block}.conv.weight", width // 2, width, 1, 1)
            width //= 2
    norm("features.norm5", width)
    add("classifier.weight", 1000, width)
    add("classifier.bias", 1000)
    return found


def features_by_hand(tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return the pooled features of torchvision's densenet121 (new names), with plain operations."""

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        mean, var, weight, bias = (tensors[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, weight, bias).relu()

    x = norm("features.norm0", functional.conv2d(x, tensors["features.conv0.weight"], stride=2, padding=3))
    x = functional.max_pool2d(x, 3, 2, 1)
    for block, layers in enumerate(BLOCKS, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            new = functional.conv2d(norm(f"{name}.norm1", x), tensors[f"{name}.conv1.weight"])
            new = functional.conv2d(norm(f"{name}.norm2", new), tensors[f"{name}.conv2.weight"], padding=1)
            x = torch.cat([x, new], 1)
        if block < len(BLOCKS):
            name = f"features.transition{block}"
            x = functional.avg_pool2d(functional.conv2d(norm(f"{name}.norm", x), tensors[f"{name}.conv.weight"]), 2)
    return norm("features.norm5", x).mean(dim=(2, 3))


class TestImageNetWeights:
    def test_both_spellings_give_torchvisions_features(self, tmp_path: Path) -> None:
        old, new = torchvision_tensors(old=True), torchvision_tensors(old=False)
        assert len(old) == 606  # entries of the published file
        torch.save(old, tmp_path / "old.pth")
        torch.save(new, tmp_path / "new.pth")
        images = films(2, 0)[0]
        rgb = torch.from_numpy(np.repeat(images, 3, axis=1) / 255.0).float()
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        expected = features_by_hand(new, (rgb - mean) / std).numpy()
        for name in ("old.pth", "new.pth"):
            task = make(network="densenet121", weights=tmp_path / name)
            # Sums of up to 1,152 float32 products through 120 layers.
            np.testing.assert_allclose(task.features(images, RANGE), expected, rtol=1e-3, atol=1e-4)

    def test_a_fit_starts_from_them_and_the_head_from_the_seed(self, tmp_path: Path) -> None:
        tensors = torchvision_tensors(old=True)
        torch.save(tensors, tmp_path / "old.pth")
        task = make(network="densenet121", weights=tmp_path / "old.pth")
        task._restart(1)
        first = task.network.class_layers[-1].weight.clone()
        with torch.no_grad():
            task.network.features.conv0.weight.zero_()
        task._restart(2)
        assert torch.equal(task.network.features.conv0.weight, tensors["features.conv0.weight"])
        assert not torch.equal(task.network.class_layers[-1].weight, first)

    def test_other_weights_are_refused(self, tmp_path: Path) -> None:
        tensors = torchvision_tensors(old=True)
        torch.save({**tensors, "features.conv0.weight": torch.zeros(96, 3, 7, 7)}, tmp_path / "wide.pth")
        with pytest.raises(InputError, match=r"DenseNet-121: features.conv0.weight is \(96, 3, 7, 7\)"):
            make(network="densenet121", weights=tmp_path / "wide.pth")
        torch.save(tensors, tmp_path / "densenet121-a639ec97.pth")
        with pytest.raises(InputError, match="digest that its name ends in"):
            make(protocol="paper", weights=tmp_path / "densenet121-a639ec97.pth")
        with pytest.raises(InputError, match="there is none at"):
            make(protocol="paper", weights=tmp_path / "absent.pth")

    def test_the_manifest_names_the_file_by_its_digest(self, tmp_path: Path) -> None:
        (tmp_path / "some.pth").write_bytes(b"w")
        assert Task.manifest(None) == {"weights_sha256": None}
        assert Task.manifest(tmp_path / "some.pth") == {"weights_sha256": hashlib.sha256(b"w").hexdigest()}
        assert Task.manifest(Path("download")) == {"weights_sha256": _densenet.SHA256}
        assert _densenet.URL.endswith(f"-{_densenet.SHA256[:8]}.pth")

    def test_they_are_fetched_only_when_asked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        served = tmp_path / "served.pth"
        torch.save(torchvision_tensors(old=True), served)
        digest = hashlib.sha256(served.read_bytes()).hexdigest()
        fetched = []

        def download() -> Path:
            fetched.append(_fetch(served.as_uri(), digest))
            return fetched[-1]

        _fetch = lambda url, sha256: _download(tmp_path / "cache", url=url, sha256=sha256)  # noqa: E731
        _download = _densenet.download
        monkeypatch.setattr(_densenet, "download", download)
        make(network="densenet121")
        assert fetched == []
        make(network="densenet121", weights=Path("download"))
        assert fetched == [tmp_path / "cache" / "served.pth"]
        with pytest.raises(InputError, match="listed SHA-256") as caught:
            _download(tmp_path / "other", url=served.as_uri())
        assert "\n" not in str(caught.value)
        assert list((tmp_path / "other").iterdir()) == []

    @pytest.mark.usefixtures("quick_study")
    def test_random_weights_are_said_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        classification._say_random.cache_clear()
        for _ in range(2):
            make(network="densenet121")._restart(0)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("densenet121 starts from random weights")
        make()._restart(0)
        assert capsys.readouterr().err == ""

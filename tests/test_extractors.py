"""Extractors: the network against a public one (golden), the resizes by hand, weights that are wrong, downloads."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from synthcohort import plugins
from synthcohort.errors import BadOption, InputError
from synthcohort.extractors import _inception, dinov2, inception, pixels, squeezenet
from synthcohort.weights import cache_folder

ROOT = Path(__file__).parent
GOLDEN = json.loads((ROOT / "golden" / "inception.json").read_text())
SQUEEZENET = ROOT.parents[1] / "shared" / "weights" / "squeezenet_v1_0.npz"

_spec = importlib.util.spec_from_file_location("parity", ROOT.parent / "benchmark" / "inception_parity.py")
parity = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parity)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def state_dict():
    return {name: torch.from_numpy(array) for name, array in parity.seeded_state_dict(_inception.shapes()).items()}


@pytest.fixture(scope="module")
def inception_file(state_dict, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "seeded.pth"
    torch.save(state_dict, path)
    return path


@pytest.fixture(scope="module")
def extractor(inception_file):
    return inception.Extractor(weights=inception_file)


@pytest.fixture(scope="module")
def squeezenet_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("weights") / "seeded.npz"
    np.savez(
        path, **{name: 0.1 * rng.normal(size=shape).astype(np.float32) for name, shape in squeezenet.shapes().items()}
    )
    return path


class TestInception:
    def test_features_are_those_of_a_public_implementation(self, extractor):
        for image, expected in zip(parity.images(), GOLDEN["features"], strict=True):
            found = extractor.extract(image, (0, 255))
            assert found.shape == (1, 2048)
            assert found.dtype == np.float32
            # The tolerance; features reach 53, and float32 sums in another order differ by 2e-5.
            np.testing.assert_allclose(found[0, :: parity.FEATURE_STEP], expected, atol=1e-4, rtol=0)
        assert "torch-fidelity" in GOLDEN["origin"]

    def test_grey_is_repeated_and_ranges_are_scaled(self, extractor):
        grey = parity.images()[1]
        rgb = np.repeat(grey, 3, axis=1)
        deep = grey.astype(np.uint16) * 257
        expected = extractor.extract(grey, (0, 255))
        np.testing.assert_allclose(extractor.extract(rgb, (0, 255)), expected, atol=1e-4, rtol=0)
        np.testing.assert_allclose(extractor.extract(deep, (0, 65535)), expected, atol=1e-4, rtol=0)

    def test_the_batch_does_not_matter(self, extractor, monkeypatch):
        from synthcohort.extractors import _network

        images = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16)).astype(np.uint8)
        whole = extractor.extract(images, (0, 255))
        monkeypatch.setattr(_network, "CHUNK", 2)
        np.testing.assert_allclose(extractor.extract(images, (0, 255)), whole, atol=1e-4, rtol=0)

    def test_only_the_published_file_has_the_fid_name(self, extractor):
        assert extractor.name == f"inception-other-{extractor.manifest()['weights_sha256'][:8]}"
        assert inception.SHA256.startswith("6726825d")
        assert inception.URL.endswith("6726825d.pth")

    def test_safetensors_give_the_same_features(self, state_dict, extractor, tmp_path):
        from safetensors.torch import save_file

        path = tmp_path / "seeded.safetensors"
        save_file(state_dict, path)
        image = parity.images()[0]
        again = inception.Extractor(weights=path).extract(image, (0, 255))
        assert (again == extractor.extract(image, (0, 255))).all()

    def test_the_network_has_the_94_convolutions(self):
        wanted = _inception.shapes()
        assert len(wanted) == 94 * 5
        assert wanted["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
        assert wanted["Mixed_6e.branch_pool.conv.weight"] == (192, 768, 1, 1)

    def test_the_resize_is_that_of_tensorflow_1(self):
        # 2 -> 4: positions 0, .5, 1, 1.5; past the last pixel the last is repeated. A half-pixel resize differs.
        row = torch.tensor([[[[0.0, 8.0]]]])
        np.testing.assert_array_equal(_inception.resize(row, 4)[0, 0, 0], [0, 4, 8, 8])


class TestWrongWeights:
    def test_none_says_how_to_get_them(self):
        with pytest.raises(InputError, match=r"download\(\)") as caught:
            inception.Extractor()
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="--weights squeezenet=FILE"):
            squeezenet.Extractor()

    def test_missing_and_damaged(self, tmp_path):
        with pytest.raises(InputError, match="there is none at"):
            inception.Extractor(weights=tmp_path / "absent.pth")
        for name in ("broken.pth", "broken.npz", "broken.safetensors"):
            (tmp_path / name).write_bytes(b"not weights")
            with pytest.raises(InputError, match="cannot be read"):
                inception.Extractor(weights=tmp_path / name)

    def test_a_name_that_lies_about_its_digest(self, inception_file, tmp_path):
        path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
        path.write_bytes(inception_file.read_bytes())
        with pytest.raises(InputError, match="digest that its name ends in"):
            inception.Extractor(weights=path)

    def test_the_later_imagenet_weights(self, state_dict, tmp_path):
        path = tmp_path / "torchvision.pth"
        torch.save({**state_dict, "AuxLogits.fc.weight": torch.zeros(1000, 768)}, path)
        with pytest.raises(InputError, match="auxiliary head"):
            inception.Extractor(weights=path)

    def test_another_shape_and_a_missing_tensor(self, squeezenet_file, tmp_path):
        tensors = dict(np.load(squeezenet_file))
        np.savez(tmp_path / "narrow.npz", **{**tensors, "fire2.conv1x1_1.w": np.zeros((8, 96, 1, 1), np.float32)})
        with pytest.raises(InputError, match=r"fire2.conv1x1_1.w is \(8, 96, 1, 1\)"):
            squeezenet.Extractor(weights=tmp_path / "narrow.npz")
        del tensors["fire9.conv3x3_2.b"]
        np.savez(tmp_path / "short.npz", **tensors)
        with pytest.raises(InputError, match=r"fire9.conv3x3_2.b is missing"):
            squeezenet.Extractor(weights=tmp_path / "short.npz")

    def test_nothing_is_unpickled(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "ran",))

        torch.save({"conv": Payload()}, tmp_path / "evil.pth")
        np.savez(tmp_path / "evil.npz", conv=np.array([Payload()], dtype=object))
        for name in ("evil.pth", "evil.npz"):
            (tmp_path / "ran").unlink(missing_ok=True)  # pickling does not run it, unpickling would
            with pytest.raises(InputError):
                squeezenet.Extractor(weights=tmp_path / name)
            assert not (tmp_path / "ran").exists()

    def test_pixels_take_none(self, tmp_path):
        with pytest.raises(BadOption):
            pixels.Extractor(weights=tmp_path)


class TestDownload:
    @pytest.fixture
    def server(self, tmp_path):
        (tmp_path / "served").mkdir()
        (tmp_path / "served" / "weights.pth").write_bytes(b"w" * 3_000_000)

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
            threading.Thread(target=running.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{running.server_port}"
            running.shutdown()

    def test_fetched_once_and_kept(self, server, tmp_path):
        digest = hashlib.sha256(b"w" * 3_000_000).hexdigest()
        path = inception.download(tmp_path / "cache", url=f"{server}/weights.pth", sha256=digest)
        assert path.read_bytes() == b"w" * 3_000_000
        (tmp_path / "served" / "weights.pth").unlink()
        assert inception.download(tmp_path / "cache", url=f"{server}/weights.pth", sha256=digest) == path

    def test_a_file_address_will_do(self, server, tmp_path):
        digest = hashlib.sha256(b"w" * 3_000_000).hexdigest()
        url = (tmp_path / "served" / "weights.pth").as_uri()
        assert inception.download(tmp_path / "cache", url=url, sha256=digest).stat().st_size == 3_000_000

    def test_another_digest_is_one_line_and_leaves_nothing(self, server, tmp_path):
        with pytest.raises(InputError, match="listed SHA-256") as caught:
            inception.download(tmp_path / "cache", url=f"{server}/weights.pth")
        assert "\n" not in str(caught.value)
        assert list((tmp_path / "cache").iterdir()) == []

    def test_unreachable_is_one_line(self, server, tmp_path):
        for url in (f"{server}/absent.pth", (tmp_path / "absent.pth").as_uri()):
            with pytest.raises(InputError, match="cannot be read"):
                inception.download(tmp_path / "cache", url=url)
        assert list((tmp_path / "cache").iterdir()) == []

    def test_the_cache_is_where_the_extractor_looks(self, inception_file, tmp_path):
        cached = cache_folder() / inception.URL.rsplit("/", 1)[-1]
        cached.parent.mkdir(parents=True)
        cached.write_bytes(inception_file.read_bytes())
        with pytest.raises(InputError, match="digest that its name ends in"):  # found, and checked
            inception.Extractor()


class TestSqueezenet:
    def test_layers_by_hand(self, squeezenet_file):
        """One fire module at a time with plain operations, on the same resized input."""
        from torch.nn import functional as f

        weights = {name: torch.from_numpy(array) for name, array in np.load(squeezenet_file).items()}
        image = np.random.default_rng(1).integers(0, 256, (2, 3, 227, 227)).astype(np.uint8)  # no resize needed
        x = torch.from_numpy(image[:, ::-1].copy()).float() - torch.tensor([104.0, 117, 123]).view(1, 3, 1, 1)
        x = f.max_pool2d(f.conv2d(x, weights["conv1.w"], weights["conv1.b"], 2).relu(), 3, 2, ceil_mode=True)
        for fire in range(2, 10):
            name = f"fire{fire}.conv"
            s = f.conv2d(x, weights[name + "1x1_1.w"], weights[name + "1x1_1.b"]).relu()
            one = f.conv2d(s, weights[name + "1x1_2.w"], weights[name + "1x1_2.b"]).relu()
            three = f.conv2d(s, weights[name + "3x3_2.w"], weights[name + "3x3_2.b"], padding=1).relu()
            x = torch.cat([one, three], 1)
            if fire in (4, 8):
                x = f.max_pool2d(x, 3, 2, ceil_mode=True)
        expected = x.mean((2, 3)).numpy()
        found = squeezenet.Extractor(weights=squeezenet_file).extract(image, (0, 255))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))

    def test_shape_and_name(self, squeezenet_file):
        extractor = squeezenet.Extractor(weights=squeezenet_file)
        found = extractor.extract(np.zeros((3, 1, 40, 60), np.uint16), (0, 4095))
        assert (found.shape, found.dtype) == ((3, 512), np.float32)
        assert extractor.name.startswith("squeezenet-")
        with pytest.raises(InputError, match="2 channels"):
            extractor.extract(np.zeros((1, 2, 40, 60), np.uint8), (0, 255))

    @pytest.mark.reference
    @pytest.mark.skipif(not SQUEEZENET.exists(), reason="the ImageNet weights are not beside the project")
    def test_the_published_weights_fit(self):
        extractor = squeezenet.Extractor(weights=SQUEEZENET)
        noise = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64)).astype(np.uint8)
        found = extractor.extract(np.concatenate([noise, np.full((1, 1, 64, 64), 128, np.uint8)]), (0, 255))
        assert np.isfinite(found).all()
        assert np.linalg.norm(found[0] - found[1]) < np.linalg.norm(found[0] - found[2]) / 2


class TestPixels:
    def test_area_weights_by_hand(self):
        np.testing.assert_allclose(pixels.area_weights(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
        np.testing.assert_allclose(pixels.area_weights(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
        np.testing.assert_allclose(pixels.area_weights(2, 4), [[1, 0], [1, 0], [0, 1], [0, 1]])

    def test_blocks_are_averaged_then_normalised(self):
        image = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 96)).astype(np.uint8)
        mean = image.reshape(2, 1, 32, 2, 32, 3).mean(axis=(3, 5))
        expected = mean - mean.mean(axis=(2, 3), keepdims=True)
        expected /= np.sqrt((expected**2).sum(axis=(1, 2, 3), keepdims=True))
        np.testing.assert_allclose(pixels.Extractor().extract(image, (0, 255)), expected, atol=1e-6)

    def test_brightness_and_contrast_drop_out(self):
        image = np.random.default_rng(0).integers(0, 100, (1, 1, 32, 32)).astype(np.uint8)
        first, second = (pixels.Extractor().extract(i, (0, 255)) for i in (image, image * 2 + 10))
        np.testing.assert_allclose(first, second, atol=1e-6)

    def test_a_constant_image_is_zeros(self):
        assert not pixels.Extractor().extract(np.full((1, 1, 64, 64), 9, np.uint8), (0, 255)).any()


@pytest.mark.parametrize("name", plugins.names("extractors"))
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_every_extractor_keeps_the_contract(name, inception_file, squeezenet_file, tmp_path):
    if name == "torchscript":
        module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
        torch.jit.trace(module, torch.zeros(1, 3, 16, 16)).save(str(tmp_path / "network.pt"))
    elif name == "dinov2":
        torch.save({key: torch.zeros(shape) for key, shape in dinov2.shapes().items()}, tmp_path / "dinov2.pth")
    files = {"torchscript": tmp_path / "network.pt", "dinov2": tmp_path / "dinov2.pth"}
    weights = {"inception": inception_file, "squeezenet": squeezenet_file, **files}.get(name)
    extractor = plugins.find("extractors", name)(weights=weights)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32)).astype(np.uint8)
    found = extractor.extract(images, (0, 255))
    assert found.dtype == np.float32
    assert found[0].size == getattr(extractor, "dimensions", 3 * 4 * 4)  # a file says only when it runs
    assert extractor.manifest()["revision"] == extractor.REVISION
    json.dumps(extractor.manifest())
    np.testing.assert_allclose(extractor.extract(images[::-1], (0, 255))[::-1], found, atol=1e-4, rtol=1e-5)

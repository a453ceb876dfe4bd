"""DINOv2 and TorchScript: a plain reading of the architecture, files that are wrong, and what the manifest says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synthcohort.errors import InputError
from synthcohort.extractors import dinov2, torchscript


def images(count=2, side=20, channels=1):
    return np.random.default_rng(0).integers(0, 256, (count, channels, side, side)).astype(np.uint8)


@pytest.fixture(scope="module")
def tensors():
    rng = torch.Generator().manual_seed(0)
    return {name: 0.05 * torch.randn(shape, generator=rng) for name, shape in dinov2.shapes().items()}


@pytest.fixture(scope="module")
def extractor(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "seeded.pth"
    torch.save({**tensors, "mask_token": torch.zeros(1, 384)}, path)  # as the published file has
    return dinov2.Extractor(weights=path)


class Block(nn.Module):
    """A transformer block of torch's own parts, for comparison."""

    def __init__(self, tensors, name):
        super().__init__()
        self.attention = nn.MultiheadAttention(384, 6, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(384, eps=1e-6), nn.LayerNorm(384, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(384, 1536), nn.GELU(), nn.Linear(1536, 384))
        own = {"attention.in_proj_": "attn.qkv.", "attention.out_proj.": "attn.proj.", "norm1.": "norm1.",
               "norm2.": "norm2.", "mlp.0.": "mlp.fc1.", "mlp.2.": "mlp.fc2."}  # fmt: skip
        self.load_state_dict(
            {
                ours + part: tensors[f"{name}.{theirs}{part}"]
                for ours, theirs in own.items()
                for part in ("weight", "bias")
            }
        )
        self.first, self.second = tensors[f"{name}.ls1.gamma"], tensors[f"{name}.ls2.gamma"]

    def forward(self, x):
        normed = self.norm1(x)
        x = x + self.first * self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.second * self.mlp(self.norm2(x))


class TestDinov2:
    def test_tokens_are_those_of_torchs_own_transformer_parts(self, extractor, tensors):
        pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        patches = pixels.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).reshape(2, 256, -1)
        x = patches @ tensors["patch_embed.proj.weight"].flatten(1).T + tensors["patch_embed.proj.bias"]
        grid = tensors["pos_embed"][:, 1:].view(1, 37, 37, 384).permute(0, 3, 1, 2)
        small = nn.functional.interpolate(grid, scale_factor=16.1 / 37, mode="bicubic").flatten(2).mT
        x = torch.cat([(tensors["cls_token"] + tensors["pos_embed"][:, :1]).expand(2, -1, -1), x + small], dim=1)
        with torch.inference_mode():
            for block in range(12):
                x = Block(tensors, f"blocks.{block}").eval()(x)
            expected = nn.functional.layer_norm(x, (384,), tensors["norm.weight"], tensors["norm.bias"], 1e-6)
            found = extractor.tokens(pixels)
        # Sums in another order through twelve blocks in float32.
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4, rtol=0)

    def test_features_do_not_depend_on_batch_or_depth_of_pixels(self, extractor):
        whole = extractor.extract(images(), (0, 255))
        assert whole.shape == (2, 384)
        np.testing.assert_allclose(extractor.extract(images()[1:], (0, 255))[0], whole[1], atol=1e-4)
        deep = images().astype(np.uint16) * 257
        np.testing.assert_allclose(extractor.extract(deep, (0, 65535)), whole, atol=1e-4)
        assert np.abs(whole[0] - whole[1]).max() > 1e-3

    def test_the_manifest_states_the_resize_and_the_file(self, extractor):
        manifest = extractor.manifest()
        assert manifest["resize"] == "bicubic 224x224, antialiased"
        assert extractor.name == f"dinov2-{manifest['weights_sha256'][:8]}"

    def test_wrong_weights_are_one_line(self, tensors, tmp_path):
        with pytest.raises(InputError, match="dinov2 needs its weights"):
            dinov2.Extractor()
        path = tmp_path / "registers.pth"
        torch.save({**tensors, "pos_embed": torch.zeros(1, 257, 384)}, path)
        with pytest.raises(InputError, match="pos_embed is") as caught:
            dinov2.Extractor(weights=path)
        assert "\n" not in str(caught.value)


class Small(nn.Module):
    def __init__(self, maps):
        super().__init__()
        self.conv, self.maps = nn.Conv2d(3, 5, 3), maps

    def forward(self, x):
        x = self.conv(x)
        return x if self.maps else x.mean(dim=(2, 3))


def saved(path, module):
    torch.jit.trace(module.eval(), torch.zeros(1, 3, 20, 20)).save(str(path))
    return path


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
class TestTorchscript:
    @pytest.mark.parametrize("maps", [False, True])
    def test_it_is_the_module_on_grey_repeated_in_0_to_1(self, tmp_path, maps):
        module = Small(maps)
        found = torchscript.Extractor(weights=saved(tmp_path / "net.pt", module)).extract(images(3), (0, 255))
        pixels = torch.from_numpy(images(3)).float().expand(-1, 3, -1, -1) / 255
        with torch.inference_mode():
            expected = module.conv(pixels).mean(dim=(2, 3))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)

    def test_the_name_and_manifest_hold_the_digest(self, tmp_path):
        one, other = (torchscript.Extractor(weights=saved(tmp_path / f"{n}.pt", Small(False))) for n in (1, 2))
        assert one.manifest() != other.manifest()
        assert one.name.startswith("torchscript-")
        assert len(one.manifest()["weights_sha256"]) == 64

    def test_a_pickled_module_is_refused_without_running_it(self, tmp_path):
        ran = tmp_path / "ran"

        class Trap(nn.Module):
            def __reduce__(self):
                return (open, (str(ran), "w"))

        path = tmp_path / "pickled.pt"
        torch.save(Trap(), path)
        with pytest.raises(InputError, match="pickled module would run code") as caught:
            torchscript.Extractor(weights=path)
        assert "\n" not in str(caught.value)
        assert not ran.exists()

    @pytest.mark.parametrize("content", [b"", b"not a network"])
    def test_damage_is_one_line(self, tmp_path, content):
        path = tmp_path / "net.pt"
        path.write_bytes(content)
        with pytest.raises(InputError, match="TorchScript"):
            torchscript.Extractor(weights=path)
        with pytest.raises(InputError, match="there is none"):
            torchscript.Extractor(weights=tmp_path / "gone.pt")

    def test_images_that_the_module_cannot_take_are_one_line(self, tmp_path):
        network = torchscript.Extractor(weights=saved(tmp_path / "net.pt", Small(False)))
        with pytest.raises(InputError, match="3x2x2"):
            network.extract(images(1, side=2), (0, 255))

"""Feature layers of transformers and of other families of timm: the maps that timm itself returns."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.normalization import IMAGENET
from c2d.preflight.teacher_layers import layer_table
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.layers import as_map, layer_modules, prefix_tokens
from c2d.teachers.networks import build_network

timm = pytest.importorskip("timm")


def teacher(network: nn.Module, size: int, **options: Any) -> ClassifierTeacher:
    return ClassifierTeacher(network, [f"c{n}" for n in range(3)], size, IMAGENET, **options)


# test_vit: class token; test_vit3: no class token, attention pooling as in SigLIP; deit: two; dinov2 with registers: 5.
@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("test_vit", 48, [3, 3, 3, 3]),
        ("test_vit3", 112, [7, 7, 7, 7]),
        ("deit_tiny_distilled_patch16_224", 48, [3, 3, 3, 3]),
        ("eva02_tiny_patch14_224", 42, [3, 3, 3, 3]),
        ("swin_tiny_patch4_window7_224", 48, [12, 6, 3, 2]),
        ("xcit_nano_12_p16_224", 48, [3, 3, 3, 3]),
        ("test_convnext", 64, [16, 8, 4, 2]),
        ("test_efficientnet", 64, [32, 16, 8, 4, 2]),
        ("mobilenetv4_conv_small", 48, [24, 12, 6, 3, 2]),
    ],
)
def test_maps_are_those_of_timm(name: str, size: int, sides: list[int]) -> None:
    torch.manual_seed(0)
    plain: Any = build_network(f"timm:{name}", 3, size).eval()
    frozen = teacher(plain, size)
    crops = torch.randn(2, 3, size, size)
    with torch.no_grad():
        logits, maps = frozen.logits_and_features(crops, frozen.layers)
        intermediates = plain.forward_intermediates(crops, intermediates_only=True)
        torch.testing.assert_close(logits, plain(crops), rtol=1e-4, atol=1e-4)
    assert [found.shape[-1] for found in maps.values()] == sides
    for found in maps.values():
        assert any(one.shape == found.shape and torch.allclose(one, found, atol=1e-4) for one in intermediates)


@pytest.mark.parametrize(
    ("name", "size", "prefix", "blocks"),
    [
        ("vit_small_patch14_dinov2", 56, 1, 12),
        ("vit_small_patch14_reg4_dinov2", 56, 5, 12),
        ("vit_base_patch32_clip_224", 96, 1, 12),
        ("vit_base_patch16_siglip_224", 48, 0, 12),
        ("beit_base_patch16_224", 48, 1, 12),
    ],
)
def test_large_transformers_by_their_shapes(name: str, size: int, prefix: int, blocks: int) -> None:
    with torch.device("meta"):
        network: Any = timm.create_model(name, num_classes=3, img_size=size)
        found = layer_modules(network, size)
    assert prefix_tokens(network) == prefix
    assert list(found.values()) == [f"blocks.{math.ceil(blocks * part) - 1}" for part in (0.25, 0.5, 0.75, 1)]


def test_tokens_are_laid_out_by_rows_without_the_class_token() -> None:
    tokens = torch.arange(10.0).reshape(1, 10, 1).repeat(1, 1, 2)
    found = as_map(tokens, prefix_tokens=1)
    assert found is not None
    assert found[0, 1].tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    before = as_map(tokens[:, 1:], prefix_tokens=1)  # a block that runs before the class token is added
    assert before is not None
    assert torch.equal(before, found)
    assert as_map(torch.zeros(1, 7, 2), 1) is None
    assert as_map(torch.zeros(2, 4)) is None
    last = torch.randn(1, 4, 4, 3)
    permuted = as_map(last)
    assert permuted is not None
    assert torch.equal(permuted, last.permute(0, 3, 1, 2))
    cube = torch.randn(1, 4, 4, 4)
    assert as_map(cube) is cube
    assert as_map(torch.zeros(0, 10, 2), 1).shape == (0, 2, 3, 3)  # type: ignore[union-attr]


def test_gradients_flow_through_tokens_to_the_crops() -> None:
    torch.manual_seed(0)
    plain: Any = build_network("timm:test_vit", 3, 48).double().eval()
    frozen = teacher(plain, 48)
    crops = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    weights = torch.randn(2, 64, 3, 3, dtype=torch.float64)
    gradients = []
    for compute in (
        lambda x: frozen.features(x, ["l1"])["l1"],
        lambda x: plain.forward_intermediates(x, indices=[2], intermediates_only=True)[0],
    ):
        given = crops.clone().requires_grad_()
        (compute(given) * weights).sum().backward()
        gradients.append(given.grad)
    assert frozen.module_of_layer["l1"] == "blocks.2"
    torch.testing.assert_close(gradients[0], gradients[1])
    assert float(gradients[0].abs().sum()) > 0  # type: ignore[union-attr]


def test_sizes_that_do_not_fit_are_refused_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"of 50 px: .* no multiple of its patches of 16 px; set `input` to 48 or 64"):
        build_network("timm:test_vit", 3, 50)
    with pytest.raises(InputError, match=r"of 48 px: .* patches of 14 px; set `input` to 42 or 56"):
        build_network("timm:eva02_tiny_patch14_224", 3, 48)
    with pytest.raises(InputError, match="set `input` to 240"):  # the size of its weights
        build_network("timm:crossvit_tiny_240", 3, 112)
    with pytest.raises(InputError, match="set `input` to 32 or 64"):
        build_network("vit_b_16", 3, 50)
    frozen = teacher(build_network("timm:deit_tiny_patch16_224", 3, 48), 48)
    with pytest.raises(InputError, match="built for crops of 48 px and cannot process 64 px"):
        frozen.map_sides(["l0"], 64)
    assert frozen.map_sides(["l0"], 48) == {"l0": 3}


def test_the_first_weights_of_convolutional_networks_follow_from_the_seed_as_before() -> None:
    for name in ("test_resnet", "test_efficientnet", "test_byobnet"):
        torch.manual_seed(3)
        wanted = timm.create_model(name, num_classes=3).state_dict()
        torch.manual_seed(3)
        found = build_network(f"timm:{name}", 3, 64).state_dict()
        assert all(torch.equal(found[key], value) for key, value in wanted.items()), name


def test_the_table_has_every_layer_and_what_to_set() -> None:
    table = layer_table("timm:test_vit", 48)
    assert "l0     blocks.1  64        3     16" in table.splitlines()
    assert (
        "l0 is 3 x 3, pooled to 8 x 8 by repeating cells; method.icod.pooling={l0: 3} compares its own cells" in table
    )
    assert "set method.icod.lambda_kl=0" in layer_table("timm:tnt_s_legacy_patch16_224", 32)


def test_the_page_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parents[3] / "docs" / "teachers.md").read_text(encoding="utf-8")
    shown = re.findall(r"^    \$ c2d teacher layers (\S+) --input (\d+)\n((?:    .*\n)+)", page, re.MULTILINE)
    assert len(shown) > 4
    for name, size, lines in shown:
        if name in ("resnet18", "timm:tf_efficientnet_lite0"):
            assert layer_table(name, int(size)).splitlines() == [line[4:] for line in lines.splitlines()]

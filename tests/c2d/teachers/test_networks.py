"""Networks by name, the order of their layers, and their first weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.normalization import IMAGENET, Normalization
from c2d.teachers.layers import layer_modules
from c2d.teachers.networks import build_network, check_input
from c2d.weights.pretrained import head_keys

RESNET = ["maxpool", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("resnet18", RESNET),
        ("resnet50", RESNET),
        ("resnext101_32x8d", RESNET),
        ("timm:resnet10t", RESNET),
        ("mobilenet_v2", [f"features.{n}" for n in (1, 3, 6, 13, 18)]),
        ("convnext_tiny", [f"features.{n}" for n in (1, 3, 5, 7)]),
        ("timm:convnext_atto", [f"stages.{n}" for n in range(4)]),
        ("regnet_y_400mf", ["stem", *(f"trunk_output.block{n}" for n in range(1, 5))]),
        ("mnasnet0_5", [f"layers.{n}" for n in (7, 8, 9, 11, 16)]),
        # torchvision applies a ReLU in place to what `features` returned, so its last norm is not a layer.
        ("densenet121", ["features.relu0", *(f"features.denseblock{n}" for n in range(1, 5))]),
    ],
)
def test_layers_in_order(name: str, modules: list[str]) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    network = build_network(name, 7, 96)
    was = [module.training for module in network.modules()]
    found = layer_modules(network, 96)
    assert list(found) == [f"l{n}" for n in range(len(modules))]
    assert list(found.values()) == modules
    assert [module.training for module in network.modules()] == was
    assert not any(module._forward_hooks for module in network.modules())


def test_a_head_counts_the_classes() -> None:
    for name in ("resnet18", "mobilenet_v2", "vgg11", "convnext_tiny", "googlenet"):
        with torch.no_grad():
            assert build_network(name, 5, 64).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_weights_are_loaded_except_those_of_the_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_network("resnet18", 10, 64)
    torch.save(source.state_dict(), tmp_path / "ten.pth")
    network = build_network("resnet18", 4, 64, str(tmp_path / "ten.pth"))
    state = network.state_dict()
    assert head_keys(network) == {"fc.weight", "fc.bias"}
    assert all(
        torch.equal(value, state[key]) for key, value in source.state_dict().items() if not key.startswith("fc.")
    )
    assert state["fc.weight"].shape == (4, 512)
    same = build_network("resnet18", 10, 64, str(tmp_path / "ten.pth"))
    assert torch.equal(same.state_dict()["fc.weight"], source.state_dict()["fc.weight"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(build_network("resnet18", 10, 64).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(InputError, match="backbone weights"):
        build_network("mobilenet_v2", 4, 64, str(tmp_path / "r18.pth"))


def test_weights_of_another_normalisation_are_refused() -> None:
    mean_only = Normalization(IMAGENET.mean, (1.0, 1.0, 1.0), "rgb")
    with pytest.raises(InputError, match="were trained on"):
        build_network("resnet50", 4, 64, "torchvision:resnet50.IMAGENET1K_V1", normalization=mean_only)


def test_unknown_networks_are_reported() -> None:
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        build_network("resnet_18", 4, 64)
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="did you mean 'resnet10t'"):
        build_network("timm:ResNet10t", 4, 64)
    with pytest.raises(InputError, match="unknown timm network 'resnet10tt'; did you mean 'resnet10t'"):
        build_network("timm:resnet10tt", 4, 64)


def test_a_missing_timm_is_an_error_with_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="pip install timm"):
        build_network("timm:resnet10t", 4, 64)


@pytest.mark.parametrize("size", [None, -5, 31, 2049, 10**20])
def test_sides_of_crops_have_limits(size: int | None) -> None:
    with pytest.raises(InputError, match=f"classifier input {size} px; give `input`, 32 to 2048"):
        check_input(size)


def test_a_network_is_a_module_with_stock_keys() -> None:
    import torchvision

    assert isinstance(build_network("resnet18", 4, 64), nn.Module)
    assert list(build_network("resnet18", 4, 64).state_dict()) == list(torchvision.models.resnet18().state_dict())

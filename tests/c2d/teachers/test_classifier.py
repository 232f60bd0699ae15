"""The frozen classifier: the same numbers as the plain network, only as deep as needed, no gradient of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.hooks import extract_outputs
from c2d.detectors.normalization import IMAGENET, Normalization, renormalize
from c2d.specs.spec import RunSpec
from c2d.teachers.classifier import ClassifierTeacher, check_teacher_accuracy
from c2d.teachers.fused_inference import BlockConv
from c2d.teachers.layers import layer_modules
from c2d.teachers.networks import build_network

FAMILIES = [
    ("resnet18", 48),
    ("resnet50", 112),
    ("resnet101", 56),
    ("resnext101_32x8d", 32),
    ("mobilenet_v2", 64),
    ("convnext_tiny", 64),
    ("timm:resnet10t", 48),
]


def network(name: str, classes: int = 6, seed: int = 0) -> nn.Module:
    """A network in eval mode whose batch norms are not the identity."""
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(seed)
    built = build_network(name, classes, 64)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return built.eval()


def teacher(name: str = "resnet18", size: int = 48, **options: Any) -> ClassifierTeacher:
    return ClassifierTeacher(network(name), [f"c{n}" for n in range(6)], size, IMAGENET, **options)


def close(mine: torch.Tensor, plain: torch.Tensor) -> None:
    torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5 * max(1.0, float(plain.abs().max())))


@pytest.mark.parametrize(("name", "size"), FAMILIES)
def test_logits_and_features_are_the_plain_networks(name: str, size: int) -> None:
    plain = network(name)
    frozen = ClassifierTeacher(plain, range(6), size, IMAGENET)  # type: ignore[arg-type]
    crops = torch.randn(3, 3, size, size)
    with torch.no_grad():
        wanted = plain(crops)
        maps = extract_outputs(plain, list(layer_modules(plain, size).values()), crops)
        logits, features = frozen.logits_and_features(crops, frozen.layers)
        close(logits, wanted)
        close(frozen.logits(crops), wanted)
        alone = frozen.features(crops, frozen.layers)
    assert len(frozen.layers) >= 4
    for layer, module in layer_modules(plain, size).items():
        close(features[layer], maps[module])
        close(alone[layer], maps[module])


def test_gradients_to_the_crops_are_the_plain_networks() -> None:
    # In fp64, where no rounding can move a maximum of the pooling to another cell.
    plain = network("resnet18").double()
    frozen = ClassifierTeacher(plain, range(6), 48, IMAGENET)  # type: ignore[arg-type]
    assert isinstance(frozen.network.conv1, BlockConv)
    crops = torch.randn(20, 3, 48, 48, dtype=torch.float64)
    weights = torch.randn(20, 64, 12, 12, dtype=torch.float64)
    gradients = []
    for features in (
        lambda x: extract_outputs(plain, ["maxpool"], x)["maxpool"],
        lambda x: frozen.features(x, ["l0"])["l0"],
    ):
        given = crops.clone().requires_grad_()
        (features(given) * weights).sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [48, 49, 112])
def test_the_stem_on_blocks_is_the_stem(size: int) -> None:
    torch.manual_seed(0)
    for kernel in (3, 5, 7):
        conv = nn.Conv2d(3, 4, kernel, stride=2, padding=kernel // 2).double()
        image = torch.randn(2, 3, size, size, dtype=torch.float64)
        torch.testing.assert_close(BlockConv(conv)(image), conv(image), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("layers", "beyond"), [(["l0"], "layer1"), (["l2", "l0"], "layer3")])
def test_it_runs_only_as_deep_as_needed(layers: list[str], beyond: str) -> None:
    frozen = teacher()
    calls = {"reached": 0, "beyond": 0}

    def count(key: str) -> Any:
        def hook(*_: Any) -> None:
            calls[key] += 1

        return hook

    frozen.network.get_submodule("conv1").register_forward_hook(count("reached"))
    frozen.network.get_submodule(beyond).register_forward_hook(count("beyond"))
    features = frozen.features(torch.randn(5, 3, 48, 48), layers)
    assert list(features) == layers
    assert calls["reached"] > 0
    assert calls["beyond"] == 0
    frozen.logits(torch.randn(1, 3, 48, 48))
    assert calls["beyond"] == 1


def test_it_is_frozen_in_eval_mode_and_the_given_network_is_unchanged() -> None:
    given = network("resnet18").train()
    before = {key: value.clone() for key, value in given.state_dict().items()}
    frozen = ClassifierTeacher(given, range(6), 48, IMAGENET)  # type: ignore[arg-type]
    assert not isinstance(frozen, nn.Module)
    assert not any(weight.requires_grad for weight in frozen.module.parameters())
    assert not any(module.training for module in frozen.module.modules())
    assert all(weight.requires_grad for weight in given.parameters())
    assert given.training
    assert all(torch.equal(value, before[key]) for key, value in given.state_dict().items())
    crops = torch.randn(2, 3, 48, 48, requires_grad=True)
    frozen.features(crops, ["l1"])["l1"].sum().backward()
    assert crops.grad is not None
    assert float(crops.grad.abs().sum()) > 0
    assert all(weight.grad is None for weight in frozen.module.parameters())


def test_the_number_of_crops_does_not_change_values() -> None:
    frozen = teacher()
    crops = torch.randn(70, 3, 48, 48)
    with torch.no_grad():
        together = frozen.features(crops, ["l0"])["l0"]
        apart = torch.cat([frozen.features(part, ["l0"])["l0"] for part in crops.split(7)])
        torch.testing.assert_close(together, apart, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(frozen.logits(crops)[:3], frozen.logits(crops[:3]), rtol=1e-5, atol=1e-5)


def test_no_crop_at_all() -> None:
    frozen = teacher()
    nothing = torch.zeros(0, 3, 48, 48, requires_grad=True)
    logits, features = frozen.logits_and_features(nothing, ["l0"])
    assert logits.shape == (0, 6)
    assert features["l0"].shape == (0, 64, 12, 12)
    (logits.sum() + features["l0"].sum()).backward()


def test_without_rewriting_the_numbers_are_bit_equal() -> None:
    plain = network("resnet18")
    frozen = ClassifierTeacher(plain, range(6), 48, IMAGENET, fused=False)  # type: ignore[arg-type]
    crops = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(frozen.logits(crops), plain(crops))


def test_normalise_converts_to_the_teachers_pixels() -> None:
    frozen = teacher()
    ssd = Normalization(IMAGENET.mean, (1.0, 1.0, 1.0), "bgr")
    crops = torch.randn(2, 3, 8, 8)
    assert torch.equal(frozen.normalize(crops, ssd), renormalize(crops, ssd, IMAGENET))


def test_an_unknown_layer_is_reported() -> None:
    with pytest.raises(InputError, match=r"unknown layer of ResNet 'l5'.*l0, l1, l2, l3, l4"):
        teacher().features(torch.randn(1, 3, 48, 48), ["l5"])
    assert teacher().features(torch.randn(1, 3, 48, 48), []) == {}


# ------------------------------------------------------------------------------------------------ from a run


def spec(**changes: Any) -> dict[str, Any]:
    values = {
        "iterations": 4,
        "batch": 2,
        "optimizer": {"type": "SGD", "lr": 0.1},
        "input": 48,
        "min_top1": 0.9,
        "crops": {"pipeline": "general", "per_image": None, "image_size": 96},
        "normalisation": {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "order": "bgr"},
    }
    return {
        "format": 1,
        "name": "resnet18-classifier",
        "kind": "classifier",
        "dataset": {"name": "scenes", "digest": "0" * 64},
        "network": "resnet18",
        "input": 48,
        "schedule": {"name": "mine", "values": values},
        **changes,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a finished classifier run."""
    folder = tmp_path / "a-run"
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps(spec()))
    (folder / "result.json").write_text(json.dumps({"top1": 0.95, "classes": ["ant", "bee"]}))
    torch.save(network("resnet18", 2).state_dict(), folder / "classifier.pth")
    return folder


def test_a_teacher_is_loaded_from_its_run_folder(run: Path) -> None:
    frozen = ClassifierTeacher.from_run(run)
    assert frozen.classes == ("ant", "bee")
    assert frozen.size == 48
    assert frozen.normalization == Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "bgr")
    assert frozen.audit is not None
    assert frozen.audit.loaded == frozen.audit.wanted
    crops = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        close(frozen.logits(crops), network("resnet18", 2)(crops))


def test_an_unfinished_or_wrong_run_is_refused_as_teacher(run: Path) -> None:
    state = torch.load(run / "classifier.pth", weights_only=True)
    torch.save({key: value for key, value in state.items() if not key.startswith("layer4")}, run / "classifier.pth")
    with pytest.raises(InputError, match=r"keys are missing: layer4"):
        ClassifierTeacher.from_run(run)
    (run / "classifier.pth").unlink()
    with pytest.raises(InputError, match="is not finished"):
        ClassifierTeacher.from_run(run)
    student = {"kind": "detector", "student": {"name": "x", "digest": "0" * 64}, "network": None}
    (run / "spec.json").write_text(json.dumps(spec(**student)))
    with pytest.raises(InputError, match="trained a detector"):
        ClassifierTeacher.from_run(run)


def test_min_top1() -> None:
    question = RunSpec.model_validate(spec())
    check_teacher_accuracy({"top1": 0.9}, question)
    with pytest.raises(InputError, match=r"top-1 0\.899 on held-out crops, below min_top1 0\.900 of mine"):
        check_teacher_accuracy({"top1": 0.899}, question)
    with pytest.raises(InputError, match="no held-out crop"):
        check_teacher_accuracy({"top1": None}, question)

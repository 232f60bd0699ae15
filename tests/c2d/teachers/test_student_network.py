"""The backbone of a student as a classifier: its keys and layers, what trains, and its name in a spec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from c2d.configs.student_config import load_student
from c2d.core.errors import InputError
from c2d.detectors.normalization import IMAGENET
from c2d.evaluation.stock_model import build_student
from c2d.specs.resolve_spec import resolve_spec
from c2d.specs.spec import RunSpec, parse_spec
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.layers import layer_modules
from c2d.teachers.networks import build_network
from tests.c2d.conftest import TINY


def build(name: str, size: int = 64) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, 3, size)


@pytest.mark.parametrize(
    ("student", "modules"),
    [
        ("faster-rcnn-qr18", ["maxpool", "layer1", "layer2", "layer3", "layer4"]),
        ("faster-rcnn-mbv2", ["layer1", "layer2", "layer3", "layer5", "conv2"]),
        ("rtmdet-q", ["stem", "stage1", "stage2", "stage3", "stage4"]),
    ],
)
def test_keys_and_layers_are_those_of_the_backbone(student: str, modules: list[str]) -> None:
    network = build(f"student:{student}")
    config = load_student(student, pretrained=False)
    backbone = build_student(config).backbone.state_dict()
    state = network.state_dict()
    assert {key: value.shape for key, value in state.items() if key.startswith("backbone.")} == {
        f"backbone.{key}": value.shape for key, value in backbone.items()
    }
    assert set(state) - {f"backbone.{key}" for key in backbone} == {"fc.weight", "fc.bias"}
    assert layer_modules(network, 64) == {f"l{n}": f"backbone.{name}" for n, name in enumerate(modules)}


def test_logits_are_a_linear_layer_on_the_mean_of_the_last_map() -> None:
    network = build("student:faster-rcnn-qr18").eval()
    crops = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        last = network.get_submodule("backbone")(crops)[-1]
        head = network.get_submodule("fc")
        wanted = last.flatten(2).mean(dim=2) @ head.weight.T + head.bias
        assert torch.allclose(network(crops), wanted, atol=1e-6)


def test_what_the_students_config_freezes_is_trained() -> None:
    stock = build_student(load_student("faster-rcnn-qr50")).backbone
    stock.train()
    network = build("student:faster-rcnn-qr50").train()
    statistics = network.get_buffer("backbone.layer1.0.bn1.running_mean")
    assert not stock.layer1[0].conv1.weight.requires_grad
    assert not stock.layer4[0].bn1.training
    assert all(weight.requires_grad for weight in network.parameters())
    assert all(module.training for module in network.modules())
    before = statistics.clone()
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert not torch.equal(statistics, before)


def test_a_layer_after_the_last_map_is_not_trained() -> None:
    network = build("student:faster-rcnn-mbv2")
    frozen = {name.split(".")[1] for name, weight in network.named_parameters() if not weight.requires_grad}
    assert frozen == {"conv2"}


def test_it_teaches_its_features() -> None:
    network = build("student:faster-rcnn-qr18")
    teacher = ClassifierTeacher(network, ("a", "b", "c"), 64, IMAGENET)
    crops = torch.randn(3, 3, 64, 64, requires_grad=True)
    logits, maps = teacher.logits_and_features(crops, ("l0", "l4"))
    assert logits.shape == (3, 3)
    assert [tuple(maps[layer].shape) for layer in ("l0", "l4")] == [(3, 16, 16, 16), (3, 128, 2, 2)]
    maps["l0"].sum().backward()
    assert crops.grad is not None


def resolved(network: str, runs: Path) -> RunSpec:
    values = {"dataset": "imagenet", "network": network, "schedule": "imagenet"}
    return resolve_spec(values, where="test", runs=runs)


def test_the_students_digest_is_in_the_id(tmp_path: Path) -> None:
    shipped = resolved("student:faster-rcnn-qr50", tmp_path)
    assert shipped.kind == "classifier"
    assert shipped.student is not None
    assert shipped.id.startswith("student-faster-rcnn-qr50-classifier-")
    assert parse_spec(shipped.to_json(), "spec.json") == shipped
    assert resolve_spec(shipped.to_json(), where="spec.json", runs=tmp_path).id == shipped.id
    own = tmp_path / "own.py"
    own.write_text(TINY.read_text())
    before = resolved(f"student:{own}", tmp_path)
    own.write_text(TINY.read_text().replace("base_channels=4", "base_channels=8").replace("[8, 16]", "[16, 32]"))
    after = resolved(f"student:{own}", tmp_path)
    assert before.network == after.network == "student:own"
    assert before.id != after.id
    with pytest.raises(InputError, match="unknown student"):
        resolved("student:faster-rcnn-qr51", tmp_path)
    with pytest.raises(InputError, match="is not the backbone of student"):
        parse_spec({**shipped.to_json(), "network": "student:other"}, "spec.json")
    with pytest.raises(InputError, match="a classifier run has a student if"):
        parse_spec({**shipped.to_json(), "student": None}, "spec.json")

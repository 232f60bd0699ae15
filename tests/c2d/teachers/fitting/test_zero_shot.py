"""The head of zero-shot classifiers by hand, and its place in networks and weight files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.teachers.fitting.head_layer import head_name, record_inputs
from c2d.teachers.fitting.text_embeddings import TextEmbeddings
from c2d.teachers.fitting.zero_shot import CosineHead
from c2d.teachers.networks import build_fitted_network, build_network
from c2d.weights import pretrained

AXES = TextEmbeddings(torch.eye(2), ("ant", "bee"), "a model", ("{}",), scale=10.0, bias=-1.0)


def test_cosines_by_hand() -> None:
    head = CosineHead(2, 2, 2)
    head.set_text(AXES)
    # (3, 4) has the cosines 0.6 and 0.8 with the axes, whatever its length.
    expected = torch.tensor([[5.0, 7.0], [5.0, 7.0]])
    torch.testing.assert_close(head(torch.tensor([[3.0, 4.0], [0.3, 0.4]])), expected)
    head.weight.data.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    torch.testing.assert_close(head(torch.tensor([[3.0, 4.0]])), torch.tensor([[7.0, 5.0]]))


def test_a_tower_without_projection_needs_features_of_the_same_length() -> None:
    with pytest.raises(InputError, match="embeddings have 2 numbers, the features of the network 3"):
        CosineHead(3, 2, 2).set_text(AXES)


@pytest.mark.parametrize(("name", "head"), [("resnet18", "fc"), ("mobilenet_v2", "classifier.1")])
def test_the_head_is_found_and_the_modes_stay(name: str, head: str) -> None:
    network = build_network(name, 3, 32).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert head_name(network, 32) == head
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with record_inputs(network.get_submodule(head)) as inputs, torch.no_grad():
        logits = network.eval()(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(network.get_submodule(head)(inputs[0]), logits)


def test_a_network_that_ends_in_another_layer_has_no_head() -> None:
    with pytest.raises(InputError, match="SqueezeNet does not end in one linear layer"):
        head_name(build_network("squeezenet1_1", 3, 32), 32)


@pytest.mark.parametrize("length", [7, 512])
def test_the_projection_comes_from_the_weights_of_the_tower(length: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = build_network("resnet18", length, 32)
    torch.save(tower.state_dict(), tmp_path / "tower.pth")
    network = build_fitted_network("resnet18", 2, 32, text_length=length)
    audit = pretrained.initialise_network(network, str(tmp_path / "tower.pth"), classifier=True, pixels=None)
    assert set(audit.missing) == {"fc.text", "fc.scale", "fc.logit_bias"}
    text = nn.functional.normalize(torch.randn(2, length), dim=1)
    head = network.get_submodule("fc")
    assert isinstance(head, CosineHead)
    head.set_text(TextEmbeddings(text, ("ant", "bee"), "a model", ("{}",), scale=10.0))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        embedding = nn.functional.normalize(tower.eval()(images), dim=1)
        torch.testing.assert_close(network.eval()(images), 10 * embedding @ text.T, rtol=1e-4, atol=1e-5)


def test_a_tower_with_another_head_keeps_the_identity(tmp_path: Path) -> None:
    torch.save(build_network("resnet18", 5, 32).state_dict(), tmp_path / "tower.pth")
    network = build_fitted_network("resnet18", 2, 32, text_length=512)
    pretrained.initialise_network(network, str(tmp_path / "tower.pth"), classifier=True, pixels=None)
    head = network.get_submodule("fc")
    assert torch.equal(head.get_parameter("weight"), torch.eye(512))
    assert not head.get_parameter("bias").any()

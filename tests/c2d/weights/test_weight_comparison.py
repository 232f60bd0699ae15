"""Weights of one network under other pixels: what the comparison calls equal, flipped, scaled and different."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from c2d.cli.main import main
from c2d.weights.weight_comparison import compare_tensors, compare_weights


def vgg(classifier: bool = True) -> dict[str, Tensor]:
    """The keys of two convolutions of torchvision's VGG16, and its head without values."""
    random = torch.Generator().manual_seed(0)
    state = {
        "features.0.weight": torch.randn(4, 3, 3, 3, generator=random),
        "features.0.bias": torch.randn(4, generator=random),
        "features.2.weight": torch.randn(4, 4, 3, 3, generator=random),
    }
    return state | ({"classifier.0.weight": torch.full((2, 4), float("nan"))} if classifier else {})


def relations(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    return [key.relation for key in compare_weights(first, second).keys]


def test_the_backbone_of_a_detector_is_that_of_the_classifier() -> None:
    detector = {f"backbone.{key}": value for key, value in vgg(classifier=False).items()}
    detector |= {"bbox_head.weight": torch.zeros(1), "backbone.num_batches_tracked": torch.tensor(3)}
    compared = compare_weights(vgg(), detector)
    assert [key.relation for key in compared.keys] == ["equal"] * 3
    assert compared.are_equal
    del detector["backbone.features.2.weight"]
    assert compare_weights(vgg(), detector).only_first == ("features.2.weight",)
    assert not compare_weights(vgg(), detector).are_equal


def test_two_detectors_are_compared_with_their_heads() -> None:
    first = {"backbone.conv1.weight": torch.ones(2, 2), "bbox_head.fc.weight": torch.ones(2)}
    found = compare_weights(first, {**first, "bbox_head.fc.weight": torch.tensor([1.0, 2.0])})
    assert [(key.key, key.relation) for key in found.keys] == [
        ("backbone.conv1.weight", "equal"),
        ("bbox_head.fc.weight", "different"),
    ]
    assert not found.are_equal
    assert compare_weights(first, {"backbone.conv1.weight": torch.ones(2, 2)}).only_first == ("bbox_head.fc.weight",)


def test_first_layers_of_other_pixels() -> None:
    state, std = vgg(classifier=False), torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    first = state["features.0.weight"]
    for changed, relation, scale in (
        (first.flip(1), "flipped", ()),
        (first * 255, "scaled", (255, 255, 255)),
        (first / std, "scaled", (1 / 58.395, 1 / 57.12, 1 / 57.375)),
        ((first / std).flip(1), "flipped and scaled", (1 / 57.375, 1 / 57.12, 1 / 58.395)),
        (first + 0.01, "different", ()),
        (first[:, :, :1, :1], "another shape", ()),
        (first / 0, "not finite", ()),
    ):
        (found, *others) = compare_weights(state, {**state, "features.0.weight": changed}).keys
        assert found.relation == relation
        assert found.scale == pytest.approx(scale, rel=1e-5)
        assert [key.relation for key in others] == ["equal", "equal"]


def test_difference_and_correlation() -> None:
    found = compare_tensors("x", torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.5, 3.0]))
    assert (found.relation, found.difference) == ("different", 0.5)
    assert found.correlation == pytest.approx(0.96076892, abs=1e-7)  # 2 / sqrt(2 * 13 / 6), by hand
    assert compare_tensors("x", torch.ones(3), torch.ones(3) + 1e-7).relation == "equal"


def test_keys_of_torchvision_and_mmdet_are_paired() -> None:
    weight = torch.randn(2, 3, 3, 3)
    torchvision = {
        "features.0.0.weight": weight,
        "features.18.1.bias": torch.ones(2),
        "classifier.1.bias": torch.ones(9),
    }
    mmdet = {"backbone.conv1.conv.weight": weight, "backbone.conv2.bn.bias": torch.ones(2)}
    assert [key.key for key in compare_weights(torchvision, mmdet).keys] == ["conv1.conv.weight", "conv2.bn.bias"]
    assert compare_weights(mmdet, torchvision).are_equal


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(vgg(), tmp_path / "a.pth")
    torch.save({"state_dict": {**vgg(classifier=False), "features.31.bias": torch.zeros(2)}}, tmp_path / "b.pth")

    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["weights", "compare", *words])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out + printed.err

    a, b = str(tmp_path / "a.pth"), str(tmp_path / "b.pth")
    assert call(a, a)[0] == 1  # the head has no values: nobody knows whether it is equal
    code, text = call(a, b)
    assert code == 1
    assert "3 keys in both: 3 equal" in text
    assert f"1 keys in {b} alone: features.31.bias" in text
    torch.save(vgg(classifier=False), tmp_path / "c.pth")
    assert call(a, str(tmp_path / "c.pth"))[0] == 0
    torch.save({"other": torch.ones(1)}, tmp_path / "d.pth")
    code, text = call(a, str(tmp_path / "d.pth"))
    assert code == 2
    assert "no key in common" in text
    assert call(a, "no-such-run", "--runs", str(tmp_path))[0] == 2

"""Position embeddings of a transformer's weights at another size of crops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from c2d.weights.position_embeddings import resize_position_embeddings
from c2d.weights.pretrained import head_keys, initialise_network

timm = pytest.importorskip("timm")


def vit(size: int, classes: int = 3, name: str = "vit_tiny_patch16_224") -> nn.Module:
    torch.manual_seed(size)
    network: nn.Module = timm.create_model(name, num_classes=classes, img_size=size, depth=1)
    return network


def resampled(state: Mapping[str, Tensor], side: int) -> Tensor:
    """The class token's embedding as it is, the grid's by torch's own bicubic filter."""
    whole = state["pos_embed"]
    old = int((whole.shape[1] - 1) ** 0.5)
    grid = whole[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, (side, side), mode="bicubic", antialias=True)
    return torch.cat([whole[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1)


def test_weights_for_224_px_are_loaded_at_48_px(tmp_path: Path) -> None:
    source, target = vit(224, 10), vit(48)
    state = source.state_dict()
    torch.save(state, tmp_path / "vit.pth")
    audit = initialise_network(target, str(tmp_path / "vit.pth"), pixels=None, classifier=True)
    assert audit.notes[-1] == "converted to this network's input size by its own library"
    loaded = target.state_dict()
    torch.testing.assert_close(loaded["pos_embed"], resampled(state, 3))
    assert not torch.equal(loaded["pos_embed"][:, 1:], state["pos_embed"][:, 1:10])
    equal = [key for key in loaded if key != "pos_embed" and not key.startswith("head.")]
    assert all(torch.equal(loaded[key], state[key]) for key in equal)
    assert audit.loaded == audit.wanted - 2
    assert audit.missing == ("head.weight", "head.bias")


def test_weights_that_fit_are_not_touched() -> None:
    state = vit(48, 10).state_dict()
    target = vit(48)
    assert resize_position_embeddings(state, target, head_keys(target)) is state
    network = nn.Linear(2, 2)
    assert resize_position_embeddings({}, network) == {}


def test_torchvisions_own_transformer_is_resized_too() -> None:
    from torchvision.models.vision_transformer import VisionTransformer

    source, target = (VisionTransformer(size, 16, 1, 2, 8, 16, num_classes=3) for size in (64, 32))
    nn.init.normal_(source.encoder.pos_embedding)
    found = resize_position_embeddings(source.state_dict(), target)
    assert found["encoder.pos_embedding"].shape == (1, 5, 8)
    assert torch.equal(found["encoder.pos_embedding"][:, 0], source.encoder.pos_embedding[:, 0])


def test_every_head_of_a_distilled_transformer_counts_the_classes() -> None:
    network = vit(32, name="deit_tiny_distilled_patch16_224")
    assert head_keys(network) == {f"{name}.{part}" for name in ("head", "head_dist") for part in ("weight", "bias")}

"""A small frozen convolutional classifier with the interface of `ClassifierTeacher`, seeded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from c2d.detectors.hooks import extract_outputs, record_outputs
from c2d.detectors.normalization import IMAGENET, Normalization, renormalize


class TinyTeacher:
    """Layers l0 (stride 4, after a max-pooling) and l1 (stride 8); `shown` counts the crops each pass was given."""

    layers = ("l0", "l1")

    def __init__(self, num_classes: int = 3, size: int = 32, normalization: Normalization = IMAGENET, seed: int = 0,
                 dtype: torch.dtype = torch.float32, smooth: bool = False) -> None:  # fmt: skip
        torch.manual_seed(seed)
        act = nn.Tanh if smooth else nn.ReLU
        pool = nn.AvgPool2d(2) if smooth else nn.MaxPool2d(3, 2, 1)
        stem = nn.Sequential(nn.Conv2d(3, 6, 7, 2, 3), act(), pool)
        stage = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), act())
        last = nn.Linear(8, num_classes)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
        parts = {"l0": stem, "l1": stage, "fc": head}
        self.network = nn.Sequential()
        for name, part in parts.items():
            self.network.add_module(name, part)
        nn.init.normal_(last.weight, std=2.0)
        self.network.to(dtype).eval().requires_grad_(False)
        self.classes = [f"class{i}" for i in range(num_classes)]
        self.size, self.normalization, self.context = size, normalization, 0.0
        self.shown: list[tuple[str, int]] = []

    def logits(self, crops: Tensor) -> Tensor:
        self.shown.append(("logits", len(crops)))
        out: Tensor = self.network(crops)
        return out

    def features(self, crops: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        self.shown.append(("features", len(crops)))
        return extract_outputs(self.network, layers, crops)

    def logits_and_features(self, crops: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        self.shown.append(("both", len(crops)))
        with record_outputs(self.network, layers) as outputs:
            out: Tensor = self.network(crops)
        return out, dict(outputs)

    def map_sides(self, layers: Sequence[str], size: int) -> dict[str, int]:
        return {layer: -(-size // {"l0": 4, "l1": 8}[layer]) for layer in layers}

    def normalize(self, crops: Tensor, src: Normalization) -> Tensor:
        return renormalize(crops, src, self.normalization)

"""The layers of a classifier network that a distillation can compare, as a table; weights are random."""

from __future__ import annotations

import torch

from c2d.detectors.normalization import IMAGENET
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.networks import build_network

HEADER = ("layer", "module", "channels", "side", "stride")


def layer_table(name: str, size: int) -> str:
    """Describe the layers of a network at one size of crops.

    Args:
        name: see `build_network`.
        size: side of the crops in px.

    Raises:
        InputError: the network is unknown, or cannot process crops of this size.
    """
    teacher = ClassifierTeacher(build_network(name, 2, size), ("a", "b"), size, IMAGENET, fused=False)
    with torch.no_grad():
        maps = teacher.features(torch.zeros(1, 3, size, size), teacher.layers)
    modules = teacher.module_of_layer
    rows = [
        (layer, modules[layer], str(found.shape[1]), str(found.shape[-1]), f"{size / found.shape[-1]:g}")
        for layer, found in maps.items()
    ]
    widths = [max(len(row[n]) for row in (HEADER, *rows)) for n in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in (HEADER, *rows)]  # fmt: skip
    return "\n".join(lines)

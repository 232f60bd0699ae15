"""The layers of a classifier network that a distillation can compare, as a table; weights are random."""

from __future__ import annotations

from typing import Any

import torch

from c2d.detectors.normalization import IMAGENET
from c2d.methods import DISTILLERS
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.networks import build_network, check_input
from c2d.weights.pretrained import head_keys

HEADER = ("layer", "module", "channels", "side", "stride")
CLASSES = ("one", "two")


def layer_table(name: str, size: int) -> str:
    """Describe the layers of a network at one size of crops.

    Args:
        name: see `build_network`.
        size: side of the crops in px.

    Raises:
        InputError: the network is unknown, or cannot process crops of this size.
    """
    check_input(size)
    network = build_network(name, len(CLASSES), size)
    head = head_keys(network)
    count = sum(weight.numel() for key, weight in network.named_parameters() if key not in head)
    lines = [f"{name} on crops of {size} px, {count:,} parameters without its head"]
    teacher = ClassifierTeacher(network, CLASSES, size, IMAGENET, fused=False)
    if not teacher.layers:
        return "\n".join(
            [*lines, "no feature maps: its logits can be taught, its features cannot", *_advice(teacher, {})]
        )
    with torch.no_grad():
        maps = teacher.features(torch.zeros(1, 3, size, size), teacher.layers)
    rows = [HEADER]
    for layer, found in maps.items():
        _, channels, _, side = found.shape
        rows.append((layer, teacher.module_of_layer[layer], str(channels), str(side), f"{size / side:g}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *_advice(teacher, {layer: found.shape[-1] for layer, found in maps.items()})])


def _advice(teacher: ClassifierTeacher, sides: dict[str, int]) -> list[str]:
    """What methods compare by default, and what to set for this network."""
    lines = []
    for name, kind in DISTILLERS.items():
        if "classifier" not in kind.TEACHERS or "layers" not in kind.Params.model_fields:
            continue
        params: Any = kind.Params()
        default = params.layers
        compared = [layer for layer in default if layer in teacher.layers]
        if not compared:
            lines.append(f"set method.{name}.lambda_kl=0: the network has none of {', '.join(default)}")
            continue
        lines.append(f"method.{name}.layers is [{', '.join(default)}] by default")
        for layer in compared:
            pooled = params.side(layer)
            if sides[layer] < pooled:
                lines.append(
                    f"{layer} is {sides[layer]} x {sides[layer]}, pooled to {pooled} x {pooled} by repeating cells; "
                    f"method.{name}.pooling={{{layer}: {sides[layer]}}} compares its own cells"
                )
    return lines

"""Similarity of classes for a detector: the cosine between the rows of its last class layer.

Classes whose rows point the same way get similar logits from the same features. This is the source of soft labels in
Zero-Shot Knowledge Distillation (ICML 2019); that detectors are read in the same way is our choice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import heads


def class_similarity(network: Any) -> Tensor:
    """Compute the similarity of every pair of classes, each row scaled so that 0 is the least similar class.

    Args:
        network: an mmdet detector of a supported family.

    Returns:
        (C, C) fp64 in 0..1, 1 on the diagonal. Rows are scaled on their own, so it is not symmetric.

    Raises:
        InputError: the class layer of the detector is unknown.
    """
    cosines = torch.stack([_cosines(rows) for rows in classifier_rows(network)]).mean(0)
    low, high = cosines.amin(1, keepdim=True), cosines.amax(1, keepdim=True)
    # Equal rows (or a single class) have no least similar class: all are as similar as can be.
    return torch.where(high > low, (cosines - low) / (high - low).clamp(min=1e-12), 1.0)


def classifier_rows(network: Any) -> list[Tensor]:
    """Read the weights of the last class layer, one row a class, without the background.

    Layers with several anchors in a cell have a row for each: the mean is taken. A cascade is read in its last stage.

    Args:
        network: an mmdet detector of a supported family.

    Returns:
        (C, D) fp64, once; for SSD, whose levels have layers of their own, once for each level (D differs).

    Raises:
        InputError: the class layer of the detector is unknown.
    """
    head, family = heads.final_head(network)
    if isinstance(family, heads.RoIFamily):
        box_head = head.bbox_head[-1] if family.cascaded else head.bbox_head
        heads.check_box_head(box_head)
        layers, channels = [box_head.fc_cls], box_head.num_classes + 1
    else:
        name = family.classifier if isinstance(family, heads.DenseFamily) else "dense class layer"
        found = getattr(head, name, None)
        if not isinstance(found, nn.Module):
            raise InputError(
                f"the class layer of {type(head).__name__} is unknown (it has no '{name}'); set "
                "targets.soft_labels to false"
            )
        layers = [[*level.modules()][-1] for level in found] if isinstance(found, nn.ModuleList) else [found]
        channels = head.cls_out_channels
    # Channels are ordered anchor by anchor, the background is the last class of each.
    rows = [layer.weight.detach().double().cpu().reshape(-1, channels, layer.weight[0].numel()) for layer in layers]
    return [level.mean(0)[: heads.count_classes(network)] for level in rows]


def _cosines(rows: Tensor) -> Tensor:
    unit = nn.functional.normalize(rows, dim=1)
    return unit @ unit.T

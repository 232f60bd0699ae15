"""Record the positives of a DETR-like head: the queries that the Hungarian assigner matches, of each decoder layer.

The head computes the targets of one decoder layer and image at a time: first all decoder layers, in their order, then
what else it trains. Proposals of the encoder (Deformable DETR with two stages, DINO, DDQ) come after them; denoising
queries (DINO, DDQ) and DDQ's auxiliary dense queries have targets of their own. None of these are positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_convert

from c2d.detectors import heads
from c2d.detectors.hooks import replace_method
from c2d.detectors.recording.positives import Positives, PositivesRecorder, RoIStages


@dataclass(frozen=True)
class QueryMatch:
    """One decoder layer's predictions for one image, and their ground truth.

    Attributes:
        logits: (Q, C) or (Q, C + 1), with the graph.
        normalized: (Q, 4) cxcywh as shares of the image without its padding, with the graph.
        size: (height, width) of that image in px.
        gt: (Q,) long: index of the matched ground truth, -1 where none is.
    """

    logits: Tensor
    normalized: Tensor
    size: tuple[int, int]
    gt: Tensor


class QueryMatches:
    """Matches of the last loss: one list of images for each decoder layer.

    Attributes:
        layers: filled while the loss runs.
    """

    def __init__(self) -> None:
        self.layers: list[list[QueryMatch]] = []


def record_matches(stack: ExitStack, head: Any) -> QueryMatches:
    """Replace methods of a DETR-like head while `stack` is open, so that the matches of each loss are kept.

    Args:
        stack: restores the methods when it closes.
        head: an mmdet DETR-like head.
    """
    matches, calls, assigned = QueryMatches(), list[QueryMatch](), list[Tensor]()
    loss_by_feat, targets_single, assign = head.loss_by_feat, head._get_targets_single, head.assigner.assign

    def loss(cls_scores: Tensor, *args: Any, **kwargs: Any) -> Any:
        calls.clear()
        result = loss_by_feat(cls_scores, *args, **kwargs)
        layers, images = cls_scores.shape[:2]
        if len(calls) < layers * images:
            raise RuntimeError(f"{type(head).__name__} matched {len(calls)} times for {layers} layers, {images} images")
        matches.layers = [calls[layer * images : (layer + 1) * images] for layer in range(layers)]
        return result

    def single(cls_score: Tensor, bbox_pred: Tensor, gt_instances: Any, img_meta: Any) -> Any:
        result = targets_single(cls_score, bbox_pred, gt_instances, img_meta)
        height, width = img_meta["img_shape"][:2]
        calls.append(QueryMatch(cls_score, bbox_pred, (int(height), int(width)), assigned.pop()))
        return result

    def assign_kept(*args: Any, **kwargs: Any) -> Any:
        result = assign(*args, **kwargs)
        assigned[:] = [result.gt_inds - 1]  # mmdet: 0 is no ground truth, the first is 1
        return result

    stack.enter_context(replace_method(head, "loss_by_feat", loss))
    stack.enter_context(replace_method(head, "_get_targets_single", single))
    stack.enter_context(replace_method(head.assigner, "assign", assign_kept))
    return matches


def decode_boxes(normalized: Tensor, size: tuple[int, int]) -> Tensor:
    """Return boxes (..., 4) fp32 xyxy in px from cxcywh as shares of the image.

    An image lies in the upper left corner of the batch tensor, so px of the image are px of the tensor.

    Args:
        normalized: (..., 4).
        size: (height, width) of the image without its padding, px.
    """
    # fp16 resolves coordinates above 1024 to 1 px only, bf16 those above 128.
    with torch.autocast(normalized.device.type, enabled=False):
        height, width = size
        shares = box_convert(normalized.float(), "cxcywh", "xyxy")
        return shares * shares.new_tensor([width, height, width, height])


def record_query_positives(stack: ExitStack, recorder: PositivesRecorder, head: Any, stages: RoIStages) -> None:
    """Replace methods of a DETR-like head while `stack` is open, so that `recorder` reads its positives.

    Args:
        stack: restores the methods when it closes.
        recorder: gets what the next loss computes.
        head: an mmdet DETR-like head.
        stages: the last decoder layer or all of them.
    """
    matches, kind = record_matches(stack, head), heads.loss_kind(head)
    loss_by_feat = head.loss_by_feat

    def loss(*args: Any, **kwargs: Any) -> Any:
        result = loss_by_feat(*args, **kwargs)
        layers = matches.layers if stages == "all" else matches.layers[-1:]
        recorder.read = lambda: [_layer_positives(layer, kind) for layer in layers]
        return result

    stack.enter_context(replace_method(head, "loss_by_feat", loss))


def _layer_positives(layer: Sequence[QueryMatch], kind: heads.LogitKind) -> Positives:
    rows = [(match.gt >= 0).nonzero().squeeze(1) for match in layer]
    per_image = tuple(len(row) for row in rows)
    device = layer[0].logits.device
    image = torch.repeat_interleave(torch.arange(len(layer), device=device), torch.tensor(per_image, device=device))
    pairs = list(zip(layer, rows, strict=True))
    return Positives(
        torch.cat([match.logits[row] for match, row in pairs]),
        torch.cat([decode_boxes(match.normalized[row], match.size) for match, row in pairs]),
        image,
        torch.cat([match.gt[row] for match, row in pairs]),
        kind,
        per_image,
    )

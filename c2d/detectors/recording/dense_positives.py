"""Record the positives of a single-stage head: their logits and boxes, read from the maps that `loss_by_feat` gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.heads import DenseFamily
from c2d.detectors.hooks import replace_method
from c2d.detectors.recording.assignments import Assigned, record_assignments
from c2d.detectors.recording.positives import Positives, PositivesRecorder


def record_dense_positives(stack: ExitStack, recorder: PositivesRecorder, head: Any, family: DenseFamily) -> None:
    """Replace methods of a single-stage head while `stack` is open, so that `recorder` reads its positives.

    Logits are those of the class loss. YOLOX's are its class logits, without the objectness, which it trains apart.

    Args:
        stack: restores the methods when it closes.
        recorder: gets what the next loss computes.
        head: an mmdet dense head.
        family: of the head.
    """
    loss_by_feat, assigned = head.loss_by_feat, record_assignments(stack, head, family)

    def loss(*outputs: Any, **kwargs: Any) -> Any:
        assigned.clear()
        result = loss_by_feat(*outputs, **kwargs)
        seen = list(assigned)  # a copy: the next loss clears `assigned`, and the positives may be read later
        recorder.read = lambda: [_dense_positives(head, family, outputs[0], outputs[family.boxes], seen)]
        return result

    stack.enter_context(replace_method(head, "loss_by_feat", loss))


def _dense_positives(head: Any, family: DenseFamily, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor],
                     assigned: Sequence[Assigned]) -> Positives:  # fmt: skip
    device = cls_scores[0].device
    per_image = tuple(len(one.flat) for one in assigned)
    image = torch.repeat_interleave(torch.arange(len(assigned), device=device), torch.tensor(per_image, device=device))
    flat = torch.cat([one.flat for one in assigned])
    grid = head.prior_generator.grid_priors([maps.shape[-2:] for maps in cls_scores], device=device)
    priors = torch.cat([heads.box_tensor(level) for level in grid])[flat].float()
    channels = head.cls_out_channels
    sizes = [maps.shape[1] // channels * maps.shape[2] * maps.shape[3] for maps in cls_scores]
    ends = torch.tensor(sizes, device=device).cumsum(0)
    level = torch.bucketize(flat, ends, right=True)  # right: a prior at the end of a level is the first of the next
    within = flat - (ends - torch.tensor(sizes, device=device))[level]
    order, counts = level.argsort(stable=True), torch.bincount(level, minlength=len(sizes)).tolist()
    places = list(zip(image[order].split(counts), within[order].split(counts), strict=True))
    back = order.argsort()  # maps are read level by level; this restores the order of the images

    def gather(maps: Sequence[Tensor], width: Callable[[int], int]) -> Tensor:
        parts = [heads.gather_entries(m, *at, width(i)) for i, (m, at) in enumerate(zip(maps, places, strict=True))]
        return torch.cat(parts)[back]

    logits = heads.as_logits(family, gather(cls_scores, lambda _: channels))
    # A level has as many priors per cell in its box map as in its class map, whatever channels encode a box.
    raw = gather(bbox_preds, lambda i: bbox_preds[i].shape[1] * channels // cls_scores[i].shape[1])
    stride = torch.tensor(heads.strides(head), device=device, dtype=torch.float32)[level]
    # fp16 resolves coordinates above 1024 to 1 px only, bf16 those above 128.
    with torch.autocast(device.type, enabled=False):
        raw = raw.float()
        if heads.counts_strides(head) and not head.training:  # px, as in every case but training
            raw = raw / stride[:, None]
        boxes = family.decode(head, raw, priors, stride)
    gt = torch.cat([one.gt for one in assigned])
    return Positives(logits, boxes, image, gt, heads.logit_kind(head), per_image, flat)

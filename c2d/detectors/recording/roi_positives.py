"""Record the positives of a second stage: `bbox_loss` sees the sampled RoIs and returns the predictions for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.hooks import replace_method
from c2d.detectors.recording.positives import Positives, PositivesRecorder, RoIStages


def record_roi_positives(stack: ExitStack, recorder: PositivesRecorder, head: Any, cascaded: bool,
                roi_stages: RoIStages) -> None:  # fmt: skip
    """Replace a method of a second stage while `stack` is open, so that `recorder` reads its positives.

    Args:
        stack: restores the method when it closes.
        recorder: gets what the next loss computes.
        head: an mmdet RoI head.
        cascaded: whether it has several stages.
        roi_stages: of a cascade, the last stage or all of them.
    """
    bbox_loss = head.bbox_loss
    for bbox_head in head.bbox_head if cascaded else [head.bbox_head]:
        heads.check_box_head(bbox_head)
    stages: list[Callable[[], Positives]] = []  # computed only when `positives` is called

    def loss(*args: Any, **kwargs: Any) -> Any:
        result = bbox_loss(*args, **kwargs)
        stage = (args[0] if args else kwargs["stage"]) if cascaded else 0
        sampled = kwargs["sampling_results"] if "sampling_results" in kwargs else args[-1]
        bbox_head = head.bbox_head[stage] if cascaded else head.bbox_head
        logits, raw = result["cls_score"], result["bbox_pred"]
        if stage == 0:  # a new forward pass
            stages.clear()
        stages.append(lambda: _roi_positives(bbox_head, logits, raw, sampled))
        recorder.read = lambda: [read() for read in (stages if roi_stages == "all" else stages[-1:])]
        return result

    stack.enter_context(replace_method(head, "bbox_loss", loss))


def _roi_positives(bbox_head: Any, logits: Tensor, raw: Tensor, sampled: Sequence[Any]) -> Positives:
    """Rows of an image are its positives, then its negatives; images one after the other."""
    device = logits.device
    per_image = tuple(len(s.pos_priors) for s in sampled)
    rows, first = [], 0
    for result, count in zip(sampled, per_image, strict=True):
        rows.append(torch.arange(first, first + count, device=device))
        first += count + len(result.neg_priors)
    row = torch.cat(rows)
    image = torch.repeat_interleave(torch.arange(len(sampled), device=device), torch.tensor(per_image, device=device))
    rois = torch.cat([heads.box_tensor(s.pos_priors)[:, :4] for s in sampled]).float()
    labels = torch.cat([s.pos_gt_labels for s in sampled])
    with torch.autocast(device.type, enabled=False):
        boxes = heads.roi_boxes(bbox_head, raw[row], rois, labels)
    gt = torch.cat([s.pos_assigned_gt_inds for s in sampled])
    return Positives(logits[row], boxes, image, gt, "softmax", per_image)

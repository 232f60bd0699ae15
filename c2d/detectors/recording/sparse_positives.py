"""Record the positives of Sparse R-CNN: the learned proposals that each stage matches with the ground truth.

`bbox_loss` decodes the boxes of a stage, matches them one to one, and returns both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.hooks import replace_method
from c2d.detectors.recording.positives import Positives, PositivesRecorder, RoIStages


def record_sparse_positives(stack: ExitStack, recorder: PositivesRecorder, head: Any, stages: RoIStages) -> None:
    """Replace a method of a `SparseRoIHead` while `stack` is open, so that `recorder` reads its positives.

    Args:
        stack: restores the method when it closes.
        recorder: gets what the next loss computes.
        head: an mmdet `SparseRoIHead`.
        stages: the last stage or all of them.
    """
    bbox_loss, kinds = head.bbox_loss, [heads.loss_kind(one) for one in head.bbox_head]
    reads: list[Callable[[], Positives]] = []  # computed only when `positives` is called

    def loss(stage: int, *args: Any, **kwargs: Any) -> Any:
        result = bbox_loss(stage, *args, **kwargs)
        logits, boxes, sampled = result["cls_score"], result["decoded_bboxes"], result["sampling_results"]
        if stage == 0:  # a new forward pass
            reads.clear()
        reads.append(lambda: _stage_positives(logits, boxes, sampled, kinds[stage]))
        kept = reads[:] if stages == "all" else reads[-1:]
        recorder.read = lambda: [read() for read in kept]
        return result

    stack.enter_context(replace_method(head, "bbox_loss", loss))


def _stage_positives(logits: Tensor, boxes: Tensor, sampled: Sequence[Any], kind: heads.LogitKind) -> Positives:
    """Read the positives of one stage.

    Args:
        logits: (B, P, C) or (B, P, C + 1), of P proposals an image.
        boxes: (B * P, 4) xyxy, px of the batch tensor.
        sampled: mmdet's `SamplingResult` of each image.
        kind: activation of the logits.
    """
    device, proposals = logits.device, logits.shape[1]
    per_image = tuple(len(one.pos_inds) for one in sampled)
    image = torch.repeat_interleave(torch.arange(len(sampled), device=device), torch.tensor(per_image, device=device))
    row = torch.cat([one.pos_inds for one in sampled])
    gt = torch.cat([one.pos_assigned_gt_inds for one in sampled])
    return Positives(logits[image, row], boxes[image * proposals + row].float(), image, gt, kind, per_image)

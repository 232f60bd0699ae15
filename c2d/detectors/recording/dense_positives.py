"""Record the positives of a single-stage head: `loss_by_feat` sees the maps, `_get_targets_single` the assignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.heads import DenseFamily
from c2d.detectors.hooks import replace_method
from c2d.detectors.recording.positives import Positives, PositivesRecorder


@dataclass(frozen=True)
class _Target:
    """One image's assignment: which flat priors are positive, the ground truth of each, and those priors."""

    flat: Tensor
    gt: Tensor
    priors: Tensor


def record_dense_positives(stack: ExitStack, recorder: PositivesRecorder, head: Any, family: DenseFamily) -> None:
    """Replace methods of a single-stage head while `stack` is open, so that `recorder` reads its positives.

    Args:
        stack: restores the methods when it closes.
        recorder: gets what the next loss computes.
        head: an mmdet dense head.
        family: of the head.
    """
    loss_by_feat, targets_single = head.loss_by_feat, head._get_targets_single
    targets: list[_Target] = []

    def loss(cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        targets.clear()
        result = loss_by_feat(cls_scores, bbox_preds, *args, **kwargs)
        seen = list(targets)  # a copy: the next loss clears `targets`, and the positives may be read later
        recorder.read = lambda: [_dense_positives(head, family, cls_scores, bbox_preds, seen)]
        return result

    def with_assigner(flat_anchors: Any, *args: Any, **kwargs: Any) -> Any:
        result = targets_single(flat_anchors, *args, **kwargs)
        assert family.sampling is not None
        sampling = result[family.sampling]
        labels = result[family.labels]
        flat = _foreground(labels, head.num_classes)
        # pos_inds indexes the anchors inside the image, flat all anchors; both ascend in the same order (P5).
        gt = sampling.pos_assigned_gt_inds[sampling.pos_inds.argsort()]
        if len(gt) != len(flat):
            raise RuntimeError(f"{type(head).__name__} assigned {len(gt)} positives but labelled {len(flat)}")
        anchors = heads.box_tensor(flat_anchors)
        targets.append(_Target(flat, gt, anchors[flat]))
        return result

    def without_assigner(gt_instances: Any, points: Tensor, *args: Any, **kwargs: Any) -> Any:
        count = len(gt_instances)
        if count == 0:
            none = torch.zeros(0, dtype=torch.long, device=points.device)
            targets.append(_Target(none, none, points[none]))
            return targets_single(gt_instances, points, *args, **kwargs)
        # FCOS copies the labels of the boxes to the points and keeps no box index. So pass the index as the label and
        # write the labels back afterwards. Indices begin above num_classes, which is the background label.
        first = head.num_classes + 1
        numbered = gt_instances.new()
        numbered.labels = torch.arange(first, first + count, device=gt_instances.labels.device)
        numbers, *rest = targets_single(numbered, points, *args, **kwargs)
        flat = (numbers >= first).nonzero().squeeze(1)
        gt = numbers[flat] - first
        labels = numbers.to(gt_instances.labels.dtype)
        labels[flat] = gt_instances.labels[gt]
        targets.append(_Target(flat, gt, points[flat]))
        return (labels, *rest)

    single = without_assigner if family.sampling is None else with_assigner
    stack.enter_context(replace_method(head, "loss_by_feat", loss))
    stack.enter_context(replace_method(head, "_get_targets_single", single))


def _dense_positives(head: Any, family: DenseFamily, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor],
                     targets: Sequence[_Target]) -> Positives:  # fmt: skip
    device = cls_scores[0].device
    per_image = tuple(len(t.flat) for t in targets)
    image = torch.repeat_interleave(torch.arange(len(targets), device=device), torch.tensor(per_image, device=device))
    flat = torch.cat([t.flat for t in targets])
    priors = torch.cat([t.priors for t in targets]).float()
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

    logits = gather(cls_scores, lambda _: channels)
    # A level has as many priors per cell in its box map as in its class map, whatever channels encode a box.
    raw = gather(bbox_preds, lambda i: bbox_preds[i].shape[1] * channels // cls_scores[i].shape[1])
    stride = torch.tensor(heads.strides(head), device=device, dtype=torch.float32)[level]
    # fp16 resolves coordinates above 1024 to 1 px only, bf16 those above 128.
    with torch.autocast(device.type, enabled=False):
        boxes = family.decode(head, raw.float(), priors, stride)
    gt = torch.cat([t.gt for t in targets])
    return Positives(logits, boxes, image, gt, heads.logit_kind(head), per_image, flat)


def _foreground(labels: Tensor, num_classes: int) -> Tensor:
    return ((labels >= 0) & (labels < num_classes)).nonzero().squeeze(1)

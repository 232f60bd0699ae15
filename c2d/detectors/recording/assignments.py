"""Read which priors of a single-stage head are positive, and the ground truth of each, while its loss runs.

Heads keep this in different places (`heads.Assignment`):

    result       `_get_targets_single` returns labels and the `SamplingResult` (SSD, RetinaNet, ATSS, GFL, RTMDet,
                 YOLOF, VFNet)
    sampler      the `SamplingResult` is seen at the sampler, the labels in the result of `get_targets` (TOOD, whose
                 first epochs assign as ATSS, by a method of its parent)
    sampled      the `SamplingResult` is seen at the sampler, and its indices count all priors (YOLOX)
    reassigned   `paa_reassign` returns the labels, and the first assignment is among its arguments (PAA)
    points       there is no assigner; `_get_targets_single` copies labels to points (FCOS)
    box-targets  there is no assigner; the box that a point is trained for is that of its ground truth (CenterNetUpdate)
"""

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


@dataclass(frozen=True)
class Assigned:
    """Assignment of one image.

    Attributes:
        flat: (K,) long, positive priors in the order of the head's flattened outputs, ascending.
        gt: (K,) long, ground truth of each.
    """

    flat: Tensor
    gt: Tensor


Record = Callable[[ExitStack, Any, DenseFamily, list[Assigned]], None]


def record_assignments(stack: ExitStack, head: Any, family: DenseFamily) -> list[Assigned]:
    """Replace methods of a head while `stack` is open.

    Args:
        stack: restores the methods when it closes.
        head: an mmdet dense head.
        family: of the head.

    Returns:
        A list that gets the assignment of each image while the loss runs.
    """
    found: list[Assigned] = []
    RECORDS[family.assignment](stack, head, family, found)
    return found


def _from_result(stack: ExitStack, head: Any, family: DenseFamily, found: list[Assigned]) -> None:
    targets_single = head._get_targets_single

    def single(*args: Any, **kwargs: Any) -> Any:
        result = targets_single(*args, **kwargs)
        found.append(_from_labels(head, result[family.labels], result[family.sampling]))
        return result

    stack.enter_context(replace_method(head, "_get_targets_single", single))


def _from_sampler(stack: ExitStack, head: Any, _family: DenseFamily, found: list[Assigned]) -> None:
    get_targets, sampled = head.get_targets, _record_sampler(stack, head)

    def targets(*args: Any, **kwargs: Any) -> Any:
        sampled.clear()
        result = get_targets(*args, **kwargs)
        labels = torch.cat(result[1], dim=1)  # of each level (B, n)
        found.extend(_from_labels(head, *pair) for pair in zip(labels, sampled, strict=True))
        return result

    stack.enter_context(replace_method(head, "get_targets", targets))


def _from_sampled(stack: ExitStack, head: Any, _family: DenseFamily, found: list[Assigned]) -> None:
    targets_single, sampled = head._get_targets_single, _record_sampler(stack, head)

    def single(priors: Tensor, *args: Any, **kwargs: Any) -> Any:
        sampled.clear()  # an image without boxes is not sampled
        result = targets_single(priors, *args, **kwargs)
        found.append(_in_order(sampled[0].pos_inds, sampled[0]) if sampled else _nothing(priors.device))
        return result

    stack.enter_context(replace_method(head, "_get_targets_single", single))


def _from_reassignment(stack: ExitStack, head: Any, _family: DenseFamily, found: list[Assigned]) -> None:
    paa_reassign = head.paa_reassign

    def reassign(losses: Tensor, label: Tensor, label_weight: Tensor, bbox_weight: Tensor, pos_inds: Tensor,
                 pos_gt_inds: Tensor, anchors: Sequence[Tensor]) -> Any:  # fmt: skip
        result = paa_reassign(losses, label, label_weight, bbox_weight, pos_inds, pos_gt_inds, anchors)
        flat = _foreground(result[0], head.num_classes)
        owner = torch.full_like(label, -1)
        owner[pos_inds] = pos_gt_inds
        found.append(Assigned(flat, owner[flat]))
        return result

    stack.enter_context(replace_method(head, "paa_reassign", reassign))


def _from_points(stack: ExitStack, head: Any, _family: DenseFamily, found: list[Assigned]) -> None:
    targets_single = head._get_targets_single

    def single(gt_instances: Any, points: Tensor, *args: Any, **kwargs: Any) -> Any:
        count = len(gt_instances)
        if count == 0:
            found.append(_nothing(points.device))
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
        found.append(Assigned(flat, gt))
        return (labels, *rest)

    stack.enter_context(replace_method(head, "_get_targets_single", single))


def _from_box_targets(stack: ExitStack, head: Any, _family: DenseFamily, found: list[Assigned]) -> None:
    targets_single = head._get_targets_single

    def single(gt_instances: Any, *args: Any, points: Tensor, strides: Tensor, **kwargs: Any) -> Any:
        result = targets_single(gt_instances, *args, points=points, strides=strides, **kwargs)
        # Distances in strides; below 0 where a point has no box. Others are in 3x3 cells around a centre.
        flat = (result[1].amax(1) >= 0).nonzero().squeeze(1)
        if len(flat) == 0:
            found.append(_nothing(points.device))
            return result
        reached = head.bbox_coder.decode(points[flat], result[1][flat] * strides[flat, None])
        truths = heads.box_tensor(gt_instances.bboxes)
        found.append(Assigned(flat, (reached[:, None] - truths[None]).abs().amax(2).argmin(1)))
        return result

    stack.enter_context(replace_method(head, "_get_targets_single", single))


RECORDS: dict[heads.Assignment, Record] = {
    "result": _from_result,
    "sampler": _from_sampler,
    "sampled": _from_sampled,
    "reassigned": _from_reassignment,
    "points": _from_points,
    "box-targets": _from_box_targets,
}


def _record_sampler(stack: ExitStack, head: Any) -> list[Any]:
    """A list that gets each `SamplingResult` of the head's sampler."""
    sample, sampled = head.sampler.sample, []

    def seen(*args: Any, **kwargs: Any) -> Any:
        sampled.append(sample(*args, **kwargs))
        return sampled[-1]

    stack.enter_context(replace_method(head.sampler, "sample", seen))
    return sampled


def _from_labels(head: Any, labels: Tensor, sampling: Any) -> Assigned:
    return _in_order(_foreground(labels, head.num_classes), sampling, type(head).__name__)


def _in_order(flat: Tensor, sampling: Any, head: str = "") -> Assigned:
    # pos_inds indexes the anchors inside the image, flat all anchors; both ascend in the same order (P5).
    order = sampling.pos_inds.argsort()
    gt = sampling.pos_assigned_gt_inds[order]
    if len(gt) != len(flat):
        raise RuntimeError(f"{head} assigned {len(gt)} positives but labelled {len(flat)}")
    return Assigned(flat.sort().values, gt)


def _foreground(labels: Tensor, num_classes: int) -> Tensor:
    return ((labels >= 0) & (labels < num_classes)).nonzero().squeeze(1)


def _nothing(device: torch.device) -> Assigned:
    none = torch.zeros(0, dtype=torch.long, device=device)
    return Assigned(none, none)

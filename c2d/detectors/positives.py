"""Positives of the student's head: logits, decoded boxes, and the ground truth that each is assigned to.

    with record_positives(student) as recorder:
        losses = student.loss(inputs, data_samples)
    found = recorder.positives(batch)

Inside the block methods of the head are replaced on the instance; they are restored at its end, after an error too.
The student's losses stay equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from c2d.detectors import heads
from c2d.detectors.batch import Batch
from c2d.detectors.heads import DenseFamily, LogitKind
from c2d.detectors.hooks import replace_method

RoIStages = Literal["last", "all"]


@dataclass(frozen=True)
class Positives:
    """K positive samples (anchors, points or sampled RoIs) of a batch, images one after the other.

    Attributes:
        logits: (K, C), or (K, C + 1) with the background last; with the student's graph.
        boxes: (K, 4) fp32 xyxy, decoded predictions in px of the batch tensor, not clipped; with the graph.
        image: (K,) long.
        gt: (K,) long, index into `batch.boxes[image]`.
        kind: activation of the logits.
        per_image: number of positives of each image.
        prior: (K,) long, index among the dense head's flattened priors (`outputs.DenseOutputs`); None for RoI heads.
    """

    logits: Tensor
    boxes: Tensor
    image: Tensor
    gt: Tensor
    kind: LogitKind
    per_image: tuple[int, ...]
    prior: Tensor | None = None


class PositivesRecorder:
    """Records of the head in the last `student.loss`; created by `record_positives`."""

    def __init__(self) -> None:
        self._read: Callable[[], list[Positives]] | None = None

    def positives(self, batch: Batch) -> list[Positives]:
        """Return the positives of `batch`: one entry, or one per stage of a cascade recorded with roi_stages="all".

        Without any positive, K is 0 and `logits` and `boxes` are still attached to the student's graph.
        """
        if self._read is None:
            raise RuntimeError(
                "nothing was recorded: call student.loss(...) inside the `with record_positives(...)` block"
            )
        found = self._read()
        for entry in found:
            if len(entry.per_image) != len(batch.boxes):
                raise RuntimeError(f"recorded {len(entry.per_image)} images, but the batch has {len(batch.boxes)}")
        return found


@contextmanager
def record_positives(student: Any, roi_stages: RoIStages = "last") -> Iterator[PositivesRecorder]:
    """Record the positives of an mmdet detector while its `loss` runs.

    Args:
        student: the detector itself, outside any wrapper.
        roi_stages: of a cascade, the last stage or all of them.

    Raises:
        InputError: the head belongs to no supported family.
    """
    head, family = heads.final_head(student)
    recorder = PositivesRecorder()
    with ExitStack() as stack:
        if isinstance(family, DenseFamily):
            _record_dense(stack, recorder, head, family)
        else:
            _record_roi(stack, recorder, head, family.cascaded, roi_stages)
        yield recorder


# Single-stage heads


@dataclass(frozen=True)
class _Target:
    """One image's assignment: which flat priors are positive, the ground truth of each, and those priors."""

    flat: Tensor
    gt: Tensor
    priors: Tensor


def _record_dense(stack: ExitStack, recorder: PositivesRecorder, head: Any, family: DenseFamily) -> None:
    loss_by_feat, targets_single = head.loss_by_feat, head._get_targets_single
    targets: list[_Target] = []

    def loss(cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        targets.clear()
        result = loss_by_feat(cls_scores, bbox_preds, *args, **kwargs)
        seen = list(targets)  # a copy: the next loss clears `targets`, and the positives may be read later
        recorder._read = lambda: [_dense_positives(head, family, cls_scores, bbox_preds, seen)]
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


# RoI heads


def _record_roi(stack: ExitStack, recorder: PositivesRecorder, head: Any, cascaded: bool,
                roi_stages: RoIStages) -> None:  # fmt: skip
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
        recorder._read = lambda: [read() for read in (stages if roi_stages == "all" else stages[-1:])]
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

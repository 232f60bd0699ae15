"""What a student computes during its `loss`, recorded without a second pass and without editing it.

    with record_forward(student, needs) as recorder:
        losses = student.loss(inputs, data_samples)
    recorder.outputs(batch), recorder.positives(batch)

Maps are read by hooks, head outputs by shadowing the head's own methods; both are gone after the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from c2d.detectors import heads, hooks, positives
from c2d.detectors.batch import Batch
from c2d.detectors.hooks import replace_method
from c2d.detectors.outputs import DenseOutputs, DetectorOutputs, Needs, RoIOutputs
from c2d.detectors.positives import Positives, PositivesRecorder, RoIStages


class ForwardRecorder:
    """What one `student.loss` left behind. Made by `record_forward`."""

    def __init__(self) -> None:
        self.maps: dict[str, Any] = {}
        self.dense: DenseOutputs | None = None
        self.rois: RoIOutputs | None = None
        self.record: PositivesRecorder | None = None

    def positives(self, batch: Batch) -> list[Positives]:
        """The positives of the batch, one entry per recorded stage; none where no method asked."""
        return self.record.positives(batch) if self.record is not None else []

    def outputs(self) -> DetectorOutputs:
        """Maps and head outputs, in fp32, with the student's graph."""
        return DetectorOutputs(*split(self.maps), self.dense, self.rois)


@contextmanager
def record_forward(student: Any, needs: Needs, roi_stages: RoIStages = "last") -> Iterator[ForwardRecorder]:
    """Record what `needs` names while the block lasts.

    Raises:
        InputError: the head belongs to no family that can be read.
    """
    recorder = ForwardRecorder()
    with ExitStack() as stack:
        if needs.neck or needs.backbone or needs.proposals:
            recorder.maps = stack.enter_context(hooks.record_outputs(student, map_layers(student)))
        if needs.dense:
            _watch_dense(stack, recorder, student)
        if needs.rois:
            _watch_rois(stack, recorder, student)
        if needs.positives:
            recorder.record = stack.enter_context(positives.record_positives(student, roi_stages))
        yield recorder


def map_layers(detector: Any) -> list[str]:
    """The modules whose outputs are the maps: backbone, and neck where there is one."""
    return ["backbone", "neck"] if getattr(detector, "neck", None) is not None else ["backbone"]


def split(maps: dict[str, Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(neck maps, backbone maps) in fp32 of what `map_layers` gave; without a neck both are the backbone's."""
    floats = {name: tuple(m.float() for m in found) for name, found in maps.items()}
    backbone = floats.get("backbone", ())
    return floats.get("neck", backbone), backbone


def _watch_dense(stack: ExitStack, recorder: ForwardRecorder, student: Any) -> None:
    head = heads.dense_head(student)
    loss_by_feat = head.loss_by_feat

    def loss(cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:
        recorder.dense = dense_outputs(head, cls_scores, bbox_preds)
        return loss_by_feat(cls_scores, bbox_preds, *args, **kwargs)

    stack.enter_context(replace_method(head, "loss_by_feat", loss))


def dense_outputs(head: Any, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor]) -> DenseOutputs:
    """A dense head's outputs; FCOS's distances in strides whether it trains or not."""
    strides = heads.strides(head)
    deltas = [d.float() for d in bbox_preds]
    if getattr(head, "norm_on_bbox", False) and not head.training:
        deltas = [d / stride for d, stride in zip(deltas, strides, strict=True)]
    scores = tuple(s.float() for s in cls_scores)
    return DenseOutputs(scores, tuple(deltas), head.cls_out_channels, heads.dense_kind(head), strides)


def _watch_rois(stack: ExitStack, recorder: ForwardRecorder, student: Any) -> None:
    head, cascaded = heads.roi_head(student)
    bbox_loss = head.bbox_loss

    def loss(*args: Any, **kwargs: Any) -> Any:
        result = bbox_loss(*args, **kwargs)
        sampled = kwargs["sampling_results"] if "sampling_results" in kwargs else args[-1]
        bbox_head = head.bbox_head[args[0] if args else kwargs["stage"]] if cascaded else head.bbox_head
        recorder.rois = roi_outputs(bbox_head, result, sampled)  # of a cascade, the last stage stays
        return result

    stack.enter_context(replace_method(head, "bbox_loss", loss))


def roi_outputs(bbox_head: Any, result: dict[str, Any], sampled: Sequence[Any]) -> RoIOutputs:
    """Predictions of a second stage with the sampling they belong to (mmdet's `SamplingResult`s)."""
    device, background = result["cls_score"].device, bbox_head.num_classes
    rois, labels, gt = [], [], []
    for image, one in enumerate(sampled):
        priors = heads.plain(one.priors)[:, :4].detach().float()
        rois.append(torch.cat([priors.new_full((len(priors), 1), image), priors], dim=1))
        negatives = torch.full((len(one.neg_priors),), -1, dtype=torch.long, device=device)
        labels.append(torch.cat([one.pos_gt_labels, background + 1 + negatives]))
        gt.append(torch.cat([one.pos_assigned_gt_inds, negatives]))
    return RoIOutputs(
        torch.cat(rois), result["cls_score"].float(), result["bbox_pred"].float(), result["bbox_feats"].float(),
        torch.cat(labels), torch.cat(gt), bool(bbox_head.reg_class_agnostic),
    )  # fmt: skip

"""Record what a student computes during its `loss`: maps, head outputs, positives; no second forward pass.

    with record_forward(student, needs) as recorder:
        losses = student.loss(inputs, data_samples)
    recorder.outputs(), recorder.positives(batch)

Maps are recorded by forward hooks, head outputs by replacing methods of the head; both are removed at the end of the
block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from c2d.detectors import heads, hooks
from c2d.detectors.batch import Batch
from c2d.detectors.hooks import replace_method
from c2d.detectors.outputs import DenseOutputs, DetectorOutputs, Needs, RoIOutputs
from c2d.detectors.recording.head_towers import TowerRecorder, record_towers
from c2d.detectors.recording.positives import Positives, PositivesRecorder, RoIStages
from c2d.detectors.recording.query_outputs import QueryRecorder, record_queries
from c2d.detectors.recording.record_positives import record_positives


class ForwardRecorder:
    """Records of one `student.loss`; created by `record_forward`.

    Attributes:
        maps: module name -> maps, see `feature_layers`.
        dense: raw outputs of the dense head; None where no method needs them.
        rois: predictions of the second stage, of a cascade its last stage; None where no method needs them.
        query_recorder: decoder layers of a DETR-like student; None where no method needs them.
        positives_recorder: see `c2d.detectors.recording.record_positives`; None where no method needs positives.
        tower_recorder: see `c2d.detectors.recording.head_towers`; None where no method needs them.
    """

    def __init__(self) -> None:
        self.maps: dict[str, Any] = {}
        self.dense: DenseOutputs | None = None
        self.rois: RoIOutputs | None = None
        self.query_recorder: QueryRecorder | None = None
        self.positives_recorder: PositivesRecorder | None = None
        self.tower_recorder: TowerRecorder | None = None

    def positives(self, batch: Batch) -> list[Positives]:
        """Return the positives of the batch, one entry per recorded stage; an empty list where no method needs them."""
        return self.positives_recorder.positives(batch) if self.positives_recorder is not None else []

    def outputs(self) -> DetectorOutputs:
        """Return maps and head outputs in fp32, with the student's graph."""
        queries = self.query_recorder.outputs() if self.query_recorder is not None else None
        towers = self.tower_recorder.outputs() if self.tower_recorder is not None else None
        return DetectorOutputs(*split_maps(self.maps), self.dense, self.rois, queries=queries, towers=towers)


@contextmanager
def record_forward(student: Any, needs: Needs, roi_stages: RoIStages = "last") -> Iterator[ForwardRecorder]:
    """Record the outputs named by `needs` while the block runs.

    Args:
        student: an mmdet detector, outside any wrapper.
        needs: outputs to record.
        roi_stages: positives of a cascade or of a decoder: those of its last stage or layer, or of all.

    Raises:
        InputError: the head belongs to no supported family.
    """
    recorder = ForwardRecorder()
    with ExitStack() as stack:
        # For `proposals` the student's second stage runs again, on the teacher's RoIs and these maps.
        if needs.neck or needs.backbone or needs.proposals:
            recorder.maps = stack.enter_context(hooks.record_outputs(student, feature_layers(student)))
        if needs.dense:
            _record_dense(stack, recorder, student)
        if needs.towers:
            recorder.tower_recorder = stack.enter_context(record_towers(heads.dense_head(student)))
        if needs.rois:
            _record_rois(stack, recorder, student)
        if needs.queries:
            recorder.query_recorder = record_queries(stack, student)
        if needs.positives:
            recorder.positives_recorder = stack.enter_context(record_positives(student, roi_stages))
        yield recorder


def feature_layers(detector: Any) -> list[str]:
    """Return the modules whose outputs are the maps: backbone, and neck where there is one."""
    return ["backbone", "neck"] if getattr(detector, "neck", None) is not None else ["backbone"]


def split_maps(maps: dict[str, Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Split recorded maps into those of neck and backbone, in fp32; without a neck both are the backbone's.

    Args:
        maps: name of `feature_layers` -> maps (B, M, h, w), in the order of the modules.
    """
    # Methods compute in fp32, also where the student runs under autocast.
    floats = {name: tuple(level.float() for level in levels) for name, levels in maps.items()}
    backbone = floats.get("backbone", ())
    return floats.get("neck", backbone), backbone


def _record_dense(stack: ExitStack, recorder: ForwardRecorder, student: Any) -> None:
    head = heads.dense_head(student)
    loss_by_feat = head.loss_by_feat

    def loss(*outputs: Any, **kwargs: Any) -> Any:
        recorder.dense = read_dense_outputs(head, outputs)
        return loss_by_feat(*outputs, **kwargs)

    stack.enter_context(replace_method(head, "loss_by_feat", loss))


def read_dense_outputs(head: Any, outputs: Sequence[Any]) -> DenseOutputs:
    """Convert the outputs of a dense head to one convention.

    Distances of FCOS are in strides whether it trains or not. Scores are logits, also of TOOD, which returns
    probabilities, and of YOLOX, whose score is the product of class and objectness: its logit is taken, because class
    logits alone are trained at positives only.

    Args:
        head: an mmdet dense head.
        outputs: what it returns, the maps of each level: class scores (B, A * C, h, w), boxes (B, A * D, h, w), others.
    """
    family = heads.dense_kind(head)
    scores = [heads.as_logits(family, level).float() for level in outputs[0]]
    if family.objectness is not None:
        scores = [heads.joint_logits(*pair) for pair in zip(scores, outputs[family.objectness], strict=True)]
    # In eval mode VFNet returns its final boxes alone.
    boxes = outputs[family.boxes if head.training else 1]
    deltas = heads.raw_boxes(head, boxes)
    return DenseOutputs(
        tuple(scores), tuple(deltas), head.cls_out_channels, heads.logit_kind(head), heads.strides(head)
    )


def _record_rois(stack: ExitStack, recorder: ForwardRecorder, student: Any) -> None:
    head, cascaded = heads.roi_head(student)
    bbox_loss = head.bbox_loss

    def loss(*args: Any, **kwargs: Any) -> Any:
        result = bbox_loss(*args, **kwargs)
        # StandardRoIHead.bbox_loss(neck, sampling_results), CascadeRoIHead.bbox_loss(stage, neck, sampling_results)
        sampled = kwargs["sampling_results"] if "sampling_results" in kwargs else args[-1]
        bbox_head = head.bbox_head[args[0] if args else kwargs["stage"]] if cascaded else head.bbox_head
        recorder.rois = read_roi_outputs(bbox_head, result, sampled)  # overwritten by later stages of a cascade
        return result

    stack.enter_context(replace_method(head, "bbox_loss", loss))


def read_roi_outputs(bbox_head: Any, result: dict[str, Any], sampled: Sequence[Any]) -> RoIOutputs:
    """Convert the predictions of a second stage.

    Args:
        bbox_head: an mmdet `BBoxHead`.
        result: of its `bbox_loss` or `_bbox_forward`.
        sampled: mmdet's `SamplingResult` of each image.
    """
    device, background = result["cls_score"].device, bbox_head.num_classes
    rois, labels, gt = [], [], []
    for image, one in enumerate(sampled):
        priors = heads.box_tensor(one.priors)[:, :4].detach().float()
        rois.append(torch.cat([priors.new_full((len(priors), 1), image), priors], dim=1))
        negatives = torch.full((len(one.neg_priors),), -1, dtype=torch.long, device=device)
        # `negatives` is -1 throughout: the background label is num_classes, the index of no ground truth is -1.
        labels.append(torch.cat([one.pos_gt_labels, background + 1 + negatives]))
        gt.append(torch.cat([one.pos_assigned_gt_inds, negatives]))
    return RoIOutputs(
        torch.cat(rois), result["cls_score"].float(), result["bbox_pred"].float(), result["bbox_feats"].float(),
        torch.cat(labels), torch.cat(gt), bool(bbox_head.reg_class_agnostic),
    )  # fmt: skip

"""Second stages on given RoIs: the teacher on the student's RoIs, and both on the teacher's proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.batch import Batch
from c2d.detectors.outputs import RoIOutputs
from c2d.detectors.recording.record_forward import read_roi_outputs

Maps = tuple[Tensor, ...]


def check_roi_stages(method: str, student: Any, teacher: Any, num_classes: int) -> None:
    """Check that both detectors have a second stage that can be read, for the same number of classes.

    Args:
        method: name for messages.
        student: an mmdet detector.
        teacher: a `DetectorTeacher`.
        num_classes: of the student.

    Raises:
        InputError: one of them has no such stage, or the classes differ in number.
    """
    for who, detector in (("student", student), ("teacher", teacher.network)):
        try:
            head, cascaded = heads.roi_head(detector)
            for one in head.bbox_head if cascaded else [head.bbox_head]:
                heads.check_box_head(one)
        except InputError as error:
            raise InputError(f"{method} compares second stages; {who}: {error}") from None
    if teacher.num_classes != num_classes:
        raise InputError(
            f"{method} compares class logits; the teacher has {teacher.num_classes} classes, the student "
            f"{num_classes}: choose a teacher trained on the student's classes, in the same order"
        )


def extractor_levels(method: str, detector: Any, strides: Sequence[int]) -> tuple[float, list[int]]:
    """Return the level assignment of a `SingleRoIExtractor`, which pools each RoI from one level.

    Of a cascade, that of the last stage.

    Args:
        method: name for messages.
        detector: an mmdet detector with a second stage.
        strides: px per cell of the levels that the method uses.

    Returns:
        Its finest scale in px, and the index of each of its levels in `strides`.

    Raises:
        InputError: the extractor is of another kind, or one of its levels is not in `strides`.
    """
    head, cascaded = heads.roi_head(detector)
    one = head.bbox_roi_extractor[-1] if cascaded else head.bbox_roi_extractor
    if not hasattr(one, "finest_scale"):
        raise InputError(
            f"{method} needs the level that each RoI is pooled from, and {type(one).__name__} has none; choose a "
            "student with a SingleRoIExtractor"
        )
    pooled = list(one.featmap_strides)
    if not set(pooled) <= set(strides):
        raise InputError(
            f"{method} weighs RoIs on the levels they are pooled from, strides {pooled}, but uses {list(strides)}; "
            f"set method.{method}.levels to null, or choose a teacher whose pyramid has these strides"
        )
    return float(one.finest_scale), [list(strides).index(stride) for stride in pooled]


def roi_levels(boxes: Tensor, finest: float, levels: int) -> Tensor:
    """Return the level (N,) long that a `SingleRoIExtractor` pools boxes from.

    Args:
        boxes: (N, 4) xyxy, px of the batch tensor.
        finest: its finest scale in px.
        levels: number of its levels.
    """
    size = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    # The rule of mmdet's `SingleRoIExtractor.map_roi_levels`.
    return torch.log2(size / finest + 1e-6).floor().clamp(0, levels - 1).long()


def forward_roi_head(detector: Any, neck: Maps, rois: Tensor) -> tuple[Any, dict[str, Any]]:
    """Run the second stage, of a cascade its last stage.

    Args:
        detector: an mmdet detector with a second stage.
        neck: its maps (B, M, h, w), in its own order.
        rois: (R, 5): index of the image, then xyxy in px of the batch tensor.

    Returns:
        The box head, and its outputs as mmdet names them (cls_score, bbox_pred, bbox_feats).
    """
    # Not `loss` of the RoI head, which takes the boxes out of the proposals that it is given.
    head, cascaded = heads.roi_head(detector)
    if cascaded:
        stage = head.num_stages - 1
        return head.bbox_head[stage], head._bbox_forward(stage, neck, rois)
    return head.bbox_head, head._bbox_forward(neck, rois)


@torch.no_grad()
def predict_same_rois(teacher: Any, neck: Maps, student: RoIOutputs) -> RoIOutputs:
    """Predict with the teacher on the RoIs that the student sampled; row k is the same RoI for both.

    Args:
        teacher: an mmdet detector with a second stage.
        neck: its maps (B, M, h, w), in its own order.
        student: RoIs (R, 5) and predictions of the student.
    """
    bbox_head, result = forward_roi_head(teacher, neck, student.rois)
    return RoIOutputs(
        student.rois, result["cls_score"].float(), result["bbox_pred"].float(), result["bbox_feats"].float(),
        student.labels, student.gt, bool(bbox_head.reg_class_agnostic),
    )  # fmt: skip


def predict_on_proposals(teacher: Any, teacher_neck: Maps, student: Any, student_neck: Maps, batch: Batch,
                         samples: Sequence[Any],
                         generator: torch.Generator) -> tuple[RoIOutputs, RoIOutputs]:  # fmt: skip
    """Predict on RoIs sampled from the teacher's proposals by the student's own assigner and sampler.

    Labels and positives are those of this sampling.

    Args:
        teacher, student: mmdet detectors with a second stage.
        teacher_neck, student_neck: their maps (B, M, h, w), in its own order.
        batch: the training batch.
        samples: its mmdet data samples.
        generator: source of the sampler's random numbers, so that the student's own stream does not change.

    Returns:
        Predictions of the student and of the teacher, for the same RoIs (R, 5).
    """
    with torch.no_grad():
        sampled = _sample(teacher, teacher_neck, student, student_neck, batch, samples, generator)
        teacher_head, by_teacher = forward_roi_head(teacher, teacher_neck, _stack_rois(sampled))
    # With a graph: proposals are constants, the student's maps and head are trained.
    student_head, by_student = forward_roi_head(student, student_neck, _stack_rois(sampled))
    return read_roi_outputs(student_head, by_student, sampled), read_roi_outputs(teacher_head, by_teacher, sampled)


def _sample(teacher: Any, teacher_neck: Maps, student: Any, student_neck: Maps, batch: Batch,
            samples: Sequence[Any], generator: torch.Generator) -> list[Any]:  # fmt: skip
    from mmengine.structures import InstanceData

    metas = [sample.metainfo for sample in samples]
    # As `TwoStageDetector.loss` chooses it for the student's own proposals.
    proposal_cfg = student.train_cfg.get("rpn_proposal", student.test_cfg.rpn)
    raw = teacher.rpn_head(teacher_neck)
    proposed = teacher.rpn_head.predict_by_feat(*raw, batch_img_metas=metas, cfg=proposal_cfg)
    head, cascaded = heads.roi_head(student)
    assigner, sampler = (
        (head.bbox_assigner[-1], head.bbox_sampler[-1]) if cascaded else (head.bbox_assigner, head.bbox_sampler)
    )
    # The sampler draws from torch's global generators: fork them and seed the fork from `generator`.
    device = batch.images.device
    devices = [device] if device.type == "cuda" else []
    sampled = []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for i, (proposals, sample) in enumerate(zip(proposed, samples, strict=True)):
            priors = InstanceData(priors=heads.box_tensor(proposals.bboxes), scores=proposals.scores)
            truth = InstanceData(bboxes=batch.boxes[i], labels=batch.labels[i])
            ignored = getattr(sample, "ignored_instances", None)
            if ignored is not None and "bboxes" in ignored:
                ignored = InstanceData(bboxes=heads.box_tensor(ignored.bboxes))
            feats = [level[i][None] for level in student_neck]
            sampled.append(sampler.sample(assigner.assign(priors, truth, ignored), priors, truth, feats=feats))
    return sampled


def _stack_rois(sampled: Sequence[Any]) -> Tensor:
    from mmdet.structures.bbox import bbox2roi

    rois: Tensor = bbox2roi([heads.box_tensor(one.priors) for one in sampled])
    return rois.float()

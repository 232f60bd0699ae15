"""Second stages on RoIs that somebody else chose: the teacher on the student's, and both on the teacher's proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.batch import Batch
from c2d.detectors.outputs import RoIOutputs
from c2d.detectors.recording import roi_outputs

Maps = tuple[Tensor, ...]


def check(method: str, student: Any, teacher: Any, num_classes: int) -> None:
    """Both detectors need a second stage that can be read, for the same classes. `teacher`: a `DetectorTeacher`.

    Raises:
        InputError: one of them has none, or the classes differ in number.
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
            f"{method} compares class logits; the teacher knows {teacher.num_classes} classes, the student "
            f"{num_classes}: choose a teacher trained on the student's classes, in the same order"
        )


def extractor(method: str, detector: Any, strides: Sequence[int]) -> tuple[float, list[int]]:
    """(finest scale, place of each of its levels in `strides`) of an RoI extractor that takes each RoI from one level.

    Of a cascade, the last stage's.

    Raises:
        InputError: it is of another kind, or a level is not in `strides`.
    """
    head, cascaded = heads.roi_head(detector)
    one = head.bbox_roi_extractor[-1] if cascaded else head.bbox_roi_extractor
    if not hasattr(one, "finest_scale"):
        raise InputError(
            f"{method} has to know which level an RoI is taken from, and {type(one).__name__} does not say; choose a "
            "student with a SingleRoIExtractor"
        )
    read = list(one.featmap_strides)
    if not set(read) <= set(strides):
        raise InputError(
            f"{method} judges RoIs on the levels they are taken from, strides {read}, but looks at {list(strides)}; "
            f"set method.{method}.levels to null, or choose a teacher whose pyramid has these strides"
        )
    return float(one.finest_scale), [list(strides).index(stride) for stride in read]


def level_of(boxes: Tensor, finest: float, levels: int) -> Tensor:
    """Level (N,) that such an extractor takes boxes (N, 4) from."""
    size = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    return torch.log2(size / finest + 1e-6).floor().clamp(0, levels - 1).long()


def forward(detector: Any, neck: Maps, rois: Tensor) -> tuple[Any, dict[str, Any]]:
    """(box head, its outputs) for RoIs (R, 5); of a cascade the last stage."""
    head, cascaded = heads.roi_head(detector)
    if cascaded:
        stage = head.num_stages - 1
        return head.bbox_head[stage], head._bbox_forward(stage, neck, rois)
    return head.bbox_head, head._bbox_forward(neck, rois)


@torch.no_grad()
def same_rois(teacher: Any, neck: Maps, student: RoIOutputs) -> RoIOutputs:
    """The teacher's predictions for the RoIs that the student sampled; row k is the same RoI for both."""
    bbox_head, result = forward(teacher, neck, student.rois)
    return RoIOutputs(
        student.rois, result["cls_score"].float(), result["bbox_pred"].float(), result["bbox_feats"].float(),
        student.labels, student.gt, bool(bbox_head.reg_class_agnostic),
    )  # fmt: skip


def on_proposals(teacher: Any, teacher_neck: Maps, student: Any, student_neck: Maps, batch: Batch,
                 samples: Sequence[Any], generator: torch.Generator) -> tuple[RoIOutputs, RoIOutputs]:  # fmt: skip
    """(student, teacher) on RoIs sampled from the teacher's proposals by the student's own assigner and sampler.

    Labels and positives are those of this sampling. The sampler's random numbers come from `generator`, so they do not
    disturb the student's.
    """
    with torch.no_grad():
        sampled = _sample(teacher, teacher_neck, student, student_neck, batch, samples, generator)
        teacher_head, by_teacher = forward(teacher, teacher_neck, _rois(sampled))
    student_head, by_student = forward(student, student_neck, _rois(sampled))
    return roi_outputs(student_head, by_student, sampled), roi_outputs(teacher_head, by_teacher, sampled)


def _sample(teacher: Any, teacher_neck: Maps, student: Any, student_neck: Maps, batch: Batch,
            samples: Sequence[Any], generator: torch.Generator) -> list[Any]:  # fmt: skip
    from mmengine.structures import InstanceData

    metas = [sample.metainfo for sample in samples]
    proposal_cfg = student.train_cfg.get("rpn_proposal", student.test_cfg.rpn)
    found = teacher.rpn_head.predict_by_feat(*teacher.rpn_head(teacher_neck), batch_img_metas=metas, cfg=proposal_cfg)
    head, cascaded = heads.roi_head(student)
    assigner, sampler = (
        (head.bbox_assigner[-1], head.bbox_sampler[-1]) if cascaded else (head.bbox_assigner, head.bbox_sampler)
    )
    device = batch.images.device
    devices = [device] if device.type == "cuda" else []
    sampled = []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for i, (proposals, sample) in enumerate(zip(found, samples, strict=True)):
            priors = InstanceData(priors=heads.plain(proposals.bboxes), scores=proposals.scores)
            truth = InstanceData(bboxes=batch.boxes[i], labels=batch.labels[i])
            ignored = getattr(sample, "ignored_instances", None)
            if ignored is not None and "bboxes" in ignored:
                ignored = InstanceData(bboxes=heads.plain(ignored.bboxes))
            feats = [level[i][None] for level in student_neck]
            sampled.append(sampler.sample(assigner.assign(priors, truth, ignored), priors, truth, feats=feats))
    return sampled


def _rois(sampled: Sequence[Any]) -> Tensor:
    from mmdet.structures.bbox import bbox2roi

    rois: Tensor = bbox2roi([heads.plain(one.priors) for one in sampled])
    return rois.float()

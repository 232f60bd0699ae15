"""The family of every head of mmdet, told by what it does, and refusals before a first batch."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors import families, heads
from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.compat import prepare
from c2d.detectors.normalization import Normalization
from c2d.detectors.recording.layout import probe_layout
from c2d.detectors.recording.record_positives import record_positives
from c2d.distillation.build_methods import build_distillation
from c2d.distillation.wrapper import TeacherSet
from c2d.specs.catalog import method_catalog
from c2d.specs.method_schema import resolve_method
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors
from tests.c2d.tiny_teacher import TinyTeacher

prepare()

import mmdet.models  # noqa: E402
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead  # noqa: E402
from mmdet.models.roi_heads.base_roi_head import BaseRoIHead  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures.bbox import bbox_overlaps  # noqa: E402

# Heads whose targets and losses are those of a family, among all heads that mmdet registers.
DENSE = {
    "SSDHead": "ssd",
    "AnchorHead": "retinanet",
    "RetinaHead": "retinanet",
    "RetinaSepBNHead": "retinanet",
    "ATSSHead": "atss",
    "GFLHead": "gfl",
    "FCOSHead": "fcos",
    "NASFCOSHead": "fcos",
    "RTMDetHead": "rtmdet",
    "RTMDetSepBNHead": "rtmdet",
    "YOLOXHead": "yolox",
    "YOLOFHead": "yolof",
    "PAAHead": "paa",
    "TOODHead": "tood",
    "VFNetHead": "vfnet",
    "CenterNetUpdateHead": "centernet-update",
}
ROI = {
    "StandardRoIHead": "faster-rcnn",
    "DoubleHeadRoIHead": "faster-rcnn",
    "MaskScoringRoIHead": "faster-rcnn",
    "PointRendRoIHead": "faster-rcnn",
    "TridentRoIHead": "faster-rcnn",  # the detector around it is refused, it repeats each image
    "CascadeRoIHead": "cascade-rcnn",
    "SparseRoIHead": "sparse-rcnn",
}
QUERY = {
    "DETRHead": "detr",
    "ConditionalDETRHead": "conditional-detr",
    "DABDETRHead": "dab-detr",
    "DeformableDETRHead": "deformable-detr",
    "DINOHead": "dino",
    "DDQDETRHead": "ddq-detr",
}

# Each combination of detector, head and RPN in mmdet's configs, with its family or the name it is refused by.
DETECTORS = [
    ("RetinaNet", "RetinaHead", None, "retinanet"),
    ("RetinaNet", "RetinaSepBNHead", None, "retinanet"),
    ("RetinaNet", "FreeAnchorRetinaHead", None, "RetinaNet with FreeAnchorRetinaHead"),
    ("RetinaNet", "GARetinaHead", None, "RetinaNet with GARetinaHead"),
    ("RetinaNet", "PISARetinaHead", None, "RetinaNet with PISARetinaHead"),
    ("RetinaNet", "SABLRetinaHead", None, "RetinaNet with SABLRetinaHead"),
    ("SingleStageDetector", "SSDHead", None, "ssd"),
    ("SingleStageDetector", "PISASSDHead", None, "SingleStageDetector with PISASSDHead"),
    ("FCOS", "FCOSHead", None, "fcos"),
    ("NASFCOS", "FCOSHead", None, "fcos"),
    ("NASFCOS", "NASFCOSHead", None, "fcos"),
    ("GFL", "GFLHead", None, "gfl"),
    ("ATSS", "ATSSHead", None, "atss"),
    ("RTMDet", "RTMDetHead", None, "rtmdet"),
    ("RTMDet", "RTMDetSepBNHead", None, "rtmdet"),
    ("RTMDet", "RTMDetInsSepBNHead", None, "RTMDet"),
    ("TOOD", "TOODHead", None, "tood"),
    ("VFNet", "VFNetHead", None, "vfnet"),
    ("PAA", "PAAHead", None, "paa"),
    ("LAD", "LADHead", None, "LAD"),
    ("DDOD", "DDODHead", None, "DDOD"),
    ("AutoAssign", "AutoAssignHead", None, "AutoAssign"),
    ("FSAF", "FSAFHead", None, "FSAF"),
    ("FOVEA", "FoveaHead", None, "FOVEA"),
    ("YOLOF", "YOLOFHead", None, "yolof"),
    ("YOLOV3", "YOLOV3Head", None, "YOLOV3"),
    ("YOLOX", "YOLOXHead", None, "yolox"),
    ("YOLACT", "YOLACTHead", None, "YOLACT"),
    ("CondInst", "CondInstBboxHead", None, "CondInst"),
    ("BoxInst", "BoxInstBboxHead", None, "BoxInst"),
    ("CenterNet", "CenterNetHead", None, "CenterNet"),
    ("CenterNet", "CenterNetUpdateHead", None, "centernet-update"),
    ("CornerNet", "CornerHead", None, "CornerNet"),
    ("CornerNet", "CentripetalHead", None, "CornerNet with CentripetalHead"),
    ("RepPointsDetector", "RepPointsHead", None, "RepPointsDetector"),
    ("DETR", "DETRHead", None, "detr"),
    ("ConditionalDETR", "ConditionalDETRHead", None, "conditional-detr"),
    ("DABDETR", "DABDETRHead", None, "dab-detr"),
    ("DeformableDETR", "DeformableDETRHead", None, "deformable-detr"),
    ("DDQDETR", "DDQDETRHead", None, "ddq-detr"),
    ("DINO", "DINOHead", None, "dino"),
    ("GroundingDINO", "GroundingDINOHead", None, "GroundingDINO"),
    ("GLIP", "ATSSVLFusionHead", None, "GLIP with ATSSVLFusionHead"),
    ("KnowledgeDistillationSingleStageDetector", "LDHead", None,
     "KnowledgeDistillationSingleStageDetector with LDHead"),
    ("FasterRCNN", "StandardRoIHead", "RPNHead", "faster-rcnn"),
    ("FasterRCNN", "DoubleHeadRoIHead", "RPNHead", "faster-rcnn"),
    ("FasterRCNN", "DynamicRoIHead", "RPNHead", "FasterRCNN with DynamicRoIHead"),
    ("FasterRCNN", "PISARoIHead", "RPNHead", "FasterRCNN with PISARoIHead"),
    ("MaskRCNN", "StandardRoIHead", "RPNHead", "faster-rcnn"),
    ("MaskScoringRCNN", "MaskScoringRoIHead", "RPNHead", "faster-rcnn"),
    ("PointRend", "PointRendRoIHead", "RPNHead", "faster-rcnn"),
    ("FastRCNN", "StandardRoIHead", None, "FastRCNN with StandardRoIHead"),
    ("PanopticFPN", "StandardRoIHead", "RPNHead", "PanopticFPN with StandardRoIHead"),
    ("TridentFasterRCNN", "TridentRoIHead", "RPNHead", "TridentFasterRCNN"),
    ("CrowdDet", "MultiInstanceRoIHead", "RPNHead", "CrowdDet with MultiInstanceRoIHead"),
    ("GridRCNN", "GridRoIHead", "RPNHead", "GridRCNN"),
    ("CascadeRCNN", "CascadeRoIHead", "RPNHead", "cascade-rcnn"),
    ("HybridTaskCascade", "HybridTaskCascadeRoIHead", "RPNHead", "HybridTaskCascade"),
    ("SCNet", "SCNetRoIHead", "RPNHead", "SCNet"),
    ("QueryInst", "SparseRoIHead", "EmbeddingRPNHead", "sparse-rcnn"),
    ("SparseRCNN", "SparseRoIHead", "EmbeddingRPNHead", "sparse-rcnn"),
    ("RPN", None, "RPNHead", "RPN"),
]  # fmt: skip
# First stages, below, and heads that predict masks alone.
OTHER = {"GARPNHead", "CascadeRPNHead", "StageCascadeRPNHead", "RPNHead"}
OTHER |= {"MaskFormerHead", "Mask2FormerHead", "Mask2FormerTrackHead"}


def _registered(*parents: type) -> dict[str, type]:
    return {name: kind for name, kind in MODELS.module_dict.items() if issubclass(kind, parents)}


def test_every_head_of_mmdet() -> None:
    dense = _registered(BaseDenseHead)
    assert {name: families.dense_family(kind) for name, kind in dense.items() if families.dense_family(kind)} == DENSE
    roi = _registered(BaseRoIHead)
    assert {name: families.roi_family(kind) for name, kind in roi.items() if families.roi_family(kind)} == ROI
    every = [*dense.items(), *_registered(MODELS.get("DETRHead")).items()]
    assert {name: families.query_family(kind) for name, kind in every if families.query_family(kind)} == QUERY
    assert len(dense) > 40
    assert len(roi) > 10


def test_the_list_has_every_head_of_the_configs() -> None:
    """The heads that any of mmdet's config files names."""
    text = "\n".join(
        path.read_text() for path in (Path(mmdet.models.__file__).parents[1] / ".mim/configs").rglob("*.py")
    )
    named = set(re.findall(r"type='(\w+)'", text))
    kinds = _registered(BaseDenseHead, BaseRoIHead, MODELS.get("DETRHead"))
    assert named & set(kinds) <= {head for _, head, _, _ in DETECTORS} | OTHER


def _empty(kind: str) -> Any:
    """An instance that nothing has initialised but nn.Module: its class is what counts."""
    instance = MODELS.get(kind).__new__(MODELS.get(kind))
    nn.Module.__init__(instance)
    return instance


@pytest.mark.parametrize(("detector", "head", "rpn", "expected"), DETECTORS)
def test_every_detector_of_the_configs(detector: str, head: str | None, rpn: str | None, expected: str) -> None:
    built = _empty(detector)
    for part, kind in (("roi_head" if head and "RoI" in head else "bbox_head", head), ("rpn_head", rpn)):
        if kind is not None:
            setattr(built, part, _empty(kind))
    if head is not None and "RoI" in head:
        built.roi_head.bbox_head = _empty("DIIHead" if head == "SparseRoIHead" else "Shared2FCBBoxHead")
    family = families.detector_family(built)
    assert (family or families.detector_title(built)) == expected
    if family is None:
        with pytest.raises(InputError) as caught:
            heads.final_head(built)
        assert f"no positives can be read from {expected}: " in str(caught.value)
        assert families.SUPPORTED in str(caught.value)
        assert "\n" not in str(caught.value)
    else:
        assert heads.final_head(built)[0] is (built.roi_head if head and "RoI" in head else built.bbox_head)


@pytest.mark.parametrize("kind", ["SABLHead", "DIIHead", "MultiInstanceBBoxHead"])
def test_a_box_head_of_another_kind(kind: str) -> None:
    built = _empty("FasterRCNN")
    built.rpn_head, built.roi_head = _empty("RPNHead"), _empty("StandardRoIHead")
    built.roi_head.bbox_head = nn.ModuleList([_empty("Shared2FCBBoxHead"), _empty(kind)])
    with pytest.raises(InputError, match=f"its box head {kind} has its own"):
        heads.roi_head(built)


@pytest.mark.parametrize("kind", ["CascadeRPNHead", "GARPNHead", "EmbeddingRPNHead", "StageCascadeRPNHead"])
def test_an_rpn_of_another_kind(kind: str) -> None:
    built = _empty("FasterRCNN")
    built.rpn_head, built.roi_head = _empty(kind), _empty("StandardRoIHead")
    with pytest.raises(InputError, match=f"its RPN {kind} has its own"):
        heads.dense_head(built)


def test_a_subclass_that_keeps_losses_and_targets_is_of_the_family() -> None:
    class Mine(MODELS.get("ATSSHead")):  # type: ignore[misc]
        def _init_layers(self) -> None: ...

    class Other(MODELS.get("ATSSHead")):  # type: ignore[misc]
        def get_targets(self) -> None: ...

    assert families.dense_family(Mine) == "atss"
    assert families.dense_family(Other) is None


def test_a_double_head_is_read_as_a_faster_rcnn() -> None:
    """Its boxes come from other features, which its `_bbox_forward` computes; RoIs, targets and losses are the same."""
    config = tiny_detectors.config("faster")
    config.roi_head.type, config.roi_head.reg_roi_scale_factor = "DoubleHeadRoIHead", 1.3
    # Two classes of features: fully connected ones for the classes, convolutions for the boxes.
    box_head = {**config.roi_head.bbox_head, "type": "DoubleConvFCBBoxHead", "num_convs": 1, "num_fcs": 1}
    config.roi_head.bbox_head = {**box_head, "conv_out_channels": 16, "fc_out_channels": 16}
    student = MODELS.build(config).train()
    assert probe_layout(student).detector == "faster-rcnn"
    inputs, samples = tiny_detectors.sample(2, 96, [3, 2])
    torch.manual_seed(7)
    plain = student.loss(inputs, copy.deepcopy(samples))
    torch.manual_seed(7)
    with record_positives(student) as seen:
        recorded = student.loss(inputs, copy.deepcopy(samples))
    assert torch.equal(plain["loss_cls"], recorded["loss_cls"])
    assert torch.equal(plain["loss_bbox"], recorded["loss_bbox"])
    pixels = Normalization.from_preprocessor(student.data_preprocessor)
    (found,) = seen.positives(batch_from_mmdet(inputs, samples, pixels, 3))
    # Random weights move a box little: the prediction of a positive overlaps the ground truth it is assigned to.
    truth = torch.stack([samples[i].gt_instances.bboxes[g] for i, g in zip(found.image, found.gt, strict=True)])
    assert found.logits.shape == (len(truth), 4)
    assert (bbox_overlaps(found.boxes, truth, is_aligned=True) > 0.2).all()


def test_a_vfnet_that_assigns_as_fcos_is_refused() -> None:
    config = tiny_detectors.config("vfnet", use_atss=False)
    with pytest.raises(InputError, match=r"from VFNet: it assigns its points as FCOS does \(use_atss: false\)"):
        heads.final_head(MODELS.build(config))


@pytest.mark.parametrize(
    ("detector", "head", "reason"),
    [
        ("DDOD", "DDODHead", "assigns its classes and its boxes to different anchors"),
        ("CenterNet", "CenterNetHead", "trains a size in one cell of each object, and its classes on a heat map"),
        ("CornerNet", "CornerHead", "predicts corners"),
        ("RTMDet", "RTMDetInsHead", "has its own loss_by_feat"),  # not: "unlike ATSSHead", from which it descends too
    ],
)
def test_the_reason_why_a_head_is_refused(detector: str, head: str, reason: str) -> None:
    built = _empty(detector)
    built.bbox_head = _empty(head)
    assert families.difference(built).startswith(f"its head {head} {reason}")


def _ddod() -> Any:
    config = tiny_detectors.config("atss", type="DDODHead", use_dcn=False, loss_iou=tiny_detectors.CENTERNESS)
    config.type = "DDOD"
    del config.bbox_head["loss_centerness"]
    assigner = {"type": "ATSSAssigner", "topk": 9, "alpha": 0.8}
    config.train_cfg.assigner, config.train_cfg.reg_assigner = assigner, {**assigner, "alpha": 0.5}
    return MODELS.build(config)


def test_a_run_is_refused_when_it_is_built() -> None:
    """Before its first batch, by the true name; methods that read no head teach it."""
    student = _ddod()
    assert probe_layout(student).detector == "DDOD"
    assert probe_layout(student).stages == "one-stage"
    with pytest.raises(InputError, match="fgfi does not teach DDOD students; it teaches ssd, retinanet"):
        _distil("fgfi", student, detector=DetectorTeacher(tiny_detectors.build("atss")))
    with pytest.raises(InputError, match="icod, student: no positives can be read from DDOD"):
        _distil("icod", student, classifier=TinyTeacher(size=112))
    assert _distil("cwd", student, detector=DetectorTeacher(tiny_detectors.build("atss")))


def _distil(method: str, student: Any, **teachers: Any) -> Any:
    spec: Any = SimpleNamespace(
        has_steps=True,
        training=SimpleNamespace(iterations=1000, batch=2),
        method=resolve_method([{method: {}}], method_catalog()),
        seed=0,
    )
    return build_distillation(spec, student, TeacherSet(**teachers), 3)

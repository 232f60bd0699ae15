"""One small mmdet detector of each head family, and a seeded batch for them, on CPU in milliseconds.

`build("atss")` gives a detector in training mode with a seeded initialisation; `sample(2, 96, 3, seed=0)` gives the
normalised batch tensor and the data samples that `detector.loss(inputs, data_samples)` takes. Predictions are left at
torch's default initialisation instead of the heads' own (near-constant) one, so that boxes and scores differ.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from c2d.detectors.compat import prepare
from c2d.detectors.outputs import DenseOutputs

prepare()

from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

register_all_modules(init_default_scope=True)

NUM_CLASSES = 3
NAMES = ("ssd", "retinanet", "atss", "gfl", "fcos", "faster", "cascade")
"""The first families whose heads were read."""
NEWER = ("rtmdet", "yolox", "yolof", "paa", "tood", "vfnet", "centernet-update")
"""Single-stage families that came later; `yolov3` can be built too, and is read by nothing."""

PREPROCESSOR = {
    "type": "DetDataPreprocessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
    "pad_size_divisor": 1,
}
FOCAL = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0}
CENTERNESS = {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0}
NORM = {"type": "GN", "num_groups": 4, "requires_grad": True}
TOWER = {"num_classes": NUM_CLASSES, "in_channels": 16, "stacked_convs": 1, "feat_channels": 16}
STRIDES = [4, 8, 16]
DELTA = {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [0.1, 0.1, 0.2, 0.2]}
OCTAVE = {
    "type": "AnchorGenerator",
    "ratios": [1.0],
    "octave_base_scale": 4,
    "scales_per_octave": 1,
    "strides": STRIDES,
}


def _backbone(out_indices: Sequence[int]) -> dict[str, Any]:
    return {
        "type": "ResNet",
        "depth": 18,
        "num_stages": 4,
        "base_channels": 8,
        "stem_channels": 8,
        "out_indices": tuple(out_indices),
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": True,
        "style": "pytorch",
    }


def _single_stage(kind: str, head: dict[str, Any], train_cfg: dict[str, Any], fpn: bool = True) -> dict[str, Any]:
    neck = {"type": "FPN", "in_channels": [8, 16, 32], "out_channels": 16, "num_outs": 3}
    return {
        "type": kind,
        "data_preprocessor": PREPROCESSOR,
        "backbone": _backbone((0, 1, 2)),
        "neck": neck if fpn else None,
        "bbox_head": head,
        "train_cfg": {"allowed_border": -1, "pos_weight": -1, "debug": False, **train_cfg},
        "test_cfg": {
            "nms_pre": 100,
            "min_bbox_size": 0,
            "score_thr": 0.0,
            "nms": {"type": "nms", "iou_threshold": 0.6},
            "max_per_img": 50,
        },
    }


def _max_iou(pos: float, neg: float, minimum: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": pos,
        "neg_iou_thr": neg,
        "min_pos_iou": minimum,
        "ignore_iof_thr": -1,
        **more,
    }


def _ssd() -> dict[str, Any]:
    head = {
        "type": "SSDHead",
        "in_channels": [8, 16, 32],
        "num_classes": NUM_CLASSES,
        "anchor_generator": {
            "type": "SSDAnchorGenerator",
            "scale_major": False,
            "strides": STRIDES,
            "ratios": [[2], [2, 3], [2, 3]],
            "min_sizes": [12, 24, 48],
            "max_sizes": [24, 48, 80],
        },
        "bbox_coder": DELTA,
    }
    assigner = _max_iou(0.5, 0.5, gt_max_assign_all=False)
    train = {"assigner": assigner, "sampler": {"type": "PseudoSampler"}, "smoothl1_beta": 1.0, "neg_pos_ratio": 3}
    return _single_stage("SingleStageDetector", head, train, fpn=False)


def _retinanet() -> dict[str, Any]:
    anchors = {**OCTAVE, "ratios": [0.5, 1.0, 2.0]}
    head = {"type": "RetinaHead", **TOWER, "anchor_generator": anchors, "bbox_coder": DELTA, "loss_cls": FOCAL,
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0}}  # fmt: skip
    return _single_stage("RetinaNet", head, {"assigner": _max_iou(0.5, 0.4), "sampler": {"type": "PseudoSampler"}})


def _atss() -> dict[str, Any]:
    head = {"type": "ATSSHead", **TOWER, "norm_cfg": NORM, "anchor_generator": {**OCTAVE, "octave_base_scale": 8},
            "bbox_coder": DELTA, "loss_cls": FOCAL, "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
            "loss_centerness": CENTERNESS}  # fmt: skip
    return _single_stage("ATSS", head, {"assigner": {"type": "ATSSAssigner", "topk": 9}})


def _gfl() -> dict[str, Any]:
    head = {"type": "GFLHead", **TOWER, "norm_cfg": NORM, "reg_max": 8,
            "anchor_generator": {**OCTAVE, "octave_base_scale": 8},
            "loss_cls": {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
            "loss_dfl": {"type": "DistributionFocalLoss", "loss_weight": 0.25},
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0}}  # fmt: skip
    return _single_stage("GFL", head, {"assigner": {"type": "ATSSAssigner", "topk": 9}})


def _fcos() -> dict[str, Any]:
    head = {"type": "FCOSHead", **TOWER, "norm_cfg": NORM, "strides": STRIDES,
            "regress_ranges": ((-1, 16), (16, 32), (32, 1e8)), "loss_cls": FOCAL,
            "loss_bbox": {"type": "IoULoss", "loss_weight": 1.0}, "loss_centerness": CENTERNESS}  # fmt: skip
    return _single_stage("FCOS", head, {})


def _rpn() -> dict[str, Any]:
    return {
        "type": "RPNHead",
        "in_channels": 16,
        "feat_channels": 16,
        "anchor_generator": {"type": "AnchorGenerator", "scales": [4], "ratios": [0.5, 1.0, 2.0], "strides": STRIDES},
        "bbox_coder": {**DELTA, "target_stds": [1.0] * 4},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }


def _box_head(stds: Sequence[float], agnostic: bool) -> dict[str, Any]:
    return {
        "type": "Shared2FCBBoxHead",
        "in_channels": 16,
        "fc_out_channels": 16,
        "roi_feat_size": 7,
        "num_classes": NUM_CLASSES,
        "bbox_coder": {**DELTA, "target_stds": list(stds)},
        "reg_class_agnostic": agnostic,
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        "loss_bbox": {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.0},
    }


def _rcnn_train(threshold: float) -> dict[str, Any]:
    sampler = {"type": "RandomSampler", "num": 48, "pos_fraction": 0.5, "neg_pos_ub": -1, "add_gt_as_proposals": True}
    assigner = _max_iou(threshold, threshold, threshold, match_low_quality=False)
    return {"assigner": assigner, "sampler": sampler, "pos_weight": -1, "debug": False}


def _two_stage(kind: str, roi_head: dict[str, Any], rcnn: Any) -> dict[str, Any]:
    sampler = {"type": "RandomSampler", "num": 32, "pos_fraction": 0.5, "neg_pos_ub": -1, "add_gt_as_proposals": False}
    proposals = {"nms_pre": 600, "max_per_img": 300, "nms": {"type": "nms", "iou_threshold": 0.9}, "min_bbox_size": 0}
    roi_head = {
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0},
            "out_channels": 16,
            "featmap_strides": STRIDES,
            "finest_scale": 16,
        },
        **roi_head,
    }
    return {
        "type": kind,
        "data_preprocessor": PREPROCESSOR,
        "backbone": _backbone((0, 1, 2)),
        "neck": {"type": "FPN", "in_channels": [8, 16, 32], "out_channels": 16, "num_outs": 3},
        "rpn_head": _rpn(),
        "roi_head": roi_head,
        "train_cfg": {
            "rpn": {"assigner": _max_iou(0.7, 0.3, 0.3), "sampler": sampler, "allowed_border": -1, "pos_weight": -1,
                    "debug": False},
            "rpn_proposal": proposals,
            "rcnn": rcnn,
        },
        "test_cfg": {
            "rpn": proposals,
            "rcnn": {"score_thr": 0.0, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 50},
        },
    }  # fmt: skip


def _faster() -> dict[str, Any]:
    head = {"type": "StandardRoIHead", "bbox_head": _box_head([0.1, 0.1, 0.2, 0.2], agnostic=False)}
    return _two_stage("FasterRCNN", head, _rcnn_train(0.5))


def _cascade() -> dict[str, Any]:
    stds = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
    head = {
        "type": "CascadeRoIHead",
        "num_stages": 3,
        "stage_loss_weights": [1, 0.5, 0.25],
        "bbox_head": [_box_head(s, agnostic=True) for s in stds],
    }
    return _two_stage("CascadeRCNN", head, [_rcnn_train(t) for t in (0.5, 0.5, 0.5)])


def _yolov3() -> dict[str, Any]:
    """Its neck returns the coarsest map first: strides 16, 8, 4."""
    widths, strides = [32, 16, 8], STRIDES[::-1]
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": True, "reduction": "sum"}
    head = {
        "type": "YOLOV3Head",
        "num_classes": NUM_CLASSES,
        "in_channels": widths,
        "out_channels": widths,
        "anchor_generator": {
            "type": "YOLOAnchorGenerator",
            "base_sizes": [[(4 * s, 4 * s)] for s in strides],
            "strides": strides,
        },
        "bbox_coder": {"type": "YOLOBBoxCoder"},
        "featmap_strides": strides,
        "loss_cls": loss,
        "loss_conf": loss,
        "loss_xy": loss,
        "loss_wh": {"type": "MSELoss", "reduction": "sum"},
    }
    config = _single_stage("YOLOV3", head, {"assigner": {
        "type": "GridAssigner", "pos_iou_thr": 0.5, "neg_iou_thr": 0.5, "min_pos_iou": 0}})  # fmt: skip
    config["neck"] = {"type": "YOLOV3Neck", "num_scales": 3, "in_channels": widths, "out_channels": widths}
    return config


BATCH_NORM = {"type": "BN", "momentum": 0.03, "eps": 0.001}
POINTS = {"type": "MlvlPointGenerator", "offset": 0, "strides": STRIDES}
QUALITY = {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0}
GIOU = {"type": "GIoULoss", "loss_weight": 2.0}


def _rtmdet() -> dict[str, Any]:
    head = {"type": "RTMDetSepBNHead", **TOWER, "anchor_generator": POINTS, "exp_on_reg": True, "norm_cfg": BATCH_NORM,
            "bbox_coder": {"type": "DistancePointBBoxCoder"}, "loss_cls": QUALITY, "loss_bbox": GIOU,
            "act_cfg": {"type": "SiLU"}}  # fmt: skip
    return _single_stage("RTMDet", head, {"assigner": {"type": "DynamicSoftLabelAssigner", "topk": 5}})


def _yolox() -> dict[str, Any]:
    binary = {"type": "CrossEntropyLoss", "use_sigmoid": True, "reduction": "sum", "loss_weight": 1.0}
    overlap = {"type": "IoULoss", "mode": "square", "eps": 1e-16, "reduction": "sum", "loss_weight": 5.0}
    head = {"type": "YOLOXHead", **TOWER, "strides": STRIDES, "norm_cfg": BATCH_NORM, "act_cfg": {"type": "SiLU"},
            "loss_cls": binary, "loss_bbox": overlap, "loss_obj": binary,
            "loss_l1": {"type": "L1Loss", "reduction": "sum", "loss_weight": 1.0}}  # fmt: skip
    config = _single_stage("YOLOX", head, {"assigner": {"type": "SimOTAAssigner", "center_radius": 2.5}})
    config["test_cfg"] = {"score_thr": 0.0, "nms": {"type": "nms", "iou_threshold": 0.65}}
    return config


def _yolof() -> dict[str, Any]:
    coder = {**DELTA, "target_stds": [1.0] * 4, "add_ctr_clamp": True, "ctr_clamp": 16}
    head = {
        "type": "YOLOFHead",
        "num_classes": NUM_CLASSES,
        "in_channels": 16,
        "num_cls_convs": 1,
        "num_reg_convs": 1,
        "reg_decoded_bbox": True,
        "bbox_coder": coder,
        "loss_cls": FOCAL,
        "loss_bbox": GIOU,
        "anchor_generator": {"type": "AnchorGenerator", "ratios": [1.0], "scales": [1, 2, 4], "strides": [16]},
    }
    assigner = {"type": "UniformAssigner", "pos_ignore_thr": 0.15, "neg_ignore_thr": 0.7}
    config = _single_stage("YOLOF", head, {"assigner": assigner})
    config["backbone"] = _backbone((2,))
    config["neck"] = {"type": "DilatedEncoder", "in_channels": 32, "out_channels": 16, "block_mid_channels": 8,
                      "num_residual_blocks": 1, "block_dilations": [2]}  # fmt: skip
    return config


def _paa() -> dict[str, Any]:
    head = {"type": "PAAHead", **TOWER, "norm_cfg": NORM, "anchor_generator": {**OCTAVE, "octave_base_scale": 8},
            "bbox_coder": DELTA, "reg_decoded_bbox": True, "loss_cls": FOCAL, "loss_bbox": GIOU,
            "loss_centerness": CENTERNESS}  # fmt: skip
    return _single_stage("PAA", head, {"assigner": _max_iou(0.1, 0.1)})


def _tood() -> dict[str, Any]:
    head = {"type": "TOODHead", **TOWER, "stacked_convs": 2, "norm_cfg": NORM, "num_dcn": 1,
            "anchor_generator": {**OCTAVE, "octave_base_scale": 8}, "bbox_coder": DELTA,
            "initial_loss_cls": {**FOCAL, "activated": True}, "loss_cls": {**QUALITY, "activated": True},
            "loss_bbox": GIOU}  # fmt: skip
    train = {"initial_epoch": 0, "initial_assigner": {"type": "ATSSAssigner", "topk": 9}, "alpha": 1, "beta": 6,
             "assigner": {"type": "TaskAlignedAssigner", "topk": 5}}  # fmt: skip
    return _single_stage("TOOD", head, train)


def _vfnet() -> dict[str, Any]:
    head = {"type": "VFNetHead", **TOWER, "norm_cfg": NORM, "strides": STRIDES,
            "regress_ranges": ((-1, 16), (16, 32), (32, 1e8)), "loss_bbox_refine": GIOU,
            "anchor_generator": {**OCTAVE, "octave_base_scale": 8, "center_offset": 0.0}}  # fmt: skip
    return _single_stage("VFNet", head, {"assigner": {"type": "ATSSAssigner", "topk": 9}})


def _centernet_update() -> dict[str, Any]:
    head = {"type": "CenterNetUpdateHead", **TOWER, "norm_cfg": NORM, "strides": STRIDES,
            "regress_ranges": ((0, 20), (16, 40), (32, 1e8)), "loss_bbox": GIOU}  # fmt: skip
    return _single_stage("CenterNet", head, {})


_CONFIGS = {
    "ssd": _ssd, "retinanet": _retinanet, "atss": _atss, "gfl": _gfl, "fcos": _fcos, "faster": _faster,
    "cascade": _cascade, "yolov3": _yolov3, "rtmdet": _rtmdet, "yolox": _yolox, "yolof": _yolof, "paa": _paa,
    "tood": _tood, "vfnet": _vfnet, "centernet-update": _centernet_update,
}  # fmt: skip


def config(name: str, **head: Any) -> ConfigDict:
    """The model config of one family; `head` entries replace entries of its (first) box head's config."""
    cfg = copy.deepcopy(_CONFIGS[name]())
    target = cfg["bbox_head"] if "bbox_head" in cfg else cfg["roi_head"]["bbox_head"]
    for one in target if isinstance(target, list) else [target]:
        one.update(copy.deepcopy(head))
    return ConfigDict(cfg)


def build(name: str, *, seed: int = 0, **head: Any) -> nn.Module:
    """A tiny detector in training mode.

    Args:
        name: one of `NAMES` or `NEWER`, or `yolov3`.
        seed: of its weights.
        head: replaces entries of its box head's config.
    """
    torch.manual_seed(seed)
    detector: nn.Module = MODELS.build(config(name, **head))
    return detector.train()


def sample(B: int, size: int | tuple[int, int], G: int | Sequence[int], seed: int = 0, *,
           pad: int = 0) -> tuple[Tensor, list[DetDataSample]]:  # fmt: skip
    """Inputs (B, 3, H, W), normalised, and B data samples with G ground-truth boxes each (or G[i] in image i).

    Boxes are xyxy in pixels of the batch tensor with sides between 12 px and half the image, labels in [0, 3), and a
    soft label each.
    The last `pad` rows and columns of every image are padding (zeros), and `img_shape` says so.
    """
    height, width = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.zeros(B, 3, height, width)
    h, w = height - pad, width - pad
    coarse = torch.randn(B, 3, max(h // 6, 1), max(w // 6, 1), generator=generator)
    inputs[:, :, :h, :w] = nn.functional.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)
    counts = [G] * B if isinstance(G, int) else list(G)
    samples = []
    for count in counts:
        limit = torch.tensor([w, h], dtype=torch.float32)
        side = 12 + torch.rand(count, 2, generator=generator) * (limit / 2 - 12)
        corner = torch.rand(count, 2, generator=generator) * (limit - side)
        instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], dim=1),
            labels=torch.randint(0, NUM_CLASSES, (count,), generator=generator),
        )
        odds = torch.rand(count, NUM_CLASSES, generator=torch.Generator().manual_seed(seed + len(samples)))
        instances.soft_labels = odds / odds.sum(dim=1, keepdim=True)
        data_sample = DetDataSample(gt_instances=instances, ignored_instances=InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)))  # fmt: skip
        data_sample.set_metainfo(
            {"img_shape": (h, w), "ori_shape": (h, w), "pad_shape": (height, width), "scale_factor": (1.0, 1.0),
             "batch_input_shape": (height, width)}
        )  # fmt: skip
        samples.append(data_sample)
    return inputs, samples


def flat_scores(dense: DenseOutputs) -> Tensor:
    """All logits of a dense head as one tensor (B, N, C): the literal form of `DenseOutputs.gather_scores`."""
    parts = [s.permute(0, 2, 3, 1).reshape(len(s), -1, dense.classes) for s in dense.scores]
    return torch.cat(parts, dim=1)

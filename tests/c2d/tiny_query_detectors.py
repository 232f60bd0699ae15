"""One small detector of each family that predicts for object queries: the DETR family and Sparse R-CNN.

`build("dino")` gives a detector in training mode with a seeded initialisation, on a CPU in milliseconds. Batches come
from `tiny_detectors.sample`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from tests.c2d import tiny_detectors

DETRS = ("detr", "conditional", "dab", "deformable", "deformable-two-stage", "dino", "ddq")
NAMES = (*DETRS, "sparse")
WIDTH = 16
QUERIES = 12
LAYERS = 2

FOCAL = {**tiny_detectors.FOCAL, "loss_weight": 2.0}
L1 = {"type": "L1Loss", "loss_weight": 5.0}
GIOU = {"type": "GIoULoss", "loss_weight": 2.0}


def _assigner(cost: str, box_format: str = "xywh") -> dict[str, Any]:
    costs = [
        {"type": cost, "weight": 2.0},
        {"type": "BBoxL1Cost", "weight": 5.0, "box_format": box_format},
        {"type": "IoUCost", "iou_mode": "giou", "weight": 2.0},
    ]
    return {"type": "HungarianAssigner", "match_costs": costs}


def _attention(width: int = WIDTH, **more: Any) -> dict[str, Any]:
    return {"embed_dims": width, "num_heads": 2, **more}


def _coder(feedforward: dict[str, Any] | None = None, width: int = WIDTH, **attention: Any) -> dict[str, Any]:
    ffn = {"embed_dims": width, "feedforward_channels": 32, "ffn_drop": 0.0, **(feedforward or {})}
    return {"num_layers": LAYERS, "layer_cfg": {**attention, "ffn_cfg": ffn}}


def _detector(kind: str, head: dict[str, Any], levels: int, cost: str, width: int = WIDTH,
              **parts: Any) -> dict[str, Any]:  # fmt: skip
    channels = [8, 16, 32][-levels:]
    mapper = {"type": "ChannelMapper", "in_channels": channels, "kernel_size": 1, "out_channels": width,
              "act_cfg": None, "norm_cfg": None, "num_outs": levels}  # fmt: skip
    return {
        "type": kind,
        "num_queries": QUERIES,
        "data_preprocessor": tiny_detectors.PREPROCESSOR,
        "backbone": tiny_detectors._backbone(range(3 - levels, 3)),
        "neck": mapper,
        "bbox_head": {"num_classes": tiny_detectors.NUM_CLASSES, "embed_dims": width, "loss_bbox": L1,
                      "loss_iou": GIOU, **head},
        "train_cfg": {"assigner": _assigner(cost)},
        "test_cfg": {"max_per_img": QUERIES},
        **parts,
    }  # fmt: skip


def _detr() -> dict[str, Any]:
    loss = {"type": "CrossEntropyLoss", "bg_cls_weight": 0.1, "use_sigmoid": False, "loss_weight": 1.0,
            "class_weight": 1.0}  # fmt: skip
    attention = _attention(dropout=0.0, batch_first=True)
    return _detector(
        "DETR", {"type": "DETRHead", "loss_cls": loss}, 1, "ClassificationCost",
        encoder=_coder(self_attn_cfg=attention),
        decoder={**_coder(self_attn_cfg=attention, cross_attn_cfg=attention), "return_intermediate": True},
        positional_encoding={"num_feats": WIDTH // 2, "normalize": True},
    )  # fmt: skip


def _conditional() -> dict[str, Any]:
    width = 256  # mmdet's sine embedding of the reference points has no other
    return _detector(
        "ConditionalDETR", {"type": "ConditionalDETRHead", "loss_cls": FOCAL}, 1, "FocalLossCost", width,
        encoder=_coder(width=width, self_attn_cfg=_attention(width, dropout=0.0, batch_first=True)),
        decoder={**_coder(width=width, self_attn_cfg=_attention(width, attn_drop=0.0, cross_attn=False),
                          cross_attn_cfg=_attention(width, attn_drop=0.0, cross_attn=True)),
                 "return_intermediate": True},
        positional_encoding={"num_feats": width // 2, "normalize": True},
    )  # fmt: skip


def _dab() -> dict[str, Any]:
    prelu = {"act_cfg": {"type": "PReLU"}}
    attention = _attention(attn_drop=0.0, proj_drop=0.0)
    decoder = _coder(prelu, self_attn_cfg={**attention, "cross_attn": False},
                     cross_attn_cfg={**attention, "cross_attn": True})  # fmt: skip
    return _detector(
        "DABDETR", {"type": "DABDETRHead", "loss_cls": FOCAL}, 1, "FocalLossCost",
        num_patterns=0, with_random_refpoints=False,
        encoder=_coder(prelu, self_attn_cfg=_attention(dropout=0.0, batch_first=True)),
        decoder={**decoder, "query_dim": 4, "query_scale_type": "cond_elewise", "with_modulated_hw_attn": True,
                 "return_intermediate": True},
        positional_encoding={"num_feats": WIDTH // 2, "temperature": 20, "normalize": True},
    )  # fmt: skip


def _deformable(kind: str = "DeformableDETR", head: str = "DeformableDETRHead", width: int = WIDTH,
                **parts: Any) -> dict[str, Any]:  # fmt: skip
    deformable = _attention(width, num_levels=2, num_points=2, dropout=0.0, batch_first=True)
    attention = _attention(width, dropout=0.0, batch_first=True)
    return _detector(
        kind, {"type": head, "loss_cls": FOCAL}, 2, "FocalLossCost", width,
        num_feature_levels=2,
        encoder=_coder(width=width, self_attn_cfg=deformable),
        decoder={**_coder(width=width, self_attn_cfg=attention, cross_attn_cfg=deformable),
                 "return_intermediate": True, "post_norm_cfg": None},
        positional_encoding={"num_feats": width // 2, "normalize": True, "offset": -0.5},
        **parts,
    )  # fmt: skip


def _deformable_two_stage() -> dict[str, Any]:
    # mmdet's embedding of the proposals has 4 * 128 numbers, whatever the width.
    return _deformable(width=256, with_box_refine=True, as_two_stage=True)


def _denoising(queries: int) -> dict[str, Any]:
    groups = {"dynamic": True, "num_groups": None, "num_dn_queries": queries}
    return {"label_noise_scale": 0.5, "box_noise_scale": 1.0, "group_cfg": groups}


def _dino() -> dict[str, Any]:
    return _deformable("DINO", "DINOHead", with_box_refine=True, as_two_stage=True, dn_cfg=_denoising(10))


def _ddq() -> dict[str, Any]:
    return _deformable("DDQDETR", "DDQDETRHead", with_box_refine=True, as_two_stage=True, dn_cfg=_denoising(10),
                       dense_topk_ratio=1.5, dqs_cfg={"type": "nms", "iou_threshold": 0.8})  # fmt: skip


def _sparse() -> dict[str, Any]:
    dynamic = {
        "type": "DynamicConv",
        "in_channels": WIDTH,
        "feat_channels": 8,
        "out_channels": WIDTH,
        "input_feat_shape": 7,
        "act_cfg": {"type": "ReLU", "inplace": True},
        "norm_cfg": {"type": "LN"},
    }
    box_head = {
        "type": "DIIHead", "num_classes": tiny_detectors.NUM_CLASSES, "num_ffn_fcs": 2, "num_heads": 2,
        "num_cls_fcs": 1, "num_reg_fcs": 1, "feedforward_channels": 2 * WIDTH, "in_channels": WIDTH, "dropout": 0.0,
        "ffn_act_cfg": {"type": "ReLU", "inplace": True}, "dynamic_conv_cfg": dynamic, "loss_bbox": L1,
        "loss_iou": GIOU, "loss_cls": FOCAL,
        "bbox_coder": {**tiny_detectors.DELTA, "clip_border": False, "target_stds": [0.5, 0.5, 1.0, 1.0]},
    }  # fmt: skip
    stage = {"assigner": _assigner("FocalLossCost", "xyxy"), "sampler": {"type": "PseudoSampler"}, "pos_weight": 1}
    return {
        "type": "SparseRCNN",
        "data_preprocessor": tiny_detectors.PREPROCESSOR,
        "backbone": tiny_detectors._backbone((0, 1, 2)),
        "neck": {"type": "FPN", "in_channels": [8, 16, 32], "out_channels": WIDTH, "num_outs": 3},
        "rpn_head": {"type": "EmbeddingRPNHead", "num_proposals": QUERIES, "proposal_feature_channel": WIDTH},
        "roi_head": {
            "type": "SparseRoIHead",
            "num_stages": LAYERS,
            "stage_loss_weights": [1] * LAYERS,
            "proposal_feature_channel": WIDTH,
            "bbox_roi_extractor": {
                "type": "SingleRoIExtractor",
                "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 2},
                "out_channels": WIDTH,
                "featmap_strides": tiny_detectors.STRIDES,
            },
            "bbox_head": [copy.deepcopy(box_head) for _ in range(LAYERS)],
        },
        "train_cfg": {"rpn": None, "rcnn": [copy.deepcopy(stage) for _ in range(LAYERS)]},
        "test_cfg": {"rpn": None, "rcnn": {"max_per_img": QUERIES}},
    }


_CONFIGS = {"detr": _detr, "conditional": _conditional, "dab": _dab, "deformable": _deformable,
            "deformable-two-stage": _deformable_two_stage, "dino": _dino, "ddq": _ddq, "sparse": _sparse}  # fmt: skip


def config(name: str) -> Any:
    """The model config of one of `NAMES`."""
    return tiny_detectors.ConfigDict(copy.deepcopy(_CONFIGS[name]()))


def build(name: str, *, seed: int = 0) -> nn.Module:
    """A tiny detector in training mode.

    Args:
        name: one of `NAMES`.
        seed: of its weights.
    """
    torch.manual_seed(seed)
    detector: nn.Module = tiny_detectors.MODELS.build(config(name))
    for key, weight in detector.named_parameters():
        if key == "level_embed":  # mmdet leaves its memory as it is until `init_weights`
            nn.init.normal_(weight)
    return detector.train()


# So that a tiny setup of a method takes these names too.
tiny_detectors._CONFIGS.update(_CONFIGS)

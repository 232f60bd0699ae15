"""Make mmdet traceable: its functions and thresholds are replaced while a detector is traced, and back afterwards.

A tracer records the operators of one image. mmdet's own functions choose between Python branches by what was detected
(`if boxes.numel() > 0`, `if not valid.all()`), take sizes as Python numbers (`len(proposals)`) and clip slices in
place: a recording keeps the branch and the number, and loses the clip.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from c2d.export import traced_functions, traced_roi_heads

PATCHED = ("mmdet.models.", "mmcv.ops.deform_conv")
"""Modules whose functions are replaced, by the beginning of their names."""


@contextlib.contextmanager
def traceable() -> Iterator[None]:
    """Replace mmdet's functions inside the context; mmdet has been imported."""
    from mmdet.models.dense_heads.detr_head import DETRHead
    from mmdet.models.dense_heads.embedding_rpn_head import EmbeddingRPNHead
    from mmdet.models.dense_heads.paa_head import PAAHead
    from mmdet.models.roi_heads.cascade_roi_head import CascadeRoIHead
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
    from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead

    methods: list[tuple[Any, str, Callable[..., Any]]] = [
        (torch.nn.functional, "_in_projection_packed", traced_functions.project_inputs),
        (PAAHead, "score_voting", traced_functions.score_voting),
        (EmbeddingRPNHead, "_decode_init_proposals", traced_roi_heads.first_proposals),
        (SingleRoIExtractor, "forward", traced_roi_heads.extract),
        (StandardRoIHead, "predict_bbox", traced_roi_heads.predict_standard),
        (CascadeRoIHead, "predict_bbox", traced_roi_heads.predict_cascade),
        (DETRHead, "_predict_by_feat_single", traced_functions.predict_queries),
    ]
    functions: dict[str, Callable[..., Any]] = {
        "filter_scores_and_topk": traced_functions.filter_scores_and_topk,
        "batched_nms": traced_functions.batched_nms,
        "multiclass_nms": traced_functions.multiclass_nms,
        "deform_conv2d": traced_functions.deform_conv2d,
        "delta2bbox": _clipping("delta2bbox", "mmdet.models.task_modules.coders.delta_xywh_bbox_coder", 4),
        "distance2bbox": _clipping("distance2bbox", "mmdet.structures.bbox.transforms", 2),
    }
    before: list[tuple[Any, str, Any]] = []
    try:
        for owner, name, new in methods:
            before.append((owner, name, owner.__dict__[name]))
            setattr(owner, name, new)
        for module in [module for name, module in list(sys.modules.items()) if name.startswith(PATCHED)]:
            for name, new in functions.items():
                if name in vars(module):
                    before.append((module, name, vars(module)[name]))
                    setattr(module, name, new)
        yield
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


def _clipping(name: str, module: str, position: int) -> Callable[..., Tensor]:
    """Return a decoder of boxes with its clip outside of it; mmdet clips slices in place, which a trace loses.

    Args:
        name: of the function.
        module: that defines it.
        position: of its argument `max_shape`.
    """
    original = vars(sys.modules[module])[name]

    def decode(*args: Any, **kwargs: Any) -> Tensor:
        values = list(args)
        if len(values) > position:
            shape, values[position] = values[position], None
        else:
            shape = kwargs.pop("max_shape", None)
        # delta2bbox clips only where `clip_border` is set, its argument after the next
        is_clipped = values[position + 2] if name == "delta2bbox" and len(values) > position + 2 else True
        boxes = original(*values, **kwargs)
        return boxes if shape is None or not is_clipped else traced_functions.clip(boxes, shape)

    return decode


def prepare_thresholds(detector: Any) -> Any:
    """Return a copy of a detector whose test configs have no branch by what was detected.

    The thresholds move into the config of the NMS, where `batched_nms` reads them.

    Args:
        detector: mmdet's.

    Raises:
        NotImplementedError: an NMS other than the plain one.
    """
    from mmdet.models.dense_heads import YOLOXHead

    changed = copy.deepcopy(detector)
    for module in changed.modules():
        own: Any = getattr(module, "test_cfg", None)
        if not isinstance(own, dict) or not isinstance(own.get("nms"), dict):
            continue
        if (kind := own["nms"].get("type", "nms")) != "nms":
            raise NotImplementedError(f"NMS of the type {kind}")
        config = copy.deepcopy(own)
        if config.get("min_bbox_size", -1) >= 0:
            config["nms"][traced_functions.MIN_SIZE] = config["min_bbox_size"]
            config["min_bbox_size"] = -1
        if isinstance(module, YOLOXHead):  # it compares the product of both scores, inclusively
            config["nms"][traced_functions.MIN_SCORE] = config["score_thr"]
            config["score_thr"] = -1.0
        module.test_cfg = config
    return changed

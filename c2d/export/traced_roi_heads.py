"""Counterparts of the methods of mmdet's RoI heads for one image, without the Python numbers of proposals."""

from __future__ import annotations

from typing import Any

import torch
import torchvision  # here: imported while a trace runs, it would record what it asks of its library
from torch import Tensor

from c2d.export.traced_functions import multiclass_nms


def extract(self: Any, feats: Any, rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
    """Return the features of regions, each from the level of its size.

    Args:
        self: mmdet's SingleRoIExtractor.
        feats: maps (1, C, h, w) of the levels.
        rois: (N, 5): 0, then xyxy in px.
        roi_scale_factor: as in mmdet.

    Returns:
        (N, C, side, side), in the order of `rois`.
    """

    def pool(level: int, regions: Tensor) -> Tensor:
        layer = self.roi_layers[level]
        return torchvision.ops.roi_align(
            feats[level], regions, layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned
        )

    if len(feats) == 1:
        return pool(0, rois)
    levels = self.map_roi_levels(rois, len(feats))
    if roi_scale_factor is not None:
        rois = self.roi_rescale(rois, roi_scale_factor)
    at = [(levels == level).nonzero().reshape(-1) for level in range(len(feats))]
    parts = [pool(level, rois[indices]) for level, indices in enumerate(at)]
    # A box of negative size has no level; mmdet leaves its features at zero.
    rest = ~((levels >= 0) & (levels < len(feats)))
    at.append(rest.nonzero().reshape(-1))
    parts.append(torch.zeros(at[-1].shape[0], *parts[0].shape[1:], dtype=parts[0].dtype, device=rois.device))
    # The inverse of the permutation that grouped the regions by level.
    return torch.cat(parts)[torch.cat(at).argsort()]


def first_proposals(self: Any, x: Any, batch_data_samples: Any) -> list[Any]:
    """Return the learned proposals of Sparse R-CNN in px of the input.

    Args:
        self: mmdet's EmbeddingRPNHead.
        x: maps (1, C, h, w) of the levels.
        batch_data_samples: the one sample, with `img_shape`.
    """
    from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
    from mmengine.structures import InstanceData

    height, width = (torch.as_tensor(side).to(x[0]) for side in batch_data_samples[0].metainfo["img_shape"][:2])
    sides = torch.stack([width, height, width, height])[None]
    boxes = bbox_cxcywh_to_xyxy(self.init_proposal_bboxes.weight) * sides
    features = self.init_proposal_features.weight.clone()
    return [InstanceData(bboxes=boxes, imgs_whwh=sides.repeat(self.num_proposals, 1), features=features)]


def predict_standard(
    self: Any, x: Any, batch_img_metas: Any, rpn_results_list: Any, rcnn_test_cfg: Any, rescale: bool = False
) -> list[Any]:
    """Return the detections of a StandardRoIHead, in px of the input; the arguments are mmdet's."""
    rois = _regions(rpn_results_list)
    found = self._bbox_forward(x, rois)
    return [_decode(self.bbox_head, rois, found["cls_score"], found["bbox_pred"], batch_img_metas[0], rcnn_test_cfg)]


def predict_cascade(
    self: Any, x: Any, batch_img_metas: Any, rpn_results_list: Any, rcnn_test_cfg: Any, rescale: bool = False
) -> list[Any]:
    """Return the detections of a CascadeRoIHead, in px of the input; the arguments are mmdet's."""
    rois, scores, found = _regions(rpn_results_list), [], {}
    for stage in range(self.num_stages):
        found = self._bbox_forward(stage=stage, x=x, rois=rois)
        scores.append(found["cls_score"])
        if stage < self.num_stages - 1:
            labels = found["cls_score"][:, :-1].argmax(dim=1)
            boxes = self.bbox_head[stage].regress_by_class(rois[:, 1:], labels, found["bbox_pred"], batch_img_metas[0])
            rois = torch.cat([rois[:, :1], boxes], dim=1)
    mean = sum(scores) / float(self.num_stages)
    return [_decode(self.bbox_head[-1], rois, mean, found["bbox_pred"], batch_img_metas[0], rcnn_test_cfg)]


def _regions(proposals: Any) -> Tensor:
    boxes = proposals[0].bboxes
    return torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)


def _decode(head: Any, rois: Tensor, scores: Any, deltas: Tensor, meta: Any, config: Any) -> Any:
    """Return mmdet's InstanceData of one image from class logits (N, K + 1) and box deltas."""
    from mmengine.structures import InstanceData

    scores = head.loss_cls.get_activation(scores) if head.custom_cls_channels else scores.softmax(-1)
    classes = 1 if head.reg_class_agnostic else head.num_classes
    # Each region once for every class, as its deltas are.
    anchors = rois[:, None, 1:].expand(-1, classes, -1).reshape(-1, 4)
    boxes = head.bbox_coder.decode(anchors, deltas.reshape(-1, 4), max_shape=meta["img_shape"])
    boxes = boxes.reshape(-1, 4 * classes)
    found, labels = multiclass_nms(boxes, scores, config.score_thr, config.nms, config.max_per_img)
    return InstanceData(bboxes=found[:, :4], scores=found[:, 4], labels=labels)

"""Where a detector's network ends and its post-processing begins, by kind of detector.

A `Network` is a module from images to a flat tuple of tensors, so that it can be compiled or exported, with `post` for
what follows. `split` chooses: `Dense` (single stage: head maps out, NMS in `post`), `TwoStage` (RPN with its NMS and
the box head inside, final NMS in `post`), else `Whole` (all of `predict` inside). `nms` says it in words for the rows.
Together they do exactly what mmdet's `predict` does; the stock modules are called, never changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Samples = Sequence[Any]  # of mmdet's DetDataSample, with what the test pipeline says of each image


class Network(nn.Module):
    """forward: (B, 3, H, W) normalised and padded images -> flat tuple of float tensors. post: their detections."""

    nms = ""
    """What of non-maximum suppression the model holds: "out", "RPN's" or "in"."""
    separable = True
    """Whether `post` does anything that is worth a time of its own."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        self._samples: Samples | None = None

    @contextlib.contextmanager
    def seeing(self, samples: Samples) -> Iterator[None]:
        """Inside, `forward` knows the true size of each padded image; outside, images are taken to fill the batch.

        A dense network does not ask.
        """
        self._samples = samples
        try:
            yield
        finally:
            self._samples = None

    def post(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        """Raw outputs -> mmdet's InstanceData of each image: boxes xyxy in pixels of the original image, threshold and
        NMS as in evaluation."""
        raise NotImplementedError

    def _asked(self, inputs: Tensor) -> list[Any]:
        """Fresh samples for `predict`, which writes into them."""
        from mmdet.structures import DetDataSample

        if self._samples is not None:
            return [DetDataSample(metainfo=dict(sample.metainfo)) for sample in self._samples]
        shape = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        facts = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape)
        return [DetDataSample(metainfo={**facts, "scale_factor": (1.0, 1.0)}) for _ in range(len(inputs))]


class Dense(Network):
    """Single stage: backbone, neck and head; the maps of all levels, kind after kind (cls, box, centreness, ...)."""

    nms = "out"

    def __init__(self, detector: Any, levels: Sequence[int]) -> None:
        super().__init__(detector)
        self.levels = tuple(levels)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.detector.bbox_head(self.detector.extract_feat(inputs))
        return tuple(level for kind in outputs for level in kind)

    def post(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        kinds, begin = [], 0
        for count in self.levels:
            kinds.append(list(raw[begin : begin + count]))
            begin += count
        metas = [sample.metainfo for sample in samples]
        return self.detector.bbox_head.predict_by_feat(*kinds, batch_img_metas=metas, rescale=True)


class TwoStage(Network):
    """Proposals and the box head's word on them: rois (N, 5: image, xyxy), scores (N, classes + 1), deltas (N, D)."""

    nms = "RPN's"

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        from mmdet.structures.bbox import bbox2roi

        maps = self.detector.extract_feat(inputs)
        proposals = self.detector.rpn_head.predict(maps, self._asked(inputs), rescale=False)
        rois = bbox2roi([found.bboxes for found in proposals])
        found = self.detector.roi_head._bbox_forward(maps, rois)
        return rois, found["cls_score"], found["bbox_pred"]

    def post(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        rois, scores, deltas = raw
        counts = [int((rois[:, 0] == index).sum()) for index in range(len(samples))]
        return self.detector.roi_head.bbox_head.predict_by_feat(
            rois=rois.split(counts),
            cls_scores=scores.split(counts),
            bbox_preds=deltas.split(counts),
            batch_img_metas=[sample.metainfo for sample in samples],
            rcnn_test_cfg=self.detector.roi_head.test_cfg,
            rescale=True,
        )


class Whole(Network):
    """Any other detector: boxes, scores and labels of each image, ready; only a regrouping is left for `post`."""

    nms = "in"
    separable = False

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        samples = self.detector.predict(inputs, self._asked(inputs), rescale=True)
        found = [sample.pred_instances for sample in samples]
        return tuple(
            part for one in found for part in (getattr(one.bboxes, "tensor", one.bboxes), one.scores, one.labels)
        )

    def post(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        from mmengine.structures import InstanceData

        return [
            InstanceData(bboxes=raw[3 * index], scores=raw[3 * index + 1], labels=raw[3 * index + 2])
            for index in range(len(samples))
        ]


def split(detector: Any, probe: Tensor) -> Network:
    """The network of a detector in eval mode, on the probe's device.

    Args:
        probe: (1, 3, H, W), any values; a single-stage detector sees it once, to learn the form of its outputs.
    """
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
    from mmdet.models.roi_heads.base_roi_head import BaseRoIHead
    from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead

    kind = type(detector)
    head = getattr(detector, "bbox_head", None)
    if kind.predict is SingleStageDetector.predict and type(head).predict is BaseDenseHead.predict:  # type: ignore[union-attr]
        with torch.no_grad():
            outputs = detector.bbox_head(detector.extract_feat(probe))
        if isinstance(outputs, tuple) and all(
            isinstance(part, (list, tuple)) and all(isinstance(level, Tensor) for level in part) for part in outputs
        ):
            return Dense(detector, [len(part) for part in outputs])
    if kind.predict is TwoStageDetector.predict and not detector.with_mask:
        roi = detector.roi_head
        stock = type(roi).predict is BaseRoIHead.predict and type(roi).predict_bbox is StandardRoIHead.predict_bbox
        if stock and type(roi)._bbox_forward is StandardRoIHead._bbox_forward and roi.bbox_head.with_reg:
            return TwoStage(detector)
    return Whole(detector)

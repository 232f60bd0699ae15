"""Split a detector into its network, which a backend runs, and its post-processing, by kind of detector.

A `Network` is a module from images to a flat tuple of tensors, so that it can be compiled or exported; `post_process`
does the rest. `split_network` chooses: `DenseNetwork` (single stage: raw maps of the head, NMS in `post_process`),
`TwoStageNetwork` (RPN with its NMS and the box head inside, final NMS in `post_process`), else `WholeDetector` (all of
`predict` inside). Both parts together do exactly what mmdet's `predict` does; the stock modules are called, never
changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Call = Callable[[Tensor], tuple[Tensor, ...]]
"""Images (B, 3, H, W), float32, normalised and padded -> the raw outputs of the network."""
Samples = Sequence[Any]
"""mmdet's DetDataSample of each image, with the metainfo of the test pipeline."""


@dataclass(frozen=True)
class Batch:
    """Preprocessed images.

    Attributes:
        inputs: (B, 3, H, W) float32, normalised, padded to the largest image of the batch.
        samples: mmdet's DetDataSample of each image.
    """

    inputs: Tensor
    samples: list[Any]


class Network(nn.Module):
    """The part of a detector that a backend runs: (B, 3, H, W) float32 -> flat tuple of float tensors.

    Attributes:
        nms: where non-maximum suppression is: "out" of the network, "in" it, or "RPN's" alone in it.
        separable: whether `post_process` does enough to be timed.
        batch_samples: samples of the batch that runs, None outside of `run`.
    """

    nms = ""
    separable = True

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        self.batch_samples: Samples | None = None

    @contextlib.contextmanager
    def with_samples(self, samples: Samples) -> Iterator[None]:
        """Inside the context `forward` uses the true size of each padded image, else the size of the batch.

        A dense network needs no sizes.
        """
        self.batch_samples = samples
        try:
            yield
        finally:
            self.batch_samples = None

    def run(self, call: Call, batch: Batch) -> tuple[Tensor, ...]:
        """Run one batch through a backend's call, or through this network.

        Args:
            call: (B, 3, H, W) float32 -> raw outputs.
            batch: on the device of the call.

        Returns:
            The raw outputs, of the shapes that `forward` of the class documents.
        """
        with self.with_samples(batch.samples):
            return call(batch.inputs)

    def post_process(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        """Turn raw outputs into detections, with score threshold and NMS as in evaluation.

        Args:
            raw: what `forward` returned, of the shapes that it documents.
            samples: of the B images.

        Returns:
            mmdet's InstanceData of each image: bboxes (n, 4) xyxy, px of the original image; scores (n,); labels (n,).
        """
        raise NotImplementedError

    def _predict_samples(self, inputs: Tensor) -> list[Any]:
        """Return new samples for `predict`, which writes into them."""
        from mmdet.structures import DetDataSample

        if self.batch_samples is not None:
            return [DetDataSample(metainfo=dict(sample.metainfo)) for sample in self.batch_samples]
        # Without samples (export, compilation) the images count as unpadded and unscaled.
        shape = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape)
        return [DetDataSample(metainfo={**sizes, "scale_factor": (1.0, 1.0)}) for _ in range(len(inputs))]


class DenseNetwork(Network):
    """Single stage: backbone, neck and head.

    Attributes:
        levels: number of maps of each kind.
    """

    nms = "out"

    def __init__(self, detector: Any, levels: Sequence[int]) -> None:
        super().__init__(detector)
        self.levels = tuple(levels)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of all levels, one kind after the other (class scores, boxes, centreness, ...).

        Args:
            inputs: (B, 3, H, W) float32.

        Returns:
            Maps (B, C, h, w) on the grid of each level; C is that of the kind.
        """
        outputs = self.detector.bbox_head(self.detector.extract_feat(inputs))
        # Flat, because exporters name and order outputs one by one.
        return tuple(level for kind in outputs for level in kind)

    def post_process(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        """Decode maps (B, C, h, w) and apply NMS to all levels together; see `Network.post_process`."""
        kinds, begin = [], 0
        for count in self.levels:
            kinds.append(list(raw[begin : begin + count]))
            begin += count
        metas = [sample.metainfo for sample in samples]
        return self.detector.bbox_head.predict_by_feat(*kinds, batch_img_metas=metas, rescale=True)


class TwoStageNetwork(Network):
    """Two stages: backbone, neck, RPN with its NMS, and box head."""

    nms = "RPN's"

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return proposals, class scores and box deltas of all images together.

        Args:
            inputs: (B, 3, H, W) float32.

        Returns:
            Proposals (N, 5): image index, xyxy px of the input; logits (N, K + 1) of K classes and the background;
            deltas (N, 4 K), or (N, 4) where they are common to all classes.
        """
        from mmdet.structures.bbox import bbox2roi

        maps = self.detector.extract_feat(inputs)
        proposals = self.detector.rpn_head.predict(maps, self._predict_samples(inputs), rescale=False)
        rois = bbox2roi([proposal.bboxes for proposal in proposals])
        outputs = self.detector.roi_head._bbox_forward(maps, rois)
        return rois, outputs["cls_score"], outputs["bbox_pred"]

    def post_process(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        """Apply the deltas (N, D) and the final NMS, image by image; see `Network.post_process`."""
        rois, scores, deltas = raw
        # `bbox2roi` puts the proposals of each image in a row, image by image.
        counts = [int((rois[:, 0] == index).sum()) for index in range(len(samples))]
        return self.detector.roi_head.bbox_head.predict_by_feat(
            rois=rois.split(counts),
            cls_scores=scores.split(counts),
            bbox_preds=deltas.split(counts),
            batch_img_metas=[sample.metainfo for sample in samples],
            rcnn_test_cfg=self.detector.roi_head.test_cfg,
            rescale=True,
        )


class WholeDetector(Network):
    """Any other detector: its `predict` is the network, and `post_process` only groups the outputs."""

    nms = "in"
    separable = False

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the final detections.

        Args:
            inputs: (B, 3, H, W) float32.

        Returns:
            Of each image in turn: boxes (n, 4) xyxy, px of the original image; scores (n,); labels (n,).
        """
        samples = self.detector.predict(inputs, self._predict_samples(inputs), rescale=True)
        instances = [sample.pred_instances for sample in samples]
        return tuple(
            # Some detectors of mmdet return box objects, whose tensor is an attribute.
            part
            for one in instances
            for part in (getattr(one.bboxes, "tensor", one.bboxes), one.scores, one.labels)
        )

    def post_process(self, raw: Sequence[Tensor], samples: Samples) -> list[Any]:
        """Group boxes (n, 4), scores (n,) and labels (n,) by image; see `Network.post_process`."""
        from mmengine.structures import InstanceData

        return [
            InstanceData(bboxes=raw[3 * index], scores=raw[3 * index + 1], labels=raw[3 * index + 2])
            for index in range(len(samples))
        ]


def split_network(detector: Any, probe: Tensor) -> Network:
    """Return the network of a detector in eval mode.

    Args:
        detector: mmdet's detector.
        probe: (1, 3, H, W), any values, on the detector's device. A single-stage detector runs it once, which gives the
            number of its outputs.
    """
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
    from mmdet.models.roi_heads.base_roi_head import BaseRoIHead
    from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead

    kind = type(detector)
    head = getattr(detector, "bbox_head", None)
    # Only where mmdet's own `predict` runs: an overridden one may do more than the two parts together.
    if kind.predict is SingleStageDetector.predict and type(head).predict is BaseDenseHead.predict:  # type: ignore[union-attr]
        with torch.no_grad():
            outputs = detector.bbox_head(detector.extract_feat(probe))
        if isinstance(outputs, tuple) and all(
            isinstance(part, (list, tuple)) and all(isinstance(level, Tensor) for level in part) for part in outputs
        ):
            return DenseNetwork(detector, [len(part) for part in outputs])
    # A mask head would need the maps after the final NMS, which is outside.
    if kind.predict is TwoStageDetector.predict and not detector.with_mask:
        roi = detector.roi_head
        stock = type(roi).predict is BaseRoIHead.predict and type(roi).predict_bbox is StandardRoIHead.predict_bbox
        if stock and type(roi)._bbox_forward is StandardRoIHead._bbox_forward and roi.bbox_head.with_reg:
            return TwoStageNetwork(detector)
    return WholeDetector(detector)

"""The teacher's own training losses on a batch of synthesised images, with targets that are assigned once for a draw.

    with TeacherLosses(teacher) as losses:
        losses.assign(images, boxes, labels, soft_labels)      # after every new draw of jitter and flip
        losses.compute(images)                                 # any number of times, for images that changed little

mmdet assigns targets, and for a two-stage detector proposals, on every call of `loss`. Between two draws boxes and
anchors do not move, so the assignment stays what it is: `compute` calls the heads' own losses with the targets, the
proposals and the samples of the last `assign`. The values are those of `detector.loss` for that assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import families, heads
from c2d.detectors.batch import Batch, pad_to_multiple, samples_of_images
from c2d.detectors.hooks import replace_method
from c2d.detectors.recording.record_positives import record_positives
from c2d.impressions.pixels.repeated_roi_align import repeated_roi_align
from c2d.teachers.detector import DetectorTeacher

FAMILIES = ("ssd", "retinanet", "atss", "gfl", "fcos", "faster-rcnn", "cascade-rcnn")
"""Families whose losses here are compared with mmdet's own."""


class TeacherLosses:
    """Losses of one frozen detector. Nothing of it changes; inside the block methods of its heads are replaced.

    Args:
        teacher: single-stage or two-stage, of a supported family.
        soft_labels: add the distance between class scores of the positives and the soft labels of their objects.
        rois: RoIs that are sampled in each image instead of the number of the teacher's training.

    Raises:
        InputError: the family of its head is not supported.
    """

    def __init__(self, teacher: DetectorTeacher, *, soft_labels: bool = False, rois: int | None = None) -> None:
        self.network: Any = teacher.network
        self.normalization = teacher.normalization
        self.num_classes = int(teacher.num_classes or 0)
        self.soft_labels, self.rois = soft_labels, rois
        if families.detector_family(self.network) not in FAMILIES:
            raise InputError(
                f"no images can be made from {families.detector_title(self.network)}; a synthesis needs a detector "
                f"of one of these families: {', '.join(FAMILIES)}"
            )
        self.is_two_stage = getattr(self.network, "rpn_head", None) is not None
        self.dense_head = heads.dense_head(self.network)
        self.divisor = int(getattr(self.network.data_preprocessor, "pad_size_divisor", 1))
        self._stack = ExitStack()
        self._memory = _Memory()
        self._samples: list[Any] = []
        self._stages: list[tuple[tuple[Any, ...], float]] = []
        self._positives: Any = None
        self._soft = torch.zeros(0)

    def __enter__(self) -> TeacherLosses:
        head = self.dense_head
        for name in ("get_anchors", "get_targets"):
            if hasattr(head, name):
                self._stack.enter_context(
                    replace_method(head, name, self._memory.remembered(name, getattr(head, name)))
                )
        self._stack.enter_context(repeated_roi_align(self.network))
        if self.is_two_stage and self.rois is not None:
            found = self.network.roi_head.bbox_sampler
            for sampler in found if isinstance(found, list) else [found]:
                self._stack.enter_context(_replaced(sampler, "num", self.rois))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def assign(
        self, images: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], soft_labels: Sequence[Tensor]
    ) -> None:
        """Assign the targets of the next calls of `compute`.

        Args:
            images: (B, 3, H, W) in the teacher's normalization; a two-stage teacher makes its proposals on them.
            boxes: per image (G, 4) xyxy, px.
            labels: per image (G,) long.
            soft_labels: per image (G, C).
        """
        from mmengine.structures import InstanceData

        self._samples = samples_of_images(images, self.divisor)
        for sample, corners, classes in zip(self._samples, boxes, labels, strict=True):
            sample.gt_instances = InstanceData(bboxes=corners, labels=classes)
            sample.ignored_instances = InstanceData(bboxes=corners[:0], labels=classes[:0])
        self._memory.forget()
        sizes = tuple((int(images.shape[2]), int(images.shape[3])) for _ in images)
        batch = Batch(images, tuple(boxes), tuple(labels), sizes, self.normalization, self.num_classes)
        with torch.no_grad(), self._in_training(), record_positives(self.network, "all") as recorder:
            maps = self.network.extract_feat(pad_to_multiple(images, self.divisor))
            if self.is_two_stage:
                self._assign_rois(maps)
            else:
                self._dense_losses(maps)
            found = recorder.positives(batch)[-1] if self.soft_labels else None
        self._positives = found
        if found is not None:
            offsets = torch.tensor([0, *(len(one) for one in labels)], device=images.device).cumsum(0)
            self._soft = torch.cat(list(soft_labels))[offsets[found.image] + found.gt]

    def compute(self, images: Tensor) -> dict[str, Tensor]:
        """Return {name: loss of shape (), with the graph of the images}, in the names of mmdet.

        With `soft_labels` there is also `loss_soft_labels`.
        """
        with self._in_training():
            return self._compute(images)

    def _compute(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.network.extract_feat(pad_to_multiple(images, self.divisor))
        if not self.is_two_stage:
            losses, (scores, *_) = self._dense_losses(maps)
            if self.soft_labels:
                losses["loss_soft_labels"] = self._soft_loss(self._dense_logits(scores))
            return losses
        losses = self._rpn_losses(maps)[0]
        for place, (arguments, weight) in enumerate(self._stages):
            result = self.network.roi_head.bbox_loss(*arguments[:-2], maps, arguments[-1])
            prefix = f"s{place}." if len(self._stages) > 1 else ""
            found = {prefix + name: value * weight for name, value in _losses(result["loss_bbox"]).items()}
            losses |= found
            if self.soft_labels and place == len(self._stages) - 1:
                losses["loss_soft_labels"] = self._soft_loss(result["cls_score"][self._rows(arguments[-1])])
        return losses

    def _in_training(self) -> AbstractContextManager[None]:
        """Set the flag of the head: FCOS predicts strides while it trains, which its loss wants, and px otherwise.

        The layers inside keep their eval mode, so batch norm does not move.
        """
        return _replaced(self.dense_head, "training", True)

    def _truth(self, labels_zero: bool = False) -> tuple[list[Any], list[dict[str, Any]], list[Any]]:
        from mmengine.structures import InstanceData

        truth = [sample.gt_instances for sample in self._samples]
        if labels_zero:  # an RPN has one class
            truth = [InstanceData(bboxes=one.bboxes, labels=torch.zeros_like(one.labels)) for one in truth]
        return truth, [sample.metainfo for sample in self._samples], [s.ignored_instances for s in self._samples]

    def _dense_losses(self, maps: Any) -> tuple[dict[str, Tensor], Any]:
        head = self.network.bbox_head
        outputs = head(maps)
        return _losses(head.loss_by_feat(*outputs, *self._truth())), outputs

    def _rpn_losses(self, maps: Any) -> tuple[dict[str, Tensor], Any]:
        head = self.network.rpn_head
        outputs = head(maps)
        return _losses(head.loss_by_feat(*outputs, *self._truth(labels_zero=True))), outputs

    def _assign_rois(self, maps: Any) -> None:
        """Propose and sample as `TwoStageDetector.loss` does, and keep the samples of every stage."""
        detector = self.network
        _, outputs = self._rpn_losses(maps)
        metas = [sample.metainfo for sample in self._samples]
        proposal_cfg = detector.train_cfg.get("rpn_proposal", detector.test_cfg.rpn)
        proposals = detector.rpn_head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=proposal_cfg)
        calls: list[tuple[Any, ...]] = []
        bbox_loss = detector.roi_head.bbox_loss

        def recorded(*arguments: Any) -> Any:
            calls.append(arguments)
            return bbox_loss(*arguments)

        with replace_method(detector.roi_head, "bbox_loss", recorded):
            detector.roi_head.loss(maps, proposals, self._samples)
        weights = getattr(detector.roi_head, "stage_loss_weights", None) or [1.0] * len(calls)
        # (stage, maps, samples) of a cascade, (maps, samples) otherwise: the maps are those of each later step.
        self._stages = [((*call[:-2], None, call[-1]), float(w)) for call, w in zip(calls, weights, strict=False)]

    def _dense_logits(self, scores: Sequence[Tensor]) -> Tensor:
        """Class logits (K, C or C + 1) of the positives."""
        channels = self.network.bbox_head.cls_out_channels
        flat = [level.permute(0, 2, 3, 1).reshape(len(level), -1, channels) for level in scores]
        return torch.cat(flat, dim=1)[self._positives.image, self._positives.prior]

    @staticmethod
    def _rows(sampled: Sequence[Any]) -> Tensor:
        """Rows of the positives among the sampled RoIs: those of an image come before its negatives."""
        first, rows = 0, []
        for one in sampled:
            rows.append(torch.arange(first, first + len(one.pos_priors), device=one.pos_priors.device))
            first += len(one.pos_priors) + len(one.neg_priors)
        return torch.cat(rows)

    def _soft_loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy to the soft labels minus their entropy, mean over the positives; 0 where there are none."""
        logits, soft = logits.float(), self._soft
        if not len(logits):
            return logits.sum() * 0
        if self._positives.kind == "sigmoid":
            lowest = F.binary_cross_entropy(soft, soft, reduction="sum")
            return (F.binary_cross_entropy_with_logits(logits, soft, reduction="sum") - lowest) / len(logits)
        with_background = F.pad(soft, (0, 1))
        return F.kl_div(logits.log_softmax(dim=1), with_background, reduction="batchmean")


class _Memory:
    """Results of methods of a head, from their first call until they are forgotten."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}

    def forget(self) -> None:
        self._results.clear()

    def remembered(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that calls the method once, and returns the same afterwards."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if name not in self._results:
                result = method(*args, **kwargs)
                # `get_targets` of some heads overwrites the lists that `get_anchors` returned.
                self._results[name] = result if name != "get_anchors" else tuple(list(part) for part in result)
                return result
            kept = self._results[name]
            return kept if name != "get_anchors" else tuple(list(part) for part in kept)

        return call


def _losses(found: dict[str, Any]) -> dict[str, Tensor]:
    """Return the entries that mmdet adds up, each as its sum: heads return one tensor or one for each level."""
    return {
        name: torch.stack(list(value)).sum() if isinstance(value, list | tuple) else value
        for name, value in found.items()
        if "loss" in name
    }


@contextmanager
def _replaced(instance: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute inside the block."""
    before = getattr(instance, name)
    setattr(instance, name, value)
    try:
        yield
    finally:
        setattr(instance, name, before)

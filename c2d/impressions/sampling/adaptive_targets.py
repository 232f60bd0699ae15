"""Change the targets of a draft to what the teacher sees in its images: add clear detections, drop what it lost.

The rules are those of DIODE (WACV 2021: detections are added) and of two-phase label sampling (ICCV 2025: labels are
dropped as well, one stays).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c2d.detectors.batch import pad_to_multiple, samples_of_images
from c2d.impressions.sampling.targets import Targets
from c2d.ops.boxes import broadcast_iou
from c2d.specs.impressions_schedule import AdaptiveSampling
from c2d.teachers.detector import DetectorTeacher

FOUND_IOU = 0.5
"""IoU with a detection of its class from which a target is found."""


class Detections:
    """Detections of one image: boxes (D, 4) xyxy as shares of the side, scores (D,) in 0-1, labels (D,) long."""

    def __init__(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> None:
        self.boxes, self.scores, self.labels = boxes, scores, labels


@torch.no_grad()
def detect_objects(teacher: DetectorTeacher, images: Tensor) -> list[Detections]:
    """Return the teacher's detections on square images (B, 3, S, S) in its normalization, by falling score."""
    network, side = teacher.network, images.shape[-1]
    divisor = int(getattr(network.data_preprocessor, "pad_size_divisor", 1))
    samples = samples_of_images(images, divisor)
    found = network.predict(pad_to_multiple(images, divisor), samples, rescale=False)  # type: ignore[operator]
    result = []
    for sample in found:
        instances = sample.pred_instances
        order = instances.scores.argsort(descending=True, stable=True)
        boxes = getattr(instances.bboxes, "tensor", instances.bboxes)[order].float().cpu() / side
        result.append(
            Detections(boxes.clamp(0, 1), instances.scores[order].float().cpu(), instances.labels[order].cpu())
        )
    return result


def update_targets(
    targets: Targets, detections: Detections, recipe: AdaptiveSampling, min_side: float = 0.0
) -> Targets:
    """Return the targets of one image after a look at its detections.

    Args:
        targets: of the image.
        detections: of the same image, by falling score.
        recipe: thresholds.
        min_side: of an added box, as a share of the image's side; a data card holds no box below 1 px.

    Returns:
        The targets that are still found (at least one of them), then the added detections.
    """
    kept = _found(targets, detections, recipe.keep_score)
    for place in (detections.scores > recipe.min_score).nonzero().flatten().tolist():
        box = detections.boxes[place]
        sides = box[2:] - box[:2]
        if not recipe.min_area <= float(sides.prod()) <= recipe.max_area or float(sides.min()) < min_side:
            continue
        if len(kept) and float(broadcast_iou(box[None], kept.boxes).max()) > recipe.max_iou:
            continue
        label = detections.labels[place]
        soft = _label_with_score(int(label), float(detections.scores[place]), targets.num_classes)
        kept = kept.joined(Targets(box[None], label[None], soft[None]))
    return kept


def update_all(
    targets: Sequence[Targets], detections: Sequence[Detections], recipe: AdaptiveSampling, min_side: float = 0.0
) -> list[Targets]:
    """Return the targets of all images, see `update_targets`."""
    return [update_targets(one, seen, recipe, min_side) for one, seen in zip(targets, detections, strict=True)]


def _found(targets: Targets, detections: Detections, score: float) -> Targets:
    """The targets that a detection of their class above `score` covers; the best covered one if there is none."""
    if score <= 0 or not len(targets):
        return targets
    near = broadcast_iou(targets.boxes[:, None], detections.boxes[None])
    right = (targets.labels[:, None] == detections.labels[None]) & (detections.scores > score)[None]
    best = torch.where(right, near, torch.zeros(())).amax(dim=1) if near.shape[1] else torch.zeros(len(targets))
    found = best >= FOUND_IOU
    if not bool(found.any()):
        found[int(best.argmax())] = True
    return targets.select(found)


def _label_with_score(label: int, score: float, classes: int) -> Tensor:
    """Soft label (C,) of an added detection: its score for its class, the rest spread evenly; the class stays first."""
    share = max(score, 1 / classes) if classes > 1 else 1.0
    soft = torch.full((classes,), (1 - share) / max(1, classes - 1))
    soft[label] = share
    return soft

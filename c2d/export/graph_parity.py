"""Compare exported graphs with the stock student on real images.

Twice: on images that mmdet resized, where both see the same pixels and must find the same boxes; and (`ap_of_graph`) on
the image files themselves, as a colleague runs the graph, by AP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from c2d.core.errors import RunError
from c2d.export.image_preparation import ImagePreparation
from c2d.export.runtimes import Detect

BOX_PX, SCORE = 0.5, 0.002
"""Largest differences of a box, in px of the network's input, and of a score, of the same detection."""
UNMATCHED, UNMATCHED_SHARE = 2, 0.01
"""Detections without a partner that are allowed: where two scores are equal, either may come first."""
AP = 0.001
"""Largest difference of AP between a graph and its run: 0.1 points."""


class ImageDetections(NamedTuple):
    """Detections of one image.

    Attributes:
        boxes: (n, 4) xyxy, px.
        scores: (n,).
        labels: (n,).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class ResizedImage(NamedTuple):
    """An image as the stock student sees it.

    Attributes:
        pixels: (H, W, 3) uint8, red first, resized by mmdet and not padded.
        stock: its detections, px of `pixels`.
    """

    pixels: np.ndarray
    stock: ImageDetections


@dataclass(frozen=True)
class Parity:
    """How far a graph is from the stock student.

    Attributes:
        file: of the graph.
        images: compared.
        detections: of the stock student on them.
        unmatched: detections of either side without a partner of the same label within the tolerances.
        box_px: largest difference of a corner among the partners; None without any.
        score: largest difference of a score among them.
        ap: of the graph on the whole split; None where it was not measured.
    """

    file: str
    images: int
    detections: int
    unmatched: int
    box_px: float | None
    score: float | None
    ap: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a mapping."""
        return asdict(self)


def resized_images(
    model: Any, dataset: Any, indices: Sequence[int], preparation: ImagePreparation
) -> list[ResizedImage]:
    """Run the stock student on some images of a data set.

    Args:
        model: mmdet's detector, in eval mode.
        dataset: mmdet's, in test mode.
        indices: of the images.
        preparation: of the images.
    """
    from mmengine.dataset import pseudo_collate

    images = []
    for index in indices:
        data = dataset[index]
        with torch.no_grad():
            (sample,) = model.test_step(pseudo_collate([data]))
        found = sample.pred_instances
        corners = getattr(found.bboxes, "tensor", found.bboxes)
        (height, width), (scale_x, scale_y) = sample.ori_shape[:2], sample.scale_factor[:2]
        # Without a padding of the pipeline, which the graph makes itself.
        size = (round(height * scale_y), round(width * scale_x))
        pixels = data["inputs"].permute(1, 2, 0).numpy()[: size[0], : size[1], ::-1]
        ratio = np.array([size[1] / width, size[0] / height] * 2, dtype=np.float64)
        boxes = corners.double().numpy() * ratio
        images.append(
            ResizedImage(
                np.ascontiguousarray(pixels), ImageDetections(boxes, found.scores.numpy(), found.labels.numpy())
            )
        )
    return images


def compare(file: str, detect: Detect, images: Sequence[ResizedImage]) -> Parity:
    """Compare a graph with the stock student on the same pixels.

    Args:
        file: of the graph, for the message.
        detect: the graph.
        images: with the stock detections.

    Raises:
        RunError: they differ.
    """
    total, unmatched, boxes, scores = 0, 0, [], []
    for image in images:
        found = ImageDetections(*(np.asarray(part) for part in detect(image.pixels)))
        pairs, alone = _partners(image.stock, found)
        total, unmatched = total + len(image.stock.scores), unmatched + alone
        boxes += [float(np.abs(image.stock.boxes[a] - found.boxes[b]).max()) for a, b in pairs]
        scores += [float(abs(image.stock.scores[a] - found.scores[b])) for a, b in pairs]
    parity = Parity(file, len(images), total, unmatched, max(boxes, default=None), max(scores, default=None))
    if unmatched > max(UNMATCHED, UNMATCHED_SHARE * total):
        raise RunError(
            f"{file} does not agree with the stock student: {unmatched} of {total} detections on {len(images)} images "
            f"have no partner within {BOX_PX} px and {SCORE} of score; nothing was written: use --to folder",
            "data",
        )
    return parity


def _partners(stock: ImageDetections, found: ImageDetections) -> tuple[list[tuple[int, int]], int]:
    """Return pairs of (stock, found) within the tolerances, best scores first, and the number of all others."""
    free, pairs = set(range(len(found.scores))), []
    for index in np.argsort(-stock.scores, kind="stable"):
        near = [
            (float(np.abs(stock.boxes[index] - found.boxes[other]).max()), other)
            for other in free
            if found.labels[other] == stock.labels[index] and abs(found.scores[other] - stock.scores[index]) <= SCORE
        ]
        distance, other = min(near, default=(np.inf, -1))
        if distance <= BOX_PX:
            free.discard(other)
            pairs.append((int(index), int(other)))
    return pairs, len(stock.scores) - len(pairs) + len(free)


def ap_of_graph(
    detect: Detect, images: Sequence[tuple[int, Path]], categories: Sequence[int], truth: dict[str, Any]
) -> float:
    """Return the AP of a graph on image files, read as the model card says: with Pillow alone.

    Args:
        detect: the graph.
        images: (image id, file).
        categories: category id of each label.
        truth: ground truth in COCO layout.
    """
    from c2d.metrics import coco
    from c2d.metrics.coco_data import prepare

    detections = []
    for image_id, path in images:
        boxes, scores, labels = detect(read_image(path))
        sides = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 0)
        for index, label in enumerate(labels.tolist()):
            box = [*boxes[index, :2].tolist(), *sides[index].tolist()]
            score = float(scores[index])
            detections.append({"image_id": image_id, "category_id": categories[label], "bbox": box, "score": score})
    return float(coco.evaluate(prepare(truth, detections))["AP"] or 0.0)


def read_image(path: Path) -> np.ndarray:
    """Return (H, W, 3) uint8, red first, turned as the file says; these are the lines of the model card."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

"""Detections of a stock model on a data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from c2d.evaluation.loader_processes import image_loader, loader_errors, worthwhile_workers
from c2d.evaluation.rank_shares import Heartbeat, main_rank_weights, run_on_ranks
from c2d.evaluation.seeded_dataset import SeededDataset


class ImageDetections(NamedTuple):
    """Detections of one image.

    Attributes:
        image_id: of the annotation file.
        rows: (n, 6) fp64, on the CPU: x, y, w, h in px of the original image, score, label.
    """

    image_id: int
    rows: Tensor


@torch.no_grad()
def detect(model: Any, dataset: Any, heartbeat: Heartbeat = lambda: None, workers: int = 0) -> list[dict[str, Any]]:
    """Detect the objects of a data set, image by image.

    Every rank calls it and detects every n-th image, with the weights of rank 0. An image is a batch of its own: in a
    batch of several, the last bits of the scores depend on the other images, even where all have the same size.

    Args:
        model: mmdet detector; it is in eval mode meanwhile, and in its own mode afterwards.
        dataset: mmdet data set in test mode.
        heartbeat: called after every image, and while this rank waits for others.
        workers: loader processes of this rank.

    Returns:
        COCO results list in the order of the data set: category ids of the annotation file, boxes x, y, w, h in px of
        the original image, scores at full precision. Empty on ranks other than 0.

    Raises:
        RunError: an image cannot be read, or another rank failed.
    """

    def share(rank: int, world: int) -> tuple[list[int], list[int], Tensor]:
        found = list(_detect_images(model, dataset, range(rank, len(dataset), world), heartbeat, workers))
        rows = torch.cat([item.rows for item in found]) if found else torch.zeros(0, 6, dtype=torch.float64)
        return [item.image_id for item in found], [len(item.rows) for item in found], rows

    was_training = model.training
    with main_rank_weights(model):
        model.eval()
        try:
            shares = run_on_ranks(share, heartbeat)
        finally:
            model.train(was_training)
    return _coco_results(shares, dataset) if shares else []


def _detect_images(
    model: Any, dataset: Any, indices: range, heartbeat: Heartbeat, workers: int
) -> Iterator[ImageDetections]:
    images = SeededDataset(dataset, 0, "evaluation")
    with loader_errors():
        for batch in image_loader(images, [[(i, i)] for i in indices], worthwhile_workers(workers, len(indices))):
            (sample,) = model.test_step(batch)
            found = sample.pred_instances
            corners = getattr(found.bboxes, "tensor", found.bboxes)
            # In fp64, so that width = x2 - x1 is not rounded a second time.
            columns = [corners, found.scores[:, None], found.labels[:, None]]
            rows = torch.cat([column.double() for column in columns], dim=1).cpu()
            rows[:, 2:4] = (rows[:, 2:4] - rows[:, :2]).clamp_min(0)
            yield ImageDetections(sample.img_id, rows)
            heartbeat()


def _coco_results(shares: list[tuple[list[int], list[int], Tensor]], dataset: Any) -> list[dict[str, Any]]:
    """The shares of all ranks as one COCO results list, in the order of the data set."""
    by_rank = [
        zip(image_ids, rows.split(counts), strict=True) if image_ids else iter(()) for image_ids, counts, rows in shares
    ]
    results: list[dict[str, Any]] = []
    for index in range(len(dataset)):
        image_id, rows = next(by_rank[index % len(shares)])
        for *box, score, label in rows.tolist():
            category = dataset.cat_ids[int(label)]
            results.append({"image_id": image_id, "category_id": category, "bbox": box, "score": score})
    return results

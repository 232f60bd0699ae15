"""The images of a synthesis as a data card: COCO boxes with soft labels to train on, the real split to evaluate on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.data.card import Card, LoadedCard, Synthesis
from c2d.data.coco_file import SOFT_LABEL, read_coco
from c2d.data.make_card import make_card
from c2d.data.usable_boxes import MIN_SIDE_PX
from c2d.impressions.sampling.targets import Targets

SOFT_LABEL_UNITS = 10**6
"""Soft labels are whole multiples of 1 / SOFT_LABEL_UNITS in the file."""
BOX_DIGITS = 2


class ImageFiles(NamedTuple):
    """Image files of one split.

    Attributes:
        names: relative to `root`.
        sizes: (width, height) of each, px.
        root: their folder; None: `train` of the run.
    """

    names: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    root: Path | None = None


def write_card(
    folder: RunFolder, real: LoadedCard, targets: Sequence[Targets], images: ImageFiles, synthesis: Synthesis
) -> Card:
    """Write annotations/train.json and card.json of a run; equal input gives equal bytes.

    Args:
        folder: the run; its id is the name of the card.
        real: the teacher's data set, whose classes and evaluation split the card has.
        targets: of each image, none where nothing is to be found in it.
        images: in the order of `targets`.
        synthesis: where the images come from. Its `soft_labels` decides whether the file has them.

    Returns:
        The card: split `train` is the synthesis, the evaluation split is the real one, by its absolute path.

    Raises:
        InputError: a box is smaller than 1 px, or `real` has no evaluation split beside `train`.
    """
    split = real.evaluation_split
    if split == "train":
        raise InputError(
            f"data set '{real.card.name}' is evaluated on its split 'train', whose place the synthesised images take; "
            "make its card again with an evaluation split of another name"
        )
    categories = read_coco(real.annotations(split))["categories"]
    by_name = {item["name"]: item for item in categories}
    # The order of the categories in the file is the order of the labels.
    kept = [{"id": by_name[name]["id"], "name": name} for name in real.card.classes]
    names, sizes, root = ImageFiles(*images)
    rows = [
        {"id": index + 1, "file_name": name, "width": width, "height": height}
        for index, (name, (width, height)) in enumerate(zip(names, sizes, strict=True))
    ]
    annotations: list[dict[str, Any]] = []
    for image, objects in zip(rows, targets, strict=True):
        for entry in _entries(objects, image, [item["id"] for item in kept], synthesis.soft_labels):
            annotations.append({"id": len(annotations) + 1, **entry})
    info = {"description": f"c2d impressions, {synthesis.images_from}, schedule {synthesis.schedule}"}
    atomic_write_json(
        folder.train_annotations, {"info": info, "images": rows, "annotations": annotations, "categories": kept}
    )
    files = {
        "train": (folder.train_annotations, root or folder.train_images),
        split: (real.annotations(split), real.images(split)),
    }
    source = {"maker": "c2d impressions", "real": real.card.name, "real_digest": real.card.digest}
    return make_card(folder.path, folder.id, real.card.classes, files, source, real.card.evaluation_split, synthesis)


def read_targets(coco: dict[str, Any]) -> list[Targets]:
    """Return the targets of an annotation file that `write_card` wrote, image by image.

    Args:
        coco: content of the file. An annotation without a soft label has 1 for its class.
    """
    label = {item["id"]: index for index, item in enumerate(coco["categories"])}
    rows: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        rows[annotation["image_id"]].append(annotation)
    identity = torch.eye(len(label))
    found = []
    for image in coco["images"]:
        own = rows[image["id"]]
        labels = torch.tensor([label[one["category_id"]] for one in own], dtype=torch.long)
        boxes = torch.tensor([one["bbox"] for one in own], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        side = torch.tensor([image["width"], image["height"]] * 2, dtype=torch.float64)
        soft = [
            torch.tensor(one[SOFT_LABEL]) if SOFT_LABEL in one else identity[label[one["category_id"]]] for one in own
        ]
        soft_labels = torch.stack(soft) if soft else torch.zeros(0, len(label))
        found.append(Targets((boxes / side).float(), labels, soft_labels))
    return found


def round_soft_label(row: Sequence[float]) -> list[float]:
    """Return a soft label in steps of 1e-6 whose steps sum to exactly one million: the largest remainders are raised.

    >>> round_soft_label([1 / 3, 1 / 3, 1 / 3])
    [0.333334, 0.333333, 0.333333]
    """
    exact = np.asarray(row, dtype=np.float64)
    exact = exact / exact.sum() * SOFT_LABEL_UNITS
    units = np.floor(exact)
    raised = np.argsort(units - exact, kind="stable")[: SOFT_LABEL_UNITS - int(units.sum())]
    units[raised] += 1
    return [float(value) for value in units / SOFT_LABEL_UNITS]


def _entries(objects: Targets, image: dict[str, Any], ids: list[int], soft_labels: bool) -> list[dict[str, Any]]:
    """The annotations of one image, without their ids."""
    width, height = image["width"], image["height"]
    corners = objects.boxes.double().cpu().numpy() * [width, height, width, height]
    corners = np.clip(corners, 0, [width, height, width, height])
    found = []
    for box, label, soft in zip(
        corners.tolist(), objects.labels.tolist(), objects.soft_labels.double().cpu().tolist(), strict=True
    ):
        x1, y1, x2, y2 = (round(value, BOX_DIGITS) for value in box)
        w, h = round(x2 - x1, BOX_DIGITS), round(y2 - y1, BOX_DIGITS)
        if min(w, h) < MIN_SIDE_PX:
            raise InputError(
                f"image {image['file_name']}: a target of {w} x {h} px; wanted at least {MIN_SIDE_PX:g} px: raise the "
                "smallest value of targets.side, or the size of the images"
            )
        entry = {
            "image_id": image["id"],
            "category_id": ids[label],
            "bbox": [x1, y1, w, h],
            "area": round(w * h, BOX_DIGITS),
            "iscrowd": 0,
        }
        found.append(entry | ({SOFT_LABEL: round_soft_label(soft)} if soft_labels else {}))
    return found

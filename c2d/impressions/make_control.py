"""Make the images and targets of a control, and finish its run as that of a synthesis.

Controls `noise` and `procedural` keep the targets of a finished synthesis. Control `real` has images of the real
training split, without their labels: its targets are the teacher's detections.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco_file import read_coco
from c2d.data.usable_boxes import MIN_SIDE_PX
from c2d.evaluation.rank_shares import Heartbeat
from c2d.evaluation.redetection import detect_saved
from c2d.impressions.finish import SynthesisFacts, finish
from c2d.impressions.images.control_images import noise_image, procedural_image
from c2d.impressions.images.png_file import write_png
from c2d.impressions.sampling.targets import Targets, empty_targets
from c2d.impressions.write_card import ImageFiles, read_targets
from c2d.ops.boxes import broadcast_iou
from c2d.ops.seeding import derive_seed
from c2d.specs.impressions_schedule import CONTROLS
from c2d.specs.spec import RunSpec
from c2d.teachers.detector import DetectorTeacher

REAL = 3
"""Purpose of the seed that chooses real images."""
SAME_OBJECT_IOU = 0.5
"""Detections that overlap so much are taken for one object, whose soft label has their scores (ours)."""


def make_control(
    spec: RunSpec,
    folder: RunFolder,
    teacher_run: RunFolder,
    card: LoadedCard,
    *,
    source: RunFolder | None,
    log: logging.Logger,
    heartbeat: Heartbeat = lambda: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Make a control; images that an earlier attempt saved are kept.

    Args:
        spec: of the run, kind `impressions`, with another `images_from` than `optimised`.
        folder: the run.
        teacher_run: the finished run of the teacher.
        card: the teacher's data set.
        source: the finished synthesis whose targets `noise` and `procedural` keep; None for `real`.
        log: of the run.
        heartbeat: called after every image.
        device: `cpu` or `cuda:N`, of the teacher.

    Returns:
        The content of result.json, see `finish`.

    Raises:
        InputError: the source is missing or no finished synthesis, or the teacher's classes are not those of the card.
        RunError: an image cannot be read or written.
    """
    schedule = spec.impressions
    teacher = DetectorTeacher.from_run(teacher_run.path, device)
    begun = time.monotonic()
    notes: list[str] = []
    if schedule.images_from in CONTROLS:
        files, targets = _source_targets(source, schedule.images_from, card)
        for index, (name, size) in enumerate(zip(files.names, files.sizes, strict=True)):
            path = folder.train_images / name
            if not path.exists():  # written whole or not at all
                if schedule.images_from == "noise":
                    pixels = noise_image(size, spec.seed, index)
                else:
                    pixels = procedural_image(size, *_arrays(targets[index]), spec.seed, index)
                write_png(path, pixels)
            heartbeat()
    else:
        coco = _choose_images(read_coco(card.annotations("train")), schedule.images, spec.seed)
        if len(coco["images"]) < schedule.images:
            notes.append(f"{schedule.images} images are wanted, and the real training split has {len(coco['images'])}")
            log.info(notes[-1])
        detections = detect_saved(teacher, teacher_run, card, heartbeat, [image["id"] for image in coco["images"]])
        files, targets = _detected_targets(coco, detections, schedule.adaptive.min_score, card.images("train"))
    seconds = time.monotonic() - begun
    log.info(f"{len(files.names)} images ({schedule.images_from}), {sum(map(len, targets))} targets, {seconds:.1f} s")
    facts = SynthesisFacts(seconds, notes=tuple(notes))
    return finish(folder, spec, teacher_run, teacher, card, targets, files, facts, heartbeat)


def _arrays(targets: Targets) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Boxes (G, 4) as shares of the sides, and labels (G,)."""
    return targets.boxes.double().numpy(), targets.labels.numpy()


def _source_targets(source: RunFolder | None, images_from: str, card: LoadedCard) -> tuple[ImageFiles, list[Targets]]:
    """Names, sizes and targets of a finished synthesis with the classes of a card."""
    if source is None:
        raise InputError(
            f"images_from {images_from} keeps the targets of a synthesis; give its run: teachers.impressions"
        )
    if not source.is_done:
        raise InputError(
            f"run {source.id}, whose targets are kept, is not finished; finish it first: c2d train {source.path}"
        )
    loaded = load_card(str(source.path))
    if loaded.card.synthesis is None or loaded.card.synthesis.images_from != "optimised":
        raise InputError(f"run {source.id} has no optimised images; give the run with images_from optimised")
    if loaded.card.classes != card.card.classes:
        raise InputError(
            f"run {source.id} has other classes than data set {card.card.name}; give one of the same teacher"
        )
    verify_card(loaded)
    coco = read_coco(loaded.annotations("train"))
    images = coco["images"]
    names, sizes = [row["file_name"] for row in images], [(row["width"], row["height"]) for row in images]
    return ImageFiles(names, sizes), read_targets(coco)


def _choose_images(coco: Mapping[str, Any], count: int, seed: int) -> dict[str, Any]:
    """The file without its labels, and with `count` of its images in their order; all where it has fewer."""
    generator = np.random.default_rng(derive_seed(seed, REAL))
    images = coco["images"]
    chosen = sorted(generator.choice(len(images), min(count, len(images)), replace=False).tolist())
    return {"images": [images[index] for index in chosen], "categories": coco["categories"]}


def _detected_targets(
    coco: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], min_score: float, root: Path
) -> tuple[ImageFiles, list[Targets]]:
    """Files of real images, and what the teacher sees in each of them."""
    by_image: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in coco["images"]}
    for one in detections:
        by_image[one["image_id"]].append(one)
    label = {item["id"]: index for index, item in enumerate(coco["categories"])}
    images = coco["images"]
    sizes = [(image["width"], image["height"]) for image in images]
    targets = [
        targets_from_detections(by_image[image["id"]], size, label, min_score)
        for image, size in zip(images, sizes, strict=True)
    ]
    return ImageFiles([image["file_name"] for image in images], sizes, root), targets


def targets_from_detections(
    detections: Sequence[Mapping[str, Any]], size: tuple[int, int], label: Mapping[int, int], min_score: float
) -> Targets:
    """Turn the detections of one image into targets.

    By falling score, each detection above `min_score` that overlaps no earlier target by IoU 0.5 is one. Stock
    inference gives a box one class, so the soft label has the largest score of each class among the detections that
    overlap the target by IoU 0.5, divided by their sum; a class without one has 0.

    Args:
        detections: COCO results of the image, x, y, w, h in px.
        size: (width, height) px.
        label: {category id: label}.
        min_score: 0-1.
    """
    ranked = sorted(detections, key=lambda one: -one["score"])
    if not ranked:
        return empty_targets(len(label))
    side = torch.tensor([*size, *size], dtype=torch.float64)
    boxes = torch.tensor([one["bbox"] for one in ranked], dtype=torch.float64)
    boxes[:, 2:] += boxes[:, :2]
    boxes = torch.minimum(boxes.clamp(min=0), side)
    overlaps = broadcast_iou(boxes[:, None], boxes[None])
    is_usable = (boxes[:, 2:] - boxes[:, :2]).min(dim=1).values >= MIN_SIDE_PX + 0.01  # corners are rounded to 0.01 px
    kept: list[int] = []
    soft_labels = []
    for row, one in enumerate(ranked):
        if one["score"] <= min_score or not is_usable[row] or any(overlaps[row, k] >= SAME_OBJECT_IOU for k in kept):
            continue
        kept.append(row)
        soft = torch.zeros(len(label))
        for near in (overlaps[row] >= SAME_OBJECT_IOU).nonzero()[:, 0].tolist():
            place = label[ranked[near]["category_id"]]
            soft[place] = max(float(soft[place]), ranked[near]["score"])
        soft_labels.append(soft / soft.sum())
    if not kept:
        return empty_targets(len(label))
    labels = torch.tensor([label[ranked[row]["category_id"]] for row in kept])
    return Targets((boxes[kept] / side).float(), labels, torch.stack(soft_labels))

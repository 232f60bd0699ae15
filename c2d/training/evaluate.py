"""Evaluation of a detector from its stock config and exported weights, without wrapper, teacher or method.

Every reported number of a detector comes from here, and so from the file that is shipped.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from mmengine.dataset import pseudo_collate

from c2d.core.errors import InputError, first_line
from c2d.core.run_folder import RunFolder, atomic_write_json_gz, read_json
from c2d.core.store_folder import RunStore
from c2d.data.card import LoadedCard
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.weights import safe_load
from c2d.weights.audit import Audit

Heartbeat = Callable[[], None]
"""Called after every image, so that a long evaluation is not taken for a dead run."""


def build_student(config: Config, device: str = "cpu") -> Any:
    """Build the stock student of a config, with the weights its code initialises.

    Args:
        config: with `model`.
        device: `cpu` or `cuda:N`.

    Raises:
        InputError: mmdet cannot build the model.
    """
    with mmdet_scope():
        from mmdet.registry import MODELS

        try:
            model = MODELS.build(config["model"])
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"mmdet cannot build the student's model: {first_line(error)}; check its config and the overrides"
            ) from error
        # mmdet's constructors leave some parts at torch's own first weights; mmengine's Runner calls this too.
        model.init_weights()
    return model.to(device)


def build_dataset(dataset: Any) -> Any:
    """Build an mmdet data set; what it prints while reading is dropped.

    Args:
        dataset: its config.

    Raises:
        InputError: the data set cannot be built, has no images, or image files are missing.
    """
    no_images = InputError(
        f"{dataset['ann_file']} has no image to use (training drops images without boxes); check the annotations"
    )
    with mmdet_scope(), contextlib.redirect_stdout(io.StringIO()):
        from mmdet.registry import DATASETS

        try:
            built = DATASETS.build(dataset)
        except ValueError as error:  # mmengine cannot pack an empty list
            raise no_images from error
        except (AssertionError, KeyError, TypeError) as error:
            raise InputError(
                f"mmdet cannot build the data set: {first_line(error)}; check its pipeline and the overrides"
            ) from error
    paths = [built.get_data_info(index)["img_path"] for index in range(len(built))]
    if not paths:
        raise no_images
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(paths)} images of {dataset['ann_file']} are missing, first {missing[0]}; "
            "restore them, or make the data card again where the images are"
        )
    return built


def load_student(config: Config, weights: Path, device: str = "cpu") -> tuple[Any, Audit]:
    """Build a student and load its weights.

    Args:
        config: with `model`.
        weights: student.pth, or any checkpoint of the model; every key must fit, as under `strict=True`.
        device: `cpu` or `cuda:N`.

    Returns:
        (model in eval mode, audit).
    """
    model = build_student(config, device)
    audit = safe_load.load_into(model, weights, who="student", strict=True)
    return model.to(device).eval(), audit


def coco_dataset(card: LoadedCard, split: str, pipeline: list[Any], *, test: bool) -> dict[str, Any]:
    """Return the config of mmdet's CocoDataset for one split of a card.

    Args:
        card: the data set.
        split: `train` or `val`.
        pipeline: of the images.
        test: keep every image; training drops images without boxes, as mmdet does, unless it is overridden.
    """
    dataset: dict[str, Any] = {
        "type": "CocoDataset",
        "data_root": "",
        "ann_file": str(card.annotations(split)),
        "data_prefix": {"img": str(card.images(split))},
        "metainfo": {"classes": tuple(card.card.classes)},
        "test_mode": test,
        "pipeline": pipeline,
    }
    if not test:
        # The values of mmdet's stock COCO configs.
        dataset["filter_cfg"] = {"filter_empty_gt": True, "min_size": 32}
    return dataset


def held_out_dataset(config: Config, card: LoadedCard, who: str) -> dict[str, Any]:
    """Return the config of the test data set, with the files of a card's `val` split.

    Args:
        config: with `test_dataloader`.
        card: the data set.
        who: `student` or `teacher`, for the message.

    Raises:
        InputError: classes of config and data set differ.
    """
    dataset: dict[str, Any] = config["test_dataloader"]["dataset"]
    classes = list(dataset["metainfo"]["classes"])
    if classes != list(card.card.classes):
        raise InputError(
            f"the config's classes ({', '.join(classes[:4])}, ...) are not those of data set {card.card.name} "
            f"({', '.join(card.card.classes[:4])}, ...); evaluate on the data the {who} was trained for"
        )
    # The card may lie at another place than in the training.
    return {**dataset, "ann_file": str(card.annotations("val")), "data_prefix": {"img": str(card.images("val"))}}


def load_ground_truth(card: LoadedCard, folder: RunFolder) -> dict[str, Any]:
    """Read the ground truth of the `val` split (boxes only) from the store, `runs/targets/`; write it at first use.

    Args:
        card: the data set.
        folder: any run of the store.
    """
    path = RunStore(folder.path.parent).targets(card.card.digest)
    if path.exists():
        return read_json(path)
    full = read_json(card.annotations("val"))
    value = {
        "images": [{key: image[key] for key in ("id", "file_name", "width", "height")} for image in full["images"]],
        "annotations": [
            {
                "id": box["id"],
                "image_id": box["image_id"],
                "category_id": box["category_id"],
                "bbox": box["bbox"],
                "area": box.get("area", box["bbox"][2] * box["bbox"][3]),
                "iscrowd": box.get("iscrowd", 0),
            }
            for box in full.get("annotations", [])
        ],
        "categories": [
            {"id": item["id"], "name": item["name"]} for item in full["categories"] if item["name"] in card.card.classes
        ],
    }
    atomic_write_json_gz(path, value)
    return value


@torch.no_grad()
def detect(model: Any, dataset: Any, heartbeat: Heartbeat = lambda: None) -> list[dict[str, Any]]:
    """Detect the objects of a data set, image by image.

    Args:
        model: mmdet detector; it is in eval mode meanwhile, and in its own mode afterwards.
        dataset: mmdet data set in test mode.
        heartbeat: called after every image.

    Returns:
        COCO results list: category ids of the annotation file, boxes x, y, w, h in px of the original image, scores at
        full precision.
    """
    was_training = model.training
    model.eval()
    detections: list[dict[str, Any]] = []
    for index in range(len(dataset)):
        (sample,) = model.test_step(pseudo_collate([dataset[index]]))
        instances = sample.pred_instances.cpu()
        # In fp64, so that width = x2 - x1 is not rounded a second time.
        corners = getattr(instances.bboxes, "tensor", instances.bboxes).double()
        boxes = torch.cat([corners[:, :2], (corners[:, 2:] - corners[:, :2]).clamp_min(0)], dim=1)
        for box, score, label in zip(
            boxes.tolist(), instances.scores.double().tolist(), instances.labels.tolist(), strict=True
        ):
            detections.append(
                {"image_id": sample.img_id, "category_id": dataset.cat_ids[label], "bbox": box, "score": score}
            )
        heartbeat()
    model.train(was_training)
    return detections


def evaluate_detector(
    config: Config,
    weights: Path,
    card: LoadedCard,
    truth: dict[str, Any],
    device: str,
    heartbeat: Heartbeat = lambda: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Evaluate a stock student on the `val` split of a card.

    Args:
        config: with `model` and `test_dataloader`.
        weights: student.pth, or any checkpoint of the model.
        card: the data set.
        truth: its ground truth, from `load_ground_truth`.
        device: `cpu` or `cuda:N`.
        heartbeat: called after every image.

    Returns:
        (content of result.json, detections as `detect` returns them).

    Raises:
        InputError: weights of another architecture, or classes of config and data set that differ.
    """
    from c2d.metrics import coco, tide
    from c2d.metrics.coco_data import prepare

    begun = time.monotonic()
    dataset = held_out_dataset(config, card, "student")
    model, audit = load_student(config, weights, device)
    detections = detect(model, build_dataset(dataset), heartbeat)
    detected = time.monotonic()
    data = prepare(truth, detections)
    result = {
        "format": 1,
        "kind": "detector",
        **coco.evaluate(data),
        "tide": tide.evaluate(data, ious=tide.IOUS),
        "params": sum(weight.numel() for weight in model.parameters()),
        "audit": audit.to_dict(),
        "seconds": {"detect": round(detected - begun, 3), "score": round(time.monotonic() - detected, 3)},
    }
    return result, detections

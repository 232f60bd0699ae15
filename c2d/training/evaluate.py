"""Stock config + exported weights -> detections and result. It never sees the wrapper, a teacher or a distiller.

Every reported number of a detector comes from here, so from the file that is shipped.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from c2d.core.errors import InputError, first_line
from c2d.core.run_folder import RunFolder, atomic_write_json_gz, read_json
from c2d.data.card import LoadedCard
from c2d.detectors import compat
from c2d.weights import safe_load

Beat = Callable[[], None]


def build_student(config: Config, device: str = "cpu") -> Any:
    """The stock student of a config, with the weights its code initialises."""
    compat.prepare()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with mmdet_scope():
        try:
            model = MODELS.build(config["model"])
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"mmdet cannot build the student's model: {first_line(error)}; check its config and the overrides"
            ) from error
        model.init_weights()
    return model.to(device)


def build_dataset(dataset: Any) -> Any:
    """An mmdet data set from its config; what it prints while reading is kept off the terminal."""
    compat.prepare()
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    nothing = InputError(
        f"{dataset['ann_file']} leaves no image to look at (training drops images without boxes); check the annotations"
    )
    with mmdet_scope(), contextlib.redirect_stdout(io.StringIO()):
        try:
            built = DATASETS.build(dataset)
        except ValueError as error:  # mmengine cannot pack an empty list
            raise nothing from error
        except (AssertionError, KeyError, TypeError) as error:
            raise InputError(
                f"mmdet cannot build the data set: {first_line(error)}; check its pipeline and the overrides"
            ) from error
    paths = [built.get_data_info(index)["img_path"] for index in range(len(built))]
    if not paths:
        raise nothing
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(paths)} images of {dataset['ann_file']} are missing, first {missing[0]}; "
            "restore them, or make the data card anew where the images are"
        )
    return built


@contextlib.contextmanager
def mmdet_scope() -> Iterator[None]:
    """mmdet's registry scope, for as long as something is built."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


def load_student(config: Config, weights: Path, device: str = "cpu") -> tuple[Any, safe_load.Audit]:
    """(model in eval mode, audit): every key must fit, as stock mmdet's strict=True asks."""
    model = build_student(config, device)
    audit = safe_load.load_into(model, weights, who="student", strict=True)
    return model.to(device).eval(), audit


def coco_dataset(card: LoadedCard, split: str, pipeline: list[Any], *, test: bool) -> dict[str, Any]:
    """mmdet's CocoDataset of one split of a card; training keeps mmdet's rule for empty images unless overridden."""
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
        dataset["filter_cfg"] = {"filter_empty_gt": True, "min_size": 32}
    return dataset


def targets(card: LoadedCard, folder: RunFolder) -> dict[str, Any]:
    """Ground truth of the `val` split, boxes only, from the store (`runs/targets/`), where it is put at first use."""
    path = folder.targets(card.card.digest)
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
def detect(model: Any, dataset: Any, beat: Beat = lambda: None) -> list[dict[str, Any]]:
    """COCO results list of a data set: category ids of its annotation file, boxes x, y, w, h in pixels of the original
    image, scores at full precision. The model keeps its training mode."""
    was_training = model.training
    model.eval()
    found: list[dict[str, Any]] = []
    for index in range(len(dataset)):
        (sample,) = model.test_step(pseudo_collate([dataset[index]]))
        instances = sample.pred_instances.cpu()
        corners = getattr(instances.bboxes, "tensor", instances.bboxes).double()
        boxes = torch.cat([corners[:, :2], (corners[:, 2:] - corners[:, :2]).clamp_min(0)], dim=1)
        for box, score, label in zip(
            boxes.tolist(), instances.scores.double().tolist(), instances.labels.tolist(), strict=True
        ):
            found.append(
                {"image_id": sample.img_id, "category_id": dataset.cat_ids[label], "bbox": box, "score": score}
            )
        beat()
    model.train(was_training)
    return found


def evaluate_detector(
    config: Config, weights: Path, card: LoadedCard, truth: dict[str, Any], device: str, beat: Beat = lambda: None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(result, detections) of a stock student on the card's `val` split.

    Raises:
        InputError: weights of another architecture, or classes of config and data set that differ.
    """
    from c2d.metrics import coco, tide
    from c2d.metrics.coco_data import prepare

    begun = time.monotonic()
    dataset_config = config["test_dataloader"]["dataset"]
    classes = list(dataset_config["metainfo"]["classes"])
    if classes != list(card.card.classes):
        raise InputError(
            f"the config's classes ({', '.join(classes[:4])}, ...) are not those of data set {card.card.name} "
            f"({', '.join(card.card.classes[:4])}, ...); evaluate on the data the student was trained for"
        )
    dataset_config = {
        **dataset_config,
        "ann_file": str(card.annotations("val")),
        "data_prefix": {"img": str(card.images("val"))},
    }
    model, audit = load_student(config, weights, device)
    detections = detect(model, build_dataset(dataset_config), beat)
    seen = time.monotonic()
    data = prepare(truth, detections)
    result = {
        "format": 1,
        "kind": "detector",
        **coco.evaluate(data),
        "tide": tide.evaluate(data, ious=tide.IOUS),
        "params": sum(weight.numel() for weight in model.parameters()),
        "audit": audit.to_dict(),
        "seconds": {"detect": round(seen - begun, 3), "score": round(time.monotonic() - seen, 3)},
    }
    return result, detections

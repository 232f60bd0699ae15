"""Evaluation of a detector from its stock config and exported weights, without wrapper, teacher or method.

Every reported number of a detector comes from here, and so from the file that is shipped.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mmengine import Config

from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, atomic_write_json_gz, read_json
from c2d.core.store_folder import RunStore
from c2d.data.card import LoadedCard
from c2d.data.coco_file import PROTOCOL, read_coco
from c2d.detectors.heads import count_classes
from c2d.evaluation.class_map import ClassSources, check_names_by_ap
from c2d.evaluation.datasets import build_dataset, held_out_dataset
from c2d.evaluation.detect import detect
from c2d.evaluation.distributed import is_main, join_process_group
from c2d.evaluation.misnamed_outputs import misnamed_outputs
from c2d.evaluation.rank_shares import Heartbeat
from c2d.evaluation.stock_model import build_student, load_student


def load_ground_truth(card: LoadedCard, folder: RunFolder) -> dict[str, Any]:
    """Read the ground truth (boxes only) of the evaluation split from the data set, whose files were verified.

    `targets/` of the store keeps it for reports; a file there that is missing, damaged or changed is written again.
    Where the card names an evaluation protocol, the annotations keep what it reads.

    Args:
        card: the data set.
        folder: any run of the store.
    """
    full = read_coco(card.annotations(card.evaluation_split))
    of_protocol = (PROTOCOL,) if card.card.protocol is not None else ()
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
                **{key: box[key] for key in of_protocol if key in box},
            }
            for box in full.get("annotations", [])
        ],
        "categories": [
            {"id": item["id"], "name": item["name"]} for item in full["categories"] if item["name"] in card.card.classes
        ],
    }
    path = RunStore(folder.path.parent).targets(card.card.digest)
    if not _holds(path, value):
        atomic_write_json_gz(path, value)
    return value


def _holds(path: Path, value: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path) == value)
    except InputError:  # missing or damaged
        return False


def evaluate_detector(
    config: Config,
    weights: Path,
    card: LoadedCard,
    truth: dict[str, Any],
    device: str,
    heartbeat: Heartbeat = lambda: None,
    class_sources: ClassSources | None = None,
    workers: int = 0,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Evaluate a stock student on the evaluation split of a card; every rank detects a share of the images.

    Args:
        config: with `model` and `test_dataloader`.
        weights: student.pth, or any checkpoint of the model; only rank 0 reads it.
        card: the data set.
        truth: its ground truth, from `load_ground_truth`.
        device: `cpu` or `cuda:N`.
        heartbeat: called after every image.
        class_sources: of a model that was not trained here: its outputs are paired with the card's classes by name.
        workers: loader processes of this rank.

    Returns:
        (content of result.json, detections as `detect` returns them); both are empty on ranks other than 0.

    Raises:
        InputError: weights of another architecture, classes of model and data set that do not fit, or an annotation
            without what the card's evaluation protocol reads.
    """
    from c2d.metrics import coco, tide
    from c2d.metrics.coco_data import prepare
    from c2d.metrics.protocols.evaluate_protocol import evaluate_protocol

    begun = time.monotonic()
    built = build_dataset(held_out_dataset(config, card, "student"))
    if not is_main():  # `detect` gives it the weights of rank 0
        detect(build_student(config, device), built, heartbeat, workers)
        return {}, []
    model, audit = load_student(config, weights, device, class_sources.checkpoint if class_sources else None)
    class_map, card_ids = None, list(built.cat_ids)
    if class_sources is not None:
        class_map = class_sources.map(count_classes(model), card.card.classes, card.card.name)
        built.cat_ids = class_map.category_ids(card_ids)
    detections = [one for one in detect(model, built, heartbeat, workers) if one["category_id"] is not None]
    detected = time.monotonic()
    data = prepare(truth, detections)
    protocols = {}
    if card.card.protocol is not None:
        protocols = {"protocols": evaluate_protocol(card.card.protocol, truth["annotations"], data)}
    result = {
        "format": 1,
        "kind": "detector",
        "evaluation_split": card.evaluation_split,
        **coco.evaluate(data),
        **protocols,
        "tide": tide.evaluate(data, ious=tide.IOUS),
        "params": sum(weight.numel() for weight in model.parameters()),
        "audit": audit.to_dict(),
        "seconds": {"detect": round(detected - begun, 3), "score": round(time.monotonic() - detected, 3)},
    }
    if class_map is not None:
        names = dict(zip(card_ids, card.card.classes, strict=True))
        moved_names = {names[a]: names[b] for a, b in misnamed_outputs(truth, detections).items()}
        result["class_map"] = {**class_map.to_dict(), "seems_to_be": moved_names}
    if class_map is not None and class_map.is_permutation:
        position = dict(zip(built.cat_ids, card_ids, strict=True))
        moved = [{**one, "category_id": position[one["category_id"]]} for one in detections]
        check_names_by_ap(result["AP"], coco.evaluate(prepare(truth, moved))["AP"], class_map)
    return result, detections


def evaluate_and_check(
    config: Config,
    weights: Path,
    card: LoadedCard,
    folder: RunFolder,
    check: bool,
    class_sources: ClassSources | None = None,
    workers: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """Evaluate a stock student, and compare the engines of the metrics if asked.

    Args:
        config: with `model` and `test_dataloader`.
        weights: of the model.
        card: the data set.
        folder: any run of the store, which keeps the ground truth.
        check: compare the engines.
        class_sources: as in `evaluate_detector`.
        workers: loader processes of this rank.

    Returns:
        (content of result.json, lines to print); both are empty on ranks other than 0.

    Raises:
        InputError: as `evaluate_detector`.
        RunError: of class `data`: the engines differ.
    """
    device = join_process_group()
    truth = load_ground_truth(card, folder) if is_main() else {}
    result, detections = evaluate_detector(
        config, weights, card, truth, device, class_sources=class_sources, workers=workers
    )
    if not check or not is_main():
        return result, []
    from c2d.metrics import engine_parity

    report = engine_parity.compare_engines(truth, detections)
    lines = list(report["lines"])
    if not report["ok"]:
        raise RunError("the two engines differ: " + "; ".join(lines), "data")
    return result, lines

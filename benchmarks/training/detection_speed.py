"""Measure the detection of a data set: ours and mmengine's test loop in turn, in one process.

Both have the same student (random weights), the same images, batches of one image and the same number of loader
processes. Neither computes metrics: mmengine's evaluator keeps the predictions as mmdet's CocoMetric does before it
computes anything, ours returns a COCO results list. A round measures each side once; the ratio is taken round by round.
CPU seconds include the loader processes. On a shared machine they are more reliable than wall seconds.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training.step_process import prepare_process
from c2d.core.errors import InputError

CLASSES = 80
SIZES = ((480, 640), (640, 480), (427, 640), (375, 500))
"""Height and width of the images in px: frequent ones of COCO."""


def measure_detection(
    folder: Path,
    student: str,
    images: int,
    input_size: int | None,
    workers: Sequence[int],
    rounds: int,
    threads: int | None,
) -> list[dict[str, Any]]:
    """Measure both sides with each number of loader processes, after one round that is not counted.

    Args:
        folder: for the images and mmengine's work folder.
        student: name of a student.
        images: number of images.
        input_size: short side of the student's input in px; None: its own.
        workers: numbers of loader processes.
        rounds: counted rounds.
        threads: CPU threads of torch; None: torch's choice.

    Returns:
        One record for each number of workers: {kind, student, images, input_size, threads, workers, equal: whether the
        detections are equal to the last bit, rounds: [{ours, mmengine: {wall_s, cpu_s}}]}.

    Raises:
        InputError: no image.
    """
    if images < 1:
        raise InputError(f"{images} images; give 1 or more")
    device = prepare_process(threads)
    from c2d.evaluation.datasets import build_dataset
    from c2d.evaluation.detect import detect

    model, dataset_config = _student_and_dataset(folder, student, images, input_size, device)
    dataset = build_dataset(dataset_config)
    records = []
    for count in workers:
        runner, kept = _test_runner(folder, model, dataset_config, count)
        sides: dict[str, Callable[[], Any]] = {
            "ours": lambda count=count: detect(model, dataset, workers=count),  # type: ignore[misc]
            "mmengine": runner.test,
        }
        found = sides["ours"]()
        sides["mmengine"]()
        record: dict[str, Any] = {
            "kind": "detection", "student": student, "images": images, "input_size": input_size,
            "threads": torch.get_num_threads(), "workers": count,
            "equal": _as_results(kept.predictions, dataset.cat_ids) == found, "detections": len(found),
        }  # fmt: skip
        record["rounds"] = [
            {name: _seconds(sides[name]) for name in (sides if number % 2 else reversed(sides))}
            for number in range(rounds)
        ]
        records.append(record)
    return records


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """Write the records as a table: medians of the rounds, and the median of the ratios with their range."""
    lines = [
        "| student | images | loader processes | ours s | mmengine s | ratio (range) | ours CPU s | mmengine CPU s | "
        "CPU ratio (range) | equal |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        cells = [record["student"], record["images"], record["workers"]]
        for unit in ("wall_s", "cpu_s"):
            ours, theirs = ([item[side][unit] for item in record["rounds"]] for side in ("ours", "mmengine"))
            ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
            cells += [f"{statistics.median(values):.2f}" for values in (ours, theirs)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        cells.append("yes" if record["equal"] else "NO")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _student_and_dataset(
    folder: Path, student: str, images: int, input_size: int | None, device: str
) -> tuple[Any, dict[str, Any]]:
    from c2d.configs.student_config import load_student
    from c2d.evaluation.stock_model import build_student

    config = load_student(student, num_classes=CLASSES, input_size=input_size, pretrained=False)
    # A student with random weights scores low: without it there would be no detection to collect.
    test_cfg = config["model"]["test_cfg"]
    test_cfg.get("rcnn", test_cfg)["score_thr"] = 0.0
    torch.manual_seed(0)
    dataset = {
        "type": "CocoDataset",
        "ann_file": str(_write_images(folder, images)),
        "data_prefix": {"img": str(folder)},
        "metainfo": {"classes": [f"class {number}" for number in range(CLASSES)]},
        "test_mode": True,
        "pipeline": config["test_pipeline"],
    }
    return build_student(config, device), dataset


def _write_images(folder: Path, count: int) -> Path:
    """Write JPEG files of smooth noise and an annotation file without boxes; return the latter."""
    import cv2

    draw, rows = np.random.default_rng(0), []
    for number in range(count):
        height, width = SIZES[number % len(SIZES)]
        coarse = draw.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        rows.append({"id": number + 1, "file_name": f"{number}.jpg", "width": width, "height": height})
    categories = [{"id": number + 1, "name": f"class {number}"} for number in range(CLASSES)]
    path = folder / "images.json"
    path.write_text(json.dumps({"images": rows, "annotations": [], "categories": categories}))
    return path


def _test_runner(folder: Path, model: Any, dataset: dict[str, Any], workers: int) -> tuple[Any, Any]:
    """Build mmengine's Runner with the defaults of mmdet's configs, and the metric that keeps its predictions."""
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner

    class KeptPredictions(BaseMetric):
        """The predictions of one test, as mmdet's CocoMetric keeps them."""

        predictions: Sequence[dict[str, Any]] = ()

        def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
            for sample in data_samples:
                found = sample["pred_instances"]
                arrays = {key: found[key].cpu().numpy() for key in ("bboxes", "scores", "labels")}
                self.results.append({"img_id": sample["img_id"], **arrays})

        def compute_metrics(self, results: Sequence[dict[str, Any]]) -> dict[str, float]:
            self.predictions = list(results)
            return {"images": float(len(results))}

    kept = KeptPredictions()
    runner = Runner(
        model=model,
        work_dir=str(folder / f"runner-{workers}"),
        test_dataloader={
            "batch_size": 1,
            "num_workers": workers,
            "persistent_workers": False,
            "drop_last": False,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": dataset,
        },
        test_cfg={"type": "TestLoop"},
        test_evaluator=[kept],
        default_scope="mmdet",
        log_level=logging.ERROR,
        experiment_name=f"c2d-{os.getpid()}-{workers}",
    )
    return runner, kept


def _as_results(predictions: Sequence[dict[str, Any]], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Predictions of mmengine as the COCO results list that `detect` returns."""
    results = []
    for item in predictions:
        for (x1, y1, x2, y2), score, label in zip(
            item["bboxes"].astype(np.float64).tolist(),
            item["scores"].astype(np.float64).tolist(),
            item["labels"].tolist(),
            strict=True,
        ):
            box = [x1, y1, max(0.0, x2 - x1), max(0.0, y2 - y1)]
            results.append(
                {"image_id": item["img_id"], "category_id": category_ids[label], "bbox": box, "score": score}
            )
    return results


def _seconds(call: Callable[[], Any]) -> dict[str, float]:
    """Wall and CPU seconds of a call; CPU seconds include its loader processes, which have ended by then."""
    cpu, wall = _cpu_s(), time.perf_counter()
    call()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": _cpu_s() - cpu}


def _cpu_s() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in usage)

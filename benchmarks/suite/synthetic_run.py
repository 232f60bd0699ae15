"""Synthetic runs: the files and keys that a run writes, with numbers that the caller chooses.

What a run really writes is in tests/fixtures/runs; `tests/test_contract.py` compares the keys of both.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.loading.columns import COCO, IOUS, TIDE

CLASSES = ("cat", "dog & co", "t_rex")
DIGEST = "d" * 64
"""Of the data set."""


def write_teacher(runs: Path, run: str = "resnet18-classifier-0123456789ab-s0") -> str:
    """Write a finished classifier run into the store `runs`; return its id."""
    write_json(runs / run / "spec.json", spec_json("classifier", "resnet18-classifier", None, 0, {}, []))
    write_json(runs / run / "status.json", status_json("done"))
    write_json(runs / run / "env.json", env_json())
    write_json(runs / run / "result.json", classifier_result_json())
    return run


def classifier_result_json() -> dict[str, Any]:
    """Return the content of a classifier's result.json."""
    return {"format": 1, "kind": "classifier", "n": 100, "top1": 0.95, "top5": 0.99, "nll": 0.2, "ece": 0.02,
            "params": 11_000_000, "seconds": {"score": 1.0, "train": 100.0, "train_cpu": 150.0},
            "memory_mib": 900.0}  # fmt: skip


def write_student(
    path: Path, labels: dict[str, str], seed: int, state: str, ap: float, teacher: str, schedule: dict[str, Any]
) -> None:
    """Write the files of one detector run; `ap` is in 0-1, `schedule` replaces single values of the schedule."""
    taught = labels.get("method", "baseline") != "baseline"
    method: list[Any] = [{"icod": {"version": 1, "T": 2}}] if taught else []
    # The name is the id without `-<12 hex digits>-s<seed>`, 16 characters for a seed of one digit.
    spec = spec_json(
        "detector", path.name[:-16], teacher if taught else None, seed, schedule, method, labels.get("model", "tiny")
    )
    write_json(path / "spec.json", spec)
    write_json(path / "status.json", status_json(state))
    write_json(path / "env.json", env_json())
    lines = [
        {"event": "train", "iteration": i + 1, "time": 1.8e9 + i, "step_s": 0.1, "lr": 0.01, "memory_mib": 1000.0,
         "loss": 2.0 / (i + 1) + 0.5 * taught, "loss_cls": 1.0 / (i + 1), "loss_bbox": 1.0 / (i + 1),
         **({"loss_kd_icod_cls": 0.5, "kd_icod_cls_raw": 1.25} if taught else {})}
        for i in range(20)
    ]  # fmt: skip
    lines.insert(10, {"event": "val", "iteration": 10, "AP": ap / 2, "AP50": ap / 2, "AP75": ap / 2})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if state == "done":
        write_json(path / "result.json", result_json(ap, teacher if taught else None))


def result_json(ap: float, teacher: str | None, classes: Sequence[str] = CLASSES) -> dict[str, Any]:
    """Return the content of result.json: every number follows from the AP (0-1)."""
    numbers = {key: ap * (1 - 0.05 * k) for k, key in enumerate(COCO)}
    errors = {key: (1 - ap) * (0.3 - 0.03 * k) for k, key in enumerate(TIDE)}
    counts = {key: 10 * k for k, key in enumerate(TIDE[:6])}
    return {
        "format": 1,
        "kind": "detector",
        **numbers,
        "AP_per_iou": {iou: max(ap * (1.4 - 0.12 * k), 0.0) for k, iou in enumerate(IOUS)},
        "per_class": {
            name: {**{key: v * (1 - 0.1 * c) for key, v in numbers.items()}, "boxes": 10 + c, "detections": 20}
            for c, name in enumerate(classes)
        },
        "engine": {"name": "hotcoco", "version": "1.3.0"},
        "images": 6,
        "boxes": 33,
        "crowds": 0,
        "detections": 60,
        "tide": {
            "AP": numbers["AP50"],
            "dAP": errors,
            "counts": counts,
            "per_class": {name: {"AP": numbers["AP50"], "dAP": errors, "counts": counts} for name in classes},
            "per_size": None,
            "per_iou": None,
            "ties": 0.0,
            "warnings": [],
            "iou": 0.5,
            "background": 0.1,
            "engine": {"name": "hotcoco", "version": "1.3.0"},
        },
        "params": 1_300_000,
        "seconds": {"detect": 2.0, "score": 0.1, "train": 100.0, "train_cpu": 150.0},
        "memory_mib": 900.0,
        "audit_init": None,
        "teachers": {
            "classifier": {"run": teacher, "top1": 0.95} if teacher else None,
            "detector": None,
        },
    }


def spec_json(
    kind: str,
    name: str,
    teacher: str | None,
    seed: int,
    schedule: dict[str, Any],
    method: list[Any],
    student: str = "tiny",
) -> dict[str, Any]:
    """Return the content of spec.json.

    Args:
        kind: "detector" or "classifier".
        teacher: id of the classifier run, None for a baseline.
        schedule: values that replace the usual ones.
    """
    values = {
        "iterations": 20,
        "batch": 8,
        "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0001, "norm_weight_decay": True},
        "warmup": {"iterations": 0, "factor": 0.001},
        "policy": "constant",
        "milestones": [],
        "gamma": 0.1,
        "clip_grad_norm": 10.0,
        "precision": "fp32",
        "ema": None,
        "val_interval": None,
    } | schedule
    detector = kind == "detector"
    return {
        "format": 1,
        "name": name,
        "kind": kind,
        "dataset": {"name": "scenes", "digest": DIGEST},
        "student": {"name": student, "digest": hashlib.sha256(student.encode()).hexdigest()} if detector else None,
        "network": None if detector else "resnet18",
        "input": None,
        "init": "none",
        "teachers": {"classifier": teacher, "detector": None},
        "method": method,
        "schedule": {"name": "smoke", "values": values},
        "overrides": {},
        "seed": seed,
    }


def status_json(state: str) -> dict[str, Any]:
    """Return the content of status.json."""
    failed = state == "failed"
    return {
        "state": state,
        "attempt": 1,
        "format": 1,
        "host": "made",
        "pid": 1,
        "stage": state,
        "reason": "the loss is not finite" if failed else None,
        "failure_class": "nan" if failed else None,
        "error": "loss_cls is nan at iteration 7" if failed else None,
        "begun": 1.8e9,
        "elapsed_before_s": 0.0,
        "heartbeat": "2026-11-20T20:45:51+00:00",
        "elapsed_s": 100.0,
        "iteration": 20 if state == "done" else 7,
        "iterations": 20,
    }


def env_json() -> dict[str, Any]:
    """Return the content of env.json, with one attempt."""
    attempt = {
        "attempt": 1,
        "time": "2026-11-20T20:45:50+00:00",
        "c2d": "0.1.0",
        "git": {"sha": "a" * 40, "dirty": False, "diff_sha256": None},
        "snapshot": None,
        "python": "3.11.7",
        "packages": {"torch": "2.15.0", "onedl-mmdetection": "3.5.1", "onedl-mmcv": "2.3.6", "numpy": "2.2.6"},
        "machine": {"host": "made", "system": "Linux", "cpu": "made-up CPU", "cpus": 2},
        "command": ["c2d", "train", "SPEC.yaml"],
        "slurm": {},
        "environment": {},
    }
    return {"format": 1, "attempts": [attempt]}


def targets(images: int = 6, per_image: int = 5) -> dict[str, Any]:
    """Return COCO ground truth of `images` images of 100 x 100 px; boxes are xywh px and lie apart on a grid."""
    annotations = [
        {"id": i * per_image + k + 1, "image_id": i + 1, "category_id": (i + k) % 3 + 1, "area": 256.0, "iscrowd": 0,
         "bbox": [float(4 + 19 * k), float(10 + 12 * i % 60), 16.0, 16.0]}
        for i in range(images)
        for k in range(per_image)
    ]  # fmt: skip
    return {
        "images": [{"id": i + 1, "width": 100, "height": 100, "file_name": f"{i}.png"} for i in range(images)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)],
        "annotations": annotations,
    }


def detections(quality: float, seed: int) -> list[dict[str, Any]]:
    """Return one detection of each object in `targets()`.

    With probability 0.7 - quality its class is wrong; some boxes are shifted in x.
    """
    random = np.random.default_rng([seed, int(quality * 1e6)])
    results = []
    for box in targets()["annotations"]:
        x, y, w, h = box["bbox"]
        shift = float(random.normal(0, 2 + 6 * (random.random() > quality + 0.4)))
        right = random.random() < quality + 0.3
        category = box["category_id"] if right else box["category_id"] % 3 + 1
        results.append({"image_id": box["image_id"], "category_id": category, "bbox": [x + shift, y, w, h],
                      "score": float(random.random())})  # fmt: skip
    return results


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON and create the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def write_json_gz(path: Path, value: Any) -> None:
    """Write compressed JSON and create the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mtime=0: equal content gives equal bytes.
    path.write_bytes(gzip.compress(json.dumps(value).encode(), mtime=0))

"""Made-up stores: run folders with the files and keys that a run writes, and numbers that the caller chooses.

For tests, and for the time that reading and reporting take.

What a run really writes is in tests/fixtures/runs; `tests/test_contract.py` compares the keys of both.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.load.schema import COCO, IOUS, TIDE

CLASSES = ("cat", "dog & co", "t_rex")
DIGEST = "d" * 64
Value = Callable[[dict[str, str], int], float]
State = Callable[[dict[str, str], int], str]


def plain_value(labels: dict[str, str], seed: int) -> float:
    """AP in 0-1 from the labels alone, with a little of the seed."""
    text = json.dumps(labels, sort_keys=True)
    return 0.2 + int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) / 655360 + 0.002 * seed


def make_store(
    runs: Path,
    axes: Mapping[str, Sequence[str]],
    seeds: int = 3,
    value: Value = plain_value,
    state: State = lambda labels, seed: "done",
    name: str = "made",
    schedule: Callable[[dict[str, str]], dict[str, Any]] = lambda labels: {},
    with_detections: bool = False,
) -> dict[str, Any]:
    """Write a store with one sweep over all combinations of `axes` and return the sweep's record.

    Labels of an axis `model` are students of their own; without it, all runs are of one.

    Args:
        value: AP of a cell and seed, 0-1; every other number follows from it.
        state: new (no folder), waiting, running, failed or done.
        schedule: values that a cell's schedule has instead of the usual ones.
        with_detections: write detections.json.gz and the targets too.
    """
    cells = []
    teacher = _teacher(runs)
    for combination in itertools.product(*axes.values()):
        labels = dict(zip(axes, combination, strict=True))
        for seed in range(seeds):
            run = f"student-{hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:12]}-s{seed}"
            cells.append({"labels": labels, "seed": seed, "run": run})
            found = state(labels, seed)
            if found != "new":
                _student(runs / run, labels, seed, found, value(labels, seed), teacher, schedule(labels))
                if with_detections and found == "done":
                    boxes = detections(value(labels, seed), seed)
                    write_gz(runs / run / "detections.json.gz", boxes)
                    counted = {"boxes": len(boxes), "detections": len(boxes)}  # every object is found once
                    write(runs / run / "result.json", json.loads((runs / run / "result.json").read_text()) | counted)
    if with_detections:
        write_gz(runs / "targets" / f"{DIGEST}.json.gz", targets())
    record = {
        "format": 1,
        "name": name,
        "question": "Which of the made-up methods is ahead?",
        "source": f"{name}.yaml",
        "size": "small",
        "axes": {axis: list(labels) for axis, labels in axes.items()},
        "seeds": list(range(seeds)),
        "cells": cells,
        "teachers": [teacher],
        "needs": {cell["run"]: [teacher] for cell in cells},
        "orphans": [],
        "definition": "question: made up\n",
    }
    write(runs / "sweeps" / f"{name}.json", record)
    return record


def make_large_store(runs: Path, count: int) -> dict[str, Any]:
    """A store of `count` finished runs (a multiple of 20) whose files are as large as on COCO: 80 classes, ten IoUs,
    130 packages. Returns the sweep's record."""
    result = _result(0.123456789012345, None, [f"class number {k}" for k in range(80)])
    totals = {key: result["tide"][key] for key in ("AP", "dAP", "counts")}
    result["tide"] |= {
        "per_size": dict.fromkeys(("small", "medium", "large"), totals),
        "per_iou": {f"{0.5 + 0.05 * k:.2f}": totals for k in range(10)},
    }
    env = _env()
    env["attempts"][0]["packages"] |= {f"package-number-{k}": "12.34.56" for k in range(130)}
    text, environment = json.dumps(result, indent=2), json.dumps(env, indent=2)
    record = make_store(runs, {"lambda": [str(k) for k in range(count // 20)], "method": ["a", "b"]}, seeds=10)
    for place, folder in enumerate(sorted(runs.glob("student-*"))):
        (folder / "result.json").write_text(text.replace("0.123456789012345", f"0.{place + 10**15}"))
        (folder / "env.json").write_text(environment)
    return record


def fill_store(runs: Path, record: Mapping[str, Any], value: Value = plain_value) -> None:
    """Finish every run that a sweep's record promises; equal cells are one run, whose value is its first cell's."""
    for teacher in record["teachers"]:
        _teacher(runs, teacher)
    for cell in record["cells"]:
        if not (runs / cell["run"]).exists():
            labels, (teacher, *_) = cell["labels"], record["needs"].get(cell["run"], [""])
            _student(runs / cell["run"], labels, cell["seed"], "done", value(labels, cell["seed"]), teacher, {})


def _teacher(runs: Path, run: str = "resnet18-classifier-0123456789ab-s0") -> str:
    write(runs / run / "spec.json", _spec("classifier", "resnet18-classifier", None, 0, {}, []))
    write(runs / run / "status.json", _status("done"))
    write(runs / run / "env.json", _env())
    result = {"format": 1, "kind": "classifier", "n": 100, "top1": 0.95, "top5": 0.99, "nll": 0.2, "ece": 0.02,
              "params": 11_000_000, "seconds": {"score": 1.0, "train": 100.0}}  # fmt: skip
    write(runs / run / "result.json", result)
    return run


def _student(
    path: Path, labels: dict[str, str], seed: int, state: str, ap: float, teacher: str, schedule: dict[str, Any]
) -> None:
    taught = labels.get("method", "baseline") != "baseline"
    method: list[Any] = [{"icod": {"version": 1, "T": 2}}] if taught else []
    write(path / "spec.json", _spec("detector", path.name[:-16], teacher if taught else None, seed, schedule, method,
                                     labels.get("model", "tiny")))  # fmt: skip
    write(path / "status.json", _status(state))
    write(path / "env.json", _env())
    lines = [
        {"event": "train", "iteration": i + 1, "time": 1.8e9 + i, "step_s": 0.1, "lr": 0.01, "memory_mib": 1000.0,
         "loss": 2.0 / (i + 1) + 0.5 * taught, "loss_cls": 1.0 / (i + 1), "loss_bbox": 1.0 / (i + 1),
         **({"loss_kd_icod_cls": 0.5, "kd_icod_cls_raw": 1.25} if taught else {})}
        for i in range(20)
    ]  # fmt: skip
    lines.insert(10, {"event": "val", "iteration": 10, "AP": ap / 2, "AP50": ap / 2, "AP75": ap / 2})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if state == "done":
        write(path / "result.json", _result(ap, teacher if taught else None))


def _result(ap: float, teacher: str | None, classes: Sequence[str] = CLASSES) -> dict[str, Any]:
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
        "seconds": {"detect": 2.0, "score": 0.1, "train": 100.0},
        "audit_init": None,
        "teachers": {
            "classifier": {"run": teacher, "top1": 0.95} if teacher else None,
            "detector": None,
        },
    }


def _spec(
    kind: str,
    name: str,
    teacher: str | None,
    seed: int,
    schedule: dict[str, Any],
    method: list[Any],
    student: str = "tiny",
) -> dict[str, Any]:
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


def _status(state: str) -> dict[str, Any]:
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


def _env() -> dict[str, Any]:
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
    """Ground truth of `images` 100-px pictures; boxes lie apart on a grid."""
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
    """Every object is found; with probability 1 - quality in the wrong class, and now and then badly placed."""
    random = np.random.default_rng([seed, int(quality * 1e6)])
    found = []
    for box in targets()["annotations"]:
        x, y, w, h = box["bbox"]
        shift = float(random.normal(0, 2 + 6 * (random.random() > quality + 0.4)))
        right = random.random() < quality + 0.3
        category = box["category_id"] if right else box["category_id"] % 3 + 1
        found.append({"image_id": box["image_id"], "category_id": category, "bbox": [x + shift, y, w, h],
                      "score": float(random.random())})  # fmt: skip
    return found


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def write_gz(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(value).encode(), mtime=0))

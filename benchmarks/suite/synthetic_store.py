"""Synthetic stores: sweeps of synthetic runs, for tests and for the time that reading and reporting take."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite import synthetic_run
from benchmarks.suite.synthetic_run import write_json, write_json_gz

Value = Callable[[dict[str, str], int], float]
State = Callable[[dict[str, str], int], str]


def plain_value(labels: dict[str, str], seed: int) -> float:
    """Return an AP in 0-1 that follows from the labels, plus 0.002 for each seed."""
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

    Each label of an axis `model` is a student; without that axis all runs have the same student.

    Args:
        value: AP (0-1) of a cell and seed; every other number follows from it.
        state: new (no folder), waiting, running, failed or done.
        schedule: values that a cell's schedule has instead of the usual ones.
        with_detections: write detections.json.gz and the targets too.
    """
    cells = []
    teacher = synthetic_run.write_teacher(runs)
    for combination in itertools.product(*axes.values()):
        labels = dict(zip(axes, combination, strict=True))
        for seed in range(seeds):
            run = f"student-{hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:12]}-s{seed}"
            cells.append({"labels": labels, "seed": seed, "run": run})
            run_state = state(labels, seed)
            if run_state != "new":
                synthetic_run.write_student(
                    runs / run, labels, seed, run_state, value(labels, seed), teacher, schedule(labels)
                )
                if with_detections and run_state == "done":
                    boxes = synthetic_run.detections(value(labels, seed), seed)
                    write_json_gz(runs / run / "detections.json.gz", boxes)
                    counted = {"boxes": len(boxes), "detections": len(boxes)}  # every object is found once
                    write_json(
                        runs / run / "result.json", json.loads((runs / run / "result.json").read_text()) | counted
                    )
    if with_detections:
        write_json_gz(runs / "targets" / f"{synthetic_run.DIGEST}.json.gz", synthetic_run.targets())
    record = {
        "format": 1,
        "name": name,
        "question": "Which of the made-up methods is ahead?",
        "source": f"{name}.yaml",
        "size": "small",
        "axes": {axis: list(labels) for axis, labels in axes.items()},
        "labels": {},
        "labels_of_axes": {},
        "seeds": list(range(seeds)),
        "cells": cells,
        "teachers": [teacher],
        "needs": {cell["run"]: [teacher] for cell in cells},
        "orphans": [],
        "definition": "question: made up\n",
    }
    write_json(runs / "sweeps" / f"{name}.json", record)
    return record


def make_large_store(runs: Path, count: int) -> dict[str, Any]:
    """Write a store whose files are as large as on COCO: 80 classes, ten IoUs, 130 packages.

    Args:
        count: finished runs, a multiple of 20.

    Returns:
        The sweep's record.
    """
    result = synthetic_run.result_json(0.123456789012345, None, [f"class number {k}" for k in range(80)])
    totals = {key: result["tide"][key] for key in ("AP", "dAP", "counts")}
    result["tide"] |= {
        "per_size": dict.fromkeys(("small", "medium", "large"), totals),
        "per_iou": {f"{0.5 + 0.05 * k:.2f}": totals for k in range(10)},
    }
    env = synthetic_run.env_json()
    env["attempts"][0]["packages"] |= {f"package-number-{k}": "12.34.56" for k in range(130)}
    text, environment = json.dumps(result, indent=2), json.dumps(env, indent=2)
    # Two methods and ten seeds for each value, hence runs in multiples of twenty.
    record = make_store(runs, {"lambda": [str(k) for k in range(count // 20)], "method": ["a", "b"]}, seeds=10)
    # Sorted: file systems list a folder in any order.
    for place, folder in enumerate(sorted(runs.glob("student-*"))):
        (folder / "result.json").write_text(text.replace("0.123456789012345", f"0.{place + 10**15}"))
        (folder / "env.json").write_text(environment)
    return record


def fill_store(runs: Path, record: Mapping[str, Any], value: Value = plain_value) -> None:
    """Write every run of a sweep's record as finished. Equal cells share a run, with the value of the first cell."""
    for teacher in record["teachers"]:
        synthetic_run.write_teacher(runs, teacher)
    for cell in record["cells"]:
        if not (runs / cell["run"]).exists():
            labels, (teacher, *_) = cell["labels"], record["needs"].get(cell["run"], [""])
            synthetic_run.write_student(
                runs / cell["run"], labels, cell["seed"], "done", value(labels, cell["seed"]), teacher, {}
            )

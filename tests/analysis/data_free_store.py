"""A small finished data-free sweep: one teacher, impressions and three controls, students of two sizes, three seeds.

    python -m tests.analysis.data_free_store RUNS

The files have the keys that runs write; the numbers are made up. Control rows exist without a method only.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from benchmarks.suite import synthetic_run
from benchmarks.suite.synthetic_run import write_json
from c2d.core.yaml.yaml_lines import parse_mapping

DETECTOR = "faster-rcnn-qr18-baseline-0123456789ab-s0"
MADE = {"impressions": "optimised", "noise": "noise", "procedural": "procedural", "unlabelled": "real"}
"""{label: images_from} of the rows that are not trained on the data set's own labels."""
AXES = {
    "capacity": ["equal", "half"],
    "images": ["noise", "procedural", "impressions", "unlabelled", "real"],
    "method": ["baseline", "soft_labels"],
}
AP = {"noise": 0.02, "procedural": 0.05, "impressions": 0.13, "unlabelled": 0.24, "real": 0.30}
SHIFTS = {"noise": (0.001, -0.001, 0.0), "procedural": (0.0, 0.004, -0.003), "impressions": (0.006, -0.002, -0.004),
          "unlabelled": (0.002, 0.003, -0.005), "real": (0.0, 0.006, -0.004)}  # fmt: skip
"""What each seed adds to the AP."""
IMAGES = 500


def made_run(images: str) -> str:
    """Id of the run that made the images of a label of `MADE`."""
    return f"moi-impressions-{hashlib.sha256(images.encode()).hexdigest()[:12]}-s0"


def value(labels: Mapping[str, str], seed: int) -> float:
    """AP of a cell in 0-1: half the capacity has 0.8 of it, soft labels add 0.02."""
    ap = AP[labels["images"]] + SHIFTS[labels["images"]][seed]
    ap += 0.02 * (labels["method"] == "soft_labels")
    return ap * (0.8 if labels["capacity"] == "half" else 1.0)


def result_of_impressions(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of result.json of a run of kind impressions."""
    values = spec["schedule"]["values"]
    redetected = {"optimised": 0.934, "noise": 0.001, "procedural": 0.02, "real": None}[values["images_from"]]
    return {
        "format": 1, "kind": "impressions", "images_from": values["images_from"], "images": values["images"],
        "boxes": 3 * values["images"], "soft_labels": True, "redetected": redetected, "labels": {"cat": 1500},
        "seconds": 1200.0, "images_per_minute": 25.0, "memory_mib": 900.0, "terms_dropped": {}, "notes": [],
        "teacher": {"run": spec["teachers"]["detector"], "sha256": "e" * 64, "AP": 0.31}, "card_digest": "c" * 64,
    }  # fmt: skip


def training_images_of(run: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return `training_images` of a student's result.json.

    Args:
        run: id of the run of kind impressions.
        spec: its spec.json.
    """
    values = spec["schedule"]["values"]
    return {
        "run": run, "images_from": values["images_from"], "schedule": spec["schedule"]["name"],
        "teacher": spec["teachers"]["detector"], "teacher_sha256": "e" * 64, "card_digest": "c" * 64,
        "n_images": values["images"], "soft_labels": True,
    }  # fmt: skip


def write_impressions(runs: Path, run: str, images_from: str, teacher: str = DETECTOR) -> str:
    """Write a finished run of kind impressions; return its id."""
    preset = (resources.files("c2d") / "configs" / "impressions" / "moi.yaml").read_text(encoding="utf-8")
    schedule = {**parse_mapping(preset, "moi.yaml", ""), "images": IMAGES, "images_from": images_from}
    spec = synthetic_run.spec_json("impressions", "moi-impressions", None, 0, {}, [])
    spec |= {"network": None, "schedule": {"name": "moi", "values": schedule}}
    spec["teachers"] = {"classifier": None, "detector": teacher}
    if images_from in ("noise", "procedural"):
        spec["teachers"]["impressions"] = made_run("impressions")
    write_json(runs / run / "spec.json", spec)
    write_json(runs / run / "status.json", synthetic_run.status_json("done"))
    write_json(runs / run / "env.json", synthetic_run.env_json())
    write_json(runs / run / "result.json", result_of_impressions(spec))
    return run


def write_made_student(
    runs: Path, run: str, labels: Mapping[str, str], seed: int, ap: float, init: str = "none"
) -> None:
    """Write a finished student that was trained on made images, or on the data set's own for the label `real`."""
    path, images = runs / run, labels["images"]
    synthetic_run.write_student(path, {"model": labels["capacity"]}, seed, "done", ap, "", {})
    spec, result = (json.loads((path / name).read_text()) for name in ("spec.json", "result.json"))
    images_from = MADE.get(images)
    spec["init"] = init
    if images_from:  # keys of runs that are trained on the data set's own images are left out
        spec["teachers"]["impressions"] = made_run(images)
    if images_from not in (None, "real"):
        spec["data_free"] = True
    if labels["method"] != "baseline":
        spec["method"] = [{labels["method"]: {"version": 1}}]
    if images_from:
        made = json.loads((runs / made_run(images) / "spec.json").read_text())
        result["training_images"] = training_images_of(made_run(images), made)
    write_json(path / "spec.json", spec)
    write_json(path / "result.json", result)


def make_data_free_store(runs: Path, init: str = "none") -> dict[str, Any]:
    """Write the store and return the sweep's record."""
    synthetic_run.write_student(runs / DETECTOR, {"model": "equal"}, 0, "done", 0.31, "", {})
    teachers = [DETECTOR, *(write_impressions(runs, made_run(label), of) for label, of in MADE.items())]
    cells, needs = [], {}
    for capacity in AXES["capacity"]:
        for images in AXES["images"]:
            for method in AXES["method"] if images == "impressions" else ["baseline"]:
                labels = {"capacity": capacity, "images": images, "method": method}
                for seed in range(3):
                    digest = hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:12]
                    run = f"{capacity}-{method}-{digest}-s{seed}"
                    write_made_student(runs, run, labels, seed, value(labels, seed), init)
                    cells.append({"labels": labels, "seed": seed, "run": run})
                    needs[run] = [made_run(images)] if images in MADE else []
    definition = {
        "question": "How much of the gap do impressions close?",
        "axes": {
            "capacity": {"equal": {"student": "equal"}, "half": {"student": "half"}},
            "images": {"noise": {"data_free": True, "teacher.impressions.schedule.images_from": "noise"}, "real": {}},
            "method": {"baseline": [], "soft_labels": [{"soft_labels": {}}]},
        },
    }
    record = {
        "format": 1, "name": "made-moi", "question": definition["question"], "source": "made-moi.yaml",
        "size": "small", "axes": AXES, "seeds": [0, 1, 2], "cells": cells, "teachers": teachers, "needs": needs,
        "orphans": [], "definition": json.dumps(definition),
    }  # fmt: skip
    write_json(runs / "sweeps" / "made-moi.json", record)
    return record


if __name__ == "__main__":
    make_data_free_store(Path(sys.argv[1]))

"""A store of 100,000 run folders, made in seconds: the files are hard links to those of a hundred synthetic runs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.suite.synthetic_store import make_large_store

TEMPLATES, SEEDS, METHODS = 100, 5, ("baseline", "icod")
PART = 1000
"""Runs of the smaller sweep `part`."""


def make_many_runs(root: Path, count: int) -> Path:
    """Write a store with a sweep `all` of `count` finished runs, and a sweep `part` of its first PART runs.

    Args:
        root: a folder that does not exist; templates and store are made in it.
        count: a multiple of 10.

    Returns:
        The store.
    """
    make_large_store(root / "templates", TEMPLATES)
    templates = sorted((root / "templates").glob("student-*"))
    runs = root / "runs"
    (runs / "sweeps").mkdir(parents=True)
    files = [[(str(path), path.name) for path in folder.iterdir()] for folder in templates]
    record = _record("all", count)
    before = time.time() - 3600
    for folder in [*templates, *(root / "templates").glob("resnet*")]:
        for path in folder.iterdir():
            os.utime(path, (before, before))
    teacher = next((root / "templates").glob("resnet*"))
    record["teachers"] = [teacher.name]
    record["needs"] = {cell["run"]: [teacher.name] for cell in record["cells"]}
    _link(runs / teacher.name, [(str(path), path.name) for path in teacher.iterdir()])
    for number, cell in enumerate(record["cells"]):
        _link(runs / cell["run"], files[number % len(files)])
    (runs / "sweeps" / "all.json").write_text(json.dumps(record))
    part = record | {"name": "part", "cells": record["cells"][:PART]}
    part["needs"] = {cell["run"]: [teacher.name] for cell in part["cells"]}
    part["axes"] = record["axes"] | {"lambda": [str(number) for number in range(PART // (SEEDS * len(METHODS)))]}
    (runs / "sweeps" / "part.json").write_text(json.dumps(part))
    return runs


def _link(folder: Path, files: list[tuple[str, str]]) -> None:
    text = str(folder)
    os.mkdir(text)
    for source, name in files:
        os.link(source, f"{text}/{name}")


def _record(name: str, count: int) -> dict[str, Any]:
    values = count // (SEEDS * len(METHODS))
    cells = [
        {"labels": {"lambda": str(value), "method": method}, "seed": seed,
         "run": f"student-{value:08d}{METHODS.index(method):04d}-s{seed}"}
        for value in range(values) for method in METHODS for seed in range(SEEDS)
    ]  # fmt: skip
    return {
        "format": 1, "name": name, "question": "How warm?", "source": f"{name}.yaml", "size": "small",
        "axes": {"lambda": [str(value) for value in range(values)], "method": list(METHODS)},
        "seeds": list(range(SEEDS)), "cells": cells, "orphans": [], "definition": "question: made up\n",
    }  # fmt: skip

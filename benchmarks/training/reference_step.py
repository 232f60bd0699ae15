"""The slow reference of each method beside ours, where c2d runs from a checkout: installed packages have no tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests.c2d.methods.reference_step_times"


def beside(methods: Sequence[str], student: str, root: Path = ROOT) -> tuple[dict[str, dict[str, float]], str]:
    """Ask the tests for the terms of each method and of its literal reference, on a tiny student of the same family.

    Returns:
        ({method: {ours_ms, reference_ms, deviation}}, why there is none: "" where there is).
    """
    if not (root / MODULE.replace(".", "/")).with_suffix(".py").is_file():
        return {}, "no slow reference beside ours: not a checkout"
    found: dict[str, dict[str, float]] = {}
    for method in methods:
        done = subprocess.run(
            [sys.executable, "-m", MODULE, method, "--student", student],
            cwd=root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            return found, f"no slow reference beside {method}: {last}"
        found |= json.loads(done.stdout.splitlines()[-1])
    return found, ""

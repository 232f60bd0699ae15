"""Time the slow reference of each method beside ours. Only a checkout has it: installed packages have no tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from c2d.core.process.python_process import PACKAGE_ROOT, module_command, module_environment

MODULE = "tests.c2d.methods.reference_step_times"


def reference_times(
    methods: Sequence[str], student: str, root: Path = PACKAGE_ROOT
) -> tuple[dict[str, dict[str, float]], str]:
    """Time the terms of each method and of its reference in tests/, on a tiny student of the same family.

    Args:
        methods: names.
        student: name, which gives the family.
        root: the checkout.

    Returns:
        ({method: {ours_ms, reference_ms, deviation}}, why methods are missing: "" where none are).
    """
    if not (root / MODULE.replace(".", "/")).with_suffix(".py").is_file():
        return {}, "no slow reference beside ours: c2d is installed; run from a checkout, which has tests/"
    times: dict[str, dict[str, float]] = {}
    for method in methods:
        # From the root of the checkout: `tests` is no installed package.
        done = subprocess.run(
            module_command(MODULE, method, "--student", student),
            env=module_environment(), cwd=root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last_line = (done.stderr.strip().splitlines() or ["no output"])[-1]
            return times, f"no slow reference beside {method}: {last_line}"
        times |= json.loads(done.stdout.splitlines()[-1])
    return times, ""

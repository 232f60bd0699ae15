"""The runs of definitions with their specs, from `c2d sweep plan DEF --json --specs` in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import InputError
from c2d.core.process.python_process import module_command, module_environment
from c2d.specs.spec import RunSpec, parse_spec


@dataclass(frozen=True)
class PlannedRuns:
    """One definition.

    Attributes:
        name: of the sweep.
        specs: {run id: spec}, teachers first.
        cells: {run id: labels of the first cell that it fills, without the seed}; none for a teacher.
    """

    name: str
    specs: dict[str, RunSpec]
    cells: dict[str, dict[str, str]]


def read_definitions(definitions: Sequence[str], runs: Path, data: Path | None) -> list[PlannedRuns]:
    """Expand definitions.

    Args:
        definitions: files, or names of shipped ones.
        runs, data: the store and the root of the data cards.

    Raises:
        InputError: `plan` refuses one; its own message.
    """
    return [_expand(definition, runs, data) for definition in definitions]


def _expand(definition: str, runs: Path, data: Path | None) -> PlannedRuns:
    options = ["--json", "--specs", "--runs", str(runs), *(["--data", str(data)] if data else [])]
    command = module_command("c2d", "sweep", "plan", definition, *options)
    done = subprocess.run(command, env=module_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.removeprefix("error: ") for line in done.stderr.strip().splitlines()]
        raise InputError(*(lines or [f"{definition} cannot be expanded: `c2d sweep plan` ended without a message"]))
    plan = json.loads(done.stdout)
    specs = {row["run"]: parse_spec(row["spec"], definition) for row in plan["runs"] if row["spec"]}
    cells = {
        row["run"]: {axis: label for axis, label in row["cells"][0].items() if axis != "seed"}
        for row in plan["runs"]
        if row["cells"] and row["spec"]
    }
    return PlannedRuns(plan["sweep"], specs, cells)

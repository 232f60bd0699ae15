"""The dry run of `check`: call `python -m c2d.preflight.dry_run` and map its results back to runs.

It is a process of its own, because sweeps import no torch, and because a crash of mmdet ends only that process. Runs
that differ only in their seed share one entry; the process finds further equal structures.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from c2d.core.process.python_process import module_command, module_environment
from c2d.core.process.usable_cores import usable_cores
from c2d.core.run_folder import atomic_write_json
from c2d.specs.spec import RunSpec
from sweeps.launchers.launch_request import PrintLine

NEEDED = ("torch", "torchvision", "mmengine", "mmcv", "mmdet")
THREADS = 4
PROGRESS_S = 5.0
MAX_CRASHES = 3
"""Processes in a row without a result, after which no other is started."""


@dataclass(frozen=True)
class DryRunRequest:
    """One run to try.

    Attributes:
        run: id.
        spec: of the run.
        teachers: {kind: spec} of its planned teachers.
        classes: of its data set; None: unknown here.
    """

    run: str
    spec: RunSpec
    teachers: dict[str, RunSpec]
    classes: list[str] | None


def dry_run(
    requests: list[DryRunRequest], runs: Path, data: Path | None, print_line: PrintLine
) -> list[tuple[str, str, str]]:
    """Take one training step of each structure; return (run, message, failure class) of every run with a problem."""
    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing or not requests:
        if missing:
            print_line(f"dry run skipped: {missing} is not installed here")
        return []
    same: dict[str, list[str]] = {}
    for request in requests:
        same.setdefault(request.run.rpartition("-s")[0], []).append(request.run)
    first = {request.run: request for request in requests}
    todo = [first[group[0]] for group in same.values()]
    print_line(f"dry run of {len(todo)} specs of {len(requests)} runs: one step of each structure, on synthetic data")
    begun, results = time.monotonic(), _results(todo, runs, data, print_line)
    steps = sum("same structure as" not in " ".join(result["notes"]) for result in results.values())
    print_line(f"dry run done: {len(todo)} specs of {steps} structures in {time.monotonic() - begun:.0f} s")
    for note, run in _notes(results).items():
        print_line(f"note on {run}: {note}")
    return [
        (run, results[group[0]]["problem"], results[group[0]]["failure_class"])
        for group in same.values()
        for run in group
        if not results[group[0]]["ok"]
    ]


def _notes(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return {note: first run that has it}."""
    found: dict[str, str] = {}
    for run, result in results.items():
        for note in result["notes"]:
            if not note.startswith(("same structure as", "data set")):
                found.setdefault(note, run)
    return found


def _results(
    todo: list[DryRunRequest], runs: Path, data: Path | None, print_line: PrintLine
) -> dict[str, dict[str, Any]]:
    """Return {run id: result}. A request that ends the process is reported, and the others are tried again."""
    found: dict[str, dict[str, Any]] = {}
    printed, broken, crashes = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="c2d-check-") as folder:
        while rest := [request for request in todo if request.run not in found]:
            errors = Path(folder) / "stderr"
            for result in _process(rest, Path(folder), errors, runs, data):
                found[result["id"]] = result
                broken += not result["ok"]
                if time.monotonic() - printed > PROGRESS_S:
                    printed = time.monotonic()
                    print_line(f"  {len(found)} of {len(todo)} tried, {broken} with a problem")
            missing_results = [request for request in rest if request.run not in found]
            crashes = crashes + 1 if len(missing_results) == len(rest) else 0
            # The first request without a result ended the process; the others are tried again.
            for request in missing_results if crashes == MAX_CRASHES else missing_results[:1]:
                lines = errors.read_text(errors="replace").strip().splitlines()
                reason = lines[-1][:300] if lines else "no output"
                text = f"its dry run ended without a result: {reason}"
                found[request.run] = {"ok": False, "problem": text, "failure_class": "unknown", "notes": []}
                broken += 1
    return found


def _process(
    requests: list[DryRunRequest], folder: Path, errors: Path, runs: Path, data: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield results as they are printed. The process is killed when the generator is closed."""
    atomic_write_json(
        folder / "requests.json",
        {
            "format": 1,
            "specs": [
                {
                    "spec": request.spec.to_json(),
                    "teachers": {kind: spec.to_json() for kind, spec in request.teachers.items()},
                    "classes": request.classes,
                }
                for request in requests
            ],
        },
    )
    options = ["--runs", str(runs), *(["--data", str(data)] if data else [])]
    command = module_command("c2d.preflight.dry_run", str(folder / "requests.json"), *options)
    threads = str(min(THREADS, usable_cores()))
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads, **module_environment()}
    # A file, because a second pipe that is not read at the same time would fill up and block the process.
    with errors.open("w") as stderr:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
            if process.wait() < 0:
                stderr.write(f"\nkilled by signal {-process.returncode}\n")
        finally:
            process.kill()
            process.wait()

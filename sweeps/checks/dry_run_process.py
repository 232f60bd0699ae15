"""The forward part of `check`: `python -m c2d.preflight.dry_run` in a process of its own, its answers mapped back to runs.

A process of its own, because sweeps import no torch, and because what mmdet does to a process (or a crash of it) stays
there. Runs that differ in their seed alone are one question; further equal structures are found on the other side.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from c2d.core.python_process import module_command, module_environment
from c2d.core.run_folder import atomic_write_json
from c2d.specs.spec import RunSpec
from sweeps.launchers.launch_request import PrintLine

NEEDED = ("torch", "torchvision", "mmengine", "mmcv", "mmdet")
THREADS = 4
EVERY_S = 5.0
DEATHS = 3
"""Processes in a row that answer nothing, after which no other is started."""


@dataclass(frozen=True)
class Question:
    """One run to rehearse, with its planned teachers and the class list of its data (None: not known here)."""

    run: str
    spec: RunSpec
    teachers: dict[str, RunSpec]
    classes: list[str] | None


def dry_run(
    questions: list[Question], runs: Path, data: Path | None, print_line: PrintLine
) -> list[tuple[str, str, str]]:
    """(run, message, failure class) of every run whose rehearsal found something wrong."""
    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing or not questions:
        if missing:
            print_line(f"forward not rehearsed: {missing} is not installed here")
        return []
    same: dict[str, list[str]] = {}
    for question in questions:
        same.setdefault(question.run.rpartition("-s")[0], []).append(question.run)
    first = {question.run: question for question in questions}
    todo = [first[group[0]] for group in same.values()]
    print_line(f"rehearsing {len(todo)} questions of {len(questions)} runs: one step of each structure, on stand-ins")
    begun, answers = time.monotonic(), _answers(todo, runs, data, print_line)
    steps = sum("same structure as" not in " ".join(answer["notes"]) for answer in answers.values())
    print_line(f"rehearsed {len(todo)} questions of {steps} structures in {time.monotonic() - begun:.0f} s")
    for note, run in _notes(answers).items():
        print_line(f"note on {run}: {note}")
    return [
        (run, answers[group[0]]["problem"], answers[group[0]]["failure_class"])
        for group in same.values()
        for run in group
        if not answers[group[0]]["ok"]
    ]


def _notes(answers: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Each note once, with the first run it was said of."""
    found: dict[str, str] = {}
    for run, answer in answers.items():
        for note in answer["notes"]:
            if not note.startswith(("same structure as", "data set")):
                found.setdefault(note, run)
    return found


def _answers(todo: list[Question], runs: Path, data: Path | None, print_line: PrintLine) -> dict[str, dict[str, Any]]:
    """Answer of each question by run id; one that ends the process is named, and the others are asked again."""
    found: dict[str, dict[str, Any]] = {}
    said, broken, deaths = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="c2d-check-") as folder:
        while rest := [question for question in todo if question.run not in found]:
            errors = Path(folder) / "stderr"
            for answer in _process(rest, Path(folder), errors, runs, data):
                found[answer["id"]] = answer
                broken += not answer["ok"]
                if time.monotonic() - said > EVERY_S:
                    said = time.monotonic()
                    print_line(f"  {len(found)} of {len(todo)} rehearsed, {broken} with a problem")
            unanswered = [question for question in rest if question.run not in found]
            deaths = deaths + 1 if len(unanswered) == len(rest) else 0
            for question in unanswered if deaths == DEATHS else unanswered[:1]:
                lines = errors.read_text(errors="replace").strip().splitlines()
                reason = lines[-1][:300] if lines else "it said nothing"
                text = f"the rehearsal of it ended without an answer: {reason}"
                found[question.run] = {"ok": False, "problem": text, "failure_class": "unknown", "notes": []}
                broken += 1
    return found


def _process(
    questions: list[Question], folder: Path, errors: Path, runs: Path, data: Path | None
) -> Iterator[dict[str, Any]]:
    """Answers as they come; the process is gone when the generator is."""
    atomic_write_json(
        folder / "questions.json",
        {
            "format": 1,
            "specs": [
                {
                    "spec": question.spec.to_json(),
                    "teachers": {kind: spec.to_json() for kind, spec in question.teachers.items()},
                    "classes": question.classes,
                }
                for question in questions
            ],
        },
    )
    options = ["--runs", str(runs), *(["--data", str(data)] if data else [])]
    command = module_command("c2d.preflight.dry_run", str(folder / "questions.json"), *options)
    threads = str(min(THREADS, os.cpu_count() or 1))
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads, **module_environment()}
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

"""The demo: does an image classifier teach a compact detector? One teacher, four cells, one table, on this machine.

Every step is a command a user could type; a finished step is not done again, so an interrupted demo continues.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.errors import RunError
from c2d.question import ask
from c2d.runfolder import RunFolder, atomic_write_json, read_json

QUESTION = "Does an image classifier teach a compact detector to recognise and to localise?"
TEACHER = {"network": "resnet18", "schedule": "demo-classifier", "dataset": "scenes"}
BASE = {"student": "retinanet-qr18", "schedule": "demo", "dataset": "scenes"}
SMALL = {"max_positives": 64}  # a CPU: the localisation terms on a random subset of the positives
METHODS: dict[str, list[dict[str, dict[str, Any]]]] = {
    "baseline": [],
    "kd_cls": [{"icod": {"lambda_kl": 0, "lambda_l": 0, **SMALL}}],
    "loc": [{"icod": {"lambda_kc": 0, **SMALL}}],
    "c2d": [{"icod": SMALL}],
}
SEEDS = 3
AT_A_TIME = 2


@dataclass(frozen=True)
class Cell:
    """One row of the table and its runs, one a seed."""

    name: str
    runs: tuple[RunFolder, ...]


def run_demo(runs: Path, data: Path, full: bool) -> list[Cell]:
    """Scenes, teacher, cells; returns the finished cells.

    Args:
        runs: the store.
        data: root of the data cards; `scenes` is made in it unless it is there.
        full: three seeds instead of one.
    Raises:
        RunError: a step failed; its own message says why.
    """
    cores = os.cpu_count() or 1
    if not (data / "scenes" / "card.json").exists():
        _wait([_start(["data", "scenes", str(data / "scenes")], cores)])
    teacher = _write(ask(TEACHER, where="demo", runs=runs, data=data), runs)
    _run_all([teacher], runs, data, cores, "classifier teacher")
    cells = []
    for name, method in METHODS.items():
        asked = {**BASE, "method": method, "teachers": {"classifier": teacher.id}}
        specs = [
            ask({**asked, "seed": seed}, where="demo", runs=runs, data=data) for seed in range(SEEDS if full else 1)
        ]
        cells.append(Cell(name, tuple(_write(spec, runs) for spec in specs)))
    atomic_write_json(
        runs / "sweeps" / "demo.json",
        {
            "format": 1,
            "name": "demo",
            "question": QUESTION,
            "axes": {"method": list(METHODS), "seed": list(range(SEEDS))},
            "cells": [
                {"method": cell.name, "seed": seed, "run": run.id}
                for cell in cells
                for seed, run in enumerate(cell.runs)
            ],
            "teachers": [teacher.id],
        },
    )
    _run_all([run for cell in cells for run in cell.runs], runs, data, cores, "students")
    return cells


def teacher_of(cells: list[Cell], runs: Path) -> RunFolder:
    """The classifier that taught them."""
    for cell in cells:
        name = read_json(cell.runs[0].spec)["teachers"]["classifier"]
        if name:
            return RunFolder(runs / name)
    raise RunError("no cell of the demo has a classifier teacher", "config")


def _write(spec: Any, runs: Path) -> RunFolder:
    folder = RunFolder(runs / spec.id)
    if not folder.spec.exists():
        atomic_write_json(folder.spec, spec.to_json())
    return folder


def _run_all(folders: list[RunFolder], runs: Path, data: Path, cores: int, what: str) -> None:
    """Train what is not done yet, `AT_A_TIME` processes at once, the cores shared between them."""
    todo = [folder for folder in folders if folder.read_status()["state"] != "done"]
    print(
        f"{what}: {len(folders) - len(todo)} of {len(folders)} done"
        + (f", training {', '.join(f.id for f in todo)}" if todo else ""),
        flush=True,
    )
    threads = max(1, cores // min(AT_A_TIME, max(1, len(todo))))
    active: list[subprocess.Popen[bytes]] = []
    with _passing_signals(active), _progress(todo) as show:
        while todo or active:
            while todo and len(active) < AT_A_TIME:
                folder = todo.pop(0)
                active.append(
                    _start(
                        [
                            "train",
                            str(folder.path),
                            "--runs",
                            str(runs),
                            "--data",
                            str(data),
                            "--threads",
                            str(threads),
                            "--quiet",
                        ],
                        threads,
                    )
                )
            time.sleep(0.5)
            show()
            for process in [process for process in active if process.poll() is not None]:
                active.remove(process)
                if process.returncode:
                    _wait(active)
                    _ended(process.returncode, what)


def _start(words: list[str], threads: int) -> subprocess.Popen[bytes]:
    # passive: on a machine shared with others, threads that spin while they wait cost ten times the time
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, "-m", "c2d", *words], env=environment)


def _wait(processes: list[subprocess.Popen[bytes]]) -> None:
    codes = [process.wait() for process in processes]
    for code in codes:
        if code:
            _ended(code, "a step")


def _ended(code: int, what: str) -> None:
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    raise RunError(
        f"{what} of the demo ended with exit code {code}; its message is above, its log.txt in its run folder"
    )


@contextmanager
def _passing_signals(active: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Ctrl-C and TERM reach the trainings, which save and leave; then so do we."""

    def pass_on(number: int, frame: object) -> None:
        for process in active:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in active:
            process.wait()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(folders: list[RunFolder]) -> Iterator[Any]:
    """Bars on a terminal, else a line every half minute; both read status.json as any other shell could."""
    folders = list(folders)
    if not folders:
        yield lambda: None
    elif sys.stdout.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[stage]}"),
            TimeElapsedColumn(),
        ) as bars:
            tasks = {folder: bars.add_task(folder.id, total=None, stage="waiting") for folder in folders}

            def show() -> None:
                for folder, task in tasks.items():
                    now = _status(folder)
                    bars.update(
                        task,
                        completed=now.get("iteration", 0),
                        total=now.get("iterations"),
                        stage=now.get("stage") or now["state"],
                    )

            yield show
    else:
        last = time.monotonic()

        def line() -> None:
            nonlocal last
            if time.monotonic() - last > 30:
                last = time.monotonic()
                states = [(folder.id, _status(folder)) for folder in folders]
                print(
                    "  "
                    + "; ".join(
                        f"{name} {now.get('iteration', 0)}/{now.get('iterations', '?')}"
                        for name, now in states
                        if now["state"] == "running"
                    ),
                    flush=True,
                )

        yield line


def _status(folder: RunFolder) -> dict[str, Any]:
    try:
        return folder.read_status()
    except (OSError, json.JSONDecodeError):
        return {"state": "waiting"}

"""What our own plumbing costs the person who waits: help, imports, planning, reading a store, a report.

Everything is asked as a user asks, by a command in a process of its own, on data made for it; only the reading of a
store is timed inside its process, since nobody calls it alone. All samples are kept, in the order taken; the median is
taken where it is printed. A goal is for a machine with two cores that is left alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, RunError

GOALS: dict[str, float] = {
    "c2d --help": 0.4,
    "import analysis": 0.4,
    "plan": 3.0,
    "read, cold": 10.0,
    "read, warm": 2.0,
}
"""Seconds, for the sizes of `Sizes()`. A report has none but the size of its page."""
PAGE_GOAL_MB = 5.0
FACE = (sys.executable, "-m", "c2d")
SWEEP = """\
question: What does planning cost?
base: {{dataset: scenes, student: retinanet-qr18, schedule: smoke}}
axes:
  schedule.optimizer.lr: {rates}
seeds: {seeds}
"""


@dataclass(frozen=True)
class Sizes:
    """cells: of the sweep that is planned, a multiple of 10. read, report: runs of the stores, multiples of 20."""

    cells: int = 10_000
    read: int = 1000
    report: int = 200


def run(folder: Path, sizes: Sizes = Sizes(), repeats: int = 3) -> dict[str, Any]:
    """Make the data in `folder` and measure.

    Returns:
        {kind, sizes, page_mb, seconds: {what: samples}}; `python` is the interpreter with nothing to do.

    Raises:
        InputError: sizes that are no such multiples.
        RunError: a command failed.
    """
    if min(asdict(sizes).values()) < 10 or sizes.cells % 10 or sizes.read % 20 or sizes.report % 20:
        raise InputError(
            f"{sizes.cells} cells, {sizes.read} and {sizes.report} runs: cells come in tens, runs in twenties"
        )
    plan = _sweep(folder / "plan", sizes.cells)
    commands: dict[str, Sequence[str]] = {
        "python": (sys.executable, "-c", "pass"),
        "c2d --help": (*FACE, "--help"),
        "import analysis": (sys.executable, "-c", "import analysis"),
        "plan": plan,
    }
    seconds: dict[str, list[float]] = {what: [] for what in (*commands, "read, cold", "read, warm", "report")}
    stores = {what: _store(folder / what, getattr(sizes, what)) for what in ("read", "report")}
    for turn in range(repeats):
        for what, words in commands.items():
            seconds[what].append(_timed(words, folder)[0])
        reading = [
            sys.executable,
            "-m",
            "benchmarks.suite.overhead",
            str(stores["read"]),
            str(folder / f"cache-{turn}"),
        ]
        for what, found in json.loads(_timed(reading, folder)[1].splitlines()[-1]).items():
            seconds[f"read, {what}"].append(found)
        seconds["report"].append(_timed(_report(stores["report"], folder, turn), folder)[0])
    pages = [path.stat().st_size / 1e6 for path in (folder / "out-0").glob("*.html")]
    return {
        "kind": "overhead",
        "sizes": asdict(sizes),
        "page_mb": round(max(pages), 3),
        "seconds": {what: [round(one, 4) for one in found] for what, found in seconds.items()},
    }


def markdown(record: Mapping[str, Any]) -> str:
    """Medians beside their goals, which hold for the sizes of `Sizes()`."""
    sizes = record["sizes"]
    names = {
        "python": "python, nothing to do",
        "c2d --help": "`c2d --help`",
        "import analysis": "`import analysis`, a process",
        "plan": f"`c2d sweep plan` of {sizes['cells']} cells",
        "read, cold": f"read {sizes['read']} runs, cold",
        "read, warm": f"read {sizes['read']} runs, warm",
        "report": f"`c2d report` of {sizes['report']} runs",
    }
    lines = ["| what | median s | all samples s | goal s | met |", "|---|---|---|---|---|"]
    for what, name in names.items():
        samples = record["seconds"][what]
        lines.append(_line(name, statistics.median(samples), samples, GOALS.get(what)))
    page = record["page_mb"]
    lines.append(f"| its page, MB | {page:.2f} | | {PAGE_GOAL_MB:g} | {_met(page, PAGE_GOAL_MB)} |")
    return "\n".join(lines)


def _line(name: str, middle: float, samples: Sequence[float], goal: float | None) -> str:
    given = " ".join(f"{one:.2f}" for one in samples)
    return f"| {name} | {middle:.2f} | {given} | {'–' if goal is None else f'{goal:g}'} | {_met(middle, goal)} |"


def _met(value: float, goal: float | None) -> str:
    return "–" if goal is None else "yes" if value <= goal else "no"


def _timed(words: Sequence[str], folder: Path) -> tuple[float, str]:
    """(wall seconds of a command, what it printed)."""
    # The folder of the caller, so that `-m` finds the packages that this process has.
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    env = os.environ | {"PYTHONPATH": paths, "C2D_CACHE": str(folder / "cache")}
    begun = time.perf_counter()
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - begun
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing said"]
        raise RunError(f"`{' '.join(words[-6:])}` ended with {done.returncode}: {said[-1][:300]}")
    return took, done.stdout


def _sweep(folder: Path, cells: int) -> Sequence[str]:
    """The command that plans a sweep of so many cells against an empty store; its data and definition are made."""
    folder.mkdir(parents=True)
    scenes = ("data", "scenes", str(folder / "data" / "scenes"), "--train", "4", "--val", "2", "--size", "64")
    _timed((*FACE, *scenes), folder)
    definition = folder / "planned.yaml"
    rates = [round(0.001 * step, 3) for step in range(1, 11)]
    definition.write_text(SWEEP.format(rates=rates, seeds=cells // 10))
    places = ("--runs", str(folder / "runs"), "--data", str(folder / "data"))
    return (*FACE, "sweep", "plan", str(definition), *places)


def _store(folder: Path, runs: int) -> Path:
    """A store of so many runs, with the sweep `made`; its files look an hour old, as those of finished runs do."""
    from benchmarks.suite.synthetic_store import make_large_store

    make_large_store(folder, runs)
    before = time.time_ns() - 3600 * 10**9
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, ns=(before, before))
    return folder


def _report(store: Path, folder: Path, turn: int) -> Sequence[str]:
    """The command that reports a store, everything read for the first time."""
    places = ("--out", str(folder / f"out-{turn}"), "--cache", str(folder / f"report-cache-{turn}"))
    return (*FACE, "report", "--sweep", "made", "--runs", str(store), *places)


def read_twice(runs: Path, cache: Path) -> dict[str, float]:
    """Seconds to read a store without a cache, {cold}, and with the one just made, {warm}; imports are not in them."""
    from analysis.load.load import read

    found = {}
    for what in ("cold", "warm"):
        begun = time.perf_counter()
        read(runs, cache=cache)
        found[what] = time.perf_counter() - begun
    return found


if __name__ == "__main__":
    print(json.dumps(read_twice(Path(sys.argv[1]), Path(sys.argv[2]))))

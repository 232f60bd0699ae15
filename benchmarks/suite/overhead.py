"""Measure the time that a user waits for our own code: help, imports, planning, reading a store, a report.

Everything is measured as a user runs it, by a command in a process of its own, on synthetic data. Only the reading of a
store is timed inside its process, because no command does that alone. All samples are stored in their order; the median
is computed where it is printed. The goals are for a machine with two cores and no other work.
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
from c2d.core.process.python_process import module_command, module_environment

GOALS: dict[str, float] = {
    "c2d --help": 0.4,
    "import analysis": 0.4,
    "plan": 3.0,
    "read, cold": 10.0,
    "read, warm": 2.0,
}
"""Seconds, for the sizes of `Sizes()`. A report has only a goal for the size of its page."""
PAGE_GOAL_MB = 5.0
C2D_COMMAND = tuple(module_command("c2d"))
SWEEP = """\
question: What does planning cost?
base: {{dataset: scenes, student: retinanet-qr18, schedule: smoke}}
axes:
  schedule.optimizer.lr: {rates}
seeds: {seeds}
"""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the synthetic data.

    Attributes:
        cells: of the sweep that is planned, a multiple of 10.
        read, report: runs of the stores that are read and reported, multiples of 20.
    """

    cells: int = 10_000
    read: int = 1000
    report: int = 200


def measure_overhead(folder: Path, sizes: Sizes = Sizes(), repeats: int = 3) -> dict[str, Any]:
    """Write the data into `folder` and measure.

    Args:
        folder: for the data and all output.
        sizes: of the data.
        repeats: samples of each.

    Returns:
        {kind, sizes, page_mb, seconds: {name: samples}}; `python` is the interpreter without work.

    Raises:
        InputError: sizes that are no such multiples.
        RunError: a command failed.
    """
    if min(asdict(sizes).values()) < 10 or sizes.cells % 10 or sizes.read % 20 or sizes.report % 20:
        raise InputError(
            f"{sizes.cells} cells, {sizes.read} and {sizes.report} runs: "
            "give cells in multiples of 10, runs in multiples of 20"
        )
    plan = _plan_command(folder / "plan", sizes.cells)
    commands: dict[str, Sequence[str]] = {
        # -P: without it Python searches the working folder first, where a module may hide one of ours.
        "python": (sys.executable, "-P", "-c", "pass"),
        "c2d --help": (*C2D_COMMAND, "--help"),
        "import analysis": (sys.executable, "-P", "-c", "import analysis"),
        "plan": plan,
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*commands, "read, cold", "read, warm", "report")}
    stores = {name: _store(folder / name, getattr(sizes, name)) for name in ("read", "report")}
    for turn in range(repeats):
        for name, command in commands.items():
            seconds[name].append(_time_command(command, folder)[0])
        # A new folder each turn, because a filled cache is never cold again.
        cache = folder / f"cache-{turn}"
        reading = module_command("benchmarks.suite.overhead", str(stores["read"]), str(cache))
        for name, sample in json.loads(_time_command(reading, folder)[1].splitlines()[-1]).items():
            seconds[f"read, {name}"].append(sample)
        seconds["report"].append(_time_command(_report_command(stores["report"], folder, turn), folder)[0])
    pages = [path.stat().st_size / 1e6 for path in (folder / "out-0").glob("*.html")]
    return {
        "kind": "overhead",
        "sizes": asdict(sizes),
        "page_mb": round(max(pages), 3),
        "seconds": {name: [round(sample, 4) for sample in samples] for name, samples in seconds.items()},
    }


def markdown(record: Mapping[str, Any]) -> str:
    """Format the medians beside their goals, which are for the sizes of `Sizes()`."""
    sizes = record["sizes"]
    titles = {
        "python": "python, nothing to do",
        "c2d --help": "`c2d --help`",
        "import analysis": "`import analysis`, a process",
        "plan": f"`c2d sweep plan` of {sizes['cells']} cells",
        "read, cold": f"read {sizes['read']} runs, cold",
        "read, warm": f"read {sizes['read']} runs, warm",
        "report": f"`c2d report` of {sizes['report']} runs",
    }
    lines = ["| what | median s | all samples s | goal s | met |", "|---|---|---|---|---|"]
    for name, title in titles.items():
        samples = record["seconds"][name]
        lines.append(_line(title, statistics.median(samples), samples, GOALS.get(name)))
    page = record["page_mb"]
    lines.append(f"| its page, MB | {page:.2f} | | {PAGE_GOAL_MB:g} | {_met(page, PAGE_GOAL_MB)} |")
    return "\n".join(lines)


def _line(title: str, median: float, samples: Sequence[float], goal: float | None) -> str:
    listed = " ".join(f"{sample:.2f}" for sample in samples)
    return f"| {title} | {median:.2f} | {listed} | {'–' if goal is None else f'{goal:g}'} | {_met(median, goal)} |"


def _met(value: float, goal: float | None) -> str:
    return "–" if goal is None else "yes" if value <= goal else "no"


def _time_command(command: Sequence[str], folder: Path) -> tuple[float, str]:
    """Return (wall seconds of a command, its output)."""
    # Not the user's own cache, which may hold the same runs.
    environment = module_environment(C2D_CACHE=str(folder / "cache"))
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - begin
    if done.returncode:
        output = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise RunError(f"`{' '.join(command[-6:])}` ended with {done.returncode}: {output[-1][:300]}")
    return elapsed, done.stdout


def _plan_command(folder: Path, cells: int) -> Sequence[str]:
    """Write a sweep of `cells` cells and its data; return the command that plans it against an empty store."""
    folder.mkdir(parents=True)
    scenes = ("data", "scenes", str(folder / "data" / "scenes"), "--train", "4", "--val", "2", "--size", "64")
    _time_command((*C2D_COMMAND, *scenes), folder)
    # Ten rates, hence cells in multiples of ten.
    definition = folder / "planned.yaml"
    rates = [round(0.001 * step, 3) for step in range(1, 11)]
    definition.write_text(SWEEP.format(rates=rates, seeds=cells // 10))
    places = ("--runs", str(folder / "runs"), "--data", str(folder / "data"))
    return (*C2D_COMMAND, "sweep", "plan", str(definition), *places)


def _store(folder: Path, runs: int) -> Path:
    """Write a store with the sweep `made`; its files get a time of one hour ago, as those of finished runs have."""
    from benchmarks.suite.synthetic_store import make_large_store

    make_large_store(folder, runs)
    before = time.time_ns() - 3600 * 10**9
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, ns=(before, before))
    return folder


def _report_command(store: Path, folder: Path, turn: int) -> Sequence[str]:
    """Return the command that reports a store with an empty cache."""
    places = ("--out", str(folder / f"out-{turn}"), "--cache", str(folder / f"report-cache-{turn}"))
    return (*C2D_COMMAND, "report", "--sweep", "made", "--runs", str(store), *places)


def read_twice(runs: Path, cache: Path) -> dict[str, float]:
    """Return the seconds to read a store with an empty cache {cold} and a filled one {warm}, without imports."""
    from analysis.loading.load import read_study

    seconds = {}
    for name in ("cold", "warm"):
        begin = time.perf_counter()
        read_study(runs, cache=cache)
        seconds[name] = time.perf_counter() - begin
    return seconds


if __name__ == "__main__":
    print(json.dumps(read_twice(Path(sys.argv[1]), Path(sys.argv[2]))))

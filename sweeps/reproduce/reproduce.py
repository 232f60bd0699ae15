"""`c2d reproduce NAME`: prefetch, check, submit, wait, report. Each step is a command of its own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.launchers.launch_request import PrintLine
from sweeps.reproduce.shipped_reports import ShippedReport

RunCommand = Callable[[list[str]], int]
"""Runs `c2d ARGUMENTS` and returns its exit code."""
INTERRUPTED = 130


@dataclass(frozen=True)
class Reproduction:
    """What to reproduce, and where.

    Attributes:
        report: the published table.
        where: launcher, local or slurm.
        profile: name or path of the machine's settings, or None.
        runs: the store.
        data: root of the data cards.
        out: folder of the report.
        archive: new folder for the finished runs, or None.
        filters: `axis=label` texts; without any, every cell.
        prefetch: get data and weights first.
    """

    report: ShippedReport
    where: str
    profile: str | None
    runs: Path
    data: Path
    out: Path
    archive: Path | None = None
    filters: tuple[str, ...] = ()
    prefetch: bool = True


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        purpose: in words.
        arguments: of `c2d`.
        is_partial: its exit code 1 means that a part failed and was recorded; the next steps show it.
    """

    purpose: str
    arguments: list[str]
    is_partial: bool = False

    @property
    def text(self) -> str:
        """The command as a person would type it."""
        return shlex.join(["c2d", *self.arguments])


def steps(task: Reproduction) -> Iterator[Step]:
    """Yield the steps of a reproduction, in order."""
    sweep, stores = task.report.sweep, ["--runs", str(task.runs), "--data", str(task.data)]
    profile = ["--profile", task.profile] if task.profile else []
    filters = [part for text in task.filters for part in ("--filter", text)]
    if task.prefetch:
        yield Step("data sets and weights, which need a network", ["prefetch", sweep, *profile, *filters, *stores])
    yield Step("one training step of every kind of cell", ["sweep", "check", sweep, *profile, *filters, *stores])
    submit = ["sweep", "submit", sweep, "--where", task.where, "--no-forward", "--wait"]
    yield Step("training; returns when every run has ended", [*submit, *profile, *filters, *stores], is_partial=True)
    report = ["report", *task.report.companions, "--sweep", sweep, "--out", str(task.out)]
    yield Step("tables beside the published rows", [*report, *stores], is_partial=True)
    if task.archive:
        export = ["runs", "export", "--sweep", sweep, "--runs", str(task.runs), "--out", str(task.archive)]
        yield Step("the finished runs as one folder", export, is_partial=True)


def run_steps(task: Reproduction, run_command: RunCommand, print_line: PrintLine) -> int:
    """Run the steps. Safe to repeat: finished runs are kept, and an interrupted call continues.

    Args:
        task: what to reproduce.
        run_command: runs one step.
        print_line: called with a line before each step.

    Returns:
        0: every run is done and reported; 1: a part failed and is named; 2: a step refused its input, the later ones
        were not run; 130: interrupted.
    """
    worst, listed = 0, list(steps(task))
    for place, step in enumerate(listed, start=1):
        print_line(f"step {place} of {len(listed)}, {step.purpose}: {step.text}")
        sys.stdout.flush()
        code = run_command(step.arguments)
        if code == INTERRUPTED or (code and not (step.is_partial and code == 1)):
            print_line(f"stopped at step {place} of {len(listed)}: exit code {code}; call the same command to go on")
            return code
        worst = max(worst, code)
    return worst

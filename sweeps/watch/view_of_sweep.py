"""The view of one sweep, from the numbers of `c2d sweep status` and the curves of the runs that have a row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d.core.printable import printable_line
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import time_stamp
from sweeps.state.status import Summary
from sweeps.watch.kept_reader import KeptReader
from sweeps.watch.loss_history import mean_losses
from sweeps.watch.watch_view import SweepView, WaitingGroup, WatchRow

CURVE_PARTS = 64
"""Means of a loss curve."""
MOST_PROBLEMS = 5
"""Files with problems that are named."""
MOST_RUNNING, MOST_FAILED, MOST_DONE = 120, 80, 80
"""Rows of a sweep that are shown; the counts are of all. Of these runs alone, curves and results are read."""


def sweep_view(summary: Summary, runs: Path, reader: KeptReader, is_at_rest: bool) -> SweepView:
    """Return what is shown of a sweep.

    Args:
        summary: of `sweeps.state.status.summarize`, with `sweep` and `question`.
        runs: the store.
        reader: reads curves and results of the runs that have a row.
        is_at_rest: see `SweepView`.
    """
    entries: list[dict[str, Any]] = summary["runs"]
    axes = _axes(entries)
    unit = "gpu_hours" if any(run["gpus"] for run in entries) else "hours"

    def rows(chosen: Sequence[Mapping[str, Any]]) -> tuple[WatchRow, ...]:
        return tuple(_row(run, RunFolder(runs / run["run"]), axes, unit, reader) for run in chosen)

    running = [run for run in entries if _section(run) == "running"]
    failed = sorted((run for run in entries if run["state"] in ("failed", "damaged")), key=_newest_first)
    done = sorted((run for run in entries if run["state"] == "done"), key=_newest_first)
    hours = summary[unit]
    return SweepView(
        printable_line(str(summary["sweep"])),
        printable_line(str(summary["question"])),
        tuple(printable_line(axis.rpartition(".")[2]) for axis in axes),
        summary["counts"],
        rows(running[:MOST_RUNNING]),
        rows(failed[:MOST_FAILED]),
        rows(done[:MOST_DONE]),
        _waiting(entries),
        "GPU hours" if unit == "gpu_hours" else "hours",
        hours["total"],
        hours["wasted"],
        hours["expected"],
        summary["eta_s"],
        _warnings(summary),
        is_at_rest,
        summary["retries"],
    )


def _section(run: Mapping[str, Any]) -> str:
    state = run["last_known_state"] if run["state"] == "unknown" else run["state"]
    return "running" if state in ("running", "finishing") else "waiting"


def _newest_first(run: Mapping[str, Any]) -> float:
    return -(time_stamp(run["heartbeat"]) or 0.0)


def _axes(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the axes with more than one label, the seeds apart; all axes where none has."""
    labels: dict[str, set[str]] = {}
    for run in entries:
        for cell in run["labels"]:
            for axis, label in cell.items():
                labels.setdefault(axis, set()).add(label)
    labels.pop("seed", None)
    return [axis for axis, found in labels.items() if len(found) > 1] or list(labels)


def _row(run: Mapping[str, Any], folder: RunFolder, axes: Sequence[str], unit: str, reader: KeptReader) -> WatchRow:
    curve, history = reader.curve(folder), reader.losses(folder)
    is_running, is_done = _section(run) == "running", run["state"] == "done"
    score = reader.score(folder) if is_done else None
    cell = run["labels"][0] if run["labels"] else None
    # Without its hash and its seed, which say nothing to a person.
    name = re.sub(r"-[0-9a-f]{12}-s\d+$", "", str(run["run"]))
    own = (f"{run['label']} {name}",) if cell is None else tuple(str(cell.get(axis, "-")) for axis in axes)
    left_s = run["left_s"] if is_running else 0.0
    gpus = run["gpus"] or 0
    expected = None if left_s is None else run[unit] + left_s * (gpus if unit == "gpu_hours" else 1) / 3600
    done_steps = max(run["iteration"] or 0, (curve.iteration or 0) if is_running else 0)
    return WatchRow(
        run=printable_line(str(run["run"])),
        labels=tuple(map(printable_line, own)),
        more_cells=max(0, len(run["labels"]) - 1),
        seed="" if cell is None else str(cell.get("seed", "")),
        state=run["state"],
        is_stale=run["stale"],
        iteration=done_steps if run["iterations"] or done_steps else None,
        iterations=run["iterations"],
        stage=printable_line(str(run["stage"] or "")) if is_running else "",
        losses=tuple(mean_losses(history, CURVE_PARTS)),
        loss=history[-1].loss if history else None,
        score_name=score[0] if score is not None else "AP",
        score=score[1] if score is not None else curve.ap,
        is_final=score is not None,
        step_s=curve.pace_s,
        left_s=run["left_s"] if is_running else None,
        hours=run[unit],
        expected_hours=expected,
        reason=printable_line(str(run["reason"])),
        place=_place(run) if is_running else "",
        heartbeat_age_s=run["heartbeat_age_s"],
        ended=None if is_running else time_stamp(run["heartbeat"]),
    )


def _place(run: Mapping[str, Any]) -> str:
    job = f"{'canary, ' * run['canary']}job {run['job']}" if run["job"] else ""
    return printable_line(" on ".join(part for part in (job, str(run["node"] or "")) if part))


def _waiting(entries: Sequence[Mapping[str, Any]]) -> tuple[WaitingGroup, ...]:
    """Return the runs that neither run nor have ended, by state and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    starts: dict[tuple[str, str], float] = {}
    for run in entries:
        if run["state"] in ("done", "failed", "damaged") or _section(run) == "running":
            continue
        key = run["state"], _reason_of_many(str(run["reason"]))
        counts[key] += 1
        at = time_stamp(run["starts_at"]) if run["starts_at"] else None
        if at is not None:
            starts[key] = min(at, starts.get(key, at))
    return tuple(
        WaitingGroup(state, count, printable_line(reason), starts.get((state, reason)))
        for (state, reason), count in counts.most_common()
    )


def _reason_of_many(reason: str) -> str:
    """Return a reason without the number of the job and the iteration, which differ between runs."""
    reason = re.sub(r"\bjob [0-9][0-9_]* ?", "", reason)
    return re.sub(r"(continues at )?iteration \d+ of \d+[;,]? ?", "", reason).strip() or "waiting"


def _warnings(summary: Summary) -> tuple[str, ...]:
    lines = []
    if summary["silence"]:
        lines.append(f"SLURM does not answer ({summary['silence']}): what follows is what files recorded before")
    lines += [line for group in summary["pending"] for line in str(group["text"]).splitlines()]
    problems = [str(problem) for problem in summary["problems"]]
    lines += problems[:MOST_PROBLEMS]
    if len(problems) > MOST_PROBLEMS:
        more = len(problems) - MOST_PROBLEMS
        lines.append(f"and {more} more files with problems: `c2d sweep status {summary['sweep']}` lists them")
    if summary["retries"]:
        name = summary["sweep"]
        lines.append(f"{summary['retries']} failed runs are retried by `c2d sweep status {name} --watch 30` alone")
    return tuple(map(printable_line, lines))

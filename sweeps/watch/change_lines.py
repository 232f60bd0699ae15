"""What changed between two views as lines, for an output that is no terminal: runs, counts, warnings."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from sweeps.watch import row_texts
from sweeps.watch.watch_view import SweepView, WatchRow, WatchView


def change_lines(before: WatchView | None, after: WatchView) -> list[str]:
    """Return the lines: runs that began or ended since, the counts of each sweep whose counts changed, new warnings.

    Args:
        before: the last view; None: everything is new, and only the counts are shown.
    """
    at = time.strftime("%H:%M:%S", time.localtime(after.made))
    earlier = {sweep.name: sweep for sweep in before.sweeps} if before is not None else {}
    lines = []
    for sweep in after.sweeps:
        last = earlier.get(sweep.name)
        if last is not None:
            lines += [f"{at} {sweep.name}: {line}" for line in _run_lines(last, sweep, after.made)]
        if last is None or last.counts != sweep.counts:
            lines.append(f"{at} {sweep.name}: {row_texts.counts_text(sweep)}; {row_texts.cost_text(sweep)}")
        known = {_without_numbers(one) for one in last.warnings} if last is not None else set()
        lines += [f"{at} {sweep.name}: warning: {one}" for one in sweep.warnings if _without_numbers(one) not in known]
    if after.problem and (before is None or before.problem != after.problem):
        lines.append(f"{at} warning: {after.problem}")
    return lines


def _without_numbers(warning: str) -> str:
    """A warning with another number of runs or minutes is not new."""
    return re.sub(r"\d+", "0", warning)


def _run_lines(before: SweepView, after: SweepView, now: float) -> Iterator[str]:
    states = {row.run: row.state for row in _rows(before)}
    for row in _rows(after):
        if states.get(row.run) != row.state:
            seed = f", seed {row.seed}" if row.seed else ""
            yield f"{row.state} {row_texts.label_text(row)}{seed} ({row.run}){_facts(row)}"


def _rows(sweep: SweepView) -> tuple[WatchRow, ...]:
    return (*sweep.running, *sweep.failed, *sweep.done)


def _facts(row: WatchRow) -> str:
    if row.state == "done":
        return "" if row.score is None else f": {row.score_name} {row_texts.score_text(row)}"
    return f": {row.reason}" if row.reason else ""

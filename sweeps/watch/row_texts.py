"""The numbers of a row as texts, the same on the terminal and on the page."""

from __future__ import annotations

import math

from c2d.core.run_state import duration_text
from sweeps.watch.watch_view import SweepView, WaitingGroup, WatchRow


def label_text(row: WatchRow) -> str:
    """Return the labels of the cell, `icod / 0.01`, and how many further cells the run fills."""
    return " / ".join(row.labels) + (f" (+{row.more_cells})" if row.more_cells else "")


def progress_text(row: WatchRow) -> str:
    """Return done and planned iterations, `300/450`; `12/?` in the seconds before status.json has them."""
    if row.iterations:
        return f"{row.iteration or 0}/{row.iterations}"
    return "-" if row.iteration is None else f"{row.iteration}/?"


def loss_text(row: WatchRow) -> str:
    """Return the last loss with three digits; "-" for none, "NaN" for one that was not finite."""
    if row.loss is None:
        return "-"
    return f"{row.loss:#.3g}".rstrip(".") if math.isfinite(row.loss) else "NaN"


def score_text(row: WatchRow) -> str:
    """Return the AP or top-1 in percent; that of the training's own evaluation has a `~`: the result may differ."""
    if row.score is None:
        return "-"
    return f"{'' if row.is_final else '~'}{100 * row.score:.1f}"


def step_text(row: WatchRow) -> str:
    """Return the seconds per iteration with their unit; `-` if unknown."""
    if row.step_s is None:
        return "-"
    return f"{row.step_s:.2f} s" if row.step_s >= 0.1 else f"{row.step_s * 1000:.0f} ms"


def left_text(row: WatchRow, now: float) -> str:
    """Return the time to the last iteration, what a run does before and after its steps, or when it ended.

    Of a run with an old heartbeat it is the age of that.

    Args:
        now: seconds since the epoch.
    """
    if row.state in ("done", "failed"):
        # Clocks of nodes differ: an end in the future was a moment ago.
        return "-" if row.ended is None else f"{_largest_unit(max(0.0, now - row.ended))} ago"
    if row.is_stale:
        return f"silent {_largest_unit(row.heartbeat_age_s)}"
    if row.state != "running":
        return row.state
    if row.stage not in ("", "fit") and row.iteration in (None, 0, row.iterations):
        return row.stage
    return duration_text(row.left_s)


def _largest_unit(seconds: float | None) -> str:
    """Return a duration without its smaller unit: `2 h` for 2 h 40 min."""
    return " ".join(duration_text(seconds).split()[:2])


def place_text(row: WatchRow) -> str:
    """Return where a run works, and since when it is silent."""
    silent = f"no heartbeat for {duration_text(row.heartbeat_age_s)}" if row.is_stale else ""
    return ", ".join(part for part in (silent, row.place) if part)


def waiting_text(group: WaitingGroup) -> str:
    """Return `212 waiting: pending (Priority)`."""
    return f"{group.count} {group.state}: {group.reason}"


def hours_text(used: float, expected: float | None) -> str:
    """Return used and expected hours, `0.52/1.20`; the expected ones are left out where they are unknown or equal."""
    if expected is None:
        return f"{_hours(used)}/?"
    return _hours(used) if _hours(used) == _hours(expected) else f"{_hours(used)}/{_hours(expected)}"


def _hours(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def counts_text(sweep: SweepView) -> str:
    """Return `7 runs: 4 waiting, 2 running, 1 done`."""
    counts = ", ".join(f"{count} {state}" for state, count in sweep.counts.items())
    return f"{sweep.n_runs} runs: {counts}" if counts else "no runs"


def cost_text(sweep: SweepView) -> str:
    """Return the hours and the time left of a sweep."""
    total = None if sweep.hours_expected is None else _hours(sweep.hours_expected)
    expected = "" if total in (None, _hours(sweep.hours)) else f" of about {total}"
    wasted = f", {_hours(sweep.hours_wasted)} wasted" if sweep.hours_wasted >= 0.005 else ""
    return f"{_hours(sweep.hours)}{expected} {sweep.unit}{wasted}; {_left(sweep)}"


def _left(sweep: SweepView) -> str:
    if sweep.is_at_rest:
        return "nothing runs or waits" if sweep.counts.keys() & {"new", "waiting"} else "ended"
    return "time left unknown" if sweep.left_s is None else f"{duration_text(sweep.left_s)} left"

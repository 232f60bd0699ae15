"""A `WatchView` as lines of a terminal: as wide and as high as it is, with or without colours and Unicode."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from c2d.core.run_state import duration_text
from sweeps.watch import row_texts
from sweeps.watch.column_fit import allot_lines
from sweeps.watch.terminal_rows import row_lines
from sweeps.watch.terminal_signs import PLAIN, STYLES, UNICODE, Signs, cut_line
from sweeps.watch.watch_view import SweepView, WatchView

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

MANY_LINES = 10_000
"""Height of an output that is no screen."""
WARNING_LINES, WAITING_LINES = 3, 3
LINES = ((2, 1, 0), (4, 3, 2))
"""Lines of running, failed and finished runs on a low screen: what each list gets before another gets more."""


class WatchTable:
    """A rich renderable that draws the newest view at the size which the terminal has then.

    Attributes:
        view: replaced by each refresh; None before the first.
        is_screen: it fills a screen: no more lines than that has, and the age of the data.
    """

    def __init__(self, view: WatchView | None = None, is_screen: bool = False) -> None:
        self.view, self.is_screen = view, is_screen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        if self.view is None:
            yield Text("reading the runs ...", style="dim")
            return
        signs = UNICODE if (console.encoding or "").lower().startswith("utf") else PLAIN
        height = (options.height or console.height) if self.is_screen else MANY_LINES
        now = time.time() if self.is_screen else self.view.made
        yield from table_lines(self.view, options.max_width, height, signs, now)


def table_lines(view: WatchView, width: int, height: int, signs: Signs, now: float) -> list[Text]:
    """Return the lines, at most `height` of them, each at most `width` characters wide.

    Args:
        now: seconds since the epoch; data that are older than two intervals have their age in the first line.
    """
    lines = [_head(view, width, signs, now)]
    if view.problem:
        lines.append(cut_line(Text(f"warning: {view.problem}", style="yellow"), width, signs))
    share = (height - len(lines)) // max(1, len(view.sweeps))
    for sweep in view.sweeps:
        lines += _sweep_lines(sweep, width, share, signs, view.made)
    return lines[:height]


def _head(view: WatchView, width: int, signs: Signs, now: float) -> Text:
    at = time.strftime("%H:%M:%S", time.localtime(view.made))
    age_s = now - view.made
    late = f", {duration_text(age_s)} old" if view.every_s and age_s > max(2 * view.every_s, 10) else ""
    every = f", every {view.every_s:g} s, Ctrl-C ends" if view.every_s else ""
    return cut_line(Text(f"c2d sweep watch  {at}{late}{every}", style="yellow" if late else "dim"), width, signs)


def _sweep_lines(sweep: SweepView, width: int, height: int, signs: Signs, now: float) -> Iterator[Text]:
    title = Text(sweep.name, style="bold")
    title.append(f": {sweep.question}" if sweep.question else "", style="none")
    counts = Text()
    counts.append(row_texts.counts_text(sweep))
    # 100 characters hold both; on a narrow terminal each has a line of its own.
    cost = row_texts.cost_text(sweep)
    top = [cut_line(title, width, signs)]
    if len(counts) + len(cost) + 2 <= width:
        top.append(Text(f"{counts.plain}; {cost}"))
    else:
        top += [cut_line(counts, width, signs), cut_line(Text(cost), width, signs)]
    if height >= 12:
        top.append(_share_bar(sweep, width, signs))
    warnings = sweep.warnings[:WARNING_LINES]
    top += [cut_line(Text(f"warning: {line}", style="yellow"), width, signs) for line in warnings]
    if len(sweep.warnings) > len(warnings):
        top.append(Text(f"and {len(sweep.warnings) - len(warnings)} more warnings", style="yellow"))
    bottom = [cut_line(line, width, signs) for line in _waiting_lines(sweep)]
    yield from top
    lists = (sweep.running, sweep.failed, sweep.done)
    totals = (_count(sweep, "running", "finishing"), _count(sweep, "failed", "damaged"), _count(sweep, "done"))
    totals = (max(totals[0], len(sweep.running)), *totals[1:])
    if any(lists):
        # One line for the titles, one between this sweep and the next.
        room = height - len(top) - len(bottom) - 2
        wanted = [len(rows) + (total > len(rows)) for rows, total in zip(lists, totals, strict=True)]
        given = allot_lines(wanted, LINES, room)
        yield from row_lines(lists, totals, given, sweep, width, signs, now)
    yield from bottom
    yield Text("")


def _count(sweep: SweepView, *states: str) -> int:
    return sum(sweep.counts.get(state, 0) for state in states)


def _share_bar(sweep: SweepView, width: int, signs: Signs) -> Text:
    """Return a bar of all runs: done, failed, running, the rest."""
    shown = Text()
    parts = {
        "done": _count(sweep, "done"), "failed": _count(sweep, "failed", "damaged", "blocked"),
        "running": _count(sweep, "running", "finishing"),
    }  # fmt: skip
    size = min(width, 80)
    for (state, count), mark in zip(parts.items(), signs.shares, strict=False):
        # One run of thousands is still seen.
        cells = max(1, round(size * count / sweep.n_runs)) if count else 0
        shown.append(mark * min(cells, size - len(shown)), style=STYLES[state])
    shown.append(signs.shares[-1] * (size - len(shown)), style="dim")
    return shown


def _waiting_lines(sweep: SweepView) -> Iterator[Text]:
    for group in sweep.waiting[:WAITING_LINES]:
        start = ""
        if group.next_start is not None:
            start = f", the first expected to start at {time.strftime('%H:%M', time.localtime(group.next_start))}"
        yield Text(f"  {row_texts.waiting_text(group)}{start}", style=STYLES.get(group.state, "none"))
    if len(sweep.waiting) > WAITING_LINES:
        rest = sweep.waiting[WAITING_LINES:]
        yield Text(f"  and {sum(group.count for group in rest)} more for {len(rest)} other reasons", style="cyan")

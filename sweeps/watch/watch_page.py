"""A `WatchView` as one HTML file that loads nothing and reloads itself; one that is no longer written shows its age.

Everything is there without the script, a browser without scripts reloads by a meta element. A content security policy
allows no address and no script but the one of the file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from c2d.markup.page_policy import page_policy
from sweeps.watch import row_texts
from sweeps.watch.watch_view import SweepView, WatchRow, WatchView

HERE = Path(__file__).parent
WIDTH, HEIGHT = 120, 28
"""Of a drawn curve in its own units."""
ENDED = ("done", "failed", "damaged", "blocked")
"""First in the bar of a sweep."""


def watch_page(view: WatchView) -> str:
    """Return the page."""
    style, script = ((HERE / name).read_text(encoding="utf-8").strip() for name in ("watch_page.css", "watch_page.js"))
    title = ", ".join(sweep.name for sweep in view.sweeps)
    every_s = math.ceil(view.every_s)
    without_script = f'<noscript><meta http-equiv="refresh" content="{every_s}"></noscript>\n' if every_s else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(page_policy(script))}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"{without_script}<title>{_title_counts(view)} {escape(title)}</title>\n"
        f'<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n'
        f'<body data-made="{view.made:.3f}" data-every="{view.every_s:.3f}">\n'
        f"<header>\n{_clock(view)}</header>\n<main>\n"
        + "\n".join(part for sweep in view.sweeps for part in _sweep(sweep, view.made))
        + f"\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _title_counts(view: WatchView) -> str:
    """Return done and all runs for the tab of the browser, `3/7`."""
    done = sum(sweep.counts.get("done", 0) for sweep in view.sweeps)
    return f"{done}/{sum(sweep.n_runs for sweep in view.sweeps)}"


def _clock(view: WatchView) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(view.made))
    if view.every_s:
        state = f"It is written every {view.every_s:.0f} s."
    elif all(sweep.is_at_rest for sweep in view.sweeps):
        left = any(sweep.counts.keys() & {"new", "waiting"} for sweep in view.sweeps)
        state = f"{'Nothing runs or waits' if left else 'All runs have ended'}; the page stays as it is."
    else:
        state = "It is not written any more; runs may go on."
    problem = f'<p class="warning">{escape(view.problem)}</p>\n' if view.problem else ""
    return (
        f'<p class="clock"><strong>State of <time>{at}</time></strong><span id="age"></span>. {state}</p>\n'
        '<p id="stale" class="warning" role="alert" hidden></p>\n'
        f"{problem}"
        '<p class="controls" hidden><label>Filter <input id="filter" type="search" autocomplete="off" '
        'placeholder="label, run or state"></label>\n'
        '<button type="button" id="pause" aria-pressed="false">Pause</button></p>\n'
    )


def _sweep(sweep: SweepView, now: float) -> Iterator[str]:
    yield f'<section aria-label="Sweep {escape(sweep.name)}">\n<h1>{escape(sweep.name)}</h1>'
    if sweep.question:
        yield f'<p class="question">{escape(sweep.question)}</p>'
    yield _share_bar(sweep)
    yield f'<p class="counts">{escape(row_texts.counts_text(sweep))}; {escape(row_texts.cost_text(sweep))}</p>'
    yield from (f'<p class="warning">{escape(line)}</p>' for line in sweep.warnings)
    rows = (*sweep.running, *sweep.failed, *sweep.done)
    if rows:
        yield _table(sweep, rows, now)
    yield from _not_shown(sweep)
    yield from _waiting(sweep)
    yield "</section>"


def _share_bar(sweep: SweepView) -> str:
    ended = [state for state in ENDED if state in sweep.counts]
    parts = "".join(
        f'<span class="state-{state}" style="flex-grow:{sweep.counts[state]}"></span>'
        for state in [*ended, *(state for state in reversed(list(sweep.counts)) if state not in ended)]
    )
    return f'<div class="share" aria-hidden="true">{parts}</div>'


def _table(sweep: SweepView, rows: Sequence[WatchRow], now: float) -> str:
    # Labels of a run without a cell stand in the first column alone.
    axes = sweep.axes or ("run",)
    hours = "GPU hours" if sweep.unit == "GPU hours" else "hours"
    numbers = ("seed", "iteration", "loss curve", "loss", _score_title(rows), "step", "left or ended", hours)
    titles = ["state", *axes, *numbers, "where or why"]
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(title)}</button></th>' for title in titles
    )
    bodies = [
        f"<tbody>{''.join(_row(row, titles, len(axes), now) for row in group)}</tbody>"
        for _, group in groupby(rows, key=lambda row: row.state in ("failed", "damaged"))
    ]
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Runs of {escape(sweep.name)}">'
        f"<table>\n<thead><tr>{head}</tr></thead>\n" + "\n".join(bodies) + "\n</table></div>"
    )


def _score_title(rows: Sequence[WatchRow]) -> str:
    names = sorted({row.score_name for row in rows if row.score is not None}) or ["AP"]
    return f"{' or '.join(names)}, %"


def _row(row: WatchRow, titles: Sequence[str], n_axes: int, now: float) -> str:
    labels = [*row.labels, *[""] * (n_axes - len(row.labels))]
    if row.more_cells:
        labels[0] += f" (+{row.more_cells})"
    cells = [_text(row.state, f"state-{row.state}")]
    cells += [_text(label) for label in labels]
    share = row.share or 0.0
    bar = f'<span class="bar" aria-hidden="true"><span style="width:{100 * share:.1f}%"></span></span>'
    left = row.left_s if row.left_s is not None else math.inf
    why = row_texts.place_text(row) if row.place or row.is_stale else row.reason if row.state != "done" else ""
    cells += [
        _number(row.seed, row.seed),
        f'<td data-value="{share:.6f}" class="number">{bar}{row_texts.progress_text(row)}</td>',
        f'<td data-value="{_last(row)}">{_curve(row)}</td>',
        _number(row_texts.loss_text(row), _last(row)),
        _number(row_texts.score_text(row), "" if row.score is None else f"{row.score:.9f}"),
        _number(row_texts.step_text(row), "" if row.step_s is None else f"{row.step_s:.9f}"),
        _number(row_texts.left_text(row, now), "" if math.isinf(left) else f"{left:.1f}"),
        _number(row_texts.hours_text(row.hours, row.expected_hours), f"{row.hours:.6f}"),
        f'<td class="why">{escape(why)}</td>',
    ]
    named = [
        cell.replace("<td", f'<td data-title="{escape(title)}"', 1) for cell, title in zip(cells, titles, strict=True)
    ]
    style = " stale" if row.is_stale else ""
    return f'<tr class="{row.state}{style}" title="{escape(row.run)}">{"".join(named)}</tr>\n'


def _last(row: WatchRow) -> str:
    return f"{row.loss:.9g}" if row.loss is not None and math.isfinite(row.loss) else ""


def _text(text: str, style: str = "") -> str:
    return f'<td class="{style}">{escape(text)}</td>' if style else f"<td>{escape(text)}</td>"


def _number(text: str, value: str) -> str:
    """Return a cell that is sorted by its value; one without a value is last."""
    return f'<td class="number" data-value="{escape(value)}">{escape(text)}</td>'


def _curve(row: WatchRow) -> str:
    """Return the curve as a drawing; a gap is where a loss was not finite."""
    means = row.losses
    finite = [value for value in means if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high / 2 - low / 2 or 1.0
    step = (WIDTH - 4) / max(1, len(means) - 1)
    # A share first: the largest losses have no multiple.
    shares = [(value / 2 - low / 2) / span if high > low else 0.5 for value in means]
    points = [
        (2 + place * step, HEIGHT - 3 - (HEIGHT - 6) * share, value)
        for place, (share, value) in enumerate(zip(shares, means, strict=True))
    ]
    lines = []
    for is_finite, group in groupby(points, key=lambda point: math.isfinite(point[2])):
        if is_finite:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in group)
            # A single point has no length; a round cap makes a dot of it.
            lines.append(f'<polyline points="{path}{f" {path}" if " " not in path else ""}"/>')
    label = f"losses from {finite[0]:.3g} to {finite[-1]:.3g}, lowest {low:.3g}"
    label += f", {len(means) - len(finite)} not finite" if len(finite) < len(means) else ""
    drawn = "".join(lines)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>{drawn}</svg>'


def _not_shown(sweep: SweepView) -> Iterator[str]:
    shown = {"done": len(sweep.done), "failed and damaged": len(sweep.failed), "running": len(sweep.running)}
    totals = {
        "done": sweep.counts.get("done", 0),
        "failed and damaged": sweep.counts.get("failed", 0) + sweep.counts.get("damaged", 0),
        "running": sweep.counts.get("running", 0) + sweep.counts.get("finishing", 0),
    }
    more = [f"{totals[state] - count} {state}" for state, count in shown.items() if totals[state] > count]
    if more:
        name = escape(sweep.name)
        yield f'<p class="muted">And {", ".join(more)}: <code>c2d sweep status {name} --json</code> lists all.</p>'


def _waiting(sweep: SweepView) -> Iterator[str]:
    if not sweep.waiting:
        return
    yield '<ul class="waiting">'
    for group in sweep.waiting:
        start = ""
        if group.next_start is not None:
            start = f"; the first is expected to start at {time.strftime('%H:%M', time.localtime(group.next_start))}"
        yield f'<li class="state-{group.state}">{escape(row_texts.waiting_text(group))}{start}</li>'
    yield "</ul>"

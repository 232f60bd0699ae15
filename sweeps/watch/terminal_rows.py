"""The rows of one sweep on a terminal: running, failed and finished runs under the titles of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from sweeps.watch import row_texts
from sweeps.watch.column_fit import Column, fit_columns
from sweeps.watch.sparkline import sparkline
from sweeps.watch.terminal_signs import STYLES, Signs, cut_line, cut_text, padded_text
from sweeps.watch.watch_view import SweepView, WatchRow


def row_lines(
    lists: Sequence[Sequence[WatchRow]], totals: Sequence[int], given: Sequence[int], sweep: SweepView, width: int,
    signs: Signs, now: float,
) -> Iterator[Text]:  # fmt: skip
    """Yield the titles and the rows of each list in as many lines as it has, the last with the number of the others.

    Args:
        lists: running, failed and finished runs.
        totals: how many runs each list stands for.
        given: lines of each list.
        sweep: to which they belong.
        width: of a line.
        signs: characters that the terminal can show.
        now: seconds since the epoch.
    """
    shown = [
        rows[: lines if lines >= total else max(0, lines - 1)]
        for rows, total, lines in zip(lists, totals, given, strict=True)
    ]
    columns = fit_columns(_columns(sweep, [row for rows in shown for row in rows], now), width - 2)
    titles = " ".join(set_cell_size(padded_text(one.title, size, one.is_right), size) for one, size in columns)
    yield cut_line(Text(f"  {titles}".rstrip(), style="dim"), width, signs)
    for rows, total, lines, state in zip(shown, totals, given, ("running", "failed", "done"), strict=True):
        for row in rows:
            yield _row_line(row, columns, width, signs, now)
        if lines and total > len(rows):
            yield cut_line(Text(f"  and {total - len(rows)} more {state}", style=STYLES[state]), width, signs)


def _columns(sweep: SweepView, rows: Sequence[WatchRow], now: float) -> list[Column]:
    """Return the columns from the left; ranks say which a narrow terminal does without."""

    def column(key: str, title: str, rank: int, texts: Sequence[str], is_right: bool = True) -> Column:
        size = max([cell_len(title), *map(cell_len, texts)])
        return Column(key, title, size, size, rank, is_right)

    names = max([cell_len(" / ".join(sweep.axes)), *(cell_len(row_texts.label_text(row)) for row in rows), 4])
    seeds = {row.seed for row in rows}
    places = max((cell_len(row_texts.place_text(row)) for row in rows), default=0)
    return [
        Column("label", " / ".join(sweep.axes) or "run", min(names, 16), names, 0),
        *([column("seed", "seed", 6, sorted(seeds), False)] if len(seeds - {""}) > 1 else []),
        Column("bar", "", 6, 16, 9),
        column("steps", "iteration", 1, [row_texts.progress_text(row) for row in rows]),
        Column("curve", "loss curve", 10, 32, 3),
        column("loss", "loss", 5, [row_texts.loss_text(row) for row in rows]),
        column("score", _score_title(rows), 2, [row_texts.score_text(row) for row in rows]),
        column("step", "step", 8, [row_texts.step_text(row) for row in rows]),
        column("left", "left", 4, [row_texts.left_text(row, now) for row in rows]),
        column(
            "hours", "GPU h" if sweep.unit == "GPU hours" else "hours", 7,
            [row_texts.hours_text(row.hours, row.expected_hours) for row in rows],
        ),
        *([Column("place", "where", min(places, 10), max(places, 5), 10)] if places else []),
    ]  # fmt: skip


def _score_title(rows: Sequence[WatchRow]) -> str:
    names = {row.score_name for row in rows if row.score is not None}
    return "/".join(sorted(names)) or "AP"


def _row_line(row: WatchRow, columns: Sequence[tuple[Column, int]], width: int, signs: Signs, now: float) -> Text:
    style = "yellow" if row.is_stale else STYLES.get(row.state, "none")
    line = Text()
    line.append("? " if row.is_stale else f"{signs.marks.get(row.state, ' ')} ", style=style)
    for place, (column, size) in enumerate(columns):
        if row.state in ("failed", "damaged") and column.key == "curve":
            line.append(" " + row.reason, style="red")
            return cut_line(line, width, signs)
        line.append(" " if place else "")
        text, own = _cell(row, column.key, size, signs, now)
        line.append(padded_text(cut_text(text, size, signs), size, column.is_right), style=own)
    if row.state in ("failed", "damaged"):
        line.append(" " + row.reason, style="red")
    return cut_line(line, width, signs)


def _cell(row: WatchRow, key: str, size: int, signs: Signs, now: float) -> tuple[str, str]:
    """Return text and style of one cell."""
    if key == "bar":
        done = round((row.share or 0.0) * size)
        return signs.bar[0] * done + signs.bar[1] * (size - done), "green" if row.state == "done" else "cyan"
    texts = {
        "label": (row_texts.label_text, "none"), "seed": (lambda one: one.seed, "none"),
        "steps": (row_texts.progress_text, "none"),
        "curve": (lambda one: sparkline(one.losses, size, signs.levels), "cyan"),
        "loss": (row_texts.loss_text, "none"), "score": (row_texts.score_text, "bold"),
        "step": (row_texts.step_text, "none"), "left": (lambda one: row_texts.left_text(one, now), "none"),
        "hours": (lambda one: row_texts.hours_text(one.hours, one.expected_hours), "none"),
        "place": (row_texts.place_text, "yellow" if row.is_stale else "dim"),
    }  # fmt: skip
    write, style = texts[key]
    return write(row), style

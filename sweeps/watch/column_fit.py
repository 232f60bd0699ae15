"""Which columns of the table a terminal has room for, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 1


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: its name.
        title: in the first line.
        least: characters that it needs.
        most: characters that it can use.
        rank: importance; 0 is never left out.
        is_right: numbers stand at the right.
    """

    key: str
    title: str
    least: int
    most: int
    rank: int
    is_right: bool = False


def fit_columns(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """Return the columns that fit into a line with their widths, in the given order.

    The most important columns are taken first, as long as each fits with its `least` width. What is left goes to the
    columns in the order of their ranks, up to `most`.

    Args:
        columns: from the left.
        width: characters of a line.
    """
    by_rank = sorted(columns, key=lambda column: column.rank)
    widths: dict[str, int] = {}
    left = width + GAP
    for column in by_rank:
        if column.least + GAP <= left or column.rank == 0:
            widths[column.key] = column.least
            left -= column.least + GAP
        else:
            break
    for column in by_rank:
        if column.key in widths and left > 0:
            more = min(left, column.most - column.least)
            widths[column.key] += more
            left -= more
    return [(column, widths[column.key]) for column in columns if column.key in widths]


def allot_lines(wanted: Sequence[int], steps: Sequence[Sequence[int]], lines: int) -> list[int]:
    """Return how many lines each list gets: step by step as many as a step has for it, then the rest in their order.

    Args:
        wanted: lines that each list could use.
        steps: lines that each list gets before another gets more, rising.
        lines: of all together.
    """
    given = [0] * len(wanted)
    left = max(0, lines)
    for step in (*steps, wanted):
        for place, most in enumerate(step):
            more = max(0, min(most, wanted[place], given[place] + left) - given[place])
            given[place] += more
            left -= more
    return given

"""Columns and sentences of a figure's points: mean and interval over seeds, missing runs, the meaning of the marks.

Every data frame of a plot has these columns for each of its points: `value`, `sd`, `low`, `high` (shown units, missing
where there is none), `interval` (the name of the interval, or why there is none), `n`, `promised` (planned seeds),
`seeds`, `runs`, and `missing` (states of the other planned runs, as text).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.loading.columns import Quantity, quantity
from analysis.stats.seed_statistics import summary
from c2d.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.tables.groups import Group

ENOUGH = 3
"""A point with fewer seeds is drawn hollow."""
INTERVAL = "95 % t interval of the mean over seeds"
WIDE = "Intervals of two seeds are very wide; they may be cut at the edge of the axes."
MARKED = "Hollow: unfinished, or fewer than three seeds (n of planned)"


def run_quantity(key: str, figure: str) -> Quantity:
    """Return the quantity of that name, if results of runs have it.

    Args:
        figure: kind of the figure, for the error.

    Raises:
        InputError: an unknown quantity, or one of the latency files.
    """
    found = quantity(key)
    if not found.column:
        raise InputError(
            f"a {figure} figure cannot show {key!r}: it is measured by `c2d bench latency`, not by a run; "
            "use a column of result.json such as AP, or a pareto figure"
        )
    return found


def point_columns(group: Group, metric: Quantity) -> dict[str, Any]:
    """Return the columns of the module for one group and one quantity of the frame, in shown units."""
    values = seed_values(group, metric)
    return {**interval_columns(list(values.values())), **run_columns(group, list(values), metric.key)}


def seed_values(group: Group, metric: Quantity) -> dict[int, float]:
    """Return {seed: number in the shown unit} of the finished runs that have one, in ascending order of the seed."""
    done = group.done
    if metric.column not in done.columns:
        return {}
    pairs = zip(done["seed"], done[metric.column], strict=True)
    return {int(seed): float(value) * metric.scale for seed, value in pairs if np.isfinite(float(value))}


def interval_columns(values: Sequence[float]) -> dict[str, Any]:
    """Return value, sd, low, high and interval of one point.

    Args:
        values: one a seed, in the shown unit.
    """
    if not len(values):
        return {"value": np.nan, "sd": np.nan, "low": np.nan, "high": np.nan, "interval": "none: no finished run"}
    found = summary(values)
    sd, low, high = (np.nan if number is None else number for number in (found.sd, found.low, found.high))
    return {"value": found.mean, "sd": sd, "low": low, "high": high, "interval": found.interval}


def run_columns(group: Group, seeds: Sequence[int], key: str = "") -> dict[str, Any]:
    """Return n, promised, seeds, runs and missing of a point.

    Args:
        seeds: of the group, those that the point is the mean of.
        key: of the quantity, for finished runs without it; "" where they are left out for another reason.
    """
    rows = group.rows
    run = {int(seed): str(name) for seed, name in zip(rows["seed"], rows["run"], strict=True)}
    state = {int(seed): str(name) for seed, name in zip(rows["seed"], rows["state"], strict=True)}
    done = f"done without {key}" if key else "done, not shown"
    lost = Counter(done if state[seed] == "done" else state[seed] for seed in run if seed not in seeds)
    return {
        "n": len(seeds),
        "promised": len(run),
        "seeds": " ".join(str(seed) for seed in sorted(seeds)),
        "runs": " ".join(run[seed] for seed in sorted(seeds)),
        "missing": ", ".join(f"{number} {name}" for name, number in sorted(lost.items())),
    }


def is_incomplete(n: int, promised: int) -> bool:
    """Whether a point is drawn hollow: planned seeds are missing, or fewer than three seeds."""
    return n < promised or n < ENOUGH


def no_data_message(data: pd.DataFrame) -> str:
    """Return why there is nothing to draw, from the points without runs: `No finished runs: 2 failed, 1 new.`"""
    lost: Counter[str] = Counter()
    for words in data["missing"].unique() if "runs" not in data else data.drop_duplicates(_who(data))["missing"]:
        for part in filter(None, str(words).split(", ")):
            number, _, name = part.partition(" ")
            lost[name] += int(number)
    if not lost:
        return "No runs to draw: the report selects cells without runs."
    return f"No finished runs: {', '.join(f'{count} {name}' for name, count in sorted(lost.items()))}."


def marker_notes(data: pd.DataFrame) -> list[str]:
    """Return the sentences about marks: the hollow points with n of planned, the empty ones, intervals that are cut.

    Args:
        data: one row a point, with `row` (its name) and the columns of the module.
    """
    rows = data.drop_duplicates(_who(data))
    hollow = [
        f"{one.row} {one.n}/{one.promised}" for one in row_tuples(rows) if one.n and is_incomplete(one.n, one.promised)
    ]
    empty = [f"{one.row} ({one.missing})" for one in row_tuples(rows) if not one.n]
    out = []
    if hollow:
        out.append(f"{MARKED}: {_some(hollow)}.")
    if empty:
        out.append(f"Not drawn, no finished run: {_some(empty)}.")
    if (data["n"] == 2).any() and data["low"].notna().any():
        out.append(WIDE)
    return out


def axis_limits(values: Mapping[str, Any] | pd.DataFrame, margin: float = 0.06) -> tuple[float, float]:
    """Return the limits of an axis that show every value and every interval but those of two seeds, which may be huge.

    Args:
        values: columns value, low, high and n.
        margin: free space at both ends, as a part of the span.
    """
    value = np.asarray(values["value"], float)
    trusted = np.asarray(values["n"]) != 2
    ends = [np.where(trusted, np.asarray(values[column], float), np.nan) for column in ("low", "high")]
    every = np.concatenate([value, *ends])
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    # The bars of two seeds are not in `every`: leave room for a part of them.
    if not trusted.all():
        low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    room = margin * (high - low) or abs(high) * 0.1 or 0.5
    return low - room, high + room


def row_tuples(data: pd.DataFrame) -> list[Any]:
    """Return the lines of a frame as named tuples."""
    return list(data.itertuples())


def _who(data: pd.DataFrame) -> list[str]:
    """Columns that differ between sets of runs, so that a row with ten points is named once."""
    return [name for name in ("row", "n", "promised", "missing") if name in data]


def _some(texts: Sequence[str], limit: int = 6) -> str:
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more

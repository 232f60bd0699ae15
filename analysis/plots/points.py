"""From the seeds of a row to the numbers and the words of a figure: interval, what is missing, what a mark means.

Every data frame of a plot has these columns for each of its points: `value`, `sd`, `low`, `high` (shown units, missing
where there is none), `interval` (the name of the interval, or why there is none), `n`, `promised`, `seeds`, `runs`, and
`missing` (what became of the other promised runs, in words).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.load.columns import Quantity, quantity
from analysis.stats.seed_statistics import summary
from c2d.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.tables.groups import Group

ENOUGH = 3
"""Seeds below which a point is marked."""
INTERVAL = "95 % t interval of the mean over seeds"
WIDE = "Intervals of two seeds are very wide; they may be cut at the edge of the axes."
MARKED = "Hollow: unfinished, or fewer than three seeds (n of planned)"


def run_quantity(key: str, figure: str) -> Quantity:
    """The quantity of that name, if finished runs hold it.

    Raises:
        InputError: an unknown one, or one that is measured beside the runs.
    """
    found = quantity(key)
    if not found.column:
        raise InputError(
            f"a {figure} figure cannot show {key!r}: it is measured by `c2d bench latency`, not by a run; "
            "ask for a column of result.json such as AP, or for a pareto figure"
        )
    return found


def point_columns(group: Group, metric: Quantity) -> dict[str, Any]:
    """The columns of the module for one group and one quantity of the frame, in shown units."""
    values = seed_values(group, metric)
    return {**interval_columns(list(values.values())), **run_columns(group, list(values), metric.key)}


def seed_values(group: Group, metric: Quantity) -> dict[int, float]:
    """{seed: shown number} of the finished runs that have one, by rising seed."""
    done = group.done
    if metric.column not in done.columns:
        return {}
    pairs = zip(done["seed"], done[metric.column], strict=True)
    return {int(seed): float(value) * metric.scale for seed, value in pairs if np.isfinite(float(value))}


def interval_columns(values: Sequence[float]) -> dict[str, Any]:
    """value, sd, low, high, interval of one point."""
    if not len(values):
        return {"value": np.nan, "sd": np.nan, "low": np.nan, "high": np.nan, "interval": "none: no finished run"}
    found = summary(values)
    sd, low, high = (np.nan if number is None else number for number in (found.sd, found.low, found.high))
    return {"value": found.mean, "sd": sd, "low": low, "high": high, "interval": found.interval}


def run_columns(group: Group, seeds: Sequence[int], key: str = "") -> dict[str, Any]:
    """n, promised, seeds, runs, missing of a point that stands on these seeds of a group."""
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
    """Whether a point is drawn hollow: unfinished, or too few seeds to speak of their spread."""
    return n < promised or n < ENOUGH


def no_data_message(data: pd.DataFrame) -> str:
    """Why there is nothing to draw, from the points without runs: `No finished runs: 2 failed, 1 new.`"""
    lost: Counter[str] = Counter()
    for words in data["missing"].unique() if "runs" not in data else data.drop_duplicates(_who(data))["missing"]:
        for part in filter(None, str(words).split(", ")):
            number, _, name = part.partition(" ")
            lost[name] += int(number)
    if not lost:
        return "No runs to draw: the report asks for cells that no run answers."
    return f"No finished runs: {', '.join(f'{count} {name}' for name, count in sorted(lost.items()))}."


def marker_notes(data: pd.DataFrame) -> list[str]:
    """The sentences about marks: which points are hollow with n of planned, which have nothing, what is cut.

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
    """Limits of an axis that show every value and every interval but those of two seeds, which may be huge."""
    value = np.asarray(values["value"], float)
    trusted = np.asarray(values["n"]) != 2
    ends = [np.where(trusted, np.asarray(values[column], float), np.nan) for column in ("low", "high")]
    every = np.concatenate([value, *ends])
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    # Two seeds alone have no bar that counts: leave room for some of it.
    if not trusted.all():
        low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    room = margin * (high - low) or abs(high) * 0.1 or 0.5
    return low - room, high + room


def row_tuples(data: pd.DataFrame) -> list[Any]:
    """The lines of a frame as named tuples."""
    return list(data.itertuples())


def _who(data: pd.DataFrame) -> list[str]:
    """Columns that tell one set of runs from another, so that a row with ten points is named once."""
    return [name for name in ("row", "n", "promised", "missing") if name in data]


def _some(texts: Sequence[str], limit: int = 6) -> str:
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more

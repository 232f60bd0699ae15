"""One measured cell from the numbers of its seeds: the mean with spread, n and interval, or why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from analysis.loading.columns import STATUS_NAMES, Quantity
from analysis.stats.seed_statistics import summary
from analysis.tables.groups import Group
from analysis.tables.table import Cell
from c2d.core.run_folder import RESULT_FILE, STATUS_FILE

if TYPE_CHECKING:
    import pandas as pd

FEW = 3
"""A cell with fewer seeds gets a footnote."""
FEW_NOTE = "fewer than three seeds"
_STATE_WORDS = {"new": "not started", "stale": "without a heartbeat"}


@dataclass(frozen=True)
class Samples:
    """Numbers of one kind and one row, in the shown unit.

    Attributes:
        values: {seed: number}.
        runs: {seed: run} of these seeds.
        planned_seeds: all seeds of the sweep.
        undefined: number of finished seeds without a number.
        reason: why there is no value, or no value of some seeds; "" where nothing is missing.
        notes: sentences on how the numbers were measured.
        files: {run: file in its folder that has the number}.
    """

    values: dict[int, float]
    runs: dict[int, str]
    planned_seeds: tuple[int, ...]
    undefined: int
    reason: str
    notes: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


Found = dict[str, dict[str, Samples]]
"""{row key: {column key: its seeds}}."""


def is_from_latency(quantity: Quantity) -> bool:
    """Whether the number is read from latency files, not from the frame."""
    return quantity.column == ""


def row_samples(group: Group, quantity: Quantity, timed: pd.DataFrame | None) -> Samples:
    """Return the numbers of one row.

    Args:
        timed: frame of `analysis.loading.latency.latency_of_runs`; None where no column needs it.
    """
    values, runs = {}, {}
    done = group.done
    for seed, run, number in zip(done["seed"], done["run"], _numbers(done, quantity, timed), strict=True):
        if np.isfinite(number):
            values[int(seed)] = quantity.scale * float(number)
            runs[int(seed)] = str(run)
    undefined = len(done) - len(values)
    without = done[~done["run"].isin(runs.values())]
    reason = seed_progress(group) if done.empty else _undefined(without, quantity, timed) if undefined else ""
    planned_seeds = tuple(int(seed) for seed in group.rows["seed"])
    notes = _notes(list(runs.values()), timed) if quantity.depends_on_device else ()
    return Samples(values, runs, planned_seeds, undefined, reason, notes, _files(list(runs.values()), quantity, timed))


def _files(runs: Sequence[str], quantity: Quantity, timed: pd.DataFrame | None) -> dict[str, str]:
    if not is_from_latency(quantity):
        return dict.fromkeys(runs, STATUS_FILE if quantity.column in STATUS_NAMES else RESULT_FILE)
    column = "file" if quantity.depends_on_device else "count_file"
    return {run: str(timed.loc[[run], column].iloc[0]) for run in runs} if timed is not None else {}


def mean_cell(found: Samples, quantity: Quantity) -> Cell:
    """Return the cell of one row's numbers; its notes are sentences, which `analysis.tables.notes` turns into marks."""
    n_planned = len(found.planned_seeds)
    if not found.values:
        return Cell(kind="missing", n_planned=n_planned, reason=found.reason)
    seeds = sorted(found.values)
    mean = summary([found.values[seed] for seed in seeds])
    sd, interval = mean.sd, mean.interval
    if mean.sd == 0 and not quantity.better:  # one network, or one teacher: no spread that seeds could show
        sd, interval = None, "none: the same in every run"
    notes = [FEW_NOTE] if mean.n < FEW else []
    notes += found.notes
    if found.undefined:
        whole = mean.n + found.undefined
        notes.append(f"{found.undefined} of {whole} finished seeds without a number ({found.reason})")
    return Cell(
        value=mean.mean,
        n=mean.n,
        n_planned=n_planned,
        sd=sd,
        low=mean.low,
        high=mean.high,
        interval=interval,
        notes=tuple(notes),
        runs=tuple(found.runs[seed] for seed in seeds),
        files=tuple(found.files[found.runs[seed]] for seed in seeds) if found.files else (),
    )


def seed_progress(group: Group) -> str:
    """Return the progress of a group: "2 of 3 seeds done; 1 failed (nan)"; "" where all are done."""
    rows = group.rows
    left = rows[rows["state"] != "done"]
    if left.empty:
        return ""
    counted = Counter(_state_text(*pair) for pair in zip(left["state"], left["failure_class"], strict=True))
    text = ", ".join(f"{number} {words}" for words, number in counted.items())
    return f"{len(rows) - len(left)} of {len(rows)} seeds done; {text}"


def _state_text(state: str, failure: str) -> str:
    text = _STATE_WORDS.get(state, state)
    return f"{text} ({failure})" if state == "failed" and failure else text


def _numbers(done: pd.DataFrame, quantity: Quantity, timed: pd.DataFrame | None) -> list[float]:
    if not is_from_latency(quantity):
        return [float(number) for number in done[quantity.column]]
    column = quantity.latency_column
    there = {} if timed is None else dict(zip(map(str, timed.index), timed[column], strict=True))
    return [float(there.get(str(run), np.nan)) for run in done["run"]]


def _notes(runs: Sequence[str], timed: pd.DataFrame | None) -> tuple[str, ...]:
    """The notes of `analysis.loading.latency.latency_of_runs` on some runs, each sentence once."""
    notes = [] if timed is None else [str(note) for note in timed.loc[timed.index.isin(runs), "note"]]
    return tuple(dict.fromkeys(filter(None, notes)))


def _undefined(done: pd.DataFrame, quantity: Quantity, timed: pd.DataFrame | None) -> str:
    """Why the finished runs of `done` have no number."""
    if is_from_latency(quantity):
        notes = _notes(list(done["run"]), timed) if quantity.depends_on_device else ("not counted",)
        return "; ".join(notes) or "not measured"
    kinds = set(done["kind"])
    wanted = set(quantity.run_kinds)
    if wanted and not quantity.column.startswith("teacher_") and not wanted & kinds:
        return f"not defined for a run of kind {kinds.pop()}"
    return quantity.reason

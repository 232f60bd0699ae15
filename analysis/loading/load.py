"""Read a store of run folders and sweep manifests into one tidy frame. Missing runs are rows too.

`analysis.loading.schema` describes a row and its columns. Nothing here computes a number: values go from the files into
the frame as they were written. Numbers of single classes, curves and detections are not part of the frame.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.loading import run_row
from analysis.loading.cache import Cache, cache_folder, is_inside, load_cache
from analysis.loading.columns import FILE_COLUMNS, NUMBERS, TEACHERS
from analysis.loading.flatten import Values
from analysis.loading.run_row import RunRow
from analysis.loading.schema import AXIS, Study
from c2d.core import regular_file, run_folder, store_folder
from c2d.core.archives.unpacked_store import unpacked_store
from c2d.core.errors import InputError, unknown_name
from c2d.core.regular_file import Problem
from c2d.core.sweep_manifest import manifest_axes, manifest_runs, read_manifest, sweep_names

if TYPE_CHECKING:
    import pandas as pd

RESUBMIT = "submit the sweep again, its finished runs are kept; until then its runs are listed as single runs"
SINGLE_AXES = ("student", "method", "question")
"""Axes of the runs that no sweep planned."""


def read_study(runs: Path, sweeps: Sequence[str] = (), cache: Path | None = None, *, now: float | None = None) -> Study:
    """Read some sweeps of a store, or all of them and the single runs.

    Args:
        runs: the store, an exported folder, or an archive file, which is unpacked in the cache.
        sweeps: names; none: all sweeps of the store by name, then the runs that no sweep planned, by id.
        cache: folder of the warm cache; $C2D_CACHE or ~/.cache/c2d where it is None. One in the store is not used.
        now: time in seconds since the epoch against which the age of a heartbeat is measured; None takes the clock's.

    Raises:
        InputError: no such store, a damaged archive, or a sweep that was never submitted to it. A damaged file in the
            store becomes a Problem, and everything else is read.
    """
    given, place = Path(runs), cache_folder(cache)
    runs = unpacked_store(given, place)
    found = _entries(runs)
    problems = list(found.problems)
    if place is not None and is_inside(place, runs):
        problems.append(Problem(place, "lies in the store, which holds runs only; read without a cache"))
    records: dict[str, dict[str, Any]] = {}
    for name in _chosen(runs, sweeps):
        record = read_manifest(runs, name)
        if isinstance(record, Problem):
            problems.append(
                Problem(record.path, f"sweep {name!r} is left out: its manifest {record.message}; {RESUBMIT}")
            )
        else:
            records[name] = record
    remembered = load_cache(place, runs)
    store = _Store(runs, frozenset(found.runs), remembered, time.time() if now is None else now)
    rows = [row for name, record in records.items() for row in store.sweep(name, record)]
    if not sweeps:
        planned = set().union(*map(manifest_runs, records.values()))
        rows += [row for run in found.runs if run not in planned for row in store.single(run)]
    remembered.keep_only(found.runs)
    remembered.save()
    axes = dict.fromkeys([*(axis for record in records.values() for axis in manifest_axes(record)), *SINGLE_AXES])
    frame, archive = to_frame(rows, axes), None if given == runs else given
    return Study(runs, frame, records, problems + store.problems(), cache, given=archive)


def frame_columns(axes: Iterable[str] = ()) -> list[str]:
    """Return the names of all columns of the frame, in order.

    Args:
        axes: of the sweeps.
    """
    labels = [AXIS + axis for axis in axes]
    return [*("sweep", "role", "seed", "run"), *labels, *(column.name for column in FILE_COLUMNS)]


def to_frame(rows: Sequence[Mapping[str, float | str | None]], axes: Iterable[str] = ()) -> pd.DataFrame:
    """Return rows as a frame: numbers float64, text object with "" for missing, labels object with NaN for no axis.

    Args:
        rows: {column: value}; None or no key is a missing value.
        axes: of the sweeps.
    """
    import numpy as np
    import pandas as pd

    def column(name: str) -> Any:
        if name in NUMBERS:
            values = [row.get(name) for row in rows]
            return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        nothing: float | str = math.nan if name.startswith(AXIS) else ""
        # dtype given, because pandas would guess another one for a column without values.
        return pd.Series([row.get(name, nothing) for row in rows], dtype=object)

    return pd.DataFrame({name: column(name) for name in frame_columns(axes)})


class _Store:
    """One store while it is read. Every run is read once, however many cells share it."""

    def __init__(self, runs: Path, folders: frozenset[str], cache: Cache, now: float) -> None:
        self.runs, self.folders, self.cache, self.now = runs, folders, cache, now
        self.seen: dict[str, RunRow] = {}
        self.mismatches: list[Problem] = []

    def sweep(self, name: str, record: Mapping[str, Any]) -> Iterator[Values]:
        """Rows of a sweep: its cells in their order, its teachers, the runs it no longer plans."""
        for cell in record["cells"]:
            labels = {AXIS + axis: label for axis, label in cell["labels"].items()}
            yield self.row(cell["run"], name, "student", labels, float(cell["seed"]))
        for role, key in (("teacher", "teachers"), ("orphan", "orphans")):
            for run in dict.fromkeys(record[key]):
                yield self.row(run, name, role, {})

    def single(self, run: str) -> Iterator[Values]:
        """The row of a run that no sweep planned; none for a folder that is no run."""
        found = self.read(run)
        if not found.is_run:
            problem = Problem(self.runs / run, f"is no run: it has no {run_folder.SPEC_FILE}; left out")
            self.seen[run] = RunRow(found.values, (problem,), is_run=False)
            return
        values = found.values
        if "method" not in values:
            yield self.row(run, "", "single", {})
            return
        model = values["student"] or values["network"] or values["schedule"]
        labels = (model, values["method"], run.rpartition("-s")[0] or run)
        yield self.row(run, "", "single", {AXIS + axis: label for axis, label in zip(SINGLE_AXES, labels, strict=True)})

    def row(self, run: str, sweep: str, role: str, labels: Values, seed: float | None = None) -> Values:
        """One row. A cell whose run has another seed is damaged: it would be paired with the wrong seed."""
        found = self.read(run)
        values = {**found.values, **self.teachers(found)}
        own = values.get("seed")
        if seed is not None and own not in (None, seed):
            reason = f"{run_folder.SPEC_FILE} has seed {own:g}, the record of sweep {sweep} seed {seed:g}"
            problem = Problem(self.runs / run / run_folder.SPEC_FILE, f"does not fit its cell: {reason}")
            self.mismatches += [] if problem in self.mismatches else [problem]
            values = run_row.damaged(values, (), reason).values
        if seed is None:
            seed = float(own) if own is not None else run_row.seed_of(run)
        return {**values, **labels, "sweep": sweep, "role": role, "seed": seed, "run": run}

    def read(self, run: str) -> RunRow:
        """The row of one run, which is new where it has no folder."""
        if run not in self.seen:
            is_here = run in self.folders
            self.seen[run] = (
                run_row.read_run_row(self.runs, run, self.cache, self.now) if is_here else run_row.not_started()
            )
        return self.seen[run]

    def teachers(self, found: RunRow) -> Values:
        """The teachers' numbers that the run recorded, else those of the teachers' own results."""
        numbers: Values = {}
        for kind, metric in TEACHERS.items():
            number = found.values.get(f"teacher_{metric}")
            teacher = found.values.get(f"teacher.{kind}")
            if number is None and found.values["state"] == "done" and teacher and store_folder.is_run_id(teacher):
                number = self.read(str(teacher)).values.get(metric)
            numbers[f"teacher_{metric}"] = number
        return numbers

    def problems(self) -> list[Problem]:
        """The problems of all runs that were read, in the order of their names."""
        return [problem for run in sorted(self.seen) for problem in self.seen[run].problems] + self.mismatches


def _entries(runs: Path) -> store_folder.StoreListing:
    if not os.path.isdir(runs):
        raise InputError(f"the store {runs} does not exist; give the folder that holds the run folders with --runs")
    if (runs / run_folder.SPEC_FILE).exists():
        store_of = os.path.dirname(os.path.realpath(runs))
        raise InputError(f"{runs} is a run, not a store; give the folder that holds it, {store_of}")
    try:
        return store_folder.list_store(runs)
    except OSError as error:
        raise InputError(
            f"the store {runs} cannot be read: {regular_file.error_text(error)}; check its permissions"
        ) from None


def _chosen(runs: Path, sweeps: Sequence[str]) -> list[str]:
    known = sweep_names(runs)
    for name in sweeps:
        if name not in known:
            raise unknown_name(
                f"sweep in {runs}/{store_folder.SWEEPS}", name, known, "submit it first, or name another store"
            )
    return list(dict.fromkeys(sweeps)) or known

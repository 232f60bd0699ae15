"""`load`: a store as a frame with one row a run, and every number of its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.api.runs_frame import NEEDED_BY, one_row_per_run, warn_of
from analysis.api.wide_details import add_details

if TYPE_CHECKING:
    import pandas as pd


def load(
    store: str | os.PathLike[str] = "runs",
    sweep: str | Sequence[str] | None = None,
    *,
    details: bool = True,
    cache: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Load a store as a DataFrame: one row a run, with every number. No run folder is changed.

    `analysis.columns` lists the columns with unit and meaning. AP, recall, TIDE and top-1 are in 0-1, times in s,
    latencies in ms; the tables and figures show percent. Unfinished, failed and planned runs are rows too: they have
    `state` and `reason`, and NaN for every number. The frame is a plain one: filter, sort, group, concatenate several
    stores, write it to CSV; `table`, `plot` and the other functions take what remains.

    Args:
        store: the folder of all runs.
        sweep: one or several submitted sweeps (default: all of them, and the runs of no sweep).
        details: whether the AP of every class (`class.AP.<class>`) and every measured latency
            (`latency.p50_ms[device=..., backend=...]`, p90 and p99 too) are columns. Without them a store of thousands
            of runs loads faster; `per_class` and `latency` have them in long form, with all their numbers.
        cache: folder of the warm cache (default: C2D_CACHE, else ~/.cache/c2d).

    Returns:
        One row a run. Text is "" and a number NaN where there is none.

    Raises:
        InputError: no such store, a sweep that was never submitted to it, or a package of the extra is missing.

    Warns:
        UserWarning: files that cannot be read, with the reason. Everything else is loaded.
    """
    from analysis.commands.extra_packages import check_extra
    from analysis.loading.load import read_study

    check_extra(NEEDED_BY)
    names = (sweep,) if isinstance(sweep, str) else tuple(sweep or ())
    study = read_study(Path(store), names, None if cache is None else Path(cache))
    frame = one_row_per_run(study)
    problems = list(study.problems)
    if details:
        frame = add_details(frame, problems)
    warn_of(problems)
    return frame

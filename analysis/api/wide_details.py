"""The AP of every class and every latency as columns of the frame of `load`.

A column is named by what it holds alone, not by the other runs, so the frames of two stores can be concatenated.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.api.run_details import class_ap, latency_rows

if TYPE_CHECKING:
    import pandas as pd

    from c2d.core.regular_file import Problem

CLASS_AP, LATENCY = "class.AP.", "latency."
QUANTILES = ("p50_ms", "p90_ms", "p99_ms")


def add_details(frame: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """Return the frame with columns `class.AP.<class>` (0-1) and `latency.p50_ms[<conditions>]`, before the last two.

    Disturbed measurements, and two of one run under the same conditions, have no number here.

    Args:
        frame: of `analysis.api.runs_frame.one_row_per_run`.
        problems: gets the files that cannot be used.
    """
    import pandas as pd

    rows = [_details(row, problems) for row in frame[["store", "run", "state"]].to_dict("records")]
    found = dict.fromkeys(key for row in rows for key in row)
    names = sorted(found, key=lambda name: name.startswith(LATENCY))  # classes first, each in order of appearance
    more = pd.DataFrame({name: [row.get(name, math.nan) for row in rows] for name in names}, index=frame.index)
    last = list(frame.columns[-2:])
    return pd.concat([frame.drop(columns=last), more, frame[last]], axis=1)


def _details(row: dict[Any, Any], problems: list[Problem]) -> dict[str, float]:
    if row["state"] != "done":
        return {}
    folder = Path(str(row["store"])) / str(row["run"])
    details = {CLASS_AP + name: ap for name, ap in class_ap(folder, problems).items()}
    measured: set[str] = set()
    for one in latency_rows(folder, problems):
        if one["disturbed"]:
            continue
        conditions = ", ".join(f"{key}={value}" for key, value in _conditions(one).items())
        for name in QUANTILES:
            column = f"{LATENCY}{name}[{conditions}]"
            details[column] = math.nan if conditions in measured else one[name]
        measured.add(conditions)
    return details


def _conditions(row: dict[str, Any]) -> dict[str, str]:
    """The conditions of a measurement without those that belong to the student, such as its input size."""
    from analysis.loading.latency_conditions import OF_STUDENT

    values = list(row.items())
    end = next(place for place, (key, _) in enumerate(values) if key == "launches")
    return {key: value for key, value in values[1:end] if key not in OF_STUDENT}

"""The student of a series, by which it gets its marker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

from analysis.plots.series_looks import _students


def test_one_student_under_two_labels_is_two_also_where_runs_have_not_begun() -> None:
    frame = pd.DataFrame(
        [("few", "net"), ("few", ""), ("all", "net"), ("all", ""), ("new", "")], columns=["axis.model", "student"]
    ).assign(sweep="s")
    study: Any = SimpleNamespace(frame=frame, sweeps={"s": {"axes": {"model": ["few", "all", "new"]}}})
    assert _students(study) == ["net few", "net few", "net all", "net all", "new"]

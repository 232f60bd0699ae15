"""A study of two students, four methods and some seeds, on numbers that can be checked with a pencil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.claims.build_claims import build_claims
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.report.report_spec import parse
from analysis.tables.table import Row, Table
from benchmarks.suite.synthetic_store import make_store

GAIN = {"baseline": 0.0, "kd": 0.03, "loc": 0.005, "icod": 0.04}
AXES = {"model": ["small", "large"], "method": list(GAIN)}
NOISE = (0.0, 0.004, -0.004, 0.002, -0.002)
"""Of the seeds 0 to 4, in AP of 0-1; each method has it in another order, so that it does not cancel."""


def value(labels: dict[str, str], seed: int) -> float:
    """AP in 0-1: the gain of the method, three times as large in the small student, an effect of the seed and noise."""
    method, is_small = labels["method"], labels["model"] == "small"
    place = (list(GAIN).index(method) + 1 + is_small) * (seed + 1) % 5
    return 0.2 + GAIN[method] * (3 if is_small else 1) + 0.01 * seed + NOISE[place]


def small_study(tmp_path: Path, **keys: Any) -> Study:
    """Write the store and read it."""
    make_store(tmp_path / "runs", **{"axes": AXES, "seeds": 5, "value": value, **keys})
    return read_study(tmp_path / "runs", (), tmp_path / "cache")


def gain(method: str, **labels: str) -> dict[str, Any]:
    """A gain over the baseline."""
    return {"gain": [{"method": method, **labels}, {"method": "baseline", **labels}]}


def claims(study: Study, claims: dict[str, Any], allow_mixed: bool = False, **keys: Any) -> Table:
    """The table of some claims; a claim without `says` says its name, and without a column compares AP."""
    whole = {
        name: {"says": name, **({} if "all" in one or "any" in one else {"column": "AP"}), **one}
        for name, one in claims.items()
    }
    spec = parse({"kind": "claims", "claims": whole, **keys})
    return build_claims(study, spec, "made", "", allow_mixed)


def row(table: Table, key: str) -> Row:
    """The row of a key."""
    return next(row for row in table.rows if row.key == key)


def verdicts(table: Table) -> dict[str, str]:
    """{row: verdict of its sentence}, and of its line where a sentence has several."""
    places = [place for place, axis in enumerate(table.row_axes) if axis in ("verdict", "line")]
    return {row.key: " / ".join(dict.fromkeys(row.labels[place] for place in places)) for row in table.rows}


def notes_of(table: Table, key: str) -> list[str]:
    """The footnotes of the difference of a row."""
    return [table.notes[mark] for mark in row(table, key).cells["difference"].notes]


def flat(at: Callable[[dict[str, str]], float]) -> Callable[[dict[str, str], int], float]:
    """Numbers of cells with a noise that is the same size in all."""

    def number(labels: dict[str, str], seed: int) -> float:
        place = (sorted(GAIN).index(labels["method"]) * 2 + 1) * (seed + 1) % 5
        return at(labels) + NOISE[place]

    return number

"""`table`: a table of runs, by the functions that `c2d report` calls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.api.runs_frame import study_of
from analysis.api.sweep_choice import AUTO
from c2d.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.api.result_table import ResultTable
    from analysis.loading.schema import Study
    from analysis.spec.seeds_needed_spec import SeedsNeededSpec
    from analysis.spec.table_spec import TableSpec
    from analysis.tables.table import Table


def table(
    runs: pd.DataFrame | str | os.PathLike[str],
    spec: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    rows: str | Sequence[str] | Mapping[str, Any] | None = None,
    columns: str | Sequence[str] | None = None,
    baseline: str | Mapping[str, str] | None = AUTO,
    sweep: str | None = None,
    allow_mixed: bool = False,
    **keys: Any,
) -> ResultTable:
    """Build a table of means over seeds, as `c2d report` does: same numbers, intervals, tests, marks and footnotes.

    A row is one combination of labels of the given axes, and a cell the mean over its finished seeds. Nothing is ever
    averaged over an axis that is not among `rows` and not fixed by `where`. Rows of different protocols (data,
    schedule, student, first weights) are refused.

    Args:
        runs: rows of `analysis.load`, or a store.
        spec: a shipped report (`"icod-table1"`), a YAML file, or its keys as a mapping; arguments below replace its
            keys. One of `kind: claims` gives the sentences with their verdicts, and takes no rows, columns or baseline;
            of `kind: seeds_needed` it is the table of one column.
        rows: an axis, several axes, or {axis: labels in order}. Axes are those of the sweep, the columns `axis.<axis>`
            of the frame (default: all axes).
        columns: keys of numbers, those of `analysis.columns` that have a label (default: AP, AP50, AP75, APs, APm, APl,
            AR100).
        baseline: the label, or {axis: label}, of the row that every other row is compared with; None for no
            comparison. Default: of the spec, or without one the runs without a method.
        sweep: whose cells; "" for the runs of no sweep (default: the only sweep of the frame).
        allow_mixed: rows of different protocols get a footnote instead of an error.
        keys: further keys of a table spec (docs/analysis.md): `where`, `differences`, `uncertainty`, `gap`,
            `published`, `latency`, `labels`, `digits`, `seeds`, `bold`, `title`, `caption`, ...

    Returns:
        The table, which a notebook shows; numbers in percent, ms, h.

    Raises:
        InputError: an unknown key, axis, label, column or sweep, with the most similar name; several sweeps in the
            frame and none is given; rows that mix the labels of an axis, protocols, or conditions of latency.
    """
    from analysis.api import spec_keywords, sweep_choice
    from analysis.api.result_table import ResultTable
    from analysis.report.defaults import ACCURACY
    from analysis.spec.labels import with_sweep_labels

    study = study_of(runs)
    given = spec_keywords.read_given(spec) if spec is not None else {}
    kind = given.pop("kind", "table")
    if kind == "claims":
        return _claims(study, given | keys, sweep, allow_mixed, rows is None and columns is None and baseline == AUTO)
    if kind not in ("table", "seeds_needed"):
        raise InputError(f"{spec!r} is a figure of kind {kind}; draw it with analysis.plot({str(spec)!r}, runs)")
    given |= {**keys, **({} if rows is None else {"rows": rows}), **({} if columns is None else {"columns": columns})}
    if spec is None:
        given.setdefault("columns", ACCURACY)
    name = sweep_choice.chosen_sweep(study, sweep if sweep is not None else given.get("sweep") or None)
    study = sweep_choice.study_for(study, name, given.get("columns", ()))
    given["sweep"] = name
    given["rows"] = _rows(given.get("rows"), lambda: sweep_choice.default_axes(study, name))
    if baseline != AUTO or spec is None:
        given["baseline"] = sweep_choice.baseline_of_keys(study, name, baseline, given["rows"], given.get("where"))
    made = with_sweep_labels(spec_keywords.make_spec(kind, given), study.sweeps.get(name, {}))
    return ResultTable(_built(study, made, name, allow_mixed))


def _built(study: Study, spec: TableSpec | SeedsNeededSpec, sweep: str, allow_mixed: bool) -> Table:
    from analysis.spec.table_spec import TableSpec
    from analysis.tables.build_table import build_table
    from analysis.tables.seeds_needed.seeds_table import build_seeds_tables

    name = spec.name or sweep or "runs"
    if isinstance(spec, TableSpec):
        return build_table(study, spec, sweep, name, allow_mixed)
    if len(spec.columns) > 1:
        raise InputError(
            f"`kind: seeds_needed` has a table for each of {', '.join(spec.columns)}; choose one: columns="
            f"{spec.columns[0]!r}"
        )
    return build_seeds_tables(study, spec, sweep, name, allow_mixed)[0]


def _claims(study: Study, given: dict[str, Any], sweep: str | None, allow_mixed: bool, is_plain: bool) -> ResultTable:
    from analysis.api import spec_keywords
    from analysis.api.result_table import ResultTable
    from analysis.claims.build_claims import build_claims

    if not is_plain:
        raise InputError("claims name their cells and columns; leave out rows, columns and baseline")
    made = spec_keywords.make_spec("claims", given)
    named = [name for name, there in study.sweeps.items() if there]
    default = sweep or made.sweep or (named[0] if len(named) == 1 else "")
    return ResultTable(build_claims(study, made, default, made.name or "claims", allow_mixed))


def _rows(given: Any, default: Any) -> dict[str, Any]:
    if given is None:
        return dict(default())
    if isinstance(given, Mapping):
        return {str(axis): labels for axis, labels in given.items()}
    return {axis: [] for axis in ([given] if isinstance(given, str) else given)}

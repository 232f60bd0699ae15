"""Published numbers beside measured ones: each with its source, none in a test, none ever bold.

published.csv has the numbers of papers, model zoos and repositories; `analysis.loading.published_file` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from analysis.loading.published_file import COLUMNS, OTHER, SHIPPED, PublishedRow, as_number, equal, load_published
from analysis.loading.schema import AXIS, Study
from analysis.spec.table_spec import PublishedSpec
from analysis.tables.groups import Group
from analysis.tables.table import Cell
from c2d.core.errors import InputError, abbreviate, unknown_name

OTHER_KEY = "published.other."
"""Prefix of the keys of columns with another metric."""
_BESIDE = ("paper_key", "table", "dataset", "split", "detector", "student_backbone")
"""Columns that a row shares with the baseline row that its published gain is computed from."""
_OVERRULED = frozenset({"paper_key", "table"})
"""Columns in which a later axis replaces the value of an earlier one."""


def check_published(spec: PublishedSpec, study: Study, sweep: str, axes: Collection[str]) -> None:
    """Check that every axis and label of `published.rows` exists: its numbers would be missing without a message.

    Args:
        axes: of the table's rows.

    Raises:
        InputError: an axis that no row has, a label that the sweep does not have, with the nearest known one.
    """
    record = study.sweeps.get(sweep, {}).get("axes", {})
    cells = study.frame[study.frame["sweep"] == sweep]
    for axis, wanted in spec.rows.items():
        if axis not in axes:
            raise unknown_name("axis in `published.rows`", axis, axes, "conditions of every row belong into `all`")
        known = dict.fromkeys([*map(str, record.get(axis, ())), *map(str, cells[AXIS + axis].dropna())])
        for label in wanted:
            if label not in known:
                raise unknown_name(f"label of axis {axis} in `published.rows`", label, known)
    papers = [one for one in load_published(Path(spec.file) if spec.file else SHIPPED)
              if one.text["paper_key"] == spec.paper]  # fmt: skip
    metrics = dict.fromkeys(name for one in papers for name in one.other)
    for name in spec.other:
        if name not in metrics:
            raise unknown_name(f"metric of {spec.paper} in `published.other`", name, metrics)


def find_published(spec: PublishedSpec, group: Group) -> PublishedRow | None:
    """Return the published row beside a row of the table.

    A row has conditions when every axis of `spec.rows` has some for its label; of an axis that made no difference to it
    those count that all its labels share, and where these fit several rows, none stands beside it. An axis may replace
    values of `all`, and name another paper or table than an earlier one. If two axes set any other column to different
    values, that combination is not published. A combination that `spec.table` does not have is looked for in
    `spec.later_table`; one that its paper does not have is not published either. A condition that no row of the paper
    fulfils raises an error.

    Returns:
        The row; None for a row without conditions, or one that is not published.

    Raises:
        InputError: an unknown column or table; a condition that nothing fits; several rows that fit: with candidates.
    """
    for column in dict.fromkeys(column for part in _parts(spec) for column in part):
        if not column.startswith(OTHER) and column not in COLUMNS:
            raise unknown_name("column of published results", column, [*COLUMNS, "other.NAME"])
    conditions = _conditions(spec, group)
    if conditions is None:
        return None
    entries = load_published(Path(spec.file) if spec.file else SHIPPED)
    found = [entry for entry in entries if entry.fits(conditions)]
    if not found and spec.later_table and conditions["table"] == spec.table:
        found = [entry for entry in entries if entry.fits({**conditions, "table": spec.later_table})]
    if len(found) == 1:
        return found[0]
    if found and _shares_differing_rows(spec, group):
        return None
    if found:
        _refuse(group, conditions, "several published rows fit; add conditions", found)
    paper = [entry for entry in entries if entry.text["paper_key"] == conditions["paper_key"]]
    table = [entry for entry in paper if entry.text["table"] == conditions["table"]]
    if not paper:
        raise unknown_name(
            "published paper", conditions["paper_key"], sorted({entry.text["paper_key"] for entry in entries})
        )
    tables = sorted({entry.text["table"] for entry in paper})
    for name in [conditions["table"], *[spec.later_table] * bool(spec.later_table)]:
        if name not in tables:
            raise unknown_name(f"table of {conditions['paper_key']}", name, tables)
    for column, value in conditions.items():
        if not any(entry.fits({column: value}) for entry in paper):
            _refuse(group, conditions, f"no published row of the paper has {column}: {value}; change it", table)
    return None


def _conditions(spec: PublishedSpec, group: Group) -> dict[str, str] | None:
    axes = [axis for axis in spec.rows if axis not in group.labels or group.depends(axis)]
    if not axes or any(group.labels.get(axis) not in spec.rows[axis] for axis in axes):
        return None
    set_by_axes: dict[str, str] = {}
    for axis in spec.rows:
        own = spec.rows[axis][group.labels[axis]] if axis in axes else _shared(spec, group, axis)
        if any(not equal(set_by_axes.get(column, own[column]), own[column]) for column in own.keys() - _OVERRULED):
            return None
        set_by_axes |= own
    return {"paper_key": spec.paper, "table": spec.table, **spec.all, **set_by_axes}


def _shared(spec: PublishedSpec, group: Group, axis: str) -> dict[str, str]:
    """The conditions that all labels of a group on one axis have in common."""
    first, *others = [spec.rows[axis].get(label, {}) for label in sorted(group.values(axis))]
    return {column: value for column, value in first.items() if all(one.get(column) == value for one in others)}


def _shares_differing_rows(spec: PublishedSpec, group: Group) -> bool:
    """Return whether an axis made no difference to a group, and its labels there have different conditions."""
    shared = [axis for axis in spec.rows if axis in group.labels and not group.depends(axis)]
    return any(_shared(spec, group, axis) != spec.rows[axis].get(group.labels[axis], {}) for axis in shared)


def _parts(spec: PublishedSpec) -> list[Mapping[str, str]]:
    """Every set of conditions of a spec."""
    return [spec.all, *(conditions for labels in spec.rows.values() for conditions in labels.values())]


def _refuse(group: Group, conditions: Mapping[str, str], problem: str, near: Sequence[PublishedRow]) -> NoReturn:
    # A name that ends in "key" would be masked as a secret.
    wanted = ", ".join(
        f"{'paper' if column == 'paper_key' else column}: {value}" for column, value in conditions.items()
    )
    varying = [name for name in COLUMNS[:11] if len({entry.text[name] for entry in near}) > 1]
    candidates = abbreviate((_described(entry, varying) for entry in near), 12)
    raise InputError(f"row {group.key}, published {{{wanted}}}: {problem}; candidates: {candidates}")


def _described(entry: PublishedRow, varying: Sequence[str]) -> str:
    pairs = [(name, entry.text[name]) for name in varying] + [
        (OTHER + name, text) for name, text in entry.other.items()
    ]
    return ", ".join(f"{name}: {text}" for name, text in pairs if text) or f"line {entry.line}"


def published_gain(entry: PublishedRow, key: str, spec: PublishedSpec) -> tuple[float | None, str]:
    """Return (difference to the published baseline in percent points, its source or why there is none).

    Args:
        key: of the column.
    """
    if entry.text["method"] == "baseline":
        return None, "baseline"
    printed = as_number(entry.text["delta_AP"]) if key == "AP" else None
    if printed is not None:
        return printed, f"{entry.source} (difference as printed)"
    beside = [
        other
        for other in load_published(Path(spec.file) if spec.file else SHIPPED)
        if other.text["method"] == "baseline" and all(other.text[name] == entry.text[name] for name in _BESIDE)
    ]
    where = "its baseline row"
    if not beside:  # an ablation without a baseline of its own: that of the paper's other tables, if they agree on one
        same = [name for name in (*_BESIDE, "schedule") if name != "table"]
        beside = [
            other
            for other in load_published(Path(spec.file) if spec.file else SHIPPED)
            if other.text["method"] == "baseline" and all(other.text[name] == entry.text[name] for name in same)
        ]
        where = f"the baseline of {beside[0].text['table']}" if beside else ""
    others = sorted({other.text["schedule"] or "unknown" for other in beside})
    beside = [other for other in beside if other.text["schedule"] == entry.text["schedule"]]
    if others and not beside:
        return None, f"not published (its baseline is of another schedule, {', '.join(others)})"
    own, lows = entry.number(key), {other.number(key) for other in beside} - {None}
    if own is None or len(lows) != 1:
        return None, "not published" if own is None or not lows else "several published baselines"
    low = lows.pop()
    assert low is not None
    # Percent with one or two decimals: their difference has no more, so the binary tail is cut off.
    return round(own - low, 6), f"{entry.source} (difference computed from {where}, {low:g})"


def published_cells(spec: PublishedSpec, group: Group, gains: bool) -> dict[str, Cell]:
    """Return {column key: cell} of the published numbers of a row.

    Args:
        gains: whether to add the published differences.
    """
    entry = find_published(spec, group)
    nothing = Cell(kind="missing", reason="not published")
    cells_of_row = {}
    for key in spec.columns:
        value = entry.number(key) if entry else None
        cells_of_row[f"published.{key}"] = (
            nothing if entry is None or value is None else Cell(value=value, source=_where(entry, entry.source))
        )
    for key in spec.differences if gains else ():
        value, source = published_gain(entry, key, spec) if entry else (None, "not published")
        cells_of_row[f"published.delta.{key}"] = (
            Cell(kind="missing", reason=source)
            if entry is None or value is None
            else Cell(value=value, source=_where(entry, source))
        )
    for name in spec.other:
        value = as_number(entry.other.get(name, "")) if entry else None
        cells_of_row[OTHER_KEY + name] = (
            nothing if entry is None or value is None else Cell(value=value, source=_where(entry, entry.source))
        )
    return cells_of_row


def _where(entry: PublishedRow, source: str) -> str:
    """The source with its paper and table."""
    return f"{entry.text['paper_key']}, {entry.text['table']}: {source}"

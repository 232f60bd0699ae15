"""Group the rows of the frame: one group is one row of a table or one series of a plot.

A group is one combination of labels of the given axes, with one frame row per planned seed. Equal cells (a baseline
under three temperatures) share their runs and are one group, whose label is blank on the axes that made no difference.
Nothing is ever averaged over an axis that was not given: that raises an error with the name of the axis.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from analysis.loading.schema import AXIS, Study
from c2d.core.errors import InputError, abbreviate, unknown_name
from c2d.markup.label_text import plain_label

if TYPE_CHECKING:
    import pandas as pd

BLANK = ""
"""The shown label of an axis that made no difference to a group."""


@dataclass(frozen=True, eq=False)  # a frame has no truth value, so a generated == would raise
class Group:
    """One combination of labels.

    Attributes:
        labels: {axis: label} of its first cell.
        also: the other cells that are equal to the first.
        shown: one text an axis.
        rows: of the frame, one a planned seed, in ascending order of the seed.
        distinguishing_axes: axes whose labels are all written out ("a1/a2") though they made no difference to the
            group, because another group would have the same name without them.
    """

    labels: dict[str, str]
    also: tuple[dict[str, str], ...]
    shown: tuple[str, ...]
    rows: pd.DataFrame
    distinguishing_axes: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """ "model=ssd300, method=kd_cls": the name of a row, without blank axes; unique among the groups of a call."""
        named = [axis for axis in self.labels if self.depends(axis) or axis in self.distinguishing_axes]
        return ", ".join(f"{axis}={'/'.join(_in_order(self.cells, axis))}" for axis in named) or "all"

    @property
    def name(self) -> str:
        """ "ssd300 / kd_cls": what is shown for a row in a sentence."""
        return " / ".join(text for text in self.shown if text.strip()) or self.key

    @property
    def cells(self) -> tuple[dict[str, str], ...]:
        """The labels of all its cells."""
        return self.labels, *self.also

    def depends(self, axis: str) -> bool:
        """Whether the group belongs to one label of an axis; False where its cells are equal for several."""
        return all(other[axis] == self.labels[axis] for other in self.also)

    def values(self, axis: str) -> set[str]:
        """Return all its labels of one axis."""
        return {labels[axis] for labels in self.cells}

    @cached_property
    def done(self) -> pd.DataFrame:
        """The rows of finished runs, which have numbers."""
        return self.rows[self.rows["state"] == "done"]

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids of the finished runs."""
        return tuple(self.done["run"])


def groups(
    study: Study,
    sweep: str,
    axes: Mapping[str, Sequence[str]],
    where: Mapping[str, Sequence[str]] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Group]:
    """Return the groups of one sweep in the order of `axes` and their labels.

    Args:
        sweep: its name; "" for the runs of no sweep, whose axes are `student` and `method`.
        axes: {axis: labels in order}; an empty list takes all labels in the sweep's order.
        where: {axis: labels}; other cells are left out.
        labels: {axis: {label: as written in a spec}}; `shown` has their Unicode text.

    Raises:
        InputError: an unknown sweep, axis or label; an axis that was not given and varies inside a group; groups with
            the same name.
    """
    frame = _cells(study, sweep)
    known = _known(study, sweep, frame)
    if not known:
        names = abbreviate(study.sweeps) or "it has none"
        raise InputError(f"{_named(sweep)}: no cells in {study.shown_store}; report a sweep of this store ({names})")
    for axis, wanted in [*axes.items(), *(where or {}).items(), *(labels or {}).items()]:
        if axis not in known:
            raise unknown_name(f"axis of {_named(sweep)}", axis, known)
        for label in wanted:
            if label not in known[axis]:
                raise unknown_name(f"label of axis {axis} in {_named(sweep)}", label, known[axis])
    for axis, wanted in (where or {}).items():
        frame = frame[frame[AXIS + axis].isin(list(wanted))]
    order = {axis: {label: place for place, label in enumerate(axes[axis] or known[axis])} for axis in axes}
    found: dict[frozenset[str], tuple[dict[str, str], list[dict[str, str]], pd.DataFrame]] = {}
    for combination, cells in _combinations(frame, order):
        hidden = [axis for axis in known if axis not in combination]
        rows = cells.drop_duplicates("run").sort_values("seed", kind="stable")
        if rows["seed"].duplicated().any() or not _share_a_cell(cells, hidden):
            raise _mixed(cells, combination, hidden, sweep)
        runs = frozenset(rows["run"])
        if runs in found:
            found[runs][1].append(combination)
        else:
            found[runs] = (combination, [], rows)
    unnamed = [Group(first, tuple(also), (), rows.reset_index(drop=True)) for first, also, rows in found.values()]
    named = _with_distinct_names(unnamed, sweep)
    return [dataclasses.replace(group, shown=_shown(group, labels or {})) for group in named]


def baseline_of(group: Group, among: Sequence[Group], baseline: Mapping[str, str]) -> Group | None:
    """Return the group that `group` is compared with: the same labels except those of `baseline`.

    Equal cells count with all their labels, so a baseline that ignores a temperature is found for every temperature,
    and also for one at which the sweep has no baseline cell. A row that ignores an axis in which its baselines differ
    has several, so it has none.

    Args:
        group: a row.
        among: all rows.
        baseline: {axis: label}.

    Returns:
        The baseline; the group itself where it is one; None where there is none or several.
    """
    if not baseline:
        return None
    wanted = [{**mine, **baseline} for mine in group.cells]
    found = [other for other in among if any(labels in wanted for labels in other.cells)]
    if not found:
        found = [other for other in among if any(_matches(other, cell, baseline) for cell in wanted)]
    return found[0] if len(found) == 1 else None


def _matches(group: Group, wanted: Mapping[str, str], baseline: Mapping[str, str]) -> bool:
    """Whether a group has the wanted labels on the baseline's axes and on every axis that makes a difference to it."""
    relevant = [axis for axis in wanted if axis in baseline or group.depends(axis)]
    return any(all(labels.get(axis) == wanted[axis] for axis in relevant) for labels in group.cells)


def _cells(study: Study, sweep: str) -> pd.DataFrame:
    frame = study.frame
    if sweep and sweep not in study.sweeps:
        raise unknown_name(
            f"sweep in {study.shown_store}/sweeps", sweep, study.sweeps, "submit it first, or name another store"
        )
    role = "single" if not sweep else "student"
    return frame[(frame["sweep"] == sweep) & (frame["role"] == role)]


def _known(study: Study, sweep: str, frame: pd.DataFrame) -> dict[str, list[str]]:
    """{axis: labels}: in the order of the sweep's record, and of the frame for what the record does not name."""
    record = study.sweeps.get(sweep, {})
    order: dict[str, list[str]] = {str(axis): [str(label) for label in found] for axis, found in _axes(record).items()}
    for column in map(str, frame.columns):
        if column.startswith(AXIS):
            order.setdefault(column[len(AXIS) :], []).extend(_order(frame[column]))
    there = {axis: list(dict.fromkeys(found)) for axis, found in order.items() if AXIS + axis in frame.columns}
    return {axis: found for axis, found in there.items() if found}


def _axes(record: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    axes = record.get("axes")
    return axes if isinstance(axes, dict) else {}


def _order(column: pd.Series) -> list[str]:
    return list(dict.fromkeys(str(label) for label in column.dropna()))


def _named(sweep: str) -> str:
    return f"sweep {sweep!r}" if sweep else "the runs of no sweep"


def _combinations(
    frame: pd.DataFrame, order: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """(one label an axis, the rows that have them) for the combinations that exist, the last axis fastest."""
    if frame.empty:
        return
    if not order:
        yield {}, frame
        return
    names = list(order)
    # Keys are tuples, also for a list of one column.
    grouped = frame.groupby([AXIS + axis for axis in names], sort=False)
    parts: dict[tuple[str, ...], pd.DataFrame] = {tuple(map(str, key)): rows for key, rows in grouped}
    chosen = [key for key in parts if all(label in order[axis] for axis, label in zip(names, key, strict=True))]
    for key in sorted(chosen, key=lambda key: [order[axis][label] for axis, label in zip(names, key, strict=True)]):
        yield dict(zip(names, key, strict=True)), parts[key]


def _share_a_cell(cells: pd.DataFrame, hidden: Sequence[str]) -> bool:
    """Whether all runs have a common combination of labels on the hidden axes; if not, two cells are mixed."""
    if not hidden:
        return True
    # A missing label is NaN, which is not equal to itself; "" is.
    labels = cells[[AXIS + axis for axis in hidden]].astype(object).fillna("")
    of_run: dict[str, set[tuple[str, ...]]] = {}
    for run, found in zip(cells["run"], labels.itertuples(index=False, name=None), strict=True):
        of_run.setdefault(run, set()).add(found)
    return bool(set.intersection(*of_run.values()))


def _in_order(cells: Sequence[Mapping[str, str]], axis: str) -> list[str]:
    return list(dict.fromkeys(labels[axis] for labels in cells))


def _with_distinct_names(found: Sequence[Group], sweep: str) -> list[Group]:
    """The groups with different names: those that would share a name write out the axes on which they differ."""
    same_name: dict[str, list[Group]] = {}
    for group in found:
        same_name.setdefault(group.key, []).append(group)
    axes = {
        key: frozenset(axis for axis in alike[0].labels if len({frozenset(one.values(axis)) for one in alike}) > 1)
        for key, alike in same_name.items()
    }
    distinct = [dataclasses.replace(group, distinguishing_axes=axes[group.key]) for group in found]
    if repeated := [key for key, number in Counter(group.key for group in distinct).items() if number > 1]:
        raise InputError(
            f"{_named(sweep)}: different cells would all be called {abbreviate(repeated)}; "
            "keep one of them with `where`"
        )
    return distinct


def names_of(rows: Sequence[Group]) -> dict[str, str]:
    """Return {key: name} of the rows of a table; the key itself where two rows have one name."""
    count = Counter(row.name for row in rows)
    return {row.key: row.key if count[row.name] > 1 else row.name for row in rows}


def _shown(group: Group, labels: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """One text an axis, with the labels of the spec; blank where the axis made no difference."""
    return tuple(
        "/".join(_text(labels.get(axis, {}), label) for label in _in_order(group.cells, axis))
        if group.depends(axis) or axis in group.distinguishing_axes
        else BLANK
        for axis in group.labels
    )


def _text(labels: Mapping[str, str], label: str) -> str:
    return plain_label(labels[label]) if label in labels else label


def _mixed(rows: pd.DataFrame, combination: Mapping[str, str], hidden: Sequence[str], sweep: str) -> InputError:
    varying = [axis for axis in hidden if rows[AXIS + axis].nunique(dropna=False) > 1]
    named = ", ".join(f"{axis}={label}" for axis, label in combination.items()) or "all cells"
    if not varying:
        return InputError(
            f"{_named(sweep)} has several runs of one seed at {named}: {abbreviate(rows['run'])}; "
            "give them different labels, or report a sweep"
        )
    # An axis that makes a difference has fewer runs for each of its labels than there are runs in all.
    runs = rows["run"].nunique()
    least = {axis: rows.groupby(AXIS + axis)["run"].nunique().min() for axis in varying}
    axis = next((axis for axis in varying if least[axis] < runs), varying[0])
    return InputError(
        f"{_named(sweep)}: {named} mixes the labels {abbreviate(_order(rows[AXIS + axis]))} of axis {axis}; "
        f"add {axis} to the rows (or series), or fix it with `where: {{{axis}: [LABEL]}}`"
    )

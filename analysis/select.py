"""Which rows of the frame stand behind one row of a table or one series of a plot.

A group is one combination of labels of the asked axes, with one frame row per promised seed. Cells that came out equal
(a baseline under three temperatures) are one group, whose label is blank on the axes that made no difference. Nothing
is ever averaged over an axis that was not asked for: that is an error which names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.errors import InputError, unknown
from analysis.frame import AXIS, Study

if TYPE_CHECKING:
    import pandas as pd

BLANK = ""
"""The shown label of an axis that made no difference to a group."""


@dataclass(frozen=True)
class Group:
    """One combination of labels.

    labels: {axis: label} of its first cell. also: the other cells that came out equal. shown: one text an axis.
    rows: of the frame, one a promised seed, by rising seed.
    """

    labels: dict[str, str]
    also: tuple[dict[str, str], ...]
    shown: tuple[str, ...]
    rows: pd.DataFrame

    @property
    def key(self) -> str:
        """ "model=ssd300, method=kd_cls": the name of a row, without blank axes."""
        pairs = zip(self.labels.items(), self.shown, strict=True)
        return ", ".join(f"{axis}={label}" for (axis, label), shown in pairs if shown != BLANK) or "all"

    @property
    def done(self) -> pd.DataFrame:
        """Rows that carry numbers."""
        return self.rows[self.rows["state"] == "done"]

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(self.done["run"])


def groups(
    study: Study,
    sweep: str,
    axes: Mapping[str, Sequence[str]],
    where: Mapping[str, Sequence[str]] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Group]:
    """The groups of one sweep in the order of `axes` and their labels.

    Args:
        sweep: its name; "" for the runs of no sweep, whose axes are `student` and `method`.
        axes: {axis: labels in order}; an empty list takes all labels in the sweep's order.
        where: {axis: labels}; other cells are left out.
        labels: {axis: {label: as shown}}.
    Raises:
        InputError: an unknown sweep, axis or label; an axis that was not asked for and varies inside a group.
    """
    frame = _cells(study, sweep)
    named = [str(column) for column in frame.columns if str(column).startswith(AXIS)]
    known = {column[len(AXIS) :]: _order(frame[column]) for column in named}
    known = {axis: found for axis, found in known.items() if found}
    for axis, wanted in [*axes.items(), *(where or {}).items(), *(labels or {}).items()]:
        if axis not in known:
            raise unknown(f"axis of {_named(sweep)}", axis, known)
        for label in wanted:
            if label not in known[axis]:
                raise unknown(f"label of axis {axis} in {_named(sweep)}", label, known[axis])
    for axis, wanted in (where or {}).items():
        frame = frame[frame[AXIS + axis].isin(list(wanted))]
    order = {axis: list(wanted) or known[axis] for axis, wanted in axes.items()}
    found: dict[frozenset[str], tuple[dict[str, str], list[dict[str, str]], pd.DataFrame]] = {}
    for combination in _product(order):
        rows = frame
        for axis, label in combination.items():
            rows = rows[rows[AXIS + axis] == label]
        if rows.empty:
            continue
        rows = rows.drop_duplicates("run").sort_values("seed", kind="stable")
        if rows["seed"].duplicated().any():
            raise _mixed(rows, combination, known, sweep)
        runs = frozenset(rows["run"])
        if runs in found:
            found[runs][1].append(combination)
        else:
            found[runs] = (combination, [], rows)
    return [
        Group(first, tuple(also), _shown(first, also, labels or {}), rows.reset_index(drop=True))
        for first, also, rows in found.values()
    ]


def baseline_of(group: Group, among: Sequence[Group], baseline: Mapping[str, str]) -> Group | None:
    """The group that `group` is compared with: the same labels but for those of `baseline`; None where it has none.

    Equal cells count with all their labels, so a baseline that ignores a temperature is found for every temperature.
    """
    if not baseline:
        return None
    wanted = {**group.labels, **baseline}
    for other in among:
        if any(labels == wanted for labels in (other.labels, *other.also)):
            return other
    return None


def _cells(study: Study, sweep: str) -> pd.DataFrame:
    frame = study.frame
    if sweep and sweep not in study.sweeps:
        raise unknown(f"sweep in {study.runs}/sweeps", sweep, study.sweeps, "submit it first, or name another store")
    role = "single" if not sweep else "student"
    return frame[(frame["sweep"] == sweep) & (frame["role"] == role)]


def _order(column: pd.Series) -> list[str]:
    return list(dict.fromkeys(str(label) for label in column.dropna()))


def _named(sweep: str) -> str:
    return f"sweep {sweep!r}" if sweep else "the runs of no sweep"


def _product(order: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    out: list[dict[str, str]] = [{}]
    for axis, labels in order.items():
        out = [{**before, axis: label} for before in out for label in labels]
    return out


def _shown(
    first: Mapping[str, str], also: Sequence[Mapping[str, str]], labels: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...]:
    return tuple(
        BLANK if any(other[axis] != label for other in also) else labels.get(axis, {}).get(label, label)
        for axis, label in first.items()
    )


def _mixed(rows: pd.DataFrame, combination: Mapping[str, str], known: Mapping[str, object], sweep: str) -> InputError:
    varying = [axis for axis in known if axis not in combination and rows[AXIS + axis].nunique(dropna=False) > 1]
    named = ", ".join(f"{axis}={label}" for axis, label in combination.items()) or "all cells"
    if not varying:
        return InputError(
            f"{_named(sweep)} has several runs of one seed at {named}: {', '.join(rows['run'])}; "
            "give them different labels, or report a sweep"
        )
    axis = varying[0]
    return InputError(
        f"{_named(sweep)}: {named} mixes the labels {_order(rows[AXIS + axis])} of axis {axis}; "
        f"add {axis} to the rows (or series), or fix it with `where: {{{axis}: [LABEL]}}`"
    )

"""The cells of a sweep that claims name: exactly one for the labels of a side, and the others that share its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.loading.schema import AXIS, Study
from analysis.spec.labels import with_sweep_labels
from analysis.spec.report_item import ReportItem
from analysis.tables.groups import Group, groups, names_of
from c2d.core.errors import InputError, abbreviate, closest_name, unknown_name
from c2d.core.sweep_manifest import manifest_axes

_MOST_NAMED = 4


@dataclass(frozen=True, eq=False)
class ClaimCell:
    """One cell of a sweep.

    Attributes:
        sweep: its name.
        group: its labels on the axes that have several, and its runs.
        name: as shown, unique in its sweep: "ssdlite / kd_cls".
    """

    sweep: str
    group: Group
    name: str

    @property
    def id(self) -> str:
        """Name that is unique in the store."""
        return f"{self.sweep}: {self.group.key}"

    @property
    def planned_runs(self) -> frozenset[str]:
        """Ids of its runs in any state; cells of two sweeps that have the same are one cell."""
        return frozenset(self.group.rows["run"])


class SweepCells:
    """All cells of one sweep, equal ones once.

    Attributes:
        axes: {axis: labels}, those with one label too.
        cells: in the order of the sweep.
    """

    def __init__(self, study: Study, sweep: str, spec: ReportItem) -> None:
        """Read the cells.

        Args:
            sweep: its name.
            spec: whose labels are shown.

        Raises:
            InputError: the sweep has no cells, or cells that nothing distinguishes.
        """
        frame = study.frame[(study.frame["sweep"] == sweep) & (study.frame["role"] == "student")]
        record = study.sweeps[sweep]
        self.sweep = sweep
        self.axes = {axis: _labels(record.get("axes", {}).get(axis, []), frame[AXIS + axis].dropna())
                     for axis in manifest_axes(record) if AXIS + axis in frame}  # fmt: skip
        varied = {axis: list[str]() for axis, labels in self.axes.items() if len(labels) > 1}
        own = with_sweep_labels(spec, record)
        labels = {axis: found for axis, found in own.labels.items() if axis in varied}
        known = {axis: {label: text for label, text in found.items() if label in self.axes[axis]}
                 for axis, found in labels.items()}  # fmt: skip
        found = groups(study, sweep, varied, labels=known)
        names = names_of(found)
        self.cells = [ClaimCell(sweep, group, names[group.key]) for group in found]

    def find(self, labels: Mapping[str, str]) -> ClaimCell:
        """Return the only cell that has these labels.

        Args:
            labels: {axis: label}; axes that make no difference may be left out.

        Raises:
            InputError: an unknown axis or label, no such cell, or several.
        """
        for axis, label in labels.items():
            if axis not in self.axes:
                raise unknown_name(f"axis of sweep {self.sweep!r}", axis, self.axes)
            if label not in self.axes[axis]:
                raise unknown_name(f"label of axis {axis} in sweep {self.sweep!r}", label, self.axes[axis])
        found = [cell for cell in self.cells if _has(cell.group, labels)]
        if len(found) == 1:
            return found[0]
        named = ", ".join(f"{axis}={label}" for axis, label in labels.items()) or "no label"
        if not found:
            raise InputError(f"sweep {self.sweep!r} has no cell with {named}; take labels that occur together")
        apart = [axis for axis in found[0].group.labels if not common_labels([cell.group for cell in found], axis)]
        raise InputError(
            f"{len(found)} cells of sweep {self.sweep!r} have {named}: "
            f"{abbreviate([cell.name for cell in found], _MOST_NAMED)}; "
            f"name the label of {', '.join(apart) or 'another axis'} too, in the cell or with `at`"
        )

    def beside(self, cells: Sequence[ClaimCell], varied: Iterable[str]) -> Iterator[ClaimCell]:
        """Yield the cells whose residual is that of some cells: all that differ from them on the given axes only.

        Args:
            cells: of this sweep.
            varied: axes on which cells may differ; and those on which `cells` have no label in common.
        """
        of_cells = [cell.group for cell in cells]
        shared = {axis: common_labels(of_cells, axis) for axis in of_cells[0].labels if axis not in set(varied)}
        fixed = {axis: labels for axis, labels in shared.items() if labels}
        for cell in self.cells:
            if cell in cells or all(cell.group.values(axis) & labels for axis, labels in fixed.items()):
                yield cell


def common_labels(cells: Sequence[Group], axis: str) -> set[str]:
    """Return the labels of an axis that all cells have; a cell that ignores an axis has several."""
    return set.intersection(*(cell.values(axis) for cell in cells))


def missing_sweep(name: str, study: Study) -> str:
    """Return why a claim about a sweep that the store does not have cannot be checked."""
    closest = closest_name(name, study.sweeps)
    guess = f" (did you mean '{closest}'?)" if closest else ""
    return f"sweep {name!r} is not in the store{guess}"


def _has(group: Group, labels: Mapping[str, str]) -> bool:
    """Whether one of the equal cells of a group has all labels; axes with one label in the sweep are not in a group."""
    wanted = {axis: label for axis, label in labels.items() if axis in group.labels}
    return any(wanted.items() <= cell.items() for cell in group.cells)


def _labels(ordered: Iterable[object], present: Iterable[object]) -> list[str]:
    there = list(dict.fromkeys(map(str, present)))
    named = [str(label) for label in ordered if str(label) in there]
    return [*named, *(label for label in there if label not in named)]

"""The lines of claims: one comparison of two sides in one column, with its cells in the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from analysis.claims.claim_errors import ClaimErrors
from analysis.claims.comparison_text import comparison_text
from analysis.claims.contrast_components import CellComponent, contrast_components
from analysis.claims.sweep_cells import ClaimCell, SweepCells, missing_sweep
from analysis.loading.schema import Study
from analysis.spec.claim_sides import CellSide, Side, terms
from analysis.spec.claims_spec import Claim, ClaimsSpec, Comparison, all_sides
from analysis.spec.labels import label_of_value, short_axis_label, with_sweep_labels
from c2d.core.errors import InputError, unknown_name
from c2d.core.yaml.line_errors import KeyPath


@dataclass(frozen=True)
class ClaimLine:
    """One comparison.

    Attributes:
        claim: name of its claim.
        key: of its row: the name of the claim, with a number where the claim has several lines.
        path: in the spec.
        column: key of the number.
        kind: more: the first side is claimed to be larger; same: both to differ by less than the margin.
        margin: difference that matters, in the shown unit; None where none is given.
        text: what is compared, in words.
        components: of the contrast; () where a sweep is missing.
        missing: why there are none.
    """

    claim: str
    key: str
    path: KeyPath
    column: str
    kind: Literal["more", "same"]
    margin: float | None
    text: str
    components: tuple[CellComponent, ...] = ()
    missing: str = ""

    @property
    def cells(self) -> tuple[ClaimCell, ...]:
        """All cells of the contrast."""
        return tuple(cell for component in self.components for cell in component.cells)


def claim_lines(study: Study, spec: ClaimsSpec, sweep: str) -> list[ClaimLine]:
    """Return the lines of all claims, in their order.

    Args:
        sweep: of claims that name none.

    Raises:
        ClaimErrors: unknown axes or labels, cells that do not exist or are not unique, sides that cannot be compared:
            all of them.
    """
    store = _Store(study, spec, sweep)
    store.check_labels()
    lines = [line for name, claim in spec.claims.items() for line in store.lines(name, claim)]
    if store.errors:
        raise ClaimErrors(store.errors)
    return lines


class _Store:
    """The sweeps that the claims name, and the mistakes so far."""

    def __init__(self, study: Study, spec: ClaimsSpec, default: str) -> None:
        self.study, self.spec, self.default = study, spec, default
        self.errors: list[tuple[KeyPath, str]] = []
        self.sweeps = {name: SweepCells(study, name, spec) for name in spec.sweeps(default) if name in study.sweeps}
        self.specs = {name: with_sweep_labels(spec, study.sweeps[name]) for name in self.sweeps}

    def check_labels(self) -> None:
        """Check `labels` of the spec, where all sweeps are in the store."""
        if len(self.sweeps) < len(self.spec.sweeps(self.default)):
            return
        known: dict[str, list[str]] = {}
        for cells in self.sweeps.values():
            for axis, labels in cells.axes.items():
                known.setdefault(axis, []).extend(labels)
        for axis, given in self.spec.labels.items():
            if axis not in known:
                self.errors.append((("labels", axis), str(unknown_name("axis", axis, known))))
                continue
            for label in given:
                if label not in known[axis]:
                    error = unknown_name(f"label of axis {axis}", label, set(known[axis]))
                    self.errors.append((("labels", axis, label), str(error)))

    def lines(self, name: str, claim: Claim) -> Iterator[ClaimLine]:
        pairs = [
            (_path(name, claim, place), one, more, less)
            for place, one in enumerate(claim.comparisons)
            for more, less in all_sides(one)
        ]
        for number, (path, one, more, less) in enumerate(pairs, 1):
            key = name if len(pairs) == 1 else f"{name}.{number}"
            yield self._line(name, key, path, claim, one, more, less)

    def _shown(self, sweep: str, axis: str, label: str) -> str:
        """The label as shown; a number has the name of its axis in front."""
        shown = label_of_value(self.specs.get(sweep, self.spec), axis, label)
        if not shown.replace(".", "", 1).isdecimal():
            return shown
        return f"{short_axis_label(self.study.sweeps.get(sweep, {}), axis)}={shown}"

    def _line(
        self, name: str, key: str, path: KeyPath, claim: Claim, one: Comparison, more: Side, less: Side
    ) -> ClaimLine:
        column = one.column or claim.column
        assert column is not None  # the spec has checked it
        at = {**claim.at, **one.at}
        own = one.sweep or claim.sweep or self.spec.sweep or self.default
        margin = {**self.spec.margin, **claim.margin}.get(column)
        names = {cell.sweep or own for side in (more, less) for _, cell in terms(side)}

        def named(cell: CellSide) -> dict[str, str]:
            sweep = cell.sweep or own
            labels = {**cell.labels, **{axis: label for axis, label in at.items() if axis not in cell.labels}}
            found = {axis: self._shown(sweep, axis, label) for axis, label in labels.items()}
            return {**found, "sweep": sweep} if len(names) > 1 else found

        if one.same and margin is None:
            message = f"no margin of {column}, the difference that would matter; write margin: {{{column}: NUMBER}}"
            self.errors.append(((*path, "same"), message))
        text = comparison_text(more, less, named)
        kind: Literal["more", "same"] = "same" if one.same else "more"
        line = ClaimLine(name, key, path, column, kind, margin, text)
        if missing := [sweep for sweep in sorted(names) if sweep not in self.sweeps]:
            reason = missing_sweep(missing[0], self.study) if missing[0] else "no sweep is named"
            return dataclasses.replace(line, missing=reason)

        def find(cell: CellSide) -> ClaimCell:
            return self.sweeps[cell.sweep or own].find({**at, **cell.labels})

        sides = ("same", "same") if one.same else ("more", "less")
        before = len(self.errors)
        for side_key, side in zip(sides, (more, less), strict=True):
            self._try_cells((*path, side_key), side, find)
        if len(self.errors) == before:
            try:
                components = contrast_components(more, less, find, self.sweeps)
                return dataclasses.replace(line, components=components)
            except InputError as error:
                self.errors.append((path, str(error)))
        return line

    def _try_cells(self, path: KeyPath, side: Side, find: Callable[[CellSide], ClaimCell]) -> None:
        for _, cell in terms(side):
            try:
                find(cell)
            except InputError as error:
                self.errors.append((path, str(error)))


def _path(name: str, claim: Claim, place: int) -> KeyPath:
    path: KeyPath = ("claims", name)
    listed = "all" if claim.all else "any" if claim.any else ""
    return (*path, listed, place) if listed else path

"""Whether the cells of a claim may be compared: what was trained alike, and what was evaluated on the same images.

Cells of one component are compared directly. They must have been trained under one protocol, unless an axis on which
they differ sets it (`analysis.tables.protocol_check`), and evaluated on the same images: that has no exception. Gains
in two components may come from different data, which such a claim is about; what no axis explains is a footnote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.claims.claim_lines import ClaimLine
from analysis.claims.sweep_cells import ClaimCell
from analysis.loading.schema import Study
from analysis.tables import image_sources, protocol_facts
from analysis.tables.protocol_check import (
    compare_facts,
    environment_sentences,
    inner_differences,
    keys_of_axes,
    unequal_facts,
)
from analysis.tables.protocol_facts import Facts
from analysis.tables.table import Ledger

SPLIT = "evaluation split"
_EVALUATED_ON = ("images", "boxes")
"""Counts of the evaluation; two data sets with equal counts are taken for one."""


@dataclass(frozen=True)
class Comparability:
    """The result of the check.

    Attributes:
        refused: {row key: sentences} on cells that must not be compared, whatever the user allows.
        mixed: {row key: sentences} on cells of different protocols.
        notes: {row key: sentences}, footnotes.
        ledger: facts of the rows.
    """

    refused: Mapping[str, list[str]]
    mixed: Mapping[str, list[str]]
    notes: Mapping[str, list[str]]
    ledger: Ledger


def check_comparability(study: Study, lines: Sequence[ClaimLine]) -> Comparability:
    """Compare the protocols of the cells of each line; cells without finished runs are left out."""
    cells = {cell.id: cell for line in lines for cell in line.cells}
    facts = {id: protocol_facts.group_facts(cell.group) for id, cell in cells.items()}
    keys = {cell.sweep: keys_of_axes(study, cell.sweep, list(cell.group.labels)) for cell in cells.values()}
    check = _Check(facts, keys)
    refused, mixed, notes = ({line.key: list[str]() for line in lines} for _ in range(3))
    for line in lines:
        refused[line.key] += dict.fromkeys(check.refused(line))
        mixed[line.key] += dict.fromkeys(check.mixed(line))
        notes[line.key] += dict.fromkeys(check.notes(line))
    merged = {line.key: _merged([facts[cell.id] for cell in line.cells]) for line in lines}
    same, differs = compare_facts(merged)
    sentences = tuple(f"{key}: {sentence}" for key, of_line in mixed.items() for sentence in of_line)
    return Comparability(refused, mixed, notes, Ledger(same, differs, sentences))


class _Check:
    """The checks of one line at a time."""

    def __init__(self, facts: Mapping[str, Facts], keys: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self.facts, self.keys = facts, keys

    def refused(self, line: ClaimLine) -> Iterator[str]:
        trained = [cell for cell in line.cells if self.facts[cell.id]]
        for cell in trained[1:]:
            mine, theirs = (self.facts[one.id][SPLIT] for one in (cell, trained[0]))
            if mine != theirs:
                yield (
                    f"{cell.name} was evaluated on {protocol_facts.facts_text(mine)}, {trained[0].name} on "
                    f"{protocol_facts.facts_text(theirs)}; compare runs of one evaluation split"
                )
        for first, cell in self._pairs(line):
            counts = [{name: sorted(set(one.group.done[name])) for name in _EVALUATED_ON} for one in (cell, first)]
            if counts[0] != counts[1]:
                yield (
                    f"{cell.name} and {first.name} were evaluated on different images "
                    f"({_counts(counts[0])}; {_counts(counts[1])}); compare a gain on each with {{gain: [A, B]}}"
                )

    def mixed(self, line: ClaimLine) -> Iterator[str]:
        for cell in line.cells:
            yield from (f"{cell.name}: {sentence}" for sentence in inner_differences(self.facts[cell.id]))
        for first, cell in self._pairs(line):
            for name, mine, theirs, axis in self._unequal(cell, first):
                if not axis:
                    yield f"{cell.name}: {name} is {mine}, but {theirs} in {first.name}, which it is compared with"

    def notes(self, line: ClaimLine) -> Iterator[str]:
        groups = [cell.group for cell in line.cells]
        for cell in line.cells:
            yield from (f"{cell.name}: {sentence}" for sentence in image_sources.sentences(cell.group, groups))
            yield from (f"{cell.name}: {sentence}" for sentence in environment_sentences(self.facts[cell.id], {}))
        for first, cell in self._pairs(line):
            others = environment_sentences(self.facts[cell.id], self.facts[first.id], first.name)
            yield from (f"{cell.name} {sentence}" for sentence in others if sentence.startswith("ran with"))
        leading = [found[0] for component in line.components if (found := self._trained(component.cells))]
        for cell in leading[1:]:
            for name, mine, theirs, axis in self._unequal(cell, leading[0]):
                if not axis:
                    yield f"the gains differ in {name} too: {mine} in {cell.name}, {theirs} in {leading[0].name}"

    def _trained(self, cells: Sequence[ClaimCell]) -> list[ClaimCell]:
        return [cell for cell in cells if self.facts[cell.id]]

    def _pairs(self, line: ClaimLine) -> Iterator[tuple[ClaimCell, ClaimCell]]:
        """(first trained cell of a component, another of it)."""
        for component in line.components:
            trained = self._trained(component.cells)
            yield from ((trained[0], cell) for cell in trained[1:])

    def _unequal(self, cell: ClaimCell, other: ClaimCell) -> Iterator[tuple[str, str, str, str]]:
        apart = {
            axis: keys
            for one in (cell, other)
            for axis, keys in self.keys[one.sweep].items()
            if axis not in cell.group.labels
            or axis not in other.group.labels
            or not cell.group.values(axis) & other.group.values(axis)
        }
        return unequal_facts(self.facts[cell.id], self.facts[other.id], apart)


def _merged(facts: Sequence[Facts]) -> Facts:
    """The facts of a row: those of its cells, each value once."""
    found: Facts = {}
    for one in facts:
        for name, values in one.items():
            found[name] = tuple(sorted({*found.get(name, ()), *values}))
    return found


def _counts(counts: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{' and '.join(f'{number:g}' for number in numbers)} {name}" for name, numbers in counts.items())

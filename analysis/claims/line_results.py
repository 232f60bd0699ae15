"""The results of claims: every line with its numbers, estimate, test and verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.claims.claim_lines import ClaimLine
from analysis.claims.claim_verdicts import Verdict, line_verdict
from analysis.claims.sweep_cells import ClaimCell
from analysis.loading.columns import quantity
from analysis.loading.schema import Study
from analysis.spec.claims_spec import ClaimsSpec
from analysis.stats.contrasts.contrast_tests import ContrastTest, family_tests
from analysis.stats.contrasts.linear_contrasts import Component, ContrastEstimate, estimate_contrast
from analysis.stats.contrasts.seed_group import SeedGroup
from analysis.tables.aggregate import Samples, is_from_latency, row_samples

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class UsedRun:
    """One run behind an estimate.

    Attributes:
        run: its id.
        file: in its folder, which has the number.
        factor: the estimate is the sum of factor x number.
    """

    run: str
    file: str
    factor: float


@dataclass(frozen=True)
class LineResult:
    """One line with its numbers.

    Attributes:
        line: what is compared.
        verdict: of the line.
        missing: why it was not run; "" where it was.
        estimate: None where it was not run.
        test: None without a test.
        n_planned: seeds that all its cells have in the sweep.
        runs: behind the estimate, cell by cell.
        samples: {cell id: its numbers}, of the cells of the line.
    """

    line: ClaimLine
    verdict: Verdict
    missing: str
    estimate: ContrastEstimate | None
    test: ContrastTest | None
    n_planned: int
    runs: tuple[UsedRun, ...]
    samples: Mapping[str, Samples]


def line_results(study: Study, spec: ClaimsSpec, lines: Sequence[ClaimLine]) -> list[LineResult]:
    """Return the results of all lines, which are one family of tests.

    Raises:
        InputError: latency files under different conditions.
    """
    timed = _timed(study, spec, lines)
    groups = _Groups(timed)
    found = [_untested(line, groups) for line in lines]
    bounds = [line.margin or 0.0 if line.kind == "same" else 0.0 for line in lines]
    tests = family_tests([one.estimate for one in found], bounds)
    return [
        one
        if one.estimate is None
        else dataclasses.replace(one, test=test, verdict=line_verdict(test, one.line.kind, one.line.margin))
        for one, test in zip(found, tests, strict=True)
    ]


class _Groups:
    """The numbers of all cells and groups of cells; lines share them."""

    def __init__(self, timed: pd.DataFrame | None) -> None:
        self._timed = timed
        self._samples: dict[tuple[str, str], Samples] = {}
        self._groups: dict[tuple[str, tuple[str, ...]], SeedGroup] = {}

    def samples(self, cell: ClaimCell, column: str) -> Samples:
        """The numbers of a cell."""
        key = (cell.id, column)
        if key not in self._samples:
            self._samples[key] = row_samples(cell.group, quantity(column), self._timed)
        return self._samples[key]

    def group(self, cells: Sequence[ClaimCell], names: Mapping[str, str], column: str) -> SeedGroup:
        """The group of some cells, by their names."""
        key = (column, tuple(names[cell.id] for cell in cells))
        if key not in self._groups:
            self._groups[key] = SeedGroup({names[cell.id]: self.samples(cell, column).values for cell in cells})
        return self._groups[key]


def _untested(line: ClaimLine, groups: _Groups) -> LineResult:
    of_line = {cell.id: groups.samples(cell, line.column) for cell in line.cells}
    seeds = [set(one.planned_seeds) for one in of_line.values()]
    n_planned = len(set.intersection(*seeds)) or min(map(len, seeds)) if seeds else 0
    missing = line.missing or "; ".join(
        f"{cell.name}: {of_line[cell.id].reason}" for cell in line.cells if not of_line[cell.id].values
    )
    if missing:
        return LineResult(line, "not run", missing, None, None, n_planned, (), of_line)
    names = _names([cell for component in line.components for cell in component.pool])
    components = [
        Component(
            {names[cell.id]: factor for factor, cell in component.factors},
            groups.group(component.pool, names, line.column),
        )
        for component in line.components
    ]
    estimate = estimate_contrast(components)
    runs = tuple(_used_runs(line, estimate, of_line, names))
    return LineResult(line, "open", "", estimate, None, n_planned, runs, of_line)


def _used_runs(
    line: ClaimLine, estimate: ContrastEstimate, samples: Mapping[str, Samples], names: Mapping[str, str]
) -> Iterator[UsedRun]:
    for at, component in enumerate(line.components):
        for cell in component.cells:
            own = samples[cell.id]
            for seed in sorted(own.values):
                if (factor := estimate.used.get((at, names[cell.id], seed))) is not None:
                    run = own.runs[seed]
                    yield UsedRun(run, own.files.get(run, ""), factor)


def _names(cells: Sequence[ClaimCell]) -> dict[str, str]:
    """{cell id: its name in notes}: as shown, with the sweep where there are several."""
    several = len({cell.sweep for cell in cells}) > 1
    return {cell.id: f"{cell.name} ({cell.sweep})" if several else cell.name for cell in cells}


def _timed(study: Study, spec: ClaimsSpec, lines: Sequence[ClaimLine]) -> pd.DataFrame | None:
    """Latencies of the runs of all lines that compare one, and of the cells beside them."""
    from analysis.loading import latency

    wanted = [line for line in lines if is_from_latency(quantity(line.column))]
    if not wanted:
        return None
    depends = any(quantity(line.column).depends_on_device for line in wanted)
    read = latency.latency_of_runs if depends else latency.operation_counts
    cells = [cell for line in wanted for component in line.components for cell in component.pool]
    return read(study, list(dict.fromkeys(run for cell in cells for run in cell.group.runs)), spec.latency)

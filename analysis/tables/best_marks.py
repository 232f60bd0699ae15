"""Marks of the best numbers of a table: bold, and the light mark of rows that are not distinguishable from the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from analysis.loading.columns import quantity
from analysis.spec.table_spec import TableSpec
from analysis.stats.best_rows import BestRows, best_rows
from analysis.tables.aggregate import Found
from analysis.tables.groups import Group, names_of
from analysis.tables.notes import NEAR_BEST
from analysis.tables.table import Cell


def mark_best(
    spec: TableSpec,
    rows: Sequence[Group],
    families: Mapping[str, tuple[str, ...]],
    found: Found,
    cells: dict[str, dict[str, Cell]],
) -> dict[tuple[str, str], BestRows]:
    """Mark the best cells of each family and those near them; return {(column, first row of a family): its best rows}.

    Args:
        rows: of the table.
        families: {row: its family}, those of the ledger: nothing is bold against rows whose protocol was not compared.
        found: the numbers of the rows.
        cells: {row: {column: cell}}, of which marked ones are replaced.
    """
    together: dict[tuple[str, ...], list[str]] = {}
    for row, family in families.items():
        together.setdefault(family, []).append(row)
    best_of = {}
    names = names_of(rows)
    for key in spec.columns:
        better, digits = quantity(key).better, spec.digits.get(key, quantity(key).digits)
        for compared in together.values():
            samples = {row: found[row][key].values for row in compared}
            if not better or spec.bold == "none" or sum(map(bool, samples.values())) < 2:
                continue
            leading = best_of[key, compared[0]] = best_rows(samples, better, digits, names)
            for row in leading.best:
                cells[row][key] = dataclasses.replace(cells[row][key], bold=True)
            for row in leading.near:
                near = cells[row][key]
                cells[row][key] = dataclasses.replace(near, near_best=True, notes=(*near.notes, NEAR_BEST))
    return best_of


def unmark_beaten(
    spec: TableSpec, rows: Sequence[Group], baselines: Sequence[Group | None], cells: dict[str, dict[str, Cell]]
) -> None:
    """Take every mark from a baseline that a row significantly beats, whatever the uncertainty of the differences.

    Args:
        rows: of the table.
        baselines: of each row.
        cells: {row: {column: cell}}, of which marked ones are replaced.
    """
    for row, baseline in zip(rows, baselines, strict=True):
        for key in spec.differences if baseline is not None and baseline is not row else ():
            gain = cells[row.key][f"delta.{key}"]
            sign = {"higher": 1, "lower": -1, "": 0}[quantity(key).better]
            if baseline is not None and key in spec.columns and gain.significant and sign * (gain.value or 0) > 0:
                beaten = cells[baseline.key][key]
                left = tuple(note for note in beaten.notes if note != NEAR_BEST)
                cells[baseline.key][key] = dataclasses.replace(beaten, bold=False, near_best=False, notes=left)

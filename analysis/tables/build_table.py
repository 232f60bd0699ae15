"""Build a table, as data, from its spec and a study: rows, measured means, differences, published numbers, footnotes.

One row is one group of equal cells, and a cell is a mean over its finished seeds: never the best seed, never over an
axis that the spec does not name, and never a number for an undefined value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.loading.columns import QUANTITIES, quantity
from analysis.loading.schema import Study
from analysis.spec.labels import label_of_axis, label_of_column, math_of
from analysis.spec.seeds_needed_spec import SeedsNeededSpec
from analysis.spec.table_spec import TableSpec
from analysis.tables import (
    aggregate,
    best_marks,
    deviations,
    differences,
    gains_per_cost,
    gaps,
    image_sources,
    notes,
    protocol_check,
    published,
)
from analysis.tables.aggregate import Found
from analysis.tables.difference_tests import Differences
from analysis.tables.groups import Group, baseline_of, groups
from analysis.tables.table import Cell, Column, Row, Table
from c2d.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    import pandas as pd


def build_table(study: Study, spec: TableSpec, sweep: str, name: str = "", allow_mixed: bool = False) -> Table:
    """Build the table of one sweep.

    Args:
        sweep: its name; "" for the runs of no sweep.
        name: of the table; "" takes the spec's.
        allow_mixed: rows that were trained under different protocols get a footnote instead of an error.

    Raises:
        InputError: unknown axes or labels; no cells; a baseline that is no row; mixed protocols; published conditions
            that select no row; latency files under different conditions; an uncertainty that is not defined for a
            column or for the number of seeds.
    """
    if spec.seeds:
        frame = study.frame
        study = dataclasses.replace(study, frame=frame[frame["seed"].isin(spec.seeds) | (frame["role"] == "teacher")])
    rows = groups(study, sweep, spec.rows, spec.where, spec.labels)
    if spec.published is not None:
        published.check_published(spec.published, study, sweep, spec.rows)
    if not rows:
        seeds = f", and seeds {spec.seeds}" if spec.seeds else ""
        raise InputError(f"no cell has these labels in `rows` and `where`{seeds}; take labels that occur together")
    baselines = baseline_rows(spec, rows)
    gains_per_cost.check_per_cost(spec)
    of_gap = gaps.compared_rows(spec.gap, rows) if spec.gap else {}
    pairs = [(row, other) for row in rows for other in of_gap.get(row.key, ()) if other is not row]
    entries = protocol_check.check_protocols(study, sweep, rows, baselines, allow_mixed, pairs)
    timed = _timed(study, spec, rows)
    found = {row.key: {key: aggregate.row_samples(row, quantity(key), timed) for key in _keys(spec)} for row in rows}
    cells = {
        row.key: {key: aggregate.mean_cell(found[row.key][key], quantity(key)) for key in spec.columns} for row in rows
    }
    best = best_marks.mark_best(spec, rows, entries.families, found, cells)
    _subtract(study, spec, rows, baselines, found, cells)
    best_marks.unmark_beaten(spec, rows, baselines, cells)
    if spec.gap:
        for row_key, column_key, cell in gaps.gap_cells(spec.gap, rows, of_gap, found):
            cells[row_key][column_key] = cell
    if spec.per_cost:
        for row_key, column_key, cell in gains_per_cost.per_cost_cells(spec.per_cost, rows, baselines, found):
            cells[row_key][column_key] = cell
    if spec.published is not None:
        for row in rows:
            cells[row.key] |= published.published_cells(spec.published, row, bool(spec.baseline))
            for key in deviations.compared_columns(spec):
                beside = cells[row.key][f"published.{key}"]
                deviation = deviations.deviation_cell(found[row.key][key], beside)
                cells[row.key][deviations.DEVIATION + key] = deviation
                cells[row.key][f"published.{key}"] = deviations.marked_if_outside(beside, deviation)
    columns = _columns(spec)
    drafts = [
        _row(row, baseline, cells[row.key], columns, [*image_sources.sentences(row, rows), *entries.notes[row.key]])
        for row, baseline in zip(rows, baselines, strict=True)
    ]
    numbered, footnotes = notes.assign_marks(drafts, columns)
    return Table(
        name=name or spec.name or "table",
        title=spec.title,
        row_axes=tuple(spec.rows),
        columns=columns,
        rows=numbered,
        caption=spec.caption,
        notes=footnotes,
        ledger=entries.ledger,
        statistics=(*notes.statistics_sentences(spec, drafts, columns, best, timed), *_about_bold(spec, rows)),
        store=str(study.shown_store),
        tex_ledger=spec.ledger_in_latex,
        tex_p=spec.p_in_latex,
        tex_wide=spec.wide,
        axis_labels={axis: label_of_axis(spec, axis) for axis in spec.rows if axis in spec.labels_of_axes},
        math=math_of(spec),
    )


def _about_bold(spec: TableSpec, rows: Sequence[Group]) -> list[str]:
    needs = {need for row in rows for need in image_sources.needs_of(row)}
    return [image_sources.NO_BOLD] if len(needs) > 1 and spec.bold != "none" else []


def _keys(spec: TableSpec) -> list[str]:
    of_gap = spec.gap.columns if spec.gap else ()
    of_cost = (*spec.per_cost.columns, spec.per_cost.cost) if spec.per_cost else ()
    return list(dict.fromkeys([*spec.columns, *(spec.differences if spec.baseline else ()), *of_gap, *of_cost]))


def _columns(spec: TableSpec) -> tuple[Column, ...]:
    """A measured column, the published one, their deviation, both differences, gap and gain per cost; others last."""
    shown = list(spec.published.columns) if spec.published else []
    gains = list(spec.published.differences) if spec.published and spec.baseline else []
    of_gap = spec.gap.columns if spec.gap else []
    columns: dict[str, Column] = {}
    for key in dict.fromkeys([*_keys(spec), *shown, *gains]):
        known = QUANTITIES[key]
        digits = spec.digits.get(key, known.digits)
        label = label_of_column(spec, key)
        plain = Column(key, label, known.unit, digits, "measured", known.better)
        delta = dataclasses.replace(plain, label=f"Δ{label}")
        if key in spec.columns:
            columns[key] = plain
        if key in shown:
            columns[f"published.{key}"] = dataclasses.replace(
                plain, key=f"published.{key}", kind="published", better=""
            )
        if key in deviations.shown_deviations(spec):
            name = deviations.DEVIATION + key
            columns[name] = dataclasses.replace(plain, key=name, kind="deviation", better="")
        if spec.baseline and key in spec.differences:
            columns[f"delta.{key}"] = dataclasses.replace(delta, key=f"delta.{key}", kind="difference")
        if key in gains:
            name = f"published.delta.{key}"
            columns[name] = dataclasses.replace(delta, key=name, kind="published difference", better="")
        if key in of_gap:
            columns[gaps.GAP + key] = Column(gaps.GAP + key, f"{label} gap closed", "%", digits, "gap closed", "higher")
        if spec.per_cost and key in spec.per_cost.columns:
            columns[gains_per_cost.PER + key] = gains_per_cost.per_cost_column(spec, spec.per_cost, key, digits)
    for name in spec.published.other if spec.published else ():
        columns[published.OTHER_KEY + name] = Column(published.OTHER_KEY + name, name, "%", 1, "published")
    return tuple(columns.values())


def baseline_rows(spec: TableSpec | SeedsNeededSpec, rows: Sequence[Group]) -> list[Group | None]:
    """Return the row that each row is compared with: itself for a baseline, None without one.

    Raises:
        InputError: the baseline of the spec is none of the rows.
    """
    for axis, label in spec.baseline.items():
        if axis not in spec.rows:
            raise unknown_name(
                "axis of the baseline", axis, spec.rows, "a row is compared with a row, so name an axis of `rows`"
            )
        if not any(label in row.values(axis) for row in rows):
            known = dict.fromkeys(label for row in rows for label in sorted(row.values(axis)))
            raise unknown_name(
                f"label of the baseline on axis {axis}", label, known, "the baseline must be among the rows"
            )
    return [baseline_of(row, rows, spec.baseline) for row in rows]


def _timed(study: Study, spec: TableSpec, rows: Sequence[Group]) -> pd.DataFrame | None:
    """Latencies of all rows, where a column needs them; without times where only operation counts are shown."""
    needed = [key for key in _keys(spec) if aggregate.is_from_latency(quantity(key))]
    if not needed:
        return None
    from analysis.loading import latency

    read = (
        latency.latency_of_runs if any(quantity(key).depends_on_device for key in needed) else latency.operation_counts
    )
    return read(study, [run for row in rows for run in row.runs], spec.latency)


def _subtract(
    study: Study,
    spec: TableSpec,
    rows: Sequence[Group],
    baselines: Sequence[Group | None],
    found: Found,
    cells: dict[str, dict[str, Cell]],
) -> None:
    """Add the difference cells; the rows of one baseline in one column are compared together."""
    if not spec.baseline:
        return
    tests = Differences(study, spec)
    rows_of: dict[str, list[str]] = {}
    for row, baseline in zip(rows, baselines, strict=True):
        if baseline is not None and baseline is not row:
            rows_of.setdefault(baseline.key, []).append(row.key)
        reason = "no row of the table is its baseline" if baseline is None else "baseline"
        cells[row.key] |= {f"delta.{key}": differences.missing_difference(reason) for key in spec.differences}
    for baseline_key, compared in rows_of.items():
        for key in spec.differences:
            theirs = found[baseline_key][key]
            made = tests.cells(key, {row_key: found[row_key][key] for row_key in compared}, theirs)
            for row_key, cell in made.items():
                files = {**theirs.files, **found[row_key][key].files}
                cells[row_key][f"delta.{key}"] = dataclasses.replace(cell, files=tuple(files[run] for run in cell.runs))
    tests.check()


def _row(
    group: Group,
    baseline: Group | None,
    cells: Mapping[str, Cell],
    columns: Sequence[Column],
    sentences: Sequence[str],
) -> Row:
    """One row, with its own notes at its first cell."""
    row = Row(group.key, group.shown, dict(cells), is_baseline=baseline is group)
    sentences_of_row = [
        *filter(None, [aggregate.seed_progress(group)]),
        *sentences,
        *notes.one_teacher(group, cells, columns),
    ]
    return notes.add_sentences(row, columns[0].key, sentences_of_row)

"""`c2d report`: write tables, figures and the page of a study from its run folders, which are never changed.

A report that is given by name is written completely, or an error is raised. Of the default report, items that fail are
skipped, and the page lists them with the reason.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from analysis.claims.build_claims import build_claims
from analysis.claims.claim_errors import ClaimErrors
from analysis.loading.schema import STATES, Study
from analysis.page.page_model import PageFigure, SkippedItem
from analysis.report import defaults
from analysis.report.figure_cache import FigureCache
from analysis.report.measurements import one_per_measurement
from analysis.report.output_folder import OutputFolder
from analysis.report.report_contents import DrawnFigure, ReportContents, ReportRequest
from analysis.report.report_spec import errors_with_lines, read_spec
from analysis.spec.claims_spec import ClaimsSpec
from analysis.spec.labels import with_sweep_labels
from analysis.spec.report_item import FigureSpec
from analysis.spec.seeds_needed_spec import SeedsNeededSpec
from analysis.spec.table_spec import TableSpec
from c2d.core.errors import InputError
from c2d.core.regular_file import Problem
from c2d.core.sweep_manifest import sweep_names

if TYPE_CHECKING:
    import pandas as pd

Item = TableSpec | ClaimsSpec | SeedsNeededSpec | FigureSpec
Log = Callable[[str], None]
WIDE_FIX = "; `wide: true` in a spec spans both columns"
MOST_LINES = 12
"""Kinds of problems that are printed."""


def write_report(request: ReportRequest, log: Log = lambda line: None) -> ReportContents:
    """Read the store, build tables and figures, write them and the page.

    Args:
        request: store, output folder, sweeps and specs.
        log: called with each line of output.

    Raises:
        InputError: nothing to report; a spec, sweep, axis or column that does not exist; rows of different protocols in
            a table that was given by name. Nothing has been written then.
    """
    from analysis.formats import latex
    from analysis.loading.load import read_study

    specs = [read_spec(Path(given)) for given in request.specs]
    folder = OutputFolder(request.out, request.runs)
    named = [name for spec in specs or _default_claims(request) for name in _sweeps_named(spec, request.runs)]
    study = read_study(
        request.runs, tuple(dict.fromkeys([*request.sweeps, *named])) if request.sweeps else (), request.cache
    )
    if study.frame.empty:
        raise InputError(
            f"no runs in {request.runs}; train or submit something first, or name another store with --runs"
        )
    log(f"{request.runs}: {count_runs(study)}")
    figure_cache = FigureCache(request.cache, request.runs)
    contents = ReportContents(study, figure_cache, problems=list(study.problems))
    sweeps = [sweep for sweep in request.sweeps or (*study.sweeps, "") if defaults.sweep_axes(study, sweep)]
    for given, spec in zip(request.specs, specs, strict=True):
        own = _sweeps_of(spec, sweeps)
        for sweep in own:
            name = spec.name if len(own) == 1 else f"{spec.name}-{sweep or 'runs'}"
            try:
                _add_item(contents, spec, sweep, name, request.allow_mixed)
            except ClaimErrors as error:
                raise errors_with_lines(Path(given), error.found) from None
            except InputError as error:
                raise InputError(f"{given}: {error}") from None
    for sweep in [] if specs else request.sweeps or (*study.sweeps, ""):
        _add_default_items(contents, sweep, request.allow_mixed)
    _write(contents, folder, request)
    folder.remove_drafts()
    figure_cache.trim()
    for line in _problem_lines(contents.problems):
        log(line)
    if wide := [table.name for table in contents.tables if latex.too_wide(table)]:
        more = f" and {len(wide) - MOST_LINES} more" if len(wide) > MOST_LINES else ""
        fix = "" if all(table.tex_wide for table in contents.tables if table.name in wide) else WIDE_FIX
        log(
            "wider in .tex than their place in a two-column paper, so scaled down there: "
            f"{', '.join(wide[:MOST_LINES])}{more}{fix}"
        )
    for line in contents.split:
        log(line)
    for skipped in (*contents.skipped, *contents.notes):
        log(f"not made: {skipped.name}: {skipped.reason}")
    if older := folder.older("tables", "figures"):
        log(f"{_plural(older, 'older file')} of another report left in {request.out}; another --out keeps them apart")
    counts = f"{_plural(len(contents.tables), 'table')} and {_plural(len(contents.figures), 'figure')}"
    log(f"{counts}: {request.out / 'report.html'}")
    return contents


def _default_claims(request: ReportRequest) -> list[ClaimsSpec]:
    """The shipped claims of the named sweeps, which may compare cells of others too."""
    shipped = defaults.shipped_reports() if request.sweeps else []
    return [item for item in shipped if isinstance(item, ClaimsSpec) and item.sweep in request.sweeps]


def _sweeps_named(spec: Item, runs: Path) -> list[str]:
    """The sweeps that a spec needs; claims do without those that the store does not have."""
    if isinstance(spec, ClaimsSpec):
        there = sweep_names(runs)
        return [name for name in spec.sweeps(spec.sweep) if name in there]
    return [spec.sweep] if spec.sweep else []


def _sweeps_of(spec: Item, sweeps: Sequence[str]) -> Sequence[str]:
    """The sweeps of which a spec is made one by one: its own, or those of the report."""
    if spec.sweep or (isinstance(spec, ClaimsSpec) and "" not in spec.sweeps("")):
        return [spec.sweep]
    return sweeps


def _add_default_items(contents: ReportContents, sweep: str, allow_mixed: bool) -> None:
    """Add the default tables and figures of a sweep; those that fail are skipped with their reason."""
    named = f"sweep {sweep}" if sweep else "runs of no sweep"
    try:
        found, why = defaults.default_items(contents.study, sweep), defaults.omission_reason(contents.study, sweep)
    except InputError as error:
        contents.skipped.append(SkippedItem(named, str(error)))
        return
    if why:
        contents.notes.append(SkippedItem(named, why))
    for item in found:
        name, taken = item.name, {table.name for table in contents.tables} | {drawn.name for drawn in contents.drawn}
        name = next(free for k in itertools.count(1) if (free := name if k == 1 else f"{name}-{k}") not in taken)
        try:
            _add_item(contents, item, sweep, name, allow_mixed)
        except InputError as error:
            contents.skipped.append(SkippedItem(name, str(error)))


def count_runs(study: Study) -> str:
    """Return the counts of a study: "2 sweeps, 12 runs: 9 done, 2 failed, 1 waiting"."""
    runs = study.frame.drop_duplicates("run")
    counts = runs["state"].value_counts()
    states = ", ".join(f"{counts[state]} {state}" for state in reversed(STATES) if state in counts)
    return f"{_plural(len(study.sweeps), 'sweep')}, {_plural(len(runs), 'run')}: {states}"


def _problem_lines(problems: Sequence[Problem]) -> Iterator[str]:
    """A line for each kind of problem, by file name and start of the message; the page lists all of them."""
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.path.name, problem.message[:40]), []).append(problem)
    for same in list(alike.values())[:MOST_LINES]:
        more = f" (and {len(same) - 1} more like it, see the page)" if len(same) > 1 else ""
        yield f"skipped {same[0].path}: {same[0].message}{more}"
    if len(alike) > MOST_LINES:
        yield f"skipped {len(alike) - MOST_LINES} other kinds of problems, see the page"


def _plural(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _add_item(contents: ReportContents, spec: Item, sweep: str, name: str, allow_mixed: bool) -> None:
    """Add a table or figure, or one for each kind of measurement behind its latencies."""
    if isinstance(spec, ClaimsSpec):  # each claim has the labels of its own sweep
        _add_one(contents, spec, sweep, name, allow_mixed)
        return
    spec = with_sweep_labels(spec, contents.study.sweeps.get(sweep, {}))
    for own, suffix in one_per_measurement(contents.study, spec, sweep):
        _add_one(contents, own, sweep, name + suffix, allow_mixed)


def _add_one(contents: ReportContents, spec: Item, sweep: str, name: str, allow_mixed: bool) -> None:
    _check_name(contents, name)
    if isinstance(spec, ClaimsSpec):
        contents.tables.append(build_claims(contents.study, spec, sweep, name, allow_mixed))
    elif isinstance(spec, TableSpec):
        from analysis.tables.build_table import build_table

        contents.tables.append(build_table(contents.study, spec, sweep, name, allow_mixed))
    elif isinstance(spec, SeedsNeededSpec):
        from analysis.tables.seeds_needed.seeds_table import build_seeds_tables

        for table in build_seeds_tables(contents.study, spec, sweep, name, allow_mixed):
            _check_name(contents, table.name)
            contents.tables.append(table)
    else:
        from analysis.plots import FIGURES
        from analysis.plots.figure_files import csv_text
        from analysis.plots.figure_parts import figure_parts

        module = FIGURES[spec.kind]
        data = module.data(contents.study, spec, sweep)
        # pop: pandas copies what is in attrs, deeply, with every column that is taken from a frame.
        found = data.attrs.pop("problems", [])
        contents.problems += [problem for problem in found if problem not in contents.problems]
        limits = module.limits(data, spec)
        parts = figure_parts(data, limits)
        rows = data[limits.column].astype(str)
        count = rows[rows != ""].nunique()
        if len(parts) > 1:
            made = f"{len(parts)} figures, {name}-1-of-{len(parts)} to {name}-{len(parts)}-of-{len(parts)}"
            contents.split.append(f"{name}: {count} rows are more than one figure can show; {made}")
        for number, part in enumerate(parts, 1):
            called, note = name, ""
            if len(parts) > 1:
                called = f"{name}-{number}-of-{len(parts)}"
                note = f"Figure {number} of {len(parts)}: one figure cannot show its {count} rows."
            draw = functools.partial(_drawn, module, part, spec)
            files = contents.figure_cache.files(spec, csv_text(part).encode(), draw)
            contents.drawn.append(DrawnFigure(called, spec, files, note))


def _check_name(contents: ReportContents, name: str) -> None:
    if name in {table.name for table in contents.tables} | {drawn.name for drawn in contents.drawn}:
        raise InputError(f"two reports are called {name!r}; give one of them another `name`")


def _drawn(module: ModuleType, data: pd.DataFrame, spec: FigureSpec) -> dict[str, bytes]:
    from analysis.plots.figure_files import encode_figure

    return encode_figure(module.draw(data, spec), data)


def _write(contents: ReportContents, folder: OutputFolder, request: ReportRequest) -> None:
    """Tables in five formats, figures in two with their data, the frame, and the page that shows all of it."""
    from analysis.formats import FORMATS
    from analysis.page import render
    from analysis.report.page_context import page_content
    from c2d.markup.formula_guard import guarded_frame

    for table in contents.tables:
        for extension, write in FORMATS.items():
            folder.write(f"tables/{table.name}.{extension}", write(table))
    for item in contents.drawn:
        paths = [folder.write(f"figures/{item.name}{suffix}", content) for suffix, content in item.files.items()]
        names = tuple(path.relative_to(folder.path).as_posix() for path in paths)
        svg, csv = (item.files[suffix].decode() for suffix in (".svg", ".csv"))
        contents.figures.append(
            PageFigure(item.name, item.spec.title, svg, csv, item.spec.caption, note=item.note, files=names)
        )
    folder.write("runs.csv", guarded_frame(contents.study.frame).to_csv(index=False))
    folder.write("report.html", render(page_content(contents, request)))
    contents.files = folder.written

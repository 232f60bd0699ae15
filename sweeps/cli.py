"""`c2d sweep ...` and `c2d demo`: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sweeps.actions.submit import Workspace
    from sweeps.state.plan import Row

app = typer.Typer(
    help="Launch, follow and mend sweeps: one question, many runs (docs/sweeps.md).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class WhereTo(StrEnum):
    """Where runs are launched."""

    dry = "dry"
    local = "local"
    slurm = "slurm"


Def = Annotated[str, typer.Argument(metavar="DEF.yaml", help="a definition, or the name of a shipped or submitted one")]
Runs = Annotated[Path | None, typer.Option("--runs", help="the store of all runs (default: C2D_RUNS, else ./runs)")]
Data = Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA, else ./data)")]
Where = Annotated[
    WhereTo, typer.Option("--where", help="dry: print; local: this machine; slurm: a cluster", show_choices=False)
]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="a machine's facts: name or YAML (default: C2D_PROFILE)")
]
Filter = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="AXIS=LABEL", help="only these cells; same axis again: or, another axis: and"),
]
Yes = Annotated[bool, typer.Option("--yes", help="do it without asking")]
Forward = Annotated[bool, typer.Option("--forward/--no-forward", help="rehearse one forward of every structure")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object")]
SHOWN = 200
"""Runs up to which `plan` and `submit` print a line each; beyond, counts by state (-v: all)."""


@app.command()
def check(
    definition: Def,
    runs: Runs = None,
    data: Data = None,
    profile: ProfileName = None,
    forward: Forward = True,
) -> None:
    """Resolve every cell: files, classes, layers, shapes, data set, weights. All problems at once; exit code 2."""
    from c2d.core.errors import InputError
    from sweeps.actions.submit import report, resolve, specs_of
    from sweeps.checks.check_sweep import check as look
    from sweeps.definition.definition import read_definition

    asked, place = read_definition(definition), _place(runs, data, WhereTo.local, profile)
    grid = resolve(asked, place)
    print(f"{asked.name}: {asked.question}")
    print(f"{len(grid.cells)} cells, {len(specs_of(grid))} runs, of these {len(grid.teachers)} teachers")
    problems = look(asked, grid, place.runs, place.data, place.profile if profile else None, forward, _line)
    if problems:
        raise InputError(report(asked, problems))
    print("nothing is wrong")


@app.command()
def plan(
    definition: Def,
    runs: Runs = None,
    data: Data = None,
    filters: Filter = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="a line for every run, however many")] = False,
    as_json: AsJson = False,
) -> None:
    """Say for every run whether it is new, waiting, running, done, failed or blocked, and why. Nothing is written."""
    import json

    from sweeps.actions.select_retries import filtered
    from sweeps.actions.submit import plan as planned
    from sweeps.actions.submit import resolve
    from sweeps.definition.definition import read_definition

    place = _place(runs, data, WhereTo.local, None)
    asked = read_definition(definition)
    _, rows = planned(asked, resolve(asked, place), place.runs)
    rows = filtered(rows, filters or ())
    if as_json:
        keys = ("kind", "state", "reason", "launch", "failure_class")
        shown = [{"run": row.run.id, "cells": row.cells, **{key: getattr(row, key) for key in keys}} for row in rows]
        print(json.dumps({"sweep": asked.name, "runs": shown}, indent=1))
    else:
        _show(rows, verbose)


@app.command()
def submit(
    definition: Def,
    where: Where = WhereTo.local,
    profile: ProfileName = None,
    runs: Runs = None,
    data: Data = None,
    filters: Filter = None,
    limit: Annotated[int | None, typer.Option(min=1, help="launch so many runs at most, and their teachers")] = None,
    canary: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="one cell trains so long first; the rest only if it is healthy"),
    ] = None,
    forward: Forward = True,
    at_once: Annotated[int | None, typer.Option(min=1, help="local: processes at once (default: 2)")] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="a line for every run, however many")] = False,
) -> None:
    """Launch every run of the sweep that nobody has run or is running. Safe to call again: only what is new starts."""
    from sweeps.actions.submit import submit as launch
    from sweeps.definition.definition import read_definition

    place, asked = _place(runs, data, where, profile), read_definition(definition)
    reasons: list[str] = []

    def say(line: str) -> None:
        _flush(reasons, verbose)
        _line(line)

    code = launch(
        asked,
        place,
        filters=filters or (),
        limit=limit,
        canary=canary,
        forward=forward,
        print_line=say,
        explain=reasons.append,
        at_once=at_once,
    )
    _flush(reasons, verbose)
    if code:
        raise typer.Exit(code)


@app.command()
def status(
    definition: Def,
    runs: Runs = None,
    filters: Filter = None,
    watch: Annotated[
        float | None,
        typer.Option("--watch", metavar="SECONDS", help="look again so often, and retry infrastructure deaths"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Where every run stands, from any shell: run files, then the queue if there is one. Exit code 1 if any failed."""
    import json
    import time

    from rich.console import Console

    from sweeps.actions import select_retries
    from sweeps.actions.relaunch import again
    from sweeps.state import status as view
    from sweeps.state.manifest import read_record
    from sweeps.state.plan import survey

    place = _place(runs, None, WhereTo.local, None)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)

    def look() -> dict[str, Any]:
        record = read_record(place.runs, definition)
        rows, facts = survey(record, place.runs)
        return view.summary(select_retries.filtered(rows, filters or ()), facts, time.time()) | {
            "sweep": record["name"],
            "question": record["question"],
        }

    def mend() -> None:
        record = read_record(place.runs, definition)
        rows, _ = survey(record, place.runs)
        due = select_retries.choose(rows, filters=filters or ())
        picked = [row for row in due if row.job is not None and row.job.where == "slurm"]
        if picked:
            again(record, rows, picked, place, _line)

    if watch is not None and not as_json:
        view.watch(look, mend, console, every_s=watch)
    found = look()
    if as_json:
        print(json.dumps(found, indent=1))
    elif watch is None:
        console.print(view.table(found))
    if found["counts"].get("failed") or found["counts"].get("blocked"):
        raise typer.Exit(1)


@app.command()
def triage(definition: Def, runs: Runs = None, filters: Filter = None, as_json: AsJson = False) -> None:
    """Why runs died: by class, with the first bad rank, its last lines and one suggestion."""
    import json

    from sweeps.actions import select_retries
    from sweeps.failures import diagnose as doctor
    from sweeps.state.manifest import read_record
    from sweeps.state.plan import survey

    place = _place(runs, None, WhereTo.local, None)
    rows, facts = survey(read_record(place.runs, definition), place.runs)
    groups = doctor.grouped(select_retries.filtered(rows, filters or ()), facts)
    if as_json:
        print(json.dumps([group.to_json() for group in groups], indent=1))
        return
    for group in groups:
        print(group.text())
    if not groups:
        print("no run has failed")


@app.command(name="retry")
def retry_(
    definition: Def,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="failure class, e.g. user-code; see triage")
    ] = None,
    states: Annotated[list[str] | None, typer.Option("--state", help="failed, blocked or waiting")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="a run id, or its beginning")] = None,
    filters: Filter = None,
    limit: Annotated[int | None, typer.Option(min=1)] = None,
    where: Annotated[
        WhereTo | None, typer.Option("--where", help="local or slurm; default: where it last ran", show_choices=False)
    ] = None,
    profile: ProfileName = None,
    runs: Runs = None,
    data: Data = None,
    update_code: Annotated[bool, typer.Option("--update-code", help="with the code as it is now; recorded")] = False,
) -> None:
    """Run failed cells again: infrastructure and resource deaths by themselves, code only when asked by class or id."""
    from sweeps.actions import select_retries
    from sweeps.actions.relaunch import RelaunchOptions, again
    from sweeps.state.manifest import read_record
    from sweeps.state.plan import survey

    place = _place(runs, data, where or WhereTo.local, profile)
    record = read_record(place.runs, definition)
    rows, _ = survey(record, place.runs)
    picked = select_retries.choose(
        rows,
        classes=classes or (),
        states=states or (),
        filters=filters or (),
        ids=ids or (),
        limit=limit,
        asked=True,
    )
    for row in picked:
        print(f"again: {row.run.id} ({row.reason})")
    if not picked:
        print("nothing to retry: no infrastructure or resource death; name a class or an id for others (see triage)")
    if not picked or where is WhereTo.dry:
        return
    changes = RelaunchOptions(
        place.where if where else None, place.profile if profile else None, place.data if data else None, update_code
    )
    code = again(record, rows, picked, place, _line, changes)
    if code:
        raise typer.Exit(code)


@app.command()
def cancel(definition: Def, runs: Runs = None, filters: Filter = None, yes: Yes = False) -> None:
    """Stop waiting and running jobs of a sweep: lists them and asks. Trainings save before they end."""
    from sweeps.actions.cancel import cancel as stop
    from sweeps.actions.cancel import stoppable
    from sweeps.actions.select_retries import filtered
    from sweeps.state.manifest import also_in, read_record
    from sweeps.state.plan import survey

    place = _place(runs, None, WhereTo.local, None)
    record = read_record(place.runs, definition)
    rows, _ = survey(record, place.runs)
    found = stoppable(filtered(rows, filters or ()))
    if not found:
        print("nothing is waiting or running")
        return
    shared = also_in(place.runs, record["name"], {row.run.id for row in found})
    for row in found:
        where = f"job {row.job.job}" if row.job and row.job.job else f"pid {row.status.get('pid')}"
        others = f"  also asked for by {', '.join(shared[row.run.id])}" if row.run.id in shared else ""
        print(f"  {row.state:8} {row.run.id}  {where}{others}")
    if not yes and not typer.confirm(f"stop these {len(found)} runs?"):
        raise typer.Exit(130)
    for line in stop(found, place.runs):
        print(line)


@app.command()
def gc(definition: Def, runs: Runs = None, yes: Yes = False) -> None:
    """Remove old checkpoints, logs of finished submissions and unused snapshots. Without --yes it only lists them."""
    from sweeps.actions import gc as broom
    from sweeps.actions.submit import submission_lock
    from sweeps.state.manifest import read_record
    from sweeps.state.plan import survey

    place = _place(runs, None, WhereTo.local, None)
    rows, _ = survey(read_record(place.runs, definition), place.runs)
    removals = broom.plan(rows, place.runs)
    for removal in removals:
        print(f"  {removal.bytes / 2**20:9.2f} MiB  {removal.path}  ({removal.why})")
    total = sum(removal.bytes for removal in removals) / 2**20
    if yes:
        with submission_lock(place.runs):
            broom.remove(removals)
    print(f"{len(removals)} things, {total:.1f} MiB {'removed' if yes else 'would be removed; --yes removes them'}")


def demo(
    full: Annotated[bool, typer.Option("--full", help="and a detector teacher: eight cells, three seeds")] = False,
    runs: Runs = None,
    data: Data = None,
) -> None:
    """Scenes, a classifier teacher, four students, a report: 12 minutes on two cores (--full: two hours), resumable."""
    import time

    from rich.console import Console

    from sweeps.demo import make_report, run_demo
    from sweeps.demo_table import gates, shown

    begun = time.monotonic()
    place = _place(runs, data, WhereTo.local, None)
    found = run_demo(place.runs, place.data, full, _line)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(shown(found))
    checked = gates(found)
    for holds, sentence in checked:
        console.print(f"{'gate holds' if holds else 'GATE FAILS'}: {sentence}", soft_wrap=True)
    teachers = [found.teacher, *([found.detector] if found.detector else [])]
    for folder in [*teachers, *(run for cell in found.cells for run in cell.runs)]:
        console.print(f"  {folder.path}", soft_wrap=True)
    code = make_report(found.definition.name, place.runs, place.data)
    console.print(f"{(time.monotonic() - begun) / 60:.1f} minutes in this call")
    if code or not all(holds for holds, _ in checked):
        raise typer.Exit(1)


def _place(runs: Path | None, data: Path | None, where: WhereTo, profile: str | None) -> Workspace:
    from c2d.specs.resolve_spec import store
    from sweeps.actions.submit import Workspace
    from sweeps.definition.profile import load_profile

    named = profile or os.environ.get("C2D_PROFILE") or ("cpu" if where is WhereTo.local else None)
    root = data or Path(os.environ.get("C2D_DATA") or "data")
    return Workspace(store(runs).absolute(), root.absolute(), where.value, load_profile(named))


def _line(line: str) -> None:
    print(line, flush=True)


def _flush(lines: list[str], verbose: bool) -> None:
    """Print the reasons collected so far: all of them, or counts when they are many."""
    if lines and (verbose or len(lines) <= SHOWN):
        print("\n".join(lines), flush=True)
    elif lines:
        counts: dict[str, int] = {}
        for line in lines:
            key = " ".join(line.split()[:2] if line.startswith("->") else line.split()[:1])
            counts[key] = counts.get(key, 0) + 1
        print(
            "\n".join(f"{count:7} {key}" for key, count in counts.items()) + "\n(-v: a line for every run)", flush=True
        )
    lines.clear()


def _show(rows: list[Row], verbose: bool) -> None:
    from sweeps.actions.submit import plan_lines

    _flush(plan_lines(rows, {row.run.id for row in rows if row.launch}), verbose)
    counts = {state: sum(row.state == state for row in rows) for state in dict.fromkeys(row.state for row in rows)}
    print(", ".join(f"{count} {state}" for state, count in counts.items()) or "no run fits")

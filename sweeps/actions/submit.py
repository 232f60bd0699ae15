"""From a definition to launched runs: expand, check, record, plan, and pass the new runs to a launcher.

Two shells may submit the same sweep at once: planning and writing job.json happen under one lock of the store.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from c2d.core import json_values, regular_file
from c2d.core.archives.remade_run import reopen
from c2d.core.errors import InputError
from c2d.core.job_file import write_job
from c2d.core.json_values import SMALL_BYTES
from c2d.core.regular_file import file_state
from c2d.core.run_folder import atomic_write_json
from c2d.core.store_folder import RunStore
from c2d.core.sweep_manifest import write_manifest
from c2d.specs.names import look_up_names, names_in
from c2d.specs.spec import RunSpec
from c2d.tracking.tracker_option import check_trackers, parse_trackers
from sweeps.actions.code_of_runs import rows_with_code
from sweeps.actions.row_filters import filter_rows
from sweeps.actions.tasks import rows_to_launch, tasks_of
from sweeps.actions.workspace import Workspace, submission_lock
from sweeps.checks.check_sweep import Problem, check_sweep
from sweeps.definition.definition import Definition
from sweeps.definition.expand import Grid, expand
from sweeps.definition.profile import Profile, store_profile
from sweeps.launchers import LAUNCHERS
from sweeps.launchers.hold_back import hold_back_students
from sweeps.launchers.launch_request import LaunchRequest, PrintLine, Task
from sweeps.launchers.local_jobs import write_local_jobs
from sweeps.launchers.recover_submission import recover_submissions
from sweeps.launchers.snapshot import take_snapshot
from sweeps.notification.end_job import NO_PLACE, ensure_end_job, has_message
from sweeps.notification.end_of_sweep import send_after_local
from sweeps.scheduler import queue
from sweeps.state.manifest import build_manifest, load_manifest, with_launcher
from sweeps.state.plan import Row, damaged_lines, mark_damaged, read_plan, with_needs

WRITERS = 8  # threads; a disk flushes eight files about as fast as one


def resolve(definition: Definition, workspace: Workspace) -> Grid:
    """Expand a definition into every cell, with its run id.

    Raises:
        InputError: the file or a cell is wrong; all mistakes in one message.
    """
    cells = definition.cells()
    lookup = look_up_names(names_in(cell.values for cell in cells), workspace.runs, workspace.data)
    return expand(definition, cells, lookup)


def specs_of(grid: Grid) -> dict[str, RunSpec]:
    """Return {run id: spec}, teachers first."""
    return {spec.id: spec for spec in grid.teachers} | {cell.run: cell.spec for cell in grid.cells}


def notes_of(grid: Grid) -> list[str]:
    """Return lines on what a definition asks for: schedules that are scaled, runs that are not trained."""
    loaded = [f"{run} needs evaluation only ({spec.init})" for run, spec in specs_of(grid).items()
              if spec.is_evaluation_only]  # fmt: skip
    return [*grid.scaled, *loaded]


def plan_sweep(definition: Definition, grid: Grid, runs: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return (record, rows) of a definition as it would be submitted now. Writes nothing.

    Raises:
        InputError: a folder of the store has the id of a run and another spec.
    """
    earlier = None
    if file_state(RunStore(runs).manifest(definition.name)) is not None:
        with suppress(InputError):  # damaged, or of an older format: it is written again
            earlier = load_manifest(runs, definition.name)
    record = build_manifest(definition, grid, earlier)
    rows, _ = read_plan(record, runs)
    specs = specs_of(grid)
    there = [row.run for row in rows if row.run.id in specs and file_state(row.run.spec) is not None]
    stored = {run.id: json_values.read_json(run.spec, SMALL_BYTES) for run in there}
    for run, spec in stored.items():
        if not isinstance(spec, regular_file.Problem) and spec != json.loads(json.dumps(specs[run].to_json())):
            raise InputError(
                f"{runs / run} has the id of a run of this sweep and another spec; move it away, or use another --runs"
            )
    problems = {run: spec for run, spec in stored.items() if isinstance(spec, regular_file.Problem)}
    return record, mark_damaged(rows, problems)


def submit_sweep(
    definition: Definition,
    workspace: Workspace,
    *,
    filters: Sequence[str] = (),
    limit: int | None = None,
    canary: int | None = None,
    forward: bool = True,
    print_line: PrintLine,
    print_run: PrintLine | None = None,
    at_once: int | None = None,
    check: bool = True,
    code: Callable[[], str] | None = None,
) -> int:
    """Launch the runs of a sweep that are neither done nor running; return the launcher's exit code.

    Args:
        filters: `axis=label` texts, see `row_filters`.
        limit: most runs to launch; their teachers are launched in addition.
        canary: iterations that one cell trains first; the rest starts only if that succeeds.
        forward: run one training step of every structure before anything is launched.
        print_line: called with a line about each step.
        print_run: called with a line per run: its state and the reason. Default: `print_line`.
        at_once: processes of the local launcher.
        check: check the runs before; False where an earlier part of the same submission was checked.
        code: returns the digest of the code for new runs. Default: takes a snapshot of the current code.

    Raises:
        InputError: something is wrong with the sweep; nothing was launched and nothing written.
        slurm_command.Unreachable: SLURM does not answer; as above.
    """
    print_run = print_run or print_line
    grid = resolve(definition, workspace)
    record, rows = plan_sweep(definition, grid, workspace.runs)
    chosen = rows_to_launch(rows, filters, limit)
    if chosen and check:
        _check_tracking(workspace)
        _check_chosen(definition, grid, rows, chosen, workspace, forward, print_line)
    if workspace.where == "dry":
        tasks = tasks_of(chosen, definition, canary, workspace.profile)
        _print_plan(rows, tasks, filters, print_run)
        request = _launch_request(definition.name, tasks, workspace, snapshot="")
        specs = {run: spec.to_json() for run, spec in specs_of(grid).items()}
        return LAUNCHERS["dry"](replace(request, specs=specs), print_line)
    if workspace.where == "slurm" and chosen:
        queue.check_controller()
    with submission_lock(workspace.runs):
        # Everything is planned again under the lock: another shell may have launched some of these runs since.
        recover_submissions(specs_of(grid), workspace.runs)
        record, rows = plan_sweep(definition, grid, workspace.runs)
        chosen = rows_to_launch(rows, filters, limit)
        usable = rows_with_code(chosen, workspace.runs, print_line, started=True)
        left_out = int(len(usable) < len(chosen))
        tasks = tasks_of(usable, definition, canary, workspace.profile)
        _print_plan(rows, tasks, filters, print_run)
        write_manifest(workspace.runs, with_launcher(record, workspace.where, workspace.profile.name))
        _write_specs([*chosen, *_without_spec(rows)], specs_of(grid))
        for row in chosen:
            if row.run.is_done:  # a teacher without weights
                reopen(row.run)
        for row in rows:
            if row.is_deleted and row.state == "waiting" and row.job is not None:
                write_job(row.run, row.job)
                print_line(f"{row.run.id}: its run folder was deleted, is written again; job {row.job.job} still waits")
        _print_orphans(record, rows, print_line)
        for line in damaged_lines(rows):
            print_line(line)
        if not tasks:
            print_line(_nothing_to_launch(definition.name, rows))
            return left_out
        if workspace.profile.track:
            print_line(f"tracked by {', '.join(workspace.profile.track)}")
        request = _launch_request(definition.name, tasks, workspace, code() if code else take_snapshot(workspace.runs))
        if count := sum(task.snapshot not in ("", request.snapshot) for task in tasks):
            print_line(
                f"{count} runs continue with the code of their start (to update: retry --state waiting --update-code)"
            )
        store_profile(workspace.runs, definition.name, workspace.profile)
        if workspace.where == "slurm":
            exit_code = LAUNCHERS["slurm"](request, print_line)
            hold_back_students([task.run for task in request.tasks], workspace.runs, print_line)
            if has_message(workspace.profile) and not ensure_end_job(workspace.runs, definition.name, print_line):
                print_line(NO_PLACE)
            return max(left_out, exit_code)
        write_local_jobs(request)
    exit_code = run_local(request, print_line, at_once)  # without the lock: it returns when the runs have ended
    send_after_local(workspace.runs, definition.name, workspace.profile, print_line)
    if exit_code == 0:
        count = len({task.run for task in request.tasks})
        print_line(f"{count} runs done; `c2d sweep status {request.sweep}` shows all of them")
    return max(left_out, exit_code)


def _nothing_to_launch(sweep: str, rows: Iterable[Row]) -> str:
    """Return why nothing is launched, where a person has to do something about it."""
    counts = Counter("unknown" if row.is_last_known else row.state for row in rows)
    failed, unknown = counts["failed"] + counts["blocked"], counts["unknown"]
    line = "nothing to launch"
    if unknown:
        line += f"; SLURM does not answer, the state of {unknown} runs is unknown: repeat the command later"
    if failed:
        line += f"; {failed} failed or blocked: `c2d sweep triage {sweep}` shows why"
    return line


def run_local(request: LaunchRequest, print_line: PrintLine, at_once: int | None = None) -> int:
    """Run the local launcher, which returns when the runs have ended; return its exit code."""
    from sweeps.launchers import local

    return local.launch(request, print_line, at_once=at_once)


def problem_error(definition: Definition, problems: Iterable[Problem]) -> InputError:
    """Return the error of a check that found problems: all of them, one a line."""
    listed = list(problems)
    head = f"{definition.source}: {len(listed)} problem{'s' if len(listed) > 1 else ''}, nothing was launched"
    return InputError(head, *(f"  {problem.where}: {problem.message}" for problem in listed))


def plan_lines(rows: list[Row], launched: set[str]) -> list[str]:
    """Return one line per run: whether it is launched, its state, id, cell and reason.

    Args:
        launched: ids of the runs that are launched.
    """
    lines = []
    for row in rows:
        mark = "->" if row.run.id in launched else "  "
        cell = ", ".join(f"{axis}={label}" for axis, label in row.cells[0].items()) if row.cells else row.label
        more = f" (+{len(row.cells) - 1} equal)" if len(row.cells) > 1 else ""
        lines.append(f"{mark} {row.state:8} {row.run.id}  [{cell}{more}]  {row.reason}")
    return lines


def _check_chosen(
    definition: Definition,
    grid: Grid,
    rows: list[Row],
    chosen: list[Row],
    workspace: Workspace,
    forward: bool,
    print_line: PrintLine,
) -> None:
    """Check the chosen runs and what they need only: a run that is done, or is not launched, delays no other."""
    wanted = {row.run.id for row in chosen}
    needed = with_needs(wanted, rows)
    cells = [cell for cell in grid.cells if cell.run in wanted]
    part = Grid(cells, [spec for spec in grid.teachers if spec.id in needed])
    profile: Profile | None = workspace.profile if workspace.where != "local" else None
    problems = check_sweep(definition, part, workspace.runs, workspace.data, profile, forward, print_line)
    if problems:
        raise problem_error(definition, problems)


def _check_tracking(workspace: Workspace) -> None:
    """Check the trackers of the profile; where jobs have another Python, not their packages."""
    is_own_python = workspace.where == "local" or workspace.profile.python is None
    check_trackers(parse_trackers(workspace.profile.track), workspace.runs, packages=is_own_python)


def _write_specs(chosen: list[Row], specs: dict[str, RunSpec]) -> None:
    new = [row.run for row in chosen if not row.run.spec.is_file()]
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda run: atomic_write_json(run.spec, specs[run.id].to_json()), new))


def _without_spec(rows: list[Row]) -> list[Row]:
    """Return the rows whose folder has lost its spec, or is lost while the job waits. A job that runs stops first."""
    return [row for row in rows if (row.is_deleted and row.state == "waiting") or (row.job and not row.is_deleted)]


def _print_orphans(record: dict[str, Any], rows: list[Row], print_line: PrintLine) -> None:
    active = sum(row.kind == "orphan" for row in rows)
    if record["orphans"]:
        line = f"{len(record['orphans'])} runs of earlier versions of this sweep are no longer in it and are kept"
        print_line(line + (f"; {active} of them wait or run (`c2d sweep cancel` stops them)" if active else ""))


def _launch_request(sweep: str, tasks: list[Task], workspace: Workspace, snapshot: str) -> LaunchRequest:
    runs, data = workspace.runs.absolute(), workspace.data.absolute()
    return LaunchRequest(sweep, runs, data, tasks, workspace.profile, snapshot)


def _print_plan(rows: list[Row], tasks: list[Task], filters: Sequence[str], print_run: PrintLine) -> None:
    """Print a line for each launched run and each run that the filters select; for all runs without filters."""
    launched = {task.run.id for task in tasks}
    listed = launched | {row.run.id for row in filter_rows(rows, filters)}
    for line in plan_lines([row for row in rows if row.run.id in listed], launched):
        print_run(line)

"""From a definition to launched runs: expand, check, record, plan, and hand what is new to a launcher.

Two shells may submit the same sweep at once: planning and claiming happen under one lock of the store.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import SoftFileLock, Timeout

from c2d.core.errors import InputError
from c2d.core.job_file import Job, read_job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.store_folder import SWEEPS, sweep_record_path
from c2d.specs.resolve_spec import gather
from c2d.specs.spec import RunSpec
from sweeps.actions import select_retries
from sweeps.actions.tasks import tasks_of, to_launch
from sweeps.checks.check_sweep import Problem, check
from sweeps.definition.definition import Definition
from sweeps.definition.expand import Grid, expand, mentions
from sweeps.definition.profile import Profile, store_profile
from sweeps.launchers import LAUNCHERS
from sweeps.launchers.launch_request import LaunchRequest, PrintLine, Task
from sweeps.launchers.snapshot import take_snapshot
from sweeps.state.manifest import read_record, record_of, write_record
from sweeps.state.plan import Row, survey

Where = Literal["dry", "local", "slurm"]
LOCK_WAIT_S = 60.0


@dataclass(frozen=True)
class Workspace:
    """Where runs and data lie, and where runs are launched."""

    runs: Path
    data: Path
    where: Where
    profile: Profile


def resolve(definition: Definition, place: Workspace) -> Grid:
    """Every cell of a definition, with its run id.

    Raises:
        InputError: whatever is wrong with the file or with a cell; all of it in one message.
    """
    return expand(definition, gather(mentions(definition), place.runs, place.data))


def specs_of(grid: Grid) -> dict[str, RunSpec]:
    """{run id: spec}, teachers first."""
    return {spec.id: spec for spec in grid.teachers} | {cell.run: cell.spec for cell in grid.cells}


def plan(definition: Definition, grid: Grid, runs: Path) -> tuple[dict[str, Any], list[Row]]:
    """(record, rows) of a definition as it would be submitted now. Nothing of it is written.

    Raises:
        InputError: a folder of the store holds another question under the same id.
    """
    before = None
    if sweep_record_path(runs, definition.name).is_file():
        with suppress(InputError):  # damaged, or of an older format: it is written anew
            before = read_record(runs, definition.name)
    record = record_of(definition, grid, before)
    rows, _ = survey(record, runs)
    asked = specs_of(grid)
    for row in rows:
        if row.run.spec.is_file() and row.run.id in asked:
            _compare(row.run, asked[row.run.id])
    return record, rows


def submit(
    definition: Definition,
    place: Workspace,
    *,
    filters: Sequence[str] = (),
    limit: int | None = None,
    canary: int | None = None,
    forward: bool = True,
    print_line: PrintLine,
    explain: PrintLine | None = None,
    at_once: int | None = None,
) -> int:
    """Launch what a sweep has promised and nobody runs yet; returns the launcher's exit code.

    Args:
        filters: `axis=label`; several values of one axis mean or, several axes and.
        limit: so many runs at most (their teachers come on top).
        canary: one cell trains so many iterations first; the rest starts only if that went well.
        forward: rehearse one forward of every structure before anything is launched.
        say: takes a line about what is done.
        explain: takes a line per run: its state and the reason. Default: `print_line`.
        at_once: local launcher: processes at once.
    Raises:
        InputError: something is wrong with the sweep; nothing was launched and nothing written.
    """
    grid = resolve(definition, place)
    record, rows = plan(definition, grid, place.runs)
    chosen = to_launch(rows, filters, limit)
    if chosen:
        wanted = {row.run.id for row in chosen}  # what is done, or fails for reasons of its own, holds up nobody else
        cells = [cell for cell in grid.cells if cell.run in wanted]
        needed = wanted | {need for row in chosen for need in row.needs}
        part = Grid(cells, [spec for spec in grid.teachers if spec.id in needed])
        problems = check(definition, part, place.runs, place.data, _profile_to_check(place), forward, print_line)
        if problems:
            raise InputError(report(definition, problems))
    if place.where == "dry":
        tasks = tasks_of(chosen, definition, canary)
        _explain(rows, tasks, filters, explain or print_line)
        request = _order(definition.name, tasks, place, digest="")
        questions = {run: spec.to_json() for run, spec in specs_of(grid).items()}
        return LAUNCHERS["dry"](replace(request, questions=questions), print_line)
    with submission_lock(place.runs):
        recover_submissions(specs_of(grid), place.runs)
        record, rows = plan(definition, grid, place.runs)
        chosen = to_launch(rows, filters, limit)
        tasks = tasks_of(chosen, definition, canary)
        _explain(rows, tasks, filters, explain or print_line)
        write_record(place.runs, record)
        asked = specs_of(grid)
        fresh = [row.run for row in chosen if not row.run.spec.is_file()]
        with ThreadPoolExecutor(8) as writers:  # a disk flushes eight files about as fast as one
            list(writers.map(lambda run: atomic_write_json(run.spec, asked[run.id].to_json()), fresh))
        _tell_orphans(record, rows, print_line)
        if not tasks:
            print_line("nothing to launch")
            return 0
        request = _order(definition.name, tasks, place, take_snapshot(place.runs))
        if begun := sum(task.snapshot not in ("", request.snapshot) for task in tasks):
            print_line(
                f"{begun} runs continue with the code they have begun with (retry --state waiting --update-code: not)"
            )
        store_profile(place.runs, definition.name, place.profile)
        if place.where == "slurm":
            return LAUNCHERS["slurm"](request, print_line)
        write_local_jobs(request)
    code = run_local(request, print_line, at_once)
    if code == 0:
        print_line(
            f"{len({task.run for task in request.tasks})} runs done; `c2d sweep status {request.sweep}` shows all of them"
        )
    return code


@contextmanager
def submission_lock(runs: Path) -> Iterator[None]:
    """One submission at a time in a store, also over a network file system."""
    path = runs / SWEEPS / ".submission.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(path)
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout:
        who = " on ".join(path.read_text().splitlines()[:2]) if path.exists() else "another shell"
        raise InputError(
            f"another submission to {runs} is under way (pid {who}); wait for it, or remove {path} if it is gone"
        ) from None
    try:
        yield
    finally:
        lock.release()


def recover_submissions(ids: Iterable[str], runs: Path) -> None:
    """Find out what became of launches whose launcher died before it knew the job's number. Under the lock."""
    from sweeps.launchers.recover_submission import recover_submission

    for name in ids:
        job = read_job(RunFolder(runs / name))
        if job is not None and job.state == "submitting":
            recover_submission(job)


def write_local_jobs(request: LaunchRequest) -> None:
    """Mark the runs of a local order as taken, so that no other shell launches them as well."""
    for task in request.tasks:
        before = read_job(task.run)
        write_job(
            task.run,
            Job(
                sweep=request.sweep,
                where="local",
                state="submitted",
                name=f"c2d-{request.sweep}-local-{os.getpid()}",
                profile=request.profile.name,
                size=task.size,
                gpus=request.profile.all_gpus,
                threads=before.threads if before and before.where == "local" else 0,
                data=str(request.data),
                snapshot=task.snapshot or request.snapshot,
                depends=list(task.after),
                submissions=1 + (before.submissions if before else 0),
                submitted=datetime.now(UTC).isoformat(timespec="seconds"),
                host=socket.gethostname(),
                pid=os.getpid(),
            ),
        )


def report(definition: Definition, problems: Iterable[Problem]) -> str:
    """All problems of a check, one a line."""
    found = list(problems)
    lines = "\n".join(f"  {problem.where}: {problem.message}" for problem in found)
    return f"{definition.source}: {len(found)} problem{'s' if len(found) > 1 else ''}, nothing was launched\n{lines}"


def run_local(request: LaunchRequest, print_line: PrintLine, at_once: int | None = None) -> int:
    """The local launcher, outside of the lock: it returns when the runs have ended."""
    from sweeps.launchers import local

    return local.launch(request, print_line, at_once=at_once)


def _profile_to_check(place: Workspace) -> Profile | None:
    return place.profile if place.where != "local" else None


def _compare(run: RunFolder, spec: RunSpec) -> None:
    if read_json(run.spec) != json.loads(json.dumps(spec.to_json())):
        raise InputError(
            f"{run.path} holds another question than the sweep asks under that id; move that folder away, or use "
            "another --runs"
        )


def _tell_orphans(record: dict[str, Any], rows: list[Row], print_line: PrintLine) -> None:
    live = sum(row.kind == "orphan" for row in rows)
    if record["orphans"]:
        said = f"{len(record['orphans'])} runs of earlier versions of this sweep are no longer asked for and are kept"
        print_line(said + (f"; {live} of them wait or run (`c2d sweep cancel` stops them)" if live else ""))


def _order(sweep: str, tasks: list[Task], place: Workspace, digest: str) -> LaunchRequest:
    return LaunchRequest(sweep, place.runs.absolute(), place.data.absolute(), tasks, place.profile, digest)


def plan_lines(rows: list[Row], launched: set[str]) -> list[str]:
    """A line per run: what happens to it, its state, its id, its cell and the reason."""
    lines = []
    for row in rows:
        mark = "->" if row.run.id in launched else "  "
        cell = ", ".join(f"{axis}={label}" for axis, label in row.cells[0].items()) if row.cells else row.kind
        more = f" (+{len(row.cells) - 1} equal)" if len(row.cells) > 1 else ""
        lines.append(f"{mark} {row.state:8} {row.run.id}  [{cell}{more}]  {row.reason}")
    return lines


def _explain(rows: list[Row], tasks: list[Task], filters: Sequence[str], print_line: PrintLine) -> None:
    """A line for what is launched and for what the filters mean; all of it without filters."""
    launched = {task.run.id for task in tasks}
    meant = launched | {row.run.id for row in select_retries.filtered(rows, filters)}
    for line in plan_lines([row for row in rows if row.run.id in meant], launched):
        print_line(line)

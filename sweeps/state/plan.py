"""The plan of a sweep: every planned run with its state (`sweeps.state.state_rules`) and the reason.

Run folders hold most of it, so a plan needs neither SLURM nor a running launcher. What SLURM reports is added where it
is available. Nothing is written here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from c2d.core.archives.remade_run import LOST
from c2d.core.job_file import Job
from c2d.core.regular_file import Problem
from c2d.core.run_folder import RunFolder
from c2d.core.sweep_manifest import Labels, PlannedRun, planned_runs
from sweeps.scheduler.queue import JobFacts
from sweeps.state.lost_launches import DELETED, REWRITTEN
from sweeps.state.run_facts import RunFacts, is_live, is_queued
from sweeps.state.run_files import RunFiles, deciding_canary, is_damaged
from sweeps.state.run_reader import RunReader
from sweeps.state.state_rules import State, decide

NO_LAUNCHES: Mapping[str, Job] = {}


@dataclass(frozen=True)
class Row:
    """One run of a plan.

    Attributes:
        run: its folder, which a new run does not have yet.
        kind: teacher, student, or orphan: planned by an earlier version of the sweep only.
        cells: {axis: label, ..., "seed": "0"} of every cell that the run fills; equal cells are one run.
        state: by the rules of `sweeps.state.state_rules`; blocked by its teachers as well.
        launch: whether `submit` starts the run, or continues it.
        status: status.json. job: job.json; None when no launcher started the run.
        failure_class: of a failed run, a key of `c2d.core.failure_classes.FAILURE_CLASSES`.
        needs: ids of the teachers that must be done before.
        is_last_known: SLURM did not answer, and the state is that of an earlier time, which the reason has.
        silence: why SLURM did not answer about its job; "" if it did, or was not asked.
        problems: files of the run that cannot be used. Where one of them decides the state, the run is damaged.
        is_backbone: it is a teacher whose weights a student's backbone starts from.
        is_deleted: its run folder was deleted while its job waits or runs; `job` is what its submission recorded.
        canary: the launch of its canary while that waits, runs, or has failed: the state is then that of the canary.
    """

    run: RunFolder
    kind: Literal["teacher", "student", "orphan"]
    cells: tuple[Labels, ...]
    state: State
    reason: str
    launch: bool
    status: dict[str, Any]
    job: Job | None = None
    failure_class: str | None = None
    needs: tuple[str, ...] = ()
    is_last_known: bool = False
    silence: str = ""
    problems: tuple[Problem, ...] = ()
    canary: Job | None = None
    is_deleted: bool = False
    is_backbone: bool = False

    @property
    def label(self) -> str:
        """What the run is, for lines without a cell: teacher, backbone, student or orphan."""
        return "backbone" if self.is_backbone else self.kind

    @property
    def deciding_job(self) -> Job | None:
        """The launch that the state is about: that of its canary, else that of the whole run."""
        return self.canary or self.job

    @property
    def is_released(self) -> bool:
        """Whether SLURM removed its job when a job that it waited for failed, and nothing blocks it any more.

        Of the runs with a job of SLURM, these are the only ones that wait without being in a queue.
        """
        job = self.job
        return (
            self.state == "waiting" and self.launch and job is not None and job.where == "slurm" and bool(job.depends)
        )


def read_plan(
    manifest: Mapping[str, Any], runs: Path, reader: RunReader | None = None
) -> tuple[list[Row], dict[str, JobFacts]]:
    """Return the rows of a sweep as they are now, and what SLURM reports of its jobs.

    Of the orphans, only those that still wait or run are listed. Without an answer of SLURM, the state of a run that
    depends on it is the last known one (`Row.is_last_known`).

    Args:
        manifest: see `c2d.core.sweep_manifest`.
        runs: the store.
        reader: reads the run folders and SLURM; None: everything is read now.
    """
    reader = reader or RunReader()
    planned = planned_runs(manifest)
    ids = _ids(planned)
    files = reader.files(ids, runs)
    lost = reader.lost(ids, files, runs)
    submitted = [job for one in files.values() for job in one.unfinished_jobs]
    answer = reader.jobs([*submitted, *(job.job for job in lost.values() if job.job)])
    rows = plan_rows(
        planned, runs, answer.facts, queue_answered=not answer.silence, lost=lost, files=files, reader=reader
    )
    if answer.silence:
        asked = (row.deciding_job is not None and row.deciding_job.job is not None for row in rows)
        rows = [replace(row, silence=answer.silence) if one else row for row, one in zip(rows, asked, strict=True)]
    return [row for row in rows if row.kind != "orphan" or _is_active(row)], answer.facts


def plan_rows(
    planned: Iterable[PlannedRun],
    runs: Path,
    facts: Mapping[str, JobFacts],
    *,
    queue_answered: bool,
    now: float | None = None,
    lost: Mapping[str, Job] = NO_LAUNCHES,
    files: Mapping[str, RunFiles] | None = None,
    reader: RunReader | None = None,
) -> list[Row]:
    """Return a row for every planned run, in their order.

    Args:
        planned: teachers before the students that need them.
        runs: the store.
        facts: what SLURM reports, by job id.
        queue_answered: whether SLURM has answered; if not, a submitted job keeps its last known state.
        now: seconds since the epoch; the clock's where it is None.
        lost: launches of runs whose folder was deleted (`sweeps.state.lost_launches`).
        files: of the runs and the teachers they need, where they are read already.
        reader: decides, and reads the files otherwise; None: everything is read now.
    """
    reader = reader or RunReader()
    clock = time.time() if now is None else now
    entries = list(planned)
    files = reader.files(_ids(entries), runs) if files is None else files
    # A teacher may be planned by another sweep alone, or by none any more: its run folder has its state.
    own = {entry.run for entry in entries}
    others = {need: PlannedRun(need, "teacher") for entry in entries for need in entry.needs if need not in own}
    rows: dict[str, Row] = {}
    for entry in [*others.values(), *entries]:
        run = files[entry.run].run if entry.run in files else RunFolder(runs / entry.run)
        row = Row(
            run, entry.kind, entry.cells, "new", "no run folder yet", True, {"state": "waiting"}, needs=entry.needs,
            is_backbone=entry.is_backbone,
        )  # fmt: skip
        if entry.run in files:
            row = _decided(row, files[entry.run], facts, queue_answered, clock, reader)
        if entry.run in lost and row.state != "done":
            row = _deleted(row, lost[entry.run], facts, queue_answered, clock)
        rows[entry.run] = row
    return [row for row in _with_blocked(_with_remade(rows, own)).values() if row.run.id in own]


def mark_damaged(rows: Iterable[Row], problems: Mapping[str, Problem]) -> list[Row]:
    """Return the rows, those with a problem as damaged and the students of damaged teachers as blocked.

    Args:
        rows: teachers before the students that need them.
        problems: {run id: a file of it that cannot be used}, found after the plan was made.
    """
    found: dict[str, Row] = {}
    for row in rows:
        problem = problems.get(row.run.id)
        row = row if problem is None else _damaged(row, [*row.problems, problem])
        found[row.run.id] = _blocked_by_teacher(row, found)
    return list(found.values())


def with_needs(run_ids: Iterable[str], rows: Iterable[Row]) -> set[str]:
    """Return run ids with all that they need, at any depth: a student its synthesis, and that its detector.

    What a finished run needed is left out.

    Args:
        run_ids: of rows.
        rows: of the sweep.
    """
    by_id = {row.run.id: row for row in rows}
    found: set[str] = set()
    left = list(run_ids)
    while left:
        run = left.pop()
        if run not in found:
            found.add(run)
            left += by_id[run].needs if run in by_id and by_id[run].state != "done" else ()
    return found


def damaged_lines(rows: Iterable[Row]) -> list[str]:
    """Return a line for each damaged run, which every command leaves out."""
    return [f"warning: {row.run.id} is damaged and left out: {row.reason}" for row in rows if row.state == "damaged"]


def _ids(planned: Iterable[PlannedRun]) -> list[str]:
    """Return the ids of runs and of the teachers they need, each once."""
    return list(dict.fromkeys(name for entry in planned for name in (entry.run, *entry.needs)))


def _is_active(row: Row) -> bool:
    return row.state in ("waiting", "running") and not row.launch


def _decided(
    row: Row, files: RunFiles, facts: Mapping[str, JobFacts], queue_answered: bool, now: float, reader: RunReader
) -> Row:
    """Return the row of a run that has an entry in the store."""
    job, canary = files.job, deciding_canary(files, facts)
    launch = canary or job
    slurm = facts.get(launch.job) if launch is not None and launch.job is not None else None
    found = RunFacts(row.run, files.status, launch, slurm, queue_answered, now, facts)
    if is_damaged(files, found):
        return _damaged(replace(row, job=job, canary=canary), files.problems)
    decision = reader.decision(found)
    if canary is not None:
        decision = decision._replace(reason=f"canary: {decision.reason}")
    return replace(row, status=files.status, job=job, canary=canary, problems=files.problems, **decision._asdict())


def _deleted(row: Row, job: Job, facts: Mapping[str, JobFacts], queue_answered: bool, now: float) -> Row:
    """Return the row of a run whose folder was deleted: its job may still wait or run."""
    found = RunFacts(row.run, row.status, job, facts.get(job.job or ""), queue_answered, now, facts)
    if is_queued(found) or is_live(found) or not queue_answered:
        todo = (
            "`submit` writes it again"
            if not is_live(found)
            else "the job stops at its next heartbeat; then submit again"
        )
        decision = decide(found)
        reason = f"{decision.reason}; {DELETED}, {todo}"
        return replace(row, job=job, is_deleted=True, **decision._replace(reason=reason)._asdict())
    if row.state in ("running", "damaged"):
        return row
    return replace(row, state="new", reason=REWRITTEN, launch=True, failure_class=None)


def _damaged(row: Row, problems: Sequence[Problem]) -> Row:
    reason = "; ".join(f"{problem.path.name} {problem.message}" for problem in problems)
    return replace(row, state="damaged", reason=reason, launch=False, problems=tuple(problems))


def _with_remade(rows: Mapping[str, Row], own: set[str]) -> dict[str, Row]:
    """Return the rows; a finished teacher without weights that a run still needs is new, as its teachers may be.

    Where no run of this plan is to be launched, its numbers are enough, and it stays done. A teacher that is planned
    elsewhere alone blocks its students.
    """
    found = dict(rows)
    left = [row for row in rows.values() if row.launch]
    while left:
        row = left.pop()
        for need in row.needs:
            teacher = found.get(need)
            if teacher is None or teacher.state != "done" or teacher.run.can_teach:
                continue
            if need in own:
                found[need] = replace(teacher, state="new", reason=LOST, launch=True)
                left.append(found[need])
            else:
                reason = f"blocked by {need}: its weights are not here, and it is planned by another sweep; submit that"
                found[row.run.id] = replace(row, state="blocked", reason=reason, launch=False)
    return found


def _with_blocked(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return the rows, blocked where a teacher is, in whatever order they are: a teacher's teacher blocks as well."""
    found = dict(rows)
    changed = True
    while changed:
        before = dict(found)
        found = {run: _blocked_by_teacher(row, before) for run, row in before.items()}
        changed = any(found[run].state != before[run].state for run in found)
    return found


def _blocked_by_teacher(row: Row, rows: Mapping[str, Row]) -> Row:
    """Return the row, blocked where a teacher failed or is blocked; the reason names the teacher."""
    if row.state in ("done", "running", "damaged", "blocked"):
        return row
    for need in row.needs:
        teacher = rows.get(need)
        if teacher is not None and teacher.state in ("failed", "blocked", "damaged"):
            reason = f"blocked by {need} ({teacher.failure_class or teacher.state})"
            return replace(row, state="blocked", reason=reason, launch=False, failure_class=None)
    return row

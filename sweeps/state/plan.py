"""Promised runs against the store and the queue: new, waiting, running, done, failed or blocked, each with its reason.

Run folders say most of it, so a plan needs neither SLURM nor a living launcher. What the queue knows is added where it
is at hand. Nothing is written here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from c2d.core.errors import InputError
from c2d.core.job_file import Job, read_job
from c2d.core.run_folder import RunFolder
from sweeps.failures import diagnose
from sweeps.scheduler import queue
from sweeps.scheduler.queue import JobFacts
from sweeps.state.manifest import Labels, Promise, promises

State = Literal["new", "waiting", "running", "done", "failed", "blocked"]
STATES: tuple[State, ...] = ("new", "waiting", "running", "done", "failed", "blocked")
STALE_S = 300.0
"""A heartbeat older than this is stale (architecture: 5 minutes)."""
LAG_S = 120.0
"""So long after a job's end its files may still be on their way through a network file system."""
ALIVE = "alive"
"""Touched by a local launcher in the folder of its submission."""
QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SUSPENDED", "RESIZING")
LIVE = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED")


@dataclass(frozen=True)
class Row:
    """One run of a sweep and where it stands.

    cells: {axis: label, ..., "seed": "0"} of every cell this run answers; equal cells are one run.
    launch: `submit` would start it, or continue it.
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


def look(
    promised: Iterable[Promise],
    runs: Path,
    facts: Mapping[str, JobFacts],
    *,
    queue_asked: bool,
    now: float | None = None,
) -> list[Row]:
    """A row for every promise, in their order.

    Args:
        promised: teachers before the students that need them.
        runs: the store.
        facts: what the queue knows, by job id.
        queue_asked: whether there is a queue that could know; without one, a submitted job is believed to wait.
        now: seconds since the epoch.
    """
    clock = time.time() if now is None else now
    here = {entry.name for entry in os.scandir(runs)} if runs.is_dir() else set()
    rows: dict[str, Row] = {}
    for promise in promised:
        run = RunFolder(runs / promise.run)
        if promise.run in here:
            row = _stand(run, promise, facts, queue_asked, clock)
        else:
            row = Row(run, promise.kind, promise.cells, "new", "not asked before", True, {"state": "waiting"})
        rows[promise.run] = _behind(row, promise, rows)
    return list(rows.values())


def survey(record: Mapping[str, Any], runs: Path) -> tuple[list[Row], dict[str, JobFacts]]:
    """(rows, what the queue knows) of a recorded sweep, now. A queue that does not answer is as good as none.

    Of the runs that are no longer asked for, those that still wait or run are listed.
    """
    promised = promises(record)
    facts: dict[str, JobFacts] = {}
    asked = False
    if (jobs := slurm_jobs(promised, runs)) and queue.available():
        with suppress(queue.Unreachable):
            facts, asked = queue.look_up(jobs), True
    rows = look(promised, runs, facts, queue_asked=asked)
    return [
        row for row in rows if row.kind != "orphan" or (row.state in ("waiting", "running") and not row.launch)
    ], facts


def slurm_jobs(promised: Iterable[Promise], runs: Path) -> list[str]:
    """Ids of the SLURM jobs that may still say something: those of runs that are not done."""
    found = []
    here = {entry.name for entry in os.scandir(runs)} if runs.is_dir() else set()
    for promise in promised:
        if promise.run in here:
            run = RunFolder(runs / promise.run)
            job = read_job(run)
            if job is not None and job.job is not None and _status(run)["state"] != "done":
                found.append(job.job)
    return found


def _status(run: RunFolder) -> dict[str, Any]:
    try:
        return run.read_status()
    except (InputError, OSError):  # damaged, or just being replaced on a slow file system
        return {"state": "waiting", "attempt": 0}


def _stand(run: RunFolder, promise: Promise, facts: Mapping[str, JobFacts], queue_asked: bool, now: float) -> Row:
    status, job = _status(run), read_job(run)
    fact = facts.get(job.job) if job is not None and job.job is not None else None

    def row(state: State, reason: str, launch: bool = False, failure_class: str | None = None) -> Row:
        return Row(run, promise.kind, promise.cells, state, reason, launch, status, job, failure_class, promise.needs)

    def failed() -> Row:
        found = diagnose.diagnose(diagnose.gather_evidence(run, fact))
        said = status.get("reason") or (found.lines[-1] if found.lines else _ending(fact))
        return row("failed", f"{found.failure_class}: {said}", failure_class=found.failure_class)

    state = status["state"]
    if state == "done" and run.result.exists():
        return row("done", f"finished {status.get('heartbeat', '')}".strip())
    ended = state != "running" if fact is None else fact.state not in (*LIVE, *QUEUED)
    if job is not None and job.state == "cancelled" and ended:
        return row("failed", "cancelled", failure_class="cancelled")
    if fact is not None and fact.state in QUEUED:
        return row("waiting", _queued(fact, status))
    if state == "running":
        if fact is not None and fact.state not in LIVE and fact.state != "COMPLETED":
            return failed()
        if _dead_here(status) and (fact is None or fact.state not in LIVE):
            if job is None or (job.where == "local" and _launcher_gone(job, now)):  # nobody was left to say so
                return row("waiting", f"killed, {_progress(status)}; continues from its checkpoint", launch=True)
            return failed()
        age = _age_s(status, now)
        if age > STALE_S and (fact is None or fact.state not in LIVE):
            return failed()
        stale = f", no heartbeat for {age / 60:.0f} min" if age > STALE_S else ""
        return row("running", f"{_progress(status)}{stale}")
    if fact is not None and fact.state in LIVE:
        return row("running", f"job {fact.job} on {fact.node or 'a node'}, starting")
    if state == "failed" and not launched_since(status, job):
        return failed()
    if job is None:
        if status.get("attempt"):
            return row("waiting", f"{status.get('reason') or 'interrupted'} ({_progress(status)})", launch=True)
        return row("new", "planned, never launched", launch=True)
    if job.where == "local":
        if _launcher_gone(job, now):
            if culprit := _gone(job, run.path.parent):
                return row("blocked", f"blocked by {culprit}")
            if status.get("attempt"):
                return row("waiting", f"interrupted, {_progress(status)}; its launcher is gone", launch=True)
            return row("new", "its launcher ended before its turn", launch=True)
        return row("waiting", f"in the local queue of pid {job.pid} on {job.host}")
    if job.state == "submitting":
        return row("waiting", f"submission under way as {job.name} (pid {job.pid} on {job.host})")
    if fact is None:
        if not queue_asked:
            return row("waiting", f"submitted as job {job.job}; no queue to ask here")
        if now - _seconds(job.submitted) < LAG_S:
            return row("waiting", f"submitted as job {job.job}, not yet in the queue's list")
        return failed()
    if fact.state == "COMPLETED" and (over_s := ended_ago_s(fact, now)) is not None and over_s <= LAG_S:
        return row("waiting", f"finishing: job {fact.job} is complete, its files are on their way")
    if fact.state == "CANCELLED" and fact.reason.startswith("Dependency"):
        culprit = _gone(job, run.path.parent)
        if culprit:
            return row("blocked", f"blocked by {culprit}")
        return row("waiting", "taken out of the queue by SLURM when what it waited for failed", launch=True)
    return failed()


def ended_ago_s(fact: JobFacts | None, now: float) -> float | None:
    """Seconds since SLURM called the job complete; 0 where it does not say when. None: it does not call it so."""
    if fact is None or fact.state != "COMPLETED":
        return None
    with suppress(ValueError, OverflowError):
        return max(0.0, now - datetime.fromisoformat(fact.started).timestamp() - (fact.elapsed_s or 0.0))
    return 0.0


def _gone(job: Job, runs: Path) -> str:
    """The canary that a run waited for and that failed, or ""."""
    for need in job.depends:
        canary = RunFolder(runs / need.removesuffix("#canary"))
        if need.endswith("#canary") and _status(canary)["state"] == "failed":
            return f"the canary {canary.id}"
    return ""


def _behind(row: Row, promise: Promise, before: Mapping[str, Row]) -> Row:
    """A run whose teacher failed is blocked; it says by whom."""
    if row.state in ("done", "running"):
        return row
    for need in promise.needs:
        teacher = before.get(need)
        if teacher is not None and teacher.state in ("failed", "blocked"):
            reason = f"blocked by {need} ({teacher.failure_class or teacher.state})"
            return Row(row.run, row.kind, row.cells, "blocked", reason, False, row.status, row.job, None, promise.needs)
    return row if row.needs else Row(**{**vars(row), "needs": promise.needs})


def _queued(fact: JobFacts, status: Mapping[str, Any]) -> str:
    again = f"requeued, continues at {_progress(status)}; " if status.get("attempt") else ""
    return f"{again}job {fact.job} {fact.state.lower()}" + (
        f" ({fact.reason})" if fact.reason not in ("", "None") else ""
    )


def _ending(fact: JobFacts | None) -> str:
    if fact is None:
        return "the job left the queue without a trace"
    return f"job {fact.job} ended as {fact.state}" + (f" with exit code {fact.exit_code}" if fact.exit_code else "")


def _launcher_gone(job: Job, now: float) -> bool:
    """A local launcher that has ended: by its pid on this host, elsewhere by the file it touches every half minute."""
    if job.host == socket.gethostname() and not _alive(job.pid):
        return True
    try:
        return bool(job.folder) and now - (Path(job.folder) / ALIVE).stat().st_mtime > STALE_S
    except OSError:
        return False


def _progress(status: Mapping[str, Any]) -> str:
    if status.get("iterations"):
        return f"iteration {status.get('iteration', 0)} of {status['iterations']}"
    return str(status.get("stage") or "starting")


def _age_s(status: Mapping[str, Any], now: float) -> float:
    return now - _seconds(str(status.get("heartbeat", "")))


def _seconds(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0


def launched_since(status: Mapping[str, Any], job: Job | None) -> bool:
    """True when a run was launched after status.json was last written."""
    return job is not None and _seconds(job.submitted) > _seconds(str(status.get("heartbeat", "")))


def _dead_here(status: Mapping[str, Any]) -> bool:
    """A process of this host that is gone needs no five minutes to be known as dead."""
    return status.get("host") == socket.gethostname() and not _alive(status.get("pid"))


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""Select the runs to launch again. Nothing is launched here: see sweeps/actions/relaunch.py.

The attempts of a run are counted in its attempts.jsonl, so the count survives every launcher. A failure that no process
on the node could record is recorded before the run is launched again; otherwise it could repeat without end.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from c2d.core import job_file
from c2d.core.errors import unknown_name
from sweeps.actions.row_filters import Filters, matches, parse_filters
from sweeps.failures.retry_policy import RULES, backoff_s, exhausted
from sweeps.state.plan import Row
from sweeps.state.state_rules import STATES


def select_retries(
    rows: Sequence[Row],
    *,
    classes: Collection[str] = (),
    states: Collection[str] = (),
    filters: Sequence[str] | Filters = (),
    ids: Collection[str] = (),
    limit: int | None = None,
    ignore_backoff: bool = False,
    now: float | None = None,
) -> list[Row]:
    """Return the rows to launch again, in the order of the plan: failed ones, and those that a failed teacher blocked.

    Without `classes` and `ids`, only failures that are retried automatically (retry_policy.AUTOMATIC), have attempts
    left and have waited for their back-off. A class or an id overrules all three.

    Args:
        classes: failure classes.
        states: states of the plan; `waiting` selects interrupted runs.
        filters: `axis=label` texts, or what `parse_filters` returns.
        ids: run ids, or beginnings of them.
        limit: most students; their teachers are returned in addition.
        ignore_backoff: do not wait for the back-off.
        now: seconds since the epoch.

    Raises:
        InputError: an unknown class, state, axis, label or id.
    """
    for name in classes:
        if name not in RULES:
            raise unknown_name("failure class", name, RULES)
    for name in states:
        if name not in STATES:
            raise unknown_name("state", name, STATES)
    rows = [row for row in rows if row.kind != "orphan"]
    labels = filters if isinstance(filters, Mapping) else parse_filters(rows, filters)
    by_id = {row.run.id: row for row in rows}
    named = set(_expand_ids(by_id, ids))
    clock = time.time() if now is None else now

    def is_selected(row: Row) -> bool:
        fits = (not classes or row.failure_class in classes) and (not states or row.state in states)
        return fits and (not ids or row.run.id in named) and matches(row, labels)

    def is_allowed(row: Row) -> bool:
        if row.state != "failed":
            return row.launch and row.state in states  # an interrupted run, selected by its state
        if classes or ids:
            return True
        return not exhausted(_class(row), deaths(row)) and (ignore_backoff or is_backoff_over(row, clock))

    chosen = {row.run.id for row in rows if is_selected(row) and is_allowed(row)}
    for row in reversed(rows):  # a blocked run is selected by retrying its failed teacher
        selected = row.run.id in named or (not ids and ("blocked" in states or (bool(labels) and not states)))
        if row.state == "blocked" and selected and (row.kind == "teacher" or matches(row, labels)):
            for need in row.needs:
                teacher = by_id.get(need)
                if teacher is None:
                    continue
                fits = not classes or teacher.failure_class in classes
                if fits and teacher.state == "failed" and is_allowed(teacher):
                    chosen.add(need)
                elif teacher.state == "blocked":
                    named.add(need)
    for row in rows:  # teachers come before their students, so one pass is enough
        failed = [need for need in row.needs if need in by_id and by_id[need].state in ("failed", "blocked")]
        failed += [run for run in canary_runs(row) if run in by_id and by_id[run].state == "failed"]
        released = row.state == "blocked" and all(need in chosen for need in failed)
        selected = not ids or row.run.id in named or bool(named & set(failed))
        if released and selected and (row.kind == "teacher" or matches(row, labels)):
            chosen.add(row.run.id)
    return _limited([row for row in rows if row.run.id in chosen], limit)


def _expand_ids(run_ids: Collection[str], texts: Collection[str]) -> list[str]:
    """Return the run ids that the texts name or begin."""
    expanded = []
    for text in texts:
        fits = [text] if text in run_ids else [run for run in run_ids if text and run.startswith(text)]
        if not fits:
            raise unknown_name("run of this sweep", text, run_ids)
        expanded += fits
    return expanded


def _limited(chosen: list[Row], limit: int | None) -> list[Row]:
    if limit is None:
        return chosen
    students = [row for row in chosen if row.kind == "student"][:limit]
    needed = {need for row in students for need in row.needs}
    teachers = [row for row in chosen if row.kind == "teacher"]
    return ([row for row in teachers if row.run.id in needed] + students) if students else teachers[:limit]


def canary_runs(row: Row) -> list[str]:
    """Return the runs whose canary the row waited for at its last launch."""
    depends = row.job.depends if row.job is not None else []
    return [need.removesuffix("#canary") for need in depends if need.endswith("#canary")]


def is_backoff_over(row: Row, now: float) -> bool:
    """Return whether the back-off after a row's newest failure has passed.

    Args:
        now: seconds since the epoch.
    """
    found = deaths(row)
    if not found:
        return True
    last, same = found[-1], 0
    for death in reversed(found):
        if death.get("class") != last.get("class"):
            break
        same += 1
    return now >= _epoch(last.get("time")) + backoff_s(same)


def pending(rows: Iterable[Row]) -> list[Row]:
    """Failed rows that will be retried by themselves, now or after their back-off."""
    return [row for row in rows if row.state == "failed" and not exhausted(_class(row), deaths(row))]


def deaths(row: Row) -> list[dict[str, Any]]:
    """attempts.jsonl, and the newest death as well where it is not noted there yet."""
    found = job_file.read_attempts(row.run)
    if row.state != "failed" or (found and _is_newest(found[-1], row)):
        return found
    status, job = row.status, row.job
    newest = {
        "time": status.get("heartbeat") or (job.submitted if job else ""),
        "class": _class(row),
        "reason": row.reason,
        "job": job.job if job else None,
        "node": status.get("host"),
        "iteration": status.get("iteration", 0),
        "attempt": status.get("attempt", 0),
        "requeued": False,
        "by": "retry",
        "submission": job.submissions if job else 0,
    }
    return [*found, newest]


def record_missing_failures(rows: Iterable[Row]) -> None:
    """Record failures that no process on the node has recorded. Call it before the rows are launched again."""
    from sweeps.node.on_exit import lost_s

    for row in rows:
        found = deaths(row)
        if len(found) > len(job_file.read_attempts(row.run)):
            facts = {key: value for key, value in found[-1].items() if key != "time"}
            lost = lost_s(row.run, row.status, _epoch(row.status.get("heartbeat"))) if row.status.get("begun") else 0.0
            job_file.note_attempt(row.run, **facts, lost_s=lost)


def _class(row: Row) -> str:
    return row.failure_class if row.failure_class in RULES else "unknown"


def _is_newest(death: Mapping[str, Any], row: Row) -> bool:
    """Whether this line is about the row's last launch, and about its end. Seconds are too coarse to tell our own."""
    if death.get("by") == "retry":
        return death.get("submission") == (row.job.submissions if row.job is not None else 0)
    since = _epoch(row.job.submitted) if row.job is not None else 0.0
    return not death.get("requeued") and _epoch(death.get("time")) >= since


def _epoch(stamp: Any) -> float:
    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return 0.0

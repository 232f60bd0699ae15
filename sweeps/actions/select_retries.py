"""Select the runs to launch again. Nothing is launched here: see sweeps/actions/relaunch.py.

The attempts of a run are counted in its attempts.jsonl, so the count survives every launcher. A failure that no process
on the node could record is recorded before the run is launched again; otherwise it could repeat without end.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from c2d.core import job_file
from c2d.core.errors import unknown_name
from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.run_state import time_stamp
from sweeps.actions.row_filters import Filters, matches, parse_filters
from sweeps.failures.retry_policy import backoff_s, exhausted, failures_of
from sweeps.state.failed_attempts import class_of_row, failed_attempts, teachers_are_launched
from sweeps.state.plan import Row, with_needs
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

    Rows whose job SLURM removed when a teacher failed are returned as soon as that teacher is in the queue or done.

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
        if name not in FAILURE_CLASSES:
            raise unknown_name("failure class", name, FAILURE_CLASSES)
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
        if row.is_released and teachers_are_launched(row, by_id):
            return True
        if row.state != "failed":
            return row.launch and row.state in states  # an interrupted run, selected by its state
        if classes or ids:
            return True
        return not exhausted(class_of_row(row), failed_attempts(row)) and (
            ignore_backoff or is_backoff_over(row, clock)
        )

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
    freed = set(named)  # and what they blocked: what a run blocks is released with it
    for row in rows:  # teachers come before their students, so one pass is enough
        failed = [need for need in row.needs if need in by_id and by_id[need].state in ("failed", "blocked")]
        failed += [run for run in canary_runs(row) if run in by_id and by_id[run].state == "failed"]
        released = row.state == "blocked" and all(need in chosen for need in failed)
        selected = not ids or row.run.id in named or bool(freed & set(failed))
        if released and selected and (row.kind == "teacher" or matches(row, labels)):
            chosen.add(row.run.id)
            freed.add(row.run.id)
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
    needed = with_needs((row.run.id for row in students), chosen)
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
    found = failed_attempts(row)
    if not found:
        return True
    last = found[-1]
    in_a_row: list[dict[str, Any]] = []
    for attempt in reversed(found):
        if attempt.get("class") != last.get("class"):
            break
        in_a_row.insert(0, attempt)
    same = failures_of(str(last.get("class")), in_a_row)
    return now >= (time_stamp(last.get("time")) or 0.0) + backoff_s(same)


def record_missing_failures(rows: Iterable[Row]) -> None:
    """Record failures that no process on the node has recorded. Call it before the rows are launched again."""
    from sweeps.node.failure_record import lost_s

    for row in rows:
        found = failed_attempts(row)
        if len(found) > len(job_file.read_attempts(row.run)):
            facts = {key: value for key, value in found[-1].items() if key != "time"}
            lost = (
                lost_s(row.run, row.status, time_stamp(row.status.get("heartbeat")) or 0.0)
                if row.status.get("begun")
                else 0.0
            )
            job_file.append_attempt(row.run, **facts, lost_s=lost)

"""Which runs are started again, and with what more. Decisions only: sweeps/actions/submit.py launches what is decided here.

The budget of a run is counted in its attempts.jsonl, so it outlives every launcher. A death that nobody on the node was
left to note is noted before the run is launched again (`note`); otherwise it could be repeated for ever.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from c2d.core import job_file
from c2d.core.errors import InputError, unknown_name
from sweeps.definition.profile import Profile
from sweeps.failures.retry_policy import NODE_FAILURES, RULES, backoff_s, exhausted
from sweeps.launchers.launch_request import PrintLine, Task
from sweeps.state.plan import Row
from sweeps.state.state_rules import STATES

NODE_FAULTS = ("node-failure", "killed", "hang")
"""Deaths that speak against a node. Who was preempted or ran out of time met no fault of the node."""
MORE_MEMORY, MORE_HOURS = 1.5, 2.0


def parse_filters(rows: Iterable[Row], given: Sequence[str]) -> dict[str, set[str]]:
    """`axis=label` texts as {axis: labels}.

    Raises:
        InputError: no `=`, or an axis or a label that no cell has.
    """
    if not given:
        return {}
    known: dict[str, set[str]] = {}
    for row in rows:
        for cell in row.cells:
            for axis, label in cell.items():
                known.setdefault(axis, set()).add(label)
    filters: dict[str, set[str]] = {}
    for text in given:
        axis, sign, label = text.partition("=")
        if not sign:
            raise InputError(f"--filter {text!r} is not axis=label; known axes: {', '.join(sorted(known)) or 'none'}")
        if axis not in known:
            raise unknown_name("axis", axis, known, "write --filter axis=label")
        if label not in known[axis]:
            raise unknown_name(f"label of axis {axis}:", label, known[axis])
        filters.setdefault(axis, set()).add(label)
    return filters


def matches(row: Row, filters: Mapping[str, Collection[str]]) -> bool:
    """Whether one of the row's cells has an asked-for label on every filtered axis; a teacher without cells never."""
    return not filters or any(all(cell.get(axis) in labels for axis, labels in filters.items()) for cell in row.cells)


def filtered(rows: Sequence[Row], given: Sequence[str]) -> list[Row]:
    """Rows that match `axis=label` texts: several labels of one axis mean or, several axes and."""
    filters = parse_filters(rows, given)
    return [row for row in rows if matches(row, filters)]


def choose(
    rows: Sequence[Row],
    *,
    classes: Collection[str] = (),
    states: Collection[str] = (),
    filters: Sequence[str] | Mapping[str, Collection[str]] = (),
    ids: Collection[str] = (),
    limit: int | None = None,
    asked: bool = False,
    now: float | None = None,
) -> list[Row]:
    """Rows to launch again, in the order of the plan: failed ones, and those that a failed teacher blocked.

    Without `classes` and `ids`, only what is retried by itself (policy.AUTOMATIC), has budget left and has waited for
    its back-off. Naming a class or an id overrules all three.

    Args:
        filters: `axis=label` texts, or what `parse_filters` made of them.
        ids: run ids, or beginnings of them.
        limit: so many students at most; their teachers come on top.
        asked: a person asks now, so nothing waits for a back-off.
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
    meant = set(_ids(by_id, ids))
    clock = time.time() if now is None else now

    def wanted(row: Row) -> bool:
        fits = (not classes or row.failure_class in classes) and (not states or row.state in states)
        return fits and (not ids or row.run.id in meant) and matches(row, labels)

    def allowed(row: Row) -> bool:
        if row.state != "failed":
            return row.launch and row.state in states  # an interrupted run, by its state
        return bool(classes or ids) or (not exhausted(_class(row), deaths(row)) and (asked or ready(row, clock)))

    chosen = {row.run.id for row in rows if wanted(row) and allowed(row)}
    for row in reversed(rows):  # a blocked run that is asked for means its failed teacher
        by_name = row.run.id in meant or (not ids and ("blocked" in states or (bool(labels) and not states)))
        if row.state == "blocked" and by_name and (row.kind == "teacher" or matches(row, labels)):
            for need in row.needs:
                teacher = by_id.get(need)
                fits = teacher is not None and (not classes or teacher.failure_class in classes)
                if fits and teacher is not None and teacher.state == "failed" and allowed(teacher):
                    chosen.add(need)
                elif teacher is not None and teacher.state == "blocked":
                    meant.add(need)
    for row in rows:  # teachers come before their students, so one pass is enough
        behind = [need for need in row.needs if need in by_id and by_id[need].state in ("failed", "blocked")]
        behind += [bird for bird in canaries(row) if bird in by_id and by_id[bird].state == "failed"]
        free = row.state == "blocked" and all(need in chosen for need in behind)
        if (
            free
            and (not ids or row.run.id in meant or meant & set(behind))
            and (row.kind == "teacher" or matches(row, labels))
        ):
            chosen.add(row.run.id)
    return _limited([row for row in rows if row.run.id in chosen], limit)


def _ids(known: Collection[str], given: Collection[str]) -> list[str]:
    """Whole ids of ids or of their beginnings."""
    found = []
    for text in given:
        fits = [text] if text in known else [run for run in known if text and run.startswith(text)]
        if not fits:
            raise unknown_name("run of this sweep", text, known)
        found += fits
    return found


def _limited(chosen: list[Row], limit: int | None) -> list[Row]:
    if limit is None:
        return chosen
    students = [row for row in chosen if row.kind == "student"][:limit]
    needed = {need for row in students for need in row.needs}
    teachers = [row for row in chosen if row.kind == "teacher"]
    return ([row for row in teachers if row.run.id in needed] + students) if students else teachers[:limit]


def canaries(row: Row) -> list[str]:
    """Runs whose first iterations a row waited for at its last launch."""
    depends = row.job.depends if row.job is not None else []
    return [need.removesuffix("#canary") for need in depends if need.endswith("#canary")]


def ready(row: Row, now: float) -> bool:
    """Whether the back-off after a row's newest death has passed."""
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


def note(rows: Iterable[Row]) -> None:
    """Write down deaths that nobody noted; call it before such rows are launched again."""
    from sweeps.node.on_exit import lost_s

    for row in rows:
        found = deaths(row)
        if len(found) > len(job_file.read_attempts(row.run)):
            facts = {key: value for key, value in found[-1].items() if key != "time"}
            lost = lost_s(row.run, row.status, _epoch(row.status.get("heartbeat"))) if row.status.get("begun") else 0.0
            job_file.note_attempt(row.run, **facts, lost_s=lost)


def raised(row: Row, rows: Iterable[Row], profile: Profile, print_line: PrintLine) -> Task:
    """The task of a row's next launch, with more of what it ran out of; what was changed is said in words.

    Args:
        rows: of the whole sweep: nodes that fail often and teachers that are not done are known from them.
    """
    every, run, job = list(rows), row.run.id, row.job
    mem_gb, hours = (job.mem_gb, job.hours) if job else (None, None)
    size = job.size if job else "small"
    if row.failure_class == "host-oom":
        now = mem_gb or profile.mem_gb
        mem_gb = min(now * MORE_MEMORY, max(profile.max_mem_gb, now))
        at_most = f"; {now:g} GB is the most that profile {profile.name} allows (max_mem_gb)"
        print_line(f"{run}: out of memory" + (f", {now:g} -> {mem_gb:g} GB" if mem_gb > now else at_most))
    if row.failure_class == "time-limit" and not _progressed(deaths(row)):
        now = profile.limit_min(size, hours) / 60
        hours = min(now * MORE_HOURS, max(profile.max_hours, now))
        at_most = f"; {now:g} h is the most that profile {profile.name} allows (max_hours)"
        print_line(f"{run}: no progress within its limit" + (f", {now:g} -> {hours:g} h" if hours > now else at_most))
    bad = bad_nodes(every)
    if bad:
        print_line(f"{run}: not on {', '.join(bad)}, where runs of this sweep died {NODE_FAILURES} times or more")
    unfinished = {other.run.id for other in every if other.state != "done"}
    return Task(
        row.run,
        after=tuple(need for need in (*row.needs, *canaries(row)) if need in unfinished and need != run),
        size=size,
        mem_gb=mem_gb,
        hours=hours,
        exclude=tuple(sorted({*(job.exclude if job else ()), *bad})),
    )


def bad_nodes(rows: Iterable[Row]) -> list[str]:
    """Nodes with NODE_FAILURES or more deaths that speak against them, in this sweep. A host's domain is left out."""
    found = Counter(
        str(death["node"]).split(".")[0]
        for row in rows
        for death in job_file.read_attempts(row.run)
        if death.get("class") in NODE_FAULTS and death.get("node")
    )
    return sorted(node for node, count in found.items() if count >= NODE_FAILURES)


def _progressed(found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the newest attempt came further than all before it."""
    reached = [int(death.get("iteration") or 0) for death in found]
    return bool(reached) and reached[-1] > max(reached[:-1], default=0)


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

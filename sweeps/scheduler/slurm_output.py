"""Parse the output of squeue and sacct into JobFacts. No side effects.

A line that cannot be parsed is skipped, and an unknown state is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

FINISHED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
     "TIMEOUT")
)  # fmt: skip
"""States of jobs that have ended, unless they are requeued."""

SQUEUE_FORMAT = "%i|%T|%N|%M|%V|%S|%r|%P|%q|%a|%j"  # the name comes last: it may contain any character
SACCT_FORMAT = "JobID,State,NodeList,ElapsedRaw,Submit,Start,ExitCode,Reason,JobName"
JOB = re.compile(r"([0-9]{1,18})(?:_(?:([0-9]{1,18})|\[([0-9,:-]{1,100000})(?:%[0-9]+)?\]))?", re.ASCII)


@dataclass(frozen=True)
class JobFacts:
    """One job, or one task of an array. Unknown text is "", unknown numbers are None.

    Attributes:
        job: "123_4" or "123".
        state: upper case, first word: PENDING, RUNNING, COMPLETED, OUT_OF_MEMORY, ...; sacct's state of a step that ran
            out of memory counts for its job.
        exit_code: of the batch script; None without sacct, because squeue does not print it.
        signal: that ended the batch script; None as for exit_code.
        elapsed_s: run time in seconds.
        submitted: the cluster's local time, as SLURM prints it.
        started: as `submitted`.
        partition, qos, account: by squeue only.
        cancelled_by: UID of the person who cancelled it; "" where SLURM did; None without sacct.
    """

    job: str
    name: str = ""
    state: str = ""
    reason: str = ""
    node: str = ""
    exit_code: int | None = None
    signal: int | None = None
    elapsed_s: float | None = None
    submitted: str = ""
    started: str = ""
    partition: str = ""
    qos: str = ""
    account: str = ""
    cancelled_by: str | None = None


def parse_squeue(text: str) -> list[JobFacts]:
    """Parse lines of SQUEUE_FORMAT; `job` may be a range "123_[4-9%2]"."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", 10)]
        if len(cells) != 11 or not JOB.fullmatch(cells[0]):
            continue
        job, state, node, elapsed, submitted, started, reason, partition, qos, account, name = cells
        found.append(
            JobFacts(
                job, name, _state(state), _value(reason), _value(node), None, None, _seconds(elapsed),
                _value(submitted), _value(started), _value(partition), _value(qos), _value(account),
            )
        )  # fmt: skip
    return found


def parse_sacct(text: str) -> list[JobFacts]:
    """Parse lines of `--parsable2 --format=JobID,State,...`. Steps are merged into their job; newest last."""
    found: list[JobFacts] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", 8)]
        if len(cells) != 9:
            continue
        job, state, node, elapsed, submitted, started, code, reason, name = cells
        if "." in job:  # a step follows its job; memory is counted per step, so its state is the cause
            last = found[-1] if found else None
            its_own = last is not None and job.split(".", 1)[0] == last.job
            if last and its_own and _state(state) == "OUT_OF_MEMORY" and last.state in FINISHED - {"COMPLETED"}:
                found[-1] = replace(last, state="OUT_OF_MEMORY")
            continue
        if not JOB.fullmatch(job):
            continue
        exit_code, signal = _code(code)
        person = re.search(r"^CANCELLED\+? by ([0-9]+)", state)
        by = (person[1] if person else "") if _state(state) == "CANCELLED" else None
        seconds = float(elapsed) if elapsed.isascii() and elapsed.isdigit() and len(elapsed) < 16 else None
        found.append(
            JobFacts(
                job, name, _state(state), _value(reason), _value(node), exit_code, signal, seconds, _value(submitted),
                _value(started), cancelled_by=by,
            )
        )  # fmt: skip
    return sorted(found, key=lambda facts: facts.submitted)  # stable: equal times keep sacct's order


def expand(job: str, wanted: Iterable[str]) -> list[str]:
    """Return those of `wanted` that a job field includes.

    >>> expand("123_[4-9%2]", ["123_4", "123_10", "124_4"])
    ['123_4']
    """
    match = JOB.fullmatch(job)
    if match is None:
        return []
    if match[3] is None:
        return [one for one in wanted if one == job]
    ranges = list(_ranges(match[3]))
    prefix = f"{match[1]}_"
    return [
        one
        for one in wanted
        if one.startswith(prefix)
        and one[len(prefix) :].isdigit()
        and any(int(one[len(prefix) :]) in indices for indices in ranges)
    ]


def _ranges(text: str) -> Iterator[range]:
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?", part)
        if match:
            yield range(int(match[1]), int(match[2] or match[1]) + 1, max(1, int(match[3] or 1)))


def count_of(tasks: str) -> int:
    """Return the number of tasks in the part after "_" of a job field: 6 for "[4-9%2]", 1 for "4" and ""."""
    return sum(len(indices) for indices in _ranges(tasks.strip("[]").split("%")[0])) if "[" in tasks else 1


def join_jobs(jobs: Iterable[str]) -> str:
    """Return jobs as one argument of scontrol, the inverse of `expand`.

    >>> join_jobs(["12_0", "12_1", "12_2", "12_7", "9"])
    '9,12_[0-2,7]'
    """
    tasks: dict[int, list[int]] = {}
    single = []
    for job in jobs:
        array, _, task = job.partition("_")
        if task.isdigit():
            tasks.setdefault(int(array), []).append(int(task))
        else:
            single.append(job)
    return ",".join(
        [
            *sorted(set(single), key=lambda job: (len(job), job)),
            *(_join_tasks(array, sorted(set(found))) for array, found in sorted(tasks.items())),
        ]
    )


def _join_tasks(array: int, tasks: list[int]) -> str:
    if len(tasks) == 1:
        return f"{array}_{tasks[0]}"
    ranges: list[list[int]] = []
    for task in tasks:
        if ranges and ranges[-1][-1] == task - 1:
            ranges[-1].append(task)
        else:
            ranges.append([task])
    parts = [str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}" for found in ranges]
    return f"{array}_[{','.join(parts)}]"


def _state(text: str) -> str:
    """Return the first word in upper case: "CANCELLED by 1000" is CANCELLED."""
    words = text.upper().split()
    return words[0].rstrip("+") if words else ""


def _value(text: str) -> str:
    return "" if text in ("N/A", "Unknown", "None", "None assigned", "(null)") else text


def _seconds(text: str) -> float | None:
    """Parse squeue's "days-hours:minutes:seconds", or a shorter form, into seconds."""
    match = re.fullmatch(r"(?:([0-9]{1,6})-)?(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{1,4})", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _code(text: str) -> tuple[int | None, int | None]:
    """Parse sacct's "137:0" into (exit code, signal or None)."""
    match = re.fullmatch(r"([0-9]{1,5}):([0-9]{1,5})", text)
    return (int(match[1]), int(match[2]) or None) if match else (None, None)

"""Read jobs from SLURM: squeue first, then sacct for jobs that squeue no longer lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sweeps.scheduler.slurm_command import Unreachable, available, is_installed, run_command, time_limit
from sweeps.scheduler.slurm_output import (
    FINISHED,
    JOB,
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    JobFacts,
    count_of,
    expand,
    parse_sacct,
    parse_squeue,
)

ANSWER_S = 12.0
"""Seconds that all calls of one table of states may take together; a person waits for it."""
IDS_PER_CALL = 200  # keeps a command line short
DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own default


@dataclass(frozen=True)
class QueueAnswer:
    """What SLURM reports of jobs.

    Attributes:
        facts: {job: facts}. Without an answer of the controller only jobs that have ended, by accounting: it keeps the
            last state of the others, which may be over.
        silence: why the controller's answer is missing; "" if it has answered.
    """

    facts: dict[str, JobFacts]
    silence: str = ""


def read_jobs(jobs: Iterable[str]) -> QueueAnswer:
    """Return what SLURM reports of jobs within ANSWER_S seconds. Never raises; {} and "" for no jobs.

    Args:
        jobs: "123_4" or "123".
    """
    wanted = sorted({job for job in jobs if JOB.fullmatch(job)})
    if not wanted:
        return QueueAnswer({})
    if not available():
        return QueueAnswer({}, "squeue is not installed here")
    with time_limit(ANSWER_S):
        listed, silent = _ask_controller(wanted)
        try:
            ended = _ask_accounting(wanted, listed) or {}
        except Unreachable:
            ended = {}
    if silent is not None:
        ended = {job: facts for job, facts in ended.items() if facts.state in FINISHED}
    return QueueAnswer(listed | ended, "" if silent is None else silent.what)


def check_controller() -> None:
    """Check that the controller answers, before anything is written or submitted.

    Raises:
        Unreachable: it does not.
    """
    with time_limit(ANSWER_S):
        run_command(["scontrol", "show", "config"])


def look_up(jobs: Iterable[str]) -> dict[str, JobFacts]:
    """Return {job: facts} of the jobs that SLURM lists; {} where neither command is installed or works.

    Args:
        jobs: "123_4" or "123".

    Raises:
        Unreachable: neither the controller nor accounting answers.
    """
    wanted = sorted({job for job in jobs if JOB.fullmatch(job)})
    if not wanted:
        return {}
    listed, silent = _ask_controller(wanted)
    try:
        ended = _ask_accounting(wanted, listed)
    except Unreachable:
        if silent is not None or not is_installed("squeue"):
            raise
        ended = None
    if silent is not None and ended is None:
        raise silent
    return listed | (ended or {})


def _ask_controller(wanted: list[str]) -> tuple[dict[str, JobFacts], Unreachable | None]:
    """Return what squeue lists, and why it is not all of it."""
    found: dict[str, JobFacts] = {}
    try:
        for ids in _calls(wanted):
            text = _squeue(f"--jobs={ids}", f"--format={SQUEUE_FORMAT}")
            if text is None and is_installed("squeue"):
                raise Unreachable("squeue failed here")  # otherwise every waiting run would count as failed
            found |= _pick(parse_squeue(text or ""), wanted)
    except Unreachable as error:
        return found, error
    return found, None


def _ask_accounting(wanted: list[str], listed: dict[str, JobFacts]) -> dict[str, JobFacts] | None:
    """Return accounting of the jobs that squeue does not list, or lists as finished; None if sacct does not work.

    Raises:
        Unreachable: sacct does not answer.
    """
    rest = [job for job in wanted if job not in listed or listed[job].state in FINISHED]
    found: dict[str, JobFacts] = {}
    accounted = not rest
    for ids in _calls(rest):
        text = _sacct(f"--jobs={ids}")
        accounted = accounted or text is not None
        found |= _pick(parse_sacct(text or ""), rest)
    # Accounting is late: a job that squeue calls finished is not running. It has no reason for a failed dependency.
    found = {job: facts for job, facts in found.items() if job not in listed or facts.state in FINISHED}
    reasons = {job: facts.reason or listed[job].reason for job, facts in found.items() if job in listed}
    found = {job: replace(facts, reason=reasons.get(job, facts.reason)) for job, facts in found.items()}
    return found if accounted else None


def unfinished(arrays: Iterable[str]) -> dict[str, int]:
    """Return {array: waiting and running tasks}, without arrays that have none, by one squeue call.

    Args:
        arrays: "123".

    Raises:
        Unreachable: as in `look_up`.
    """
    counts: dict[str, int] = {}
    for ids in _calls(sorted({array for array in arrays if array.isascii() and array.isdigit()})):
        text = _squeue(f"--jobs={ids}", f"--format={SQUEUE_FORMAT}")
        if text is None and is_installed("squeue"):
            raise Unreachable("squeue failed here")
        for facts in parse_squeue(text or ""):
            array, _, tasks = facts.job.partition("_")
            if facts.state not in FINISHED:
                counts[array] = counts.get(array, 0) + count_of(tasks)
    return counts


def list_active(arrays: Iterable[str]) -> list[JobFacts]:
    """Return every waiting and running task of these arrays, by one squeue call for at most 200 of them.

    Raises:
        Unreachable: the controller does not answer.
    """
    found: list[JobFacts] = []
    for ids in _calls(sorted(set(arrays))):
        text = run_command(["squeue", "--noheader", "--array", f"--jobs={ids}", f"--format={SQUEUE_FORMAT}"])
        found += [facts for facts in parse_squeue(text or "") if facts.state not in FINISHED]
    return found


def find_by_name(name: str) -> str | None:
    """Return the number of the job or array with this unique name, the lowest of several; None if there is none.

    Raises:
        Unreachable: SLURM does not answer, so "there is none" would be a guess.
    """
    found = find_all_by_name(name)
    return found[0] if found else None


def find_all_by_name(name: str) -> list[str]:
    """Return the numbers of all jobs and arrays of this name, lowest first; accounting of the last 30 days is searched.

    Raises:
        Unreachable: as in `find_by_name`. If squeue answers, accounting need not.
    """
    text = _squeue(f"--name={name}", "--format=%F|%j")
    rows = [line.strip().split("|", 1) for line in (text or "").splitlines()]
    if not any(row[1:] == [name] for row in rows):
        try:
            answer = _sacct(f"--name={name}", "--starttime=now-30days")
        except Unreachable:
            if text is None:
                raise
            answer = None
        if answer is None and text is None and available():
            raise Unreachable(f"no answer about job {name}")
        rows = [[facts.job.split("_")[0], facts.name] for facts in parse_sacct(answer or "")]
    return sorted({row[0] for row in rows if row[1:] == [name] and JOB.fullmatch(row[0])}, key=int)


def max_array_size() -> int:
    """Return MaxArraySize, which array indices are below; SLURM's default where SLURM does not answer."""
    try:
        answer = run_command(["scontrol", "show", "config"])
    except Unreachable:
        return DEFAULT_MAX_ARRAY_SIZE
    match = re.search(r"^MaxArraySize\s*=\s*([0-9]{1,9})\s*$", answer or "", re.MULTILINE)
    return int(match[1]) if match else DEFAULT_MAX_ARRAY_SIZE


def node_names() -> set[str] | None:
    """Return SLURM's names of all nodes, which may differ from those of the hosts; None without an answer."""
    try:
        answer = run_command(["sinfo", "--noheader", "--Node", "--format=%N"])
    except Unreachable:
        return None
    return set(answer.split()) or None if answer else None


def list_pending(jobs: Iterable[str], line_format: str) -> list[str]:
    """Return squeue's lines about the pending jobs and tasks of these arrays.

    Args:
        line_format: of squeue's --format.

    Raises:
        Unreachable: the controller does not answer.
    """
    lines: list[str] = []
    for ids in _calls(list(jobs)):
        text = run_command(
            ["squeue", "--noheader", "--array", "--states=PENDING", f"--jobs={ids}", f"--format={line_format}"]
        )
        if text is None:
            raise Unreachable("squeue is missing or failed here")
        lines += text.splitlines()
    return lines


def _pick(rows: list[JobFacts], wanted: list[str]) -> dict[str, JobFacts]:
    """Return {wanted job: its last row}."""
    single, by_array = set(wanted), dict[str, list[str]]()
    for job in wanted:
        by_array.setdefault(job.split("_")[0], []).append(job)
    found = {}
    for facts in rows:
        if "[" in facts.job:
            jobs = expand(facts.job, by_array.get(facts.job.split("_")[0], []))
        else:
            jobs = [facts.job] if facts.job in single else []
        found.update({job: replace(facts, job=job) for job in jobs})
    return found


def _calls(jobs: list[str]) -> Iterator[str]:
    """Yield the comma-separated ids of each call. An array is one id, instead of thousands of tasks."""
    arrays = sorted({job.split("_")[0] for job in jobs}, key=int)
    for start in range(0, len(arrays), IDS_PER_CALL):
        yield ",".join(arrays[start : start + IDS_PER_CALL])


def _squeue(*arguments: str) -> str | None:
    # --states=all: jobs that ended within the last minutes (MinJobAge) are still listed, with their state.
    return run_command(["squeue", "--noheader", "--array", "--states=all", *arguments])


def _sacct(*arguments: str) -> str | None:
    # By job id it has no time limit, and returns the newest record of a requeued job. parse_sacct needs steps.
    return run_command(["sacct", "--noheader", "--parsable2", f"--format={SACCT_FORMAT}", *arguments])

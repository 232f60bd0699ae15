"""What SLURM knows of our jobs: squeue first, sacct for what squeue no longer knows. Nothing here changes a job
except `cancel`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import replace

from c2d.core.errors import RunError
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

TIMEOUT_S = 30.0
IDS_PER_CALL = 200  # keeps a command line short
DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own default
_SILENT = re.compile(
    "timed out|unable to contact|connection refused|connect failure|zero bytes were transmitted|"
    "transport endpoint|no route to host|connection reset",
    re.IGNORECASE,
)


class Unreachable(RunError):
    """The controller did not answer; what becomes of the jobs is not known to us now."""

    def __init__(self, what: str) -> None:
        super().__init__(f"SLURM does not answer ({what}); its jobs are not touched, try again in a minute")
        self.what = what


def available() -> bool:
    """True where jobs can be submitted and looked up. Says nothing of whether the controller answers."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def look_up(jobs: Iterable[str]) -> dict[str, JobFacts]:
    """Facts of those of `jobs` ("123_4", "123") that SLURM knows; {} where neither command is there or works.

    Raises:
        Unreachable: the controller does not answer, and accounting neither.
    """
    wanted = sorted({job for job in jobs if JOB.fullmatch(job)})
    if not wanted:
        return {}
    found: dict[str, JobFacts] = {}
    silent: Unreachable | None = None
    try:
        for ids in _calls(wanted):
            text = _squeue(f"--jobs={ids}", f"--format={SQUEUE_FORMAT}")
            if text is None and shutil.which("squeue"):
                raise Unreachable("squeue refuses to work here")  # else every waiting run would look lost
            found |= _pick(parse_squeue(text or ""), wanted)
    except Unreachable as error:
        silent = error
    rest = [job for job in wanted if job not in found or found[job].state in FINISHED]
    if not rest:
        return found
    try:
        accounted = False
        for ids in _calls(rest):
            text = _sacct(f"--jobs={ids}")
            accounted = accounted or text is not None
            for job, facts in _pick(parse_sacct(text or ""), rest).items():
                # Accounting lags behind: what squeue calls finished is not running any more.
                if job not in found or facts.state in FINISHED:
                    found[job] = facts
        if silent is not None and not accounted:
            raise silent
    except Unreachable:
        if silent is not None or not shutil.which("squeue"):
            raise
    return found


def unfinished(arrays: Iterable[str]) -> dict[str, int]:
    """How many tasks of these array jobs ("123") are waiting or running; those with none are left out. One call.

    Raises:
        Unreachable: as in `look_up`.
    """
    counts: dict[str, int] = {}
    for ids in _calls(sorted({array for array in arrays if array.isascii() and array.isdigit()})):
        text = _squeue(f"--jobs={ids}", f"--format={SQUEUE_FORMAT}")
        if text is None and shutil.which("squeue"):
            raise Unreachable("squeue refuses to work here")
        for facts in parse_squeue(text or ""):
            array, _, tasks = facts.job.partition("_")
            if facts.state not in FINISHED:
                counts[array] = counts.get(array, 0) + count_of(tasks)
    return counts


def find_by_name(name: str) -> str | None:
    """Number of the job or array that was submitted under this unique name; the first where there are several.

    Raises:
        Unreachable: nobody answers, so "there is none" would be a guess.
    """
    found = find_all_by_name(name)
    return found[0] if found else None


def find_all_by_name(name: str) -> list[str]:
    """Numbers of all jobs and arrays of this name, lowest first; accounting is asked for the last 30 days.

    Raises:
        Unreachable: as in `find_by_name`. Where squeue answers, accounting need not.
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
            raise Unreachable(f"no answer to the question for job {name}")
        rows = [[facts.job.split("_")[0], facts.name] for facts in parse_sacct(answer or "")]
    return sorted({row[0] for row in rows if row[1:] == [name] and JOB.fullmatch(row[0])}, key=int)


def max_array_size() -> int:
    """MaxArraySize of this cluster: array indices are below it. SLURM's default where it cannot be asked."""
    try:
        answer = _run(["scontrol", "show", "config"])
    except Unreachable:
        return DEFAULT_MAX_ARRAY_SIZE
    match = re.search(r"^MaxArraySize\s*=\s*([0-9]{1,9})\s*$", answer or "", re.MULTILINE)
    return int(match[1]) if match else DEFAULT_MAX_ARRAY_SIZE


def cancel(jobs: Iterable[str]) -> None:
    """scancel these jobs; one that is over already is no error.

    Raises:
        Unreachable: the controller does not answer.
        RunError: SLURM refused, for instance because the jobs are another person's.
    """
    wanted = sorted(set(jobs))
    for start in range(0, len(wanted), IDS_PER_CALL):
        try:
            rc, _, err = _call(["scancel", *wanted[start : start + IDS_PER_CALL]])
        except FileNotFoundError:
            raise RunError("no scancel on this machine; call it where the cluster's commands are") from None
        if rc and _SILENT.search(err):
            raise Unreachable(f"scancel: {' '.join(err.split())[:200]}")
        if rc and "Invalid job id" not in err and "already completing or completed" not in err:
            raise RunError(f"scancel refused: {err.strip() or f'exit code {rc}'}; look with squeue --me", "config")


def _pick(rows: list[JobFacts], wanted: list[str]) -> dict[str, JobFacts]:
    """Rows by the job that was asked for; of several the last."""
    asked, by_array = set(wanted), dict[str, list[str]]()
    for job in wanted:
        by_array.setdefault(job.split("_")[0], []).append(job)
    found = {}
    for facts in rows:
        if "[" in facts.job:
            jobs = expand(facts.job, by_array.get(facts.job.split("_")[0], []))
        else:
            jobs = [facts.job] if facts.job in asked else []
        found.update({job: replace(facts, job=job) for job in jobs})
    return found


def _calls(jobs: list[str]) -> Iterator[str]:
    """Ids of one call each, comma-separated. An array is asked for as a whole: that is one question, not thousands."""
    arrays = sorted({job.split("_")[0] for job in jobs}, key=int)
    for start in range(0, len(arrays), IDS_PER_CALL):
        yield ",".join(arrays[start : start + IDS_PER_CALL])


def _squeue(*arguments: str) -> str | None:
    return _run(["squeue", "--noheader", "--array", "--states=all", *arguments])


def _sacct(*arguments: str) -> str | None:
    # By job id it answers for all times, with the newest record of a requeued job. Steps are wanted: see parse_sacct.
    return _run(["sacct", "--noheader", "--parsable2", f"--format={SACCT_FORMAT}", *arguments])


def _run(command: list[str]) -> str | None:
    """What a command says; None where it is missing or refuses.

    Raises:
        Unreachable: it did not answer within TIMEOUT_S, or says itself that nobody does.
    """
    try:
        rc, out, err = _call(command)
    except FileNotFoundError:
        return None
    if rc == 0:
        return out
    if "Invalid job id" in err:  # squeue, asked for one job that has left the queue
        return ""
    if _SILENT.search(err):
        raise Unreachable(f"{command[0]}: {' '.join(err.split())[:200]}")
    return None


def _call(command: list[str]) -> tuple[int, str, str]:
    # A person's own formats and filters must not change what is read here.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    environment |= {"LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT_S, env=environment, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]}: no answer in {TIMEOUT_S:.0f} s") from None
    except PermissionError:
        raise FileNotFoundError(command[0]) from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

"""`c2d doctor --profile P`: submit one short job, wait for it, and report what it found and how to fix it.

The job uses the same path as a run: profile, snapshot, batch script, submitit's runner. A failure here would occur in
every run of a sweep.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, RunError
from c2d.core.json_values import SMALL_BYTES, read_object
from c2d.core.regular_file import FormatError, Problem, read_log_tail
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore, runs_folder
from sweeps.checks.probe_report import ProbeReport, check_answer, read_answers
from sweeps.definition.profile import Profile, load_profile
from sweeps.failures import diagnose, log_patterns
from sweeps.failures.evidence import Evidence
from sweeps.launchers.arrays import JobArray
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.slurm import submit_array
from sweeps.launchers.snapshot import take_snapshot
from sweeps.node.probe_job import ProbeJob
from sweeps.scheduler import queue, slurm_command
from sweeps.scheduler.cancel_jobs import cancel_jobs
from sweeps.scheduler.sbatch import NotSubmitted

SWEEP = ".probe"
LIMIT_H = 5 / 60
POLL_S = 1.0

PENDING = {
    "Resources": "no node with the resources of the profile is free; it waits for one",
    "Priority": "other jobs come first; it waits for its turn",
    "ReqNodeNotAvail": "the nodes it needs are down, drained or reserved: `sinfo -R`, or another partition",
    "PartitionDown": "the partition takes no jobs now: `sinfo`, or another partition",
    "PartitionInactive": "the partition takes no jobs now: `sinfo`, or another partition",
    "PartitionTimeLimit": "the partition's time limit is below five minutes: take another partition",
    "PartitionNodeLimit": "the profile has more nodes than the partition: lower `nodes`",
    "PartitionConfig": "the partition does not have the resources of the profile: lower gpus, cpus or mem_gb",
    "BadConstraints": "no node has all resources of the profile: check gpu_type, constraint, cpus, mem_gb",
    "InvalidAccount": "`account` of the profile is not yours: `sacctmgr show assoc user=$USER`",
    "InvalidQOS": "`qos` of the profile is not yours: `sacctmgr show assoc user=$USER`",
    "JobHeldUser": "it is held: `scontrol release JOB`",
    "JobHeldAdmin": "an administrator holds it; contact the cluster's support",
    "Reservation": "it waits for its reservation to begin",
    "Licenses": "it waits for a licence",
    "BeginTime": "its start time has not come yet",
}
"""Known reasons of squeue for a waiting job; any other is printed unchanged."""


def probe(
    profile: str,
    runs: Path | None,
    data: Path | None,
    wait_s: float,
    as_json: bool,
    print_line: Callable[[str], None] = print,
) -> int:
    """Submit the probe and print its report; return 0, or 1 where there is a problem.

    Args:
        profile: name or path.
        runs: the store; None: C2D_RUNS, else ./runs.
        data: root of the data cards; None: C2D_DATA, else ./data.
        wait_s: seconds to wait for the job.
        as_json: print one JSON object.
        print_line: called with each line of the report.

    Raises:
        InputError: an unknown profile, or no SLURM here.
    """
    machine = load_profile(profile)
    if not slurm_command.available():
        raise InputError("missing: sbatch and squeue; fix: run this on the cluster's login node")
    root = data or Path(os.environ.get("C2D_DATA") or "data")
    report = submit_probe(
        machine, runs_folder(runs).absolute(), root.absolute(), wait_s, (lambda line: None) if as_json else print_line
    )
    if as_json:
        facts = {"profile": report.profile, "ok": not report.problems, "job": report.job, "problems": report.problems}
        print_line(json.dumps(facts | {"facts": dict(report.facts), "answers": report.answers}, indent=1))
    else:
        width = max((len(name) for name, _ in report.facts), default=0)
        for name, text in report.facts:
            print_line(f"{name:<{width}}  {text}")
        for problem in report.problems:
            print_line(f"problem: {problem}")
        print_line(
            f"{len(report.problems)} problems" if report.problems else "a job of this profile finds everything it needs"
        )
    return 1 if report.problems else 0


def submit_probe(
    machine: Profile, runs: Path, data: Path, wait_s: float, print_line: Callable[[str], None]
) -> ProbeReport:
    """Submit the probe, wait for its answers, and return the report. A probe that has not started by then is cancelled.

    Args:
        machine: its profile.
        runs: the store, absolute.
        data: root of the data cards, absolute.
        wait_s: seconds to wait.
        print_line: called with lines about progress.
    """
    name = f"c2d-probe-{uuid.uuid4().hex[:8]}"
    place = runs / SWEEP / name
    report = ProbeReport(machine.name)
    task = Task(RunFolder(place), hours=LIMIT_H)
    short = machine.model_copy(update={"signal_delay_s": 10})
    request = LaunchRequest(SWEEP, runs, data, [task], short, take_snapshot(runs))
    job = ProbeJob(str(place), str(runs), str(data), machine.tmp)
    sent = time.time()
    try:
        report.job = submit_array([job], JobArray(name, (task,)), request, "", print_line)
    except NotSubmitted as error:
        report.problems.append(f"sbatch refused the job: {error.text}; fix the profile {machine.name}")
        return report
    print_line(f"job {report.job} is submitted; waiting {wait_s:.0f} s at most")
    answers, seen, facts = _wait(place, report.job, machine.world, sent + wait_s, print_line)
    if answers:
        report.answers = answers
        read_answers(report, machine, sent, seen)
    else:
        report.problems.append(_no_answer(report.job, facts, RunStore(runs).submission(SWEEP, name), wait_s))
    return report


def _wait(
    place: Path, job: str, world: int, deadline: float, print_line: Callable[[str], None]
) -> tuple[list[dict[str, Any]], float, queue.JobFacts | None]:
    """Return (answers by rank, when they were read, the queue's last facts)."""
    facts: queue.JobFacts | None = None
    queried = over = 0.0
    while True:
        answers = [value for rank in range(world) if (value := _read(Path(f"{place}.{rank}.json"))) is not None]
        now = time.time()
        # Ten seconds after the end of the job, the answers that are missing are a problem of the report.
        if len(answers) == world or (answers and answers[0]["rank"] == 0 and over and now - over > 10):
            return answers, now, facts
        late_s = (
            30 if facts is not None and facts.state == "COMPLETED" else 3
        )  # files may be late on a network file system
        if now >= deadline or (over and now - over > late_s):
            return answers, now, facts
        if now - queried >= 5 * POLL_S:
            queried = now
            try:
                facts = queue.look_up([job]).get(job, facts)
            except RunError as error:  # the controller does not answer now; the probe's answer is a file
                print_line(f"warning: {error}")
            if facts is not None and facts.state in queue.FINISHED:
                over = over or now
        time.sleep(POLL_S)


def _read(path: Path) -> dict[str, Any] | None:
    value = read_object(path, SMALL_BYTES)
    try:
        return None if isinstance(value, Problem) else check_answer(value)
    except FormatError:
        return None


def _no_answer(job: str, facts: queue.JobFacts | None, folder: Path, wait_s: float) -> str:
    """Return why there is no answer, in one line with a fix."""
    if facts is None or facts.state in ("PENDING", "CONFIGURING", "REQUEUED"):
        reason = facts.reason if facts is not None and facts.reason else "no reason given"
        words = next((text for sign, text in PENDING.items() if sign in reason), "")
        if not words and ("QOS" in reason or "Assoc" in reason):
            words = "a limit of your account or QOS is reached; it waits until other jobs of it have ended"
        cancel_jobs([job])
        text = f"{reason}: {words}" if words else reason
        return f"job {job} did not start within {wait_s:.0f} s and was cancelled ({text}); or wait longer with --wait"
    log = "\n".join(line for path in sorted(folder.glob(f"{job}_*_log.*")) for line in read_log_tail(path))
    if facts.state not in queue.FINISHED:
        late = f"job {job} runs on {facts.node} and has not answered in {wait_s:.0f} s; wait longer with --wait"
        return f"{late}. {_last(log)}"
    found = diagnose.diagnose(Evidence(facts=facts, log_tail=log))
    lines = " | ".join(found.lines) or f"nothing in {folder}"
    how = f"job {job} ended as {facts.state} on {facts.node or 'no node'} ({found.failure_class})"
    return f"{how}: {lines}; {found.suggestion}"


def _last(log: str) -> str:
    lines = log_patterns.key_lines(log_patterns.split_ranks(log), None)
    return f"Its last line: {lines[-1]}" if lines else "Its log is empty."

"""`c2d doctor --profile P`: send one short job the way real ones go, wait, and say what it saw and what to mend.

The job takes the same road as a run: profile, snapshot, batch script, submitit's runner. What goes wrong here would
have gone wrong for every run of a sweep.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, RunError
from c2d.core.regular_file import read_log_tail
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore, runs_folder
from sweeps.definition.profile import Profile, load_profile
from sweeps.failures import diagnose, log_patterns
from sweeps.launchers.arrays import Array
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.slurm import submit_array
from sweeps.launchers.snapshot import take_snapshot
from sweeps.node.probe_job import Look
from sweeps.scheduler import queue
from sweeps.scheduler.sbatch import NotSubmitted

SWEEP = ".probe"
LIMIT_H = 5 / 60
CLOCK_S = 60.0
"""Clocks that differ by more make heartbeats look stale."""
POLL_S = 1.0
FULL_GB = 1.0

PENDING = {
    "Resources": "no node is free that has what the profile asks for; it waits for one",
    "Priority": "other jobs come first; it waits for its turn",
    "ReqNodeNotAvail": "the nodes it needs are down, drained or reserved: `sinfo -R`, or another partition",
    "PartitionDown": "the partition takes no jobs now: `sinfo`, or another partition",
    "PartitionInactive": "the partition takes no jobs now: `sinfo`, or another partition",
    "PartitionTimeLimit": "the partition's time limit is below five minutes: take another partition",
    "PartitionNodeLimit": "the profile asks for more nodes than the partition has: lower `nodes`",
    "PartitionConfig": "the partition cannot give what the profile asks for: lower gpus, cpus or mem_gb",
    "BadConstraints": "no node has all that the profile asks for: check gpu_type, constraint, cpus, mem_gb",
    "InvalidAccount": "`account` of the profile is not yours: `sacctmgr show assoc user=$USER`",
    "InvalidQOS": "`qos` of the profile is not yours: `sacctmgr show assoc user=$USER`",
    "JobHeldUser": "it is held: `scontrol release JOB`",
    "JobHeldAdmin": "an administrator holds it; ask the cluster's support",
    "Reservation": "it waits for its reservation to begin",
    "Licenses": "it waits for a licence",
    "BeginTime": "its start time has not come yet",
}
"""squeue's reasons for waiting that have an answer; any other is shown as it is."""


@dataclass
class Report:
    """What is printed: facts as (name, text), problems each with its fix."""

    profile: str
    job: str | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)


def probe(
    profile: str,
    runs: Path | None,
    data: Path | None,
    wait_s: float,
    as_json: bool,
    print_line: Callable[[str], None] = print,
) -> int:
    """Send the probe and print what it saw; 0, or 1 where something has to be mended.

    Raises:
        InputError: an unknown profile; no SLURM here.
    """
    machine = load_profile(profile)
    if not queue.available():
        raise InputError("no sbatch and squeue on this machine; call it on the cluster's login node")
    root = data or Path(os.environ.get("C2D_DATA") or "data")
    report = send(
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
            f"{len(report.problems)} problems" if report.problems else "a job of this profile sees what it needs"
        )
    return 1 if report.problems else 0


def send(machine: Profile, runs: Path, data: Path, wait_s: float, print_line: Callable[[str], None]) -> Report:
    """Submit, wait at most `wait_s` seconds, and read the answer. A probe that has not started by then is cancelled."""
    name = f"c2d-probe-{uuid.uuid4().hex[:8]}"
    place = runs / SWEEP / name
    report = Report(machine.name)
    task = Task(RunFolder(place), hours=LIMIT_H)
    short = machine.model_copy(update={"signal_delay_s": 10})
    request = LaunchRequest(SWEEP, runs, data, [task], short, take_snapshot(runs))
    look = Look(str(place), str(runs), str(data), machine.tmp)
    sent = time.time()
    try:
        report.job = submit_array([look], Array(name, (task,)), request, "", print_line)
    except NotSubmitted as error:
        report.problems.append(f"sbatch refused the job: {error.text}; mend the profile {machine.name}")
        return report
    print_line(f"job {report.job} is submitted; waiting {wait_s:.0f} s at most")
    answers, seen, facts = _wait(place, report.job, machine.world, sent + wait_s, print_line)
    if answers:
        report.answers = answers
        judge(report, machine, sent, seen)
    else:
        report.problems.append(_silence(report.job, facts, RunStore(runs).submission(SWEEP, name), wait_s))
    return report


def _wait(
    place: Path, job: str, world: int, deadline: float, print_line: Callable[[str], None]
) -> tuple[list[dict[str, Any]], float, queue.JobFacts | None]:
    """(answers by rank, when the first one's was seen, what the queue said last)."""
    facts: queue.JobFacts | None = None
    asked = over = 0.0
    while True:
        answers = [value for rank in range(world) if (value := _read(Path(f"{place}.{rank}.json"))) is not None]
        now = time.time()
        if len(answers) == world or (answers and answers[0]["rank"] == 0 and over and now - over > 10):
            return answers, now, facts
        late_s = 30 if facts is not None and facts.state == "COMPLETED" else 3  # a network file system takes its time
        if now >= deadline or (over and now - over > late_s):
            return answers, now, facts
        if now - asked >= 5 * POLL_S:
            asked = now
            try:
                facts = queue.look_up([job]).get(job, facts)
            except RunError as error:  # a controller that is silent now; the answer comes by another way
                print_line(f"warning: {error}")
            if facts is not None and facts.state in queue.FINISHED:
                over = over or now
        time.sleep(POLL_S)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _silence(job: str, facts: queue.JobFacts | None, folder: Path, wait_s: float) -> str:
    """Why there is no answer, in one line with what to do."""
    if facts is None or facts.state in ("PENDING", "CONFIGURING", "REQUEUED"):
        reason = facts.reason if facts is not None and facts.reason else "no reason given"
        words = next((text for sign, text in PENDING.items() if sign in reason), "")
        if not words and ("QOS" in reason or "Assoc" in reason):
            words = "a limit of your account or QOS is reached; it waits until other jobs of it have ended"
        queue.cancel([job])
        told = f"{reason}: {words}" if words else reason
        return f"job {job} did not start within {wait_s:.0f} s and was cancelled ({told}); or wait longer with --wait"
    log = "\n".join(line for path in sorted(folder.glob(f"{job}_*_log.*")) for line in read_log_tail(path))
    if facts.state not in queue.FINISHED:
        late = f"job {job} runs on {facts.node} and has not answered in {wait_s:.0f} s; wait longer with --wait"
        return f"{late}. {_last(log)}"
    found = diagnose.diagnose(diagnose.Evidence(facts=facts, log_tail=log))
    lines = " | ".join(found.lines) or f"nothing in {folder}"
    how = f"job {job} ended as {facts.state} on {facts.node or 'no node'} ({found.failure_class})"
    return f"{how}: {lines}; {found.suggestion}"


def _last(log: str) -> str:
    lines = log_patterns.key_lines(log_patterns.split_ranks(log), None)
    return f"Its last line: {lines[-1]}" if lines else "Its log is empty."


def judge(report: Report, machine: Profile, sent: float, seen: float) -> None:
    """Facts and problems from the answers. Pure but for the report.

    Args:
        sent, seen: seconds since the epoch, by this machine's clock: submission, and when the answer was there.
    """
    first, problems = report.answers[0], report.problems
    checks = {check["name"]: check for check in first.get("doctor", {}).get("checks", [])}
    off = first["time"] - seen  # the answer was on its way for a poll and the file system's delay
    nodes = ", ".join(dict.fromkeys(str(answer["node"]) for answer in report.answers))
    memory, tmp = first["memory_gb"], first["tmp"]
    report.facts += [
        ("node", f"{nodes} (partition {first['partition']}, job {first['job']})"),
        ("processes", f"{len(report.answers)} of {machine.world} answered"),
        ("started", f"{max(0.0, first['began'] - sent):.0f} s after submission"),
        ("python", f"{first['python']} at {first['executable']}"),
        ("torch", checks.get("torch", {}).get("found", "not known")),
        ("GPU", f"{checks.get('GPU', {}).get('found', 'not known')}; CUDA_VISIBLE_DEVICES={first['cuda_visible']}"),
        ("cores", f"{first['cores']} for each process, asked for {machine.cpus}"),
        ("memory", f"{memory} GB a node, asked for {machine.mem_gb:g}"),
        ("tmp", f"{tmp['path']}, {tmp['free_gb']} GB free"),
        ("runs", f"{first['runs']['path']}, {first['runs']['free_gb']} GB free"),
        ("data", f"{first['data']['path']}, {'visible' if first['data']['visible'] else 'NOT visible'}"),
        (
            "clock",
            "as here" if abs(off) < 5 else f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this machine's",
        ),
    ]
    if len(report.answers) < machine.world:
        problems.append(
            f"{machine.world - len(report.answers)} processes did not answer; check nodes, gpus, `srun` flags"
        )
    if machine.gpus and "driver" not in checks.get("GPU", {}).get("found", ""):
        problems.append(
            "the job asked for a GPU and torch sees none; check gres, gpu_type, setup lines and torch's build"
        )
    if first["cores"] < machine.cpus:
        problems.append(
            f"{first['cores']} cores instead of {machine.cpus} a process; lower `cpus`, or add srun: [--cpu-bind=none]"
        )
    if memory is not None and memory < 0.95 * machine.mem_gb:
        problems.append(f"{memory} GB of memory instead of {machine.mem_gb:g}; lower `mem_gb`")
    for name, hint in (
        ("runs", "name a shared folder with --runs"),
        ("tmp", "name another folder as `tmp` in the profile"),
    ):
        if not first[name]["visible"] or not first[name]["writable"]:
            problems.append(f"{first[name]['path']} is not writable on the node; {hint}")
        elif first[name]["free_gb"] is not None and first[name]["free_gb"] < FULL_GB:
            problems.append(f"{first[name]['path']} has {first[name]['free_gb']} GB left on the node; {hint}")
    if not first["data"]["visible"]:
        problems.append(
            f"{first['data']['path']} is not there on the node; name a shared folder with --data or C2D_DATA"
        )
    if abs(off) > CLOCK_S:
        problems.append(
            f"clocks differ by {abs(off):.0f} s, so heartbeats look stale; ask the cluster's support for NTP"
        )
    if "error" in first.get("doctor", {}):
        problems.append(f"`c2d doctor` did not work on the node: {first['doctor']['error']}")
    for name, check in checks.items():
        if check["status"] == "fail":
            problems.append(f"{name} on the node: {check['found']}; {check['fix']}")

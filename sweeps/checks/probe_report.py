"""The report of a probe: facts about the node, and problems with their fixes, from the answers of its processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from c2d.core.json_values import TIMES, items, number, optional, required, text, whole
from c2d.core.regular_file import FormatError
from sweeps.definition.profile import Profile

CLOCK_S = 60.0
"""If clocks differ by more, heartbeats seem to be stale."""
FULL_GB = 1.0


@dataclass
class ProbeReport:
    """The printed report of a probe.

    Attributes:
        profile: name.
        job: number.
        facts: (name, text).
        problems: each with its fix.
        answers: of the processes, by rank.
    """

    profile: str
    job: str | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)


def check_answer(value: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a process with checked values.

    Raises:
        FormatError: a key is missing, or has a value of another kind.
    """
    for key in ("time", "began"):
        if number(required(value, key), key, *TIMES) is None:
            raise FormatError(f"{key} is null")
    if whole(required(value, "cores"), "cores") is None:
        raise FormatError("cores is null")
    number(required(value, "memory_gb"), "memory_gb", 0)
    for key in ("node", "partition", "job", "python", "executable", "cuda_visible"):
        text(required(value, key), key)
    for folder in ("tmp", "runs", "data"):
        text(required(value, folder, "path"), f"{folder}.path")
        number(required(value, folder, "free_gb"), f"{folder}.free_gb", 0)
        for key in ("visible", "writable"):
            if not isinstance(required(value, folder, key), bool):
                raise FormatError(f"{folder}.{key} is not a truth value")
    for check in items(optional(value, "doctor", "checks") or [], "doctor.checks"):
        for key in ("name", "status", "found", "fix"):
            text(required(check, key), f"doctor.checks.{key}")
    return value


def read_answers(report: ProbeReport, machine: Profile, sent: float, seen: float) -> None:
    """Add facts and problems to the report, from its answers.

    Args:
        machine: profile of the probe.
        sent: submission, seconds since the epoch by this machine's clock.
        seen: when the answers were read, by the same clock.
    """
    first, problems = report.answers[0], report.problems
    checks = {check["name"]: check for check in (first.get("doctor") or {}).get("checks") or []}
    off = first["time"] - seen  # includes one poll and the delay of the file system
    nodes = ", ".join(dict.fromkeys(str(answer["node"]) for answer in report.answers))
    memory, tmp = first["memory_gb"], first["tmp"]
    report.facts += [
        ("node", f"{nodes} (partition {first['partition']}, job {first['job']})"),
        ("processes", f"{len(report.answers)} of {machine.world} answered"),
        ("started", f"{max(0.0, first['began'] - sent):.0f} s after submission"),
        ("python", f"{first['python']} at {first['executable']}"),
        ("torch", checks.get("torch", {}).get("found", "not known")),
        ("GPU", f"{checks.get('GPU', {}).get('found', 'not known')}; CUDA_VISIBLE_DEVICES={first['cuda_visible']}"),
        ("cores", f"{first['cores']} for each process, requested {machine.cpus}"),
        ("memory", f"{memory} GB a node, requested {machine.memory_text()}"),
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
            "the job requested a GPU and torch finds none; check gres, gpu_type, setup lines and torch's build"
        )
    if first["cores"] < machine.cpus:
        problems.append(
            f"{first['cores']} cores instead of {machine.cpus} a process; lower `cpus`, or add srun: [--cpu-bind=none]"
        )
    if memory is not None and machine.mem_gb is not None and memory < 0.95 * machine.mem_gb:
        problems.append(f"{memory} GB of memory instead of {machine.mem_gb:g}; lower `mem_gb`")
    for name, hint in (
        ("runs", "use a shared folder with --runs"),
        ("tmp", "set another folder as `tmp` in the profile"),
    ):
        if not first[name]["visible"] or not first[name]["writable"]:
            problems.append(f"{first[name]['path']} is not writable on the node; {hint}")
        elif first[name]["free_gb"] is not None and first[name]["free_gb"] < FULL_GB:
            problems.append(f"{first[name]['path']} has {first[name]['free_gb']} GB left on the node; {hint}")
    if not first["data"]["visible"]:
        problems.append(f"{first['data']['path']} is missing on the node; use a shared folder with --data or C2D_DATA")
    if abs(off) > CLOCK_S:
        problems.append(
            f"clocks differ by {abs(off):.0f} s, so heartbeats look stale; contact the cluster's support about NTP"
        )
    if "error" in (first.get("doctor") or {}):
        problems.append(f"`c2d doctor` failed on the node: {first['doctor']['error']}")
    for name, check in checks.items():
        if check["status"] == "fail":
            problems.append(f"{name} on the node: {check['found']}; {check['fix']}")

"""sbatch, squeue, sacct, scontrol, scancel and srun that do what a real cluster will not do on demand.

State lives in the folder $FAKE_SLURM: jobs.json, calls.jsonl (every call), behaviour.json:
    sbatch          list of answers, one for each call, then "ok": ok, busy, timeout (and had submitted), lost (a
                    time-out that had not), limit, wall, dependency, array, partition
    max_submit      tasks that may be in the queue; more are a QOS limit
    max_array_size  MaxArraySize
    slow            {command: seconds before it answers}
    silent          commands that cannot reach the controller
    refused_cancels jobs that belong to another user: scancel refuses them
    refused         {word of scontrol: reason}, e.g. {"uhold": "Access/permission denied"}
Standard library only: it runs as a program.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STATE = Path(os.environ.get("FAKE_SLURM", "."))
TIMED_OUT = "Batch job submission failed: Socket timed out on send/recv operation"
POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)
ERRORS = {
    "busy": "Slurm temporarily unable to accept job, sleeping and retrying\n"
    "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
    "timeout": TIMED_OUT,
    "lost": TIMED_OUT,
    "limit": f"QOSMaxSubmitJobPerUserLimit\n{POLICY}",
    "wall": f"QOSMaxWallDurationPerJobLimit\n{POLICY}",
    "dependency": "Batch job submission failed: Job dependency problem",
    "array": "Batch job submission failed: Invalid job array specification",
    "partition": "Batch job submission failed: Invalid partition name specified",
}
WHEN = "2026-11-20T22:18:{:02d}"


def read(name: str, default: Any) -> Any:
    path = STATE / name
    return json.loads(path.read_text()) if path.exists() else default


def write(name: str, value: Any) -> None:
    (STATE / name).write_text(json.dumps(value, indent=1))


def sbatch(arguments: list[str]) -> int:
    script = Path(arguments[-1])
    text = script.read_text()
    flags = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))
    behaviour, jobs = read("behaviour.json", {}), read("jobs.json", {})
    answers = behaviour.get("sbatch", [])
    answer = answers.pop(0) if answers else "ok"
    write("behaviour.json", behaviour)
    last = re.fullmatch(r"0-([0-9]+)%([0-9]+)", flags.get("array", ""))
    count = int(last[1]) + 1 if last else 1
    if answer == "ok" and last and count > behaviour.get("max_array_size", 1001):
        answer = "array"
    active = sum(state in ("PENDING", "RUNNING") for job in jobs.values() for state in job["states"])
    if answer == "ok" and active + count > behaviour.get("max_submit", 10**9):
        answer = "limit"
    if answer in ("ok", "timeout"):
        number = str(max(map(int, jobs), default=99) + 1)
        jobs[number] = {
            "name": flags["job-name"].strip("'"),
            "array": bool(last),
            "throttle": int(last[2]) if last else 1,
            "states": ["PENDING"] * count,
            "exit": ["0:0"] * count,
            "dependency": flags.get("dependency", ""),
            "script": str(script),
            "flags": re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE),
            "purged": False,
        }
        write("jobs.json", jobs)
        if answer == "ok":
            print(number)
            return 0
    print(f"sbatch: error: {ERRORS[answer]}", file=sys.stderr)
    return 1


def rows(options: dict[str, str], purged: bool) -> list[dict[str, str]]:
    """One row per task; `purged` also those the controller has forgotten."""
    wanted = options["jobs"].split(",") if "jobs" in options else None
    found = []
    for number, job in read("jobs.json", {}).items():
        if (wanted is not None and number not in wanted) or (job["purged"] and not purged):
            continue
        if options.get("name") not in (None, job["name"]):
            continue
        for task, state in enumerate(job["states"]):
            here = {
                "%i": f"{number}_{task}" if job["array"] else number, "%F": number, "%T": state, "%N": "n1",
                "%M": "1:05", "%V": WHEN.format(0), "%S": job.get("start", WHEN.format(5)), "%j": job["name"],
                "%r": job.get("reason", "None"), "%P": job.get("partition", "gpu"), "%q": "normal", "%a": "vision",
                "%Q": "100", "%y": str(job.get("nices", {}).get(str(task), 0)), "exit": job["exit"][task],
                "%E": job["dependency"] or "(null)",
            }  # fmt: skip
            if task in job.get("held", []):
                here |= {"%r": "JobHeldUser", "%Q": "0"}
            found.append(here)
    return found


def squeue(options: dict[str, str]) -> int:
    found = rows(options, purged=False)
    if options.get("states") == "PENDING":
        found = [row for row in found if row["%T"] == "PENDING"]
    if not found and "jobs" in options and "," not in options["jobs"]:
        print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
        return 1
    for row in found:
        print("".join(row.get(part, part) for part in re.split("(%[A-Za-z])", options["format"])))
    return 0


def sacct(options: dict[str, str]) -> int:
    for row in rows(options, purged=True):
        cells = [row["%i"], row["%T"], "n1", "65", row["%V"], row["%S"], row["exit"], "None", row["%j"]]
        print("|".join(cells))
        print("|".join([f"{row['%i']}.batch", row["%T"], "n1", "65", row["%V"], row["%S"], row["exit"], "", "batch"]))
    return 0


def tasks_of(text: str) -> list[int]:
    """[1, 4, 5] for "1" and "[1,4-5]"; [0] for a plain job."""
    parts = [part.partition("-")[::2] for part in text.strip("[]").split(",")]
    return [task for first, last in parts for task in range(int(first or 0), int(last or first or 0) + 1)]


def change(ids: str, what: str, value: str = "") -> int:
    """uhold, release, Nice, ArrayTaskThrottle, Name or Comment of the pending tasks `123_[1,4-5]`."""
    if reason := read("behaviour.json", {}).get("refused", {}).get(what):
        print(f"{reason} for job {ids}\nslurm_suspend error: {reason}", file=sys.stderr)
        return 1
    jobs = read("jobs.json", {})
    number, _, tasks = ids.partition("_")
    job = jobs[number]
    held = set(job.get("held", []))
    if what in ("uhold", "release"):
        job["held"] = sorted(held | set(tasks_of(tasks)) if what == "uhold" else held - set(tasks_of(tasks)))
    elif what == "ArrayTaskThrottle":
        job["throttle"] = int(value)
    else:
        job.setdefault(f"{what.lower()}s", {}).update({str(task): value for task in tasks_of(tasks)})
    write("jobs.json", jobs)
    return 0


def scontrol(arguments: list[str]) -> int:
    if arguments[0] in ("uhold", "release"):
        return change(arguments[1], arguments[0])
    if arguments[0] == "update":
        ids = arguments[1].partition("=")[2]
        return max(change(ids, *word.split("=", 1)) for word in arguments[2:])
    if arguments[:2] == ["show", "config"]:
        print(f"MaxArraySize            = {read('behaviour.json', {}).get('max_array_size', 1001)}")
    return 0


def scancel(arguments: list[str]) -> int:
    """The jobs stay as they are: tests change their states."""
    refused = [job for job in arguments if job in read("behaviour.json", {}).get("refused_cancels", [])]
    for job in refused:
        print(f"scancel: error: Kill job error on job id {job}: Access/permission denied", file=sys.stderr)
    return 210 if refused else 0


def srun(arguments: list[str]) -> int:
    """Run the command once for each of $FAKE_NTASKS processes, here; the highest exit code is the step's."""
    output, at = "", 0
    while arguments[at].startswith("-"):
        if arguments[at] == "--output":
            at += 1
            output = arguments[at]
        at += 1
    codes = []
    for rank in range(int(os.environ.get("FAKE_NTASKS", "1"))):
        facts = {
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "SLURM_NTASKS": os.environ.get("FAKE_NTASKS", "1"),
        }
        name = output.replace("%t", str(rank)).replace("%j", os.environ.get("SLURM_JOB_ID", "0"))
        name = name.replace("%A", os.environ.get("SLURM_ARRAY_JOB_ID", "0"))
        name = name.replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
        with open(name, "ab") as log:
            codes.append(
                subprocess.run(
                    arguments[at:], env={**os.environ, **facts}, stdout=log, stderr=log, check=False
                ).returncode
            )
    return max(code if code >= 0 else 128 - code for code in codes)


def main(command: str) -> int:
    arguments = sys.argv[1:]
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "calls.jsonl").open("a") as log:
        log.write(json.dumps([command, *arguments]) + "\n")
    behaviour = read("behaviour.json", {})
    if seconds := behaviour.get("slow", {}).get(command, 0):
        time.sleep(seconds)
    if command in behaviour.get("silent", []):
        print(f"{command}: error: Unable to contact slurm controller (connect failure)", file=sys.stderr)
        return 1
    if command in ("squeue", "sacct"):
        options = dict(argument[2:].partition("=")[::2] for argument in arguments)
        return squeue(options) if command == "squeue" else sacct(options)
    return {"sbatch": sbatch, "scontrol": scontrol, "srun": srun, "scancel": scancel}[command](arguments)

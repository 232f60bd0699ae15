"""The job that runs after all jobs of a sweep and sends its one message; at most one of them waits for a sweep.

A later submission moves the job that waits behind its own jobs, and submits a new one where none waits. So several
submissions, retries and requeues end in one message.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from c2d.core.errors import InputError, RunError
from c2d.core.job_file import read_job
from c2d.core.regular_file import Problem
from c2d.core.run_folder import RunFolder, atomic_write_json, atomic_write_text, read_json
from c2d.core.store_folder import RunStore
from c2d.core.sweep_manifest import manifest_runs, read_manifest
from sweeps.definition.profile import Profile, stored_profile
from sweeps.launchers.dependencies import dependency_flag, unfinished_arrays
from sweeps.launchers.job_names import SWEEP_LENGTH
from sweeps.launchers.launch_request import PrintLine
from sweeps.launchers.script import export_lines, python_command
from sweeps.launchers.snapshot import snapshot_folder
from sweeps.launchers.submission import VERIFY
from sweeps.node import verify_snapshot
from sweeps.notification.watch_mark import is_watched
from sweeps.scheduler import slurm_command
from sweeps.scheduler.change_jobs import read_waiting
from sweeps.scheduler.sbatch import NotSubmitted, sbatch

NO_PLACE = "warning: no message when the sweep ends, SLURM accepts no more jobs; a later submission adds it"
NOTIFY_VARIABLE = "C2D_NOTIFY"
LIMIT_MIN = 15
MEMORY_MB = 1024


def has_message(profile: Profile) -> bool:
    """Return whether a profile asks for a message at the end of a sweep."""
    return bool(profile.notify or profile.mail)


def submit_end_job(
    runs: Path, data: Path, sweep: str, profile: Profile, code: str, jobs: Iterable[str], print_line: PrintLine
) -> bool:
    """Let one small job run after all jobs of a sweep. Call it under the store's lock. A refusal is a printed line.

    Returns:
        False where a limit of the cluster allows it later.

    Args:
        runs: the store.
        data: root of the data cards.
        sweep: its name.
        code: digest of a snapshot.
        jobs: of the sweep's runs, "123_4" or "123"; those that have ended are left out.
    """
    if not has_message(profile):
        return True
    folder = RunStore(runs).submission(sweep, "end")
    try:
        after = unfinished_arrays(sorted({job.split("_")[0] for job in jobs}, key=int))
        dependency = dependency_flag((), after)
        waiting = _waiting_job(folder)
        if waiting:
            words = ["update", f"JobId={waiting}", f"Dependency={dependency}"]
            refused = bool(dependency) and bool(slurm_command.scontrol(words)[0])
            if not refused:
                return True
        name = f"{sweep[:SWEEP_LENGTH]}-end-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / f"{name}.sh"
        shutil.copyfile(verify_snapshot.__file__, folder / VERIFY)
        atomic_write_text(script, end_script(runs, data, sweep, profile, code, dependency, name), private=True)
        number = sbatch(script, name, lambda line: None)
        atomic_write_json(folder / "job.json", {"format": 1, "job": number})
        print_line(f"job {number} sends one message when the sweep has ended")
    except NotSubmitted as error:
        if error.cause == "limit":
            return False
        print_line(f"warning: no message when the sweep ends: {error}")
    except RunError as error:
        print_line(f"warning: no message when the sweep ends: {error}")
    return True


def ensure_end_job(runs: Path, sweep: str, print_line: PrintLine) -> bool:
    """Let the end job of a sweep run after all jobs that it has now, by the profile of its newest launch.

    Call it under the store's lock. Nothing happens where the message about these launches was sent, or where a process
    watches the sweep, which calls this again at the end: until then the job would take a place in the queue.

    Args:
        runs: the store.
        sweep: its name.

    Returns:
        False where a limit of the cluster allows it later.
    """
    manifest = read_manifest(runs, sweep)
    if isinstance(manifest, Problem) or is_watched(runs, sweep, time.time()):
        return True
    launched = [job for run in manifest_runs(manifest) if (job := read_job(RunFolder(runs / run))) is not None]
    own = [job for job in launched if job.where == "slurm" and job.job is not None]
    if not own or message_mark(runs, sweep).exists():
        return True
    newest = max(own, key=lambda job: job.submitted)
    try:
        profile = stored_profile(runs, newest.sweep, newest.profile or "")
    except InputError as error:
        print_line(f"warning: no message when the sweep ends: {error}")
        return True
    jobs = [job.job for job in own if job.job is not None]
    return submit_end_job(runs, Path(newest.data), sweep, profile, newest.snapshot, jobs, print_line)


def message_mark(runs: Path, sweep: str) -> Path:
    """Return the file that marks the message about the present launches of a sweep as sent.

    Args:
        runs: the store.
        sweep: its name.
    """
    manifest = read_manifest(runs, sweep)
    ids = [] if isinstance(manifest, Problem) else sorted(manifest_runs(manifest))
    jobs = [(run, read_job(RunFolder(runs / run))) for run in ids]
    launches = [(run, job.submissions, job.name) for run, job in jobs if job is not None]
    digest = hashlib.sha256(json.dumps(launches).encode()).hexdigest()[:16]
    return RunStore(runs).submission(sweep, "end") / f"sent-{digest}"


def end_script(runs: Path, data: Path, sweep: str, profile: Profile, code: str, dependency: str, name: str) -> str:
    """Return the batch script. The command and the address are in quotes; no name of a user is shell code.

    Args:
        runs, data, sweep, profile, code: see `submit_end_job`.
        dependency: value of the --dependency flag, or "".
        name: of the job.
    """
    log = str(RunStore(runs).submission(sweep, "end") / "%j.out").replace("%", "%%").replace("%%j.out", "%j.out")
    flags = {
        "job-name": name, "output": log, "open-mode": "append", "nodes": "1", "ntasks": "1", "cpus-per-task": "1",
        "time": str(LIMIT_MIN), "mem": None if profile.mem_gb is None else f"{MEMORY_MB}M",
        "partition": profile.partition, "account": profile.account, "qos": profile.qos,
        "dependency": dependency or None, "chdir": str(snapshot_folder(runs, code)),
        "comment": None if "comment" not in profile.sbatch else str(profile.sbatch["comment"]),
    }  # fmt: skip
    words = [str(runs), sweep, *([f"--mail={profile.mail}"] if profile.mail else [])]
    lines = ["#!/bin/bash", *(f"#SBATCH --{key}={shlex.quote(value)}" for key, value in flags.items() if value)]
    lines += [*profile.setup, *export_lines(profile, data, snapshot_folder(runs, code))]
    # No other code sends the message either: an installed c2d would read this store where the snapshot is gone.
    check = [str(RunStore(runs).submission(sweep, "end") / VERIFY), str(snapshot_folder(runs, code)), code, "-"]
    lines += [f"{python_command(profile)} -I {shlex.join(check)} || exit"]
    # A variable, not an argument: every user of a node can read the arguments of a process.
    lines += [f"export {NOTIFY_VARIABLE}={shlex.quote(profile.notify)}"] if profile.notify else []
    lines += [f"exec {python_command(profile)} -u -m sweeps.notification.end_of_sweep {shlex.join(words)}"]
    return "\n".join(lines) + "\n"


def _waiting_job(folder: Path) -> str:
    """Return the number of the end job that waits in the queue, or ""."""
    with suppress(InputError, KeyError, TypeError):
        number = str(read_json(folder / "job.json")["job"])
        return number if number.isdigit() and read_waiting([number]) else ""
    return ""

"""Students in the queue whose teacher is trained again: they are made to wait for it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from c2d.core.job_file import read_job, write_job
from c2d.core.regular_file import Problem
from c2d.core.run_folder import RunFolder
from c2d.core.sweep_manifest import planned_runs, read_manifest, sweep_names
from sweeps.launchers.launch_request import PrintLine
from sweeps.scheduler import queue, slurm_command


def hold_back_students(launched: Collection[RunFolder], runs: Path, print_line: PrintLine) -> None:
    """Make the waiting jobs of every sweep wait for launched teachers that they need and do not wait for.

    A teacher that was done at their submission, and whose run folder was deleted since, is no dependency of theirs.
    Call it under the submission lock.

    Args:
        launched: runs that were submitted to SLURM now.
        runs: the store.
        print_line: called with a line for each job.
    """
    teachers = {run.id: job.job for run in launched if (job := read_job(run)) is not None and job.job is not None}
    students: dict[str, tuple[RunFolder, list[str]]] = {}
    for name in sweep_names(runs):
        manifest = read_manifest(runs, name)
        for entry in () if isinstance(manifest, Problem) else planned_runs(manifest):
            job = read_job(RunFolder(runs / entry.run)) if set(entry.needs) & set(teachers) else None
            new = [need for need in entry.needs if need in teachers and job is not None and need not in job.depends]
            if new and job is not None and job.job is not None and job.state == "submitted":
                students[job.job] = (RunFolder(runs / entry.run), new)
    for line in queue.list_pending(students, "%i|%E") if students else ():
        name, _, depends = line.strip().partition("|")
        if name not in students:
            continue
        run, new = students[name]
        kept = re.sub(r"\([a-z]+\)", "", depends).replace("null", "").strip("() ")
        wanted = f"afterok:{':'.join(teachers[need] for need in new)}" + f",{kept}" * bool(kept)
        code, error = slurm_command.scontrol(["update", f"jobid={name}", f"dependency={wanted}"])
        names = ", ".join(new)
        if code:
            print_line(f"{run.id}: job {name} does not wait for {names}, SLURM says: {' '.join(error.split())[:200]}")
        elif (job := read_job(run)) is not None:
            write_job(run, job.model_copy(update={"depends": [*job.depends, *new]}))
            print_line(f"{run.id}: job {name} now waits for {names}, which is trained again")

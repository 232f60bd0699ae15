"""Launches of runs whose run folder was deleted: array.json of their submission still names them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from c2d.core.job_file import Job
from c2d.core.run_state import time_stamp
from c2d.core.store_folder import RunStore
from sweeps.scheduler.array_file import ARRAY, read_array
from sweeps.state.run_files import RunFiles

DELETED = "its run folder was deleted"
REWRITTEN = f"{DELETED}; `submit` writes it again"
"""Why a run without a job is new again."""


def deleted_runs(ids: Collection[str], files: Mapping[str, RunFiles]) -> list[str]:
    """Return the runs without spec.json and job.json: they are new, or their folder was deleted.

    Args:
        ids: run ids.
        files: of the runs that have an entry in the store.
    """
    found = []
    for name in ids:
        one = files.get(name)
        if one is None or (
            one.is_folder and one.job is None and not one.run.spec.exists() and not one.run.job.exists()
        ):
            found.append(name)
    return found


def lost_launches(ids: Collection[str], runs: Path) -> dict[str, Job]:
    """Return {run id: its newest launch by SLURM} of these runs, from the submissions of all sweeps.

    Args:
        ids: run ids.
        runs: the store.
    """
    wanted = set(ids)
    found: dict[str, Job] = {}
    for path in sorted(RunStore(runs).sweeps.glob(f"*/*/{ARRAY}")) if wanted else ():
        facts = read_array(path.parent)
        for place, name in enumerate(_names(facts)):
            if name in wanted and facts is not None and (job := _launch(facts, place)) is not None:
                earlier = found.get(name)
                if earlier is None or (time_stamp(earlier.submitted) or 0.0) <= (time_stamp(job.submitted) or 0.0):
                    found[name] = job
    return found


def _names(facts: Mapping[str, Any] | None) -> list[str]:
    names = facts.get("runs") if facts is not None else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _launch(facts: Mapping[str, Any], place: int) -> Job | None:
    """Return job.json as the launcher wrote it for the run at this place of the array."""
    launch = facts.get("launch")
    if not isinstance(launch, dict):
        return None
    number = facts["job"] if len(_names(facts)) == 1 else f"{facts['job']}_{place}"
    try:
        return Job.model_validate_json(json.dumps({**launch, "task": place, "job": number, "state": "submitted"}))
    except ValueError:
        return None

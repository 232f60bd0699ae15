"""Facts of a run for trackers, read from its folder: parameters, tags, and how the attempt ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from c2d.core.job_file import read_attempts, read_job
from c2d.core.json_values import read_json
from c2d.core.masking import mask_json
from c2d.core.regular_file import Problem
from c2d.core.run_folder import RunFolder
from c2d.tracking.metric_names import result_metrics
from c2d.tracking.tracker import FAILED, FINISHED, INTERRUPTED, RUNNING, Outcome, TrackedRun

TAG = "c2d."
"""Begins the names of tags, so that they collide with none of the user's."""
RUN_ID_TAG = f"{TAG}run_id"
_STATES = {"done": FINISHED, "failed": FAILED, "waiting": INTERRUPTED, "running": RUNNING}


def read_tracked_run(folder: RunFolder) -> TrackedRun:
    """Return the facts that a tracker gets before the numbers. A file that is missing or damaged adds nothing."""
    spec = _object(folder.spec)
    return TrackedRun(folder, dict(_flat(mask_json(spec))), _tags(folder, spec))


def read_outcome(folder: RunFolder) -> Outcome:
    """Return how an attempt ended, by status.json and result.json."""
    status, spec = folder.try_read_status(), _object(folder.spec)
    state = _STATES.get(str(status["state"]), INTERRUPTED)
    result = _object(folder.result) if state == FINISHED else {}
    tags = _tags(folder, spec) | {f"{TAG}state": state}
    if state == FAILED:
        tags |= {f"{TAG}failure_class": str(status.get("failure_class")), f"{TAG}reason": str(status.get("reason"))}
    return Outcome(
        state,
        str(status.get("reason") or ""),
        str(status.get("failure_class") or ""),
        int(status.get("iteration") or 0),
        result_metrics(result),
        result.get("per_class") or {},
        tags,
    )


def _object(path: Any) -> dict[str, Any]:
    found = read_json(path)
    return found if isinstance(found, dict) and not isinstance(found, Problem) else {}


def _tags(folder: RunFolder, spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a run; values that are unknown are left out."""
    attempts = [one for one in _object(folder.env).get("attempts") or [] if isinstance(one, dict)]
    last: Mapping[str, Any] = attempts[-1] if attempts else {}
    job, git = read_job(folder), last.get("git") or {}
    methods = [name for part in spec.get("method") or [] for name in part]
    values = {
        "run_id": folder.id,
        "state": RUNNING,
        "kind": spec.get("kind"),
        "dataset": (spec.get("dataset") or {}).get("name"),
        "student": (spec.get("student") or {}).get("name"),
        "method": "+".join(methods) or None,
        "seed": spec.get("seed"),
        "sweep": job.sweep if job is not None else None,
        "commit": f"{git['sha']}{'-dirty' if git.get('dirty') else ''}" if git.get("sha") else None,
        "version": last.get("c2d"),
        "snapshot": last.get("snapshot"),
        "host": (last.get("machine") or {}).get("host"),
        "gpu": (last.get("machine") or {}).get("gpu"),
        "attempts": str(len(attempts)) if attempts else None,
        "slurm_jobs": ", ".join(dict.fromkeys(filter(None, map(_slurm_job, attempts)))) or None,
        "ended_attempts": _ended_attempts(read_attempts(folder)) or None,
    }
    return {f"{TAG}{name}": str(value) for name, value in values.items() if value not in (None, "")}


def _slurm_job(attempt: Mapping[str, Any]) -> str:
    """Return the number of an attempt's job, with its task and the number of its restart; "" outside SLURM."""
    slurm = attempt.get("slurm") or {}
    array, restarts = slurm.get("SLURM_ARRAY_JOB_ID"), slurm.get("SLURM_RESTART_COUNT")
    number = f"{array}_{slurm.get('SLURM_ARRAY_TASK_ID')}" if array else str(slurm.get("SLURM_JOB_ID") or "")
    return f"{number} (restart {restarts})" if number and restarts not in (None, "", "0") else number


def _ended_attempts(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the attempts that ended without a result: `preempted at 120 in job 17, requeued; killed at 300`."""
    parts = []
    for line in lines:
        where = f" in job {line['job']}" if line.get("job") else ""
        at = f" at {line['iteration']}" if line.get("iteration") is not None else ""
        parts.append(f"{line.get('class') or 'unknown'}{at}{where}{', requeued' if line.get('requeued') else ''}")
    return "; ".join(parts)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of every leaf. A list of methods has their names, any other list is JSON text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for item in value:
            yield from _flat(item, name)
    else:
        yield name, json.dumps(value) if isinstance(value, list) else value

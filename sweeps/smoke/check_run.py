"""Check what a smoke run left: it is done, its numbers are finite, and every term of its methods taught something."""

from __future__ import annotations

import math
from typing import Any

from c2d.core.curves.event_file import read_events
from c2d.core.run_folder import RunFolder
from c2d.specs.catalog import method_catalog
from c2d.specs.spec import RunSpec
from sweeps.smoke.smoke_spec import STEPS


def problem_of_run(run: RunFolder, spec: RunSpec) -> str:
    """Return the first problem of a run that was tried, with how to look into it; "" where there is none.

    Args:
        run: its folder.
        spec: of the run.
    """
    status = run.try_read_status()
    if status["state"] != "done":
        return f"{status.get('failure_class') or status['state']}: {status.get('reason') or 'no reason was recorded'}"
    if not run.result.is_file():
        return f"it is done and has no {run.result.name}"
    if not spec.has_steps:
        return ""
    events = [event for event in read_events(run.metrics) if event.get("event") == "train"]
    if [event.get("iteration") for event in events] != list(range(1, STEPS + 1)):
        return f"{run.metrics.name} has {len(events)} steps, wanted {STEPS}"
    return _problem_of_losses(events) or (_problem_of_terms(events, spec) if spec.kind == "detector" else "")


def _problem_of_losses(events: list[dict[str, Any]]) -> str:
    for event in events:
        for key, value in event.items():
            if isinstance(value, float) and not math.isfinite(value):
                return f"{key} is {value} at step {event['iteration']}"
    return ""


def _problem_of_terms(events: list[dict[str, Any]], spec: RunSpec) -> str:
    """Terms that a method may leave at 0 (`GATED`) need not teach, but one term of each method does."""
    for name, terms in _terms(spec).items():
        values = {
            term: [event[f"loss_kd_{name}_{term}"] for event in events if f"loss_kd_{name}_{term}" in event]
            for term in terms
        }
        silent = [term for term, found in values.items() if found and not any(found)]
        if wrong := [term for term in silent if term not in method_catalog()[name]["gated"]]:
            return f"{name}: {', '.join(wrong)} is 0 in every step"
        if not any(any(found) for found in values.values()):
            return f"{name}: none of {', '.join(terms)} is above 0 in a step"
    return ""


def absent_terms(run: RunFolder, spec: RunSpec) -> list[str]:
    """Return the terms with a weight above 0 that no step of a run had, or that were 0, as METHOD.TERM.

    Args:
        run: its folder.
        spec: of the run.
    """
    events = read_events(run.metrics)
    return [
        f"{name}.{term}"
        for name, terms in _terms(spec).items()
        for term in terms
        if not any(event.get(f"loss_kd_{name}_{term}") for event in events)
    ]


def _terms(spec: RunSpec) -> dict[str, list[str]]:
    """{method: its terms, without those whose weight is 0}; a weight of null is the method's own for the detector."""
    found = {}
    for item in spec.method:
        ((name, values),) = item.items()
        found[name] = [term for term, weight in method_catalog()[name]["weights"].items() if values.get(weight) != 0]
    return found

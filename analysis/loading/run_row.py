"""Read the JSON files of one run into a row of the frame, and derive its state.

The states are new, waiting, running, stale, failed, damaged and done. What comes from the content of one file is taken
from the cache where the file has not changed. What depends on the clock or on several files together (stale, damaged)
is decided on every read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.loading import flatten
from analysis.loading.cache import Cache
from analysis.loading.columns import RESULT_NAMES
from analysis.loading.flatten import Values
from c2d.core import json_values, regular_file
from c2d.core.regular_file import Problem
from c2d.core.run_folder import ENV_FILE, RESULT_FILE, SPEC_FILE, STATUS_FILE
from c2d.core.run_state import liveness

NO_FOLDER = "no run folder yet"


@dataclass(frozen=True)
class RunRow:
    """What one run contributes to the frame.

    Attributes:
        values: columns of the frame, state and reason among them.
        problems: files that could not be used.
        is_run: False for a folder that holds none of a run's files.
    """

    values: Values
    problems: tuple[Problem, ...] = ()
    is_run: bool = True


def not_started() -> RunRow:
    """Return the row of a planned run that has no folder."""
    return RunRow({"state": "new", "reason": NO_FOLDER})


def read_run_row(runs: Path, run: str, cache: Cache, now: float) -> RunRow:
    """Read the row of a run whose folder exists.

    Args:
        runs: the store.
        run: id of the run.
        cache: what was read before.
        now: seconds since the epoch.
    """
    files = {name: _flat(runs / run / name, f"{run}/{name}", cache) for name in (SPEC_FILE, STATUS_FILE, ENV_FILE)}
    spec, status = files[SPEC_FILE], files[STATUS_FILE]
    state = str(status["state"]) if isinstance(status, dict) else ""
    has_result = regular_file.file_state(runs / run / RESULT_FILE) is not None
    if spec is None and status is None and not has_result:
        return RunRow({"state": "new", "reason": f"its folder has no {SPEC_FILE} yet"}, is_run=False)

    problems = [found for found in files.values() if isinstance(found, Problem)]
    values: Values = {}
    for found in files.values():
        values.update(found if isinstance(found, dict) else {})
    if spec is None:
        problems.append(Problem(runs / run / SPEC_FILE, "is missing, so it is unknown what the run trains"))
    if status is None and has_result:
        problems.append(Problem(runs / run / STATUS_FILE, f"is missing although there is a {RESULT_FILE}"))
    if state == "done":
        result = _flat(runs / run / RESULT_FILE, f"{run}/{RESULT_FILE}", cache)
        if isinstance(result, dict) and values.get("kind") not in (None, result["result_kind"]):
            result = Problem(
                runs / run / RESULT_FILE, f"is of kind {result['result_kind']}, {SPEC_FILE} of kind {values['kind']}"
            )
        if isinstance(result, dict):
            values.update(result)
        else:
            problems.append(
                result or Problem(runs / run / RESULT_FILE, f"is missing although {STATUS_FILE} has state done")
            )
        if files[ENV_FILE] is None:
            problems.append(Problem(runs / run / ENV_FILE, "is missing: code and machine are unknown"))
    # Numbers without their provenance are still shown.
    serious = [problem for problem in problems if problem.path.name != ENV_FILE]
    if serious:
        return damaged(values, tuple(problems), "; ".join(f"{one.path.name} {one.message}" for one in serious))
    state, reason = _state(values, now)
    return RunRow({**values, "state": state, "reason": reason}, tuple(problems))


def damaged(values: Mapping[str, Any], problems: tuple[Problem, ...], reason: str) -> RunRow:
    """Return the row of a run whose numbers cannot be used: they are removed from `values`.

    Args:
        values: columns of the frame that were read.
        problems: the reasons, one a file.
        reason: the reasons in one phrase.
    """
    kept = {key: value for key, value in values.items() if key not in RESULT_NAMES}
    return RunRow({**kept, "state": "damaged", "reason": f"damaged: {reason}"}, problems)


def seed_of(run: str) -> float | None:
    """Return the seed in a run id, `name-hash12-s<seed>`; None where there is none."""
    found = re.search(r"-s([0-9]{1,15})\Z", run)
    return float(found[1]) if found else None


def _flat(path: Path, key: str, cache: Cache) -> Values | Problem | None:
    """The columns of one file; None where there is no such file."""
    state = regular_file.file_state(path)
    if state is None or isinstance(state, Problem):
        return state
    kept = cache.get(key, state)
    if kept is None:
        try:
            raw = regular_file.read_bytes(path)
        except (OSError, regular_file.FormatError) as error:
            # Not cached: a permission may change without changing the file.
            return Problem(path, f"cannot be read: {regular_file.error_text(error)}")
        kept = _flattened(path.name, raw)
        cache.put(key, state, kept)
    return kept if isinstance(kept, dict) else Problem(path, kept)


def _flattened(name: str, raw: bytes) -> Values | str:
    """The columns of a file's content, or what is wrong with it."""
    try:
        return flatten.FLATTEN[name](json_values.check_format(json_values.parse_json(raw)))
    except regular_file.FormatError as error:
        return f"cannot be used: {error}"


def _state(values: Values, now: float) -> tuple[str, str]:
    """(state, reason) of a run whose files are in order."""
    state = values.get("state", "waiting")
    progress = _progress(values)
    if state == "done":
        return "done", ""
    if state == "failed":
        reason = values.get("error") or values.get("reason") or "no reason was recorded"
        return "failed", f"failed ({values.get('failure_class') or 'unknown'}): {reason}"
    if state == "running":
        pid = values.get("pid")
        found = liveness({**values, "pid": int(pid) if isinstance(pid, float) else None}, now)
        if found.state == "alive":
            return "running", f"running: {progress}"
        return "stale", f"stale: {progress}, {found.reason}"
    if not values.get("attempt"):
        return "waiting", f"waiting: {values.get('reason') or 'not started yet'}"
    return "waiting", f"waiting: {values.get('reason') or 'interrupted'} ({progress})"


def _progress(values: Values) -> str:
    total, done = values.get("iterations"), values.get("iteration")
    if total:
        return f"iteration {done or 0:.0f} of {total:.0f}"
    return str(values.get("stage") or "starting")

"""List failed and stale runs from their folders alone: the failure class, one suggestion, the last lines of the log.

The classes are those of `c2d sweep triage`, which also reads SLURM and the logs of the launcher. A page may be written
on another machine, so here a run keeps the class that was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.loading.schema import Study, labels_of
from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.job_file import read_attempts
from c2d.core.json_values import read_json
from c2d.core.masking import mask_text
from c2d.core.regular_file import printable, read_log_tail
from c2d.core.run_folder import LOG_FILE, STATUS_FILE, RunFolder

STALE = "its process has probably died: check with `c2d sweep status`, continue with `c2d sweep retry`"
"""Suggestion for a stale run."""
SHOWN, WIDTH = 5, 200
"""Lines of a failure, and characters of a line."""


@dataclass(frozen=True)
class Failure:
    """One failed or stale run.

    Attributes:
        run: its id.
        cells: a phrase for each of its rows in the frame ("sweep demo: method=c2d, seed 0").
        state: failed or stale.
        failure_class: a key of FAILURE_CLASSES; "" for a stale run that recorded none.
        suggestion: what to do about it, one sentence.
        lines: at most five, oldest first: the end of its log, then the recorded reasons.
        reason: why the run is in its state, as in the frame.
    """

    run: str
    cells: tuple[str, ...]
    state: str
    failure_class: str
    suggestion: str
    lines: tuple[str, ...] = ()
    reason: str = ""


def list_failures(study: Study) -> list[Failure]:
    """Return every failed or stale run of a study once, in the order of the frame."""
    frame = study.frame
    rows = frame[frame["state"].isin(["failed", "stale"])]
    cells: dict[str, list[str]] = {}
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows.to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        run = str(named["run"])
        cells.setdefault(run, []).append(_cell_text(named))
        first.setdefault(run, named)
    return [_failure(study.folder(run), tuple(dict.fromkeys(cells[run])), row) for run, row in first.items()]


def _failure(folder: Path, cells: tuple[str, ...], row: Mapping[str, Any]) -> Failure:
    attempts = read_attempts(RunFolder(folder))
    recorded = str(attempts[-1].get("class") or "") if attempts else ""
    state = str(row["state"])
    own = str(row["failure_class"])
    if state == "stale":
        name = recorded if recorded in FAILURE_CLASSES else ""
        suggestion = (
            f"{STALE}; its attempt before ended as {name}: {FAILURE_CLASSES[name].suggestion}" if name else STALE
        )
    else:
        # `unknown` gives way to the class that the node recorded when the job ended.
        name = recorded if own in ("", "unknown") and recorded in FAILURE_CLASSES else own
        name = name if name in FAILURE_CLASSES else "unknown"
        suggestion = FAILURE_CLASSES[name].suggestion
    return Failure(folder.name, cells, state, name, suggestion, _lines(folder, attempts), str(row["reason"]))


def _cell_text(row: Mapping[str, Any]) -> str:
    labels = [f"{axis}={label}" for axis, label in labels_of(row).items()]
    seed = f"seed {row['seed']:.0f}" if row["seed"] == row["seed"] else ""
    named = ", ".join(part for part in [*labels, seed] if part)
    if row["role"] == "student":
        return f"sweep {row['sweep']}: {named}"
    if row["role"] == "single":
        return f"single run: {named}" if named else "single run"
    return f"{row['role']} of sweep {row['sweep']}"


def _lines(folder: Path, attempts: list[dict[str, Any]]) -> tuple[str, ...]:
    """The end of the log, then the reasons in attempts.jsonl and status.json; log lines that hold one are left out."""
    status = read_json(folder / STATUS_FILE)
    facts = status if isinstance(status, dict) else {}
    reasons = [attempts[-1].get("reason") if attempts else None, facts.get("reason"), facts.get("error")]
    recorded: list[str] = []
    for reason in reasons:
        line = printable(mask_text(reason))[:WIDTH] if isinstance(reason, str) else ""
        if line and line not in recorded:
            recorded.append(line)
    tail = [printable(mask_text(line))[:WIDTH].strip() for line in read_log_tail(folder / LOG_FILE)]
    log = [line for line in tail if line and not any(text in line for text in recorded)]
    kept = log[-(SHOWN - len(recorded)) :] if len(recorded) < SHOWN else []
    return tuple([*kept, *recorded][-SHOWN:])

"""Why runs failed, from what their folders still say: the class, one suggestion, the last lines worth reading.

The classes are those of `c2d sweep triage`, which can also ask the cluster; a page made on another machine cannot, so
here a run keeps the class that was recorded. Their table is repeated from sweeps/failures/retry_policy.py; a test compares the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.load.schema import Study, labels_of
from c2d.core.json_values import parse_json, read_json
from c2d.core.regular_file import FormatError, printable, read_bytes
from c2d.core.run_folder import ATTEMPTS_FILE, LOG_FILE, STATUS_FILE

SUGGESTIONS: Final[dict[str, str]] = {
    "preempted": "nothing to do: it continues from its newest checkpoint",
    "node-failure": "nothing to do; a node that fails twice is left out of the sweep",
    "killed": "killed from outside without a reason; look at the node's log if it happens again",
    "time-limit": "it continues in the next slice; raise `hours` in the profile if no slice gets far",
    "hang": "a rank stopped answering; the rank named first is the one to look at",
    "host-oom": "more memory: retry raises mem_gb by half up to max_mem_gb; or fewer loader workers",
    "cuda-oom": "the GPU is too small for it: a profile with another gpu_type, or precision amp-fp16",
    "nan": "the loss is not finite: a lower learning rate or loss weight, or fp32; look at metrics.jsonl",
    "config": "mend the definition, then submit again; `c2d sweep check` finds most of these before",
    "data": "`c2d data check` on that node's copy of the data set",
    "disk": "free some space or quota (`c2d sweep gc`), then retry --class disk",
    "import": "the node's python lacks a package or finds another: `c2d doctor --profile P` shows what it sees",
    "user-code": "an error in the code: mend it, then retry --class user-code --update-code",
    "cancelled": "somebody cancelled it; `retry --class cancelled` submits it again",
    "unknown": "no known sign in log, exit code and accounting: read the last lines of its log",
}
"""What to do about every class of failure there is."""
STALE = "it may have died without a word: `c2d sweep status` finds out, `c2d sweep retry` continues it"
SHOWN, WIDTH = 5, 200
TAIL_BYTES, ATTEMPTS_BYTES = 65536, 262144


@dataclass(frozen=True)
class Failure:
    """One failed or stale run.

    cells: what it was asked for, a phrase for each of its rows ("sweep demo: method=c2d, seed 0"). state: failed or
    stale. failure_class: a key of SUGGESTIONS; "" for a stale run that recorded none. lines: at most five, oldest
    first, of its log and what it said last.
    """

    run: str
    cells: tuple[str, ...]
    state: str
    failure_class: str
    suggestion: str
    lines: tuple[str, ...]


def triage(study: Study) -> list[Failure]:
    """Every failed or stale run of the study, in the order of the frame; a run with several rows once."""
    frame = study.frame
    rows = frame[frame["state"].isin(["failed", "stale"])]
    cells: dict[str, list[str]] = {}
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows.to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        run = str(named["run"])
        cells.setdefault(run, []).append(_in_words(named))
        first.setdefault(run, named)
    return [_failure(study.runs / run, tuple(dict.fromkeys(cells[run])), row) for run, row in first.items()]


def _failure(folder: Path, cells: tuple[str, ...], row: Mapping[str, Any]) -> Failure:
    deaths = _deaths(folder / ATTEMPTS_FILE)
    noted = str(deaths[-1].get("class") or "") if deaths else ""
    state = str(row["state"])
    own = str(row["failure_class"])
    if state == "stale":
        name = noted if noted in SUGGESTIONS else ""
        suggestion = f"{STALE}; its attempt before ended as {name}: {SUGGESTIONS[name]}" if name else STALE
    else:
        # A class that only says that nobody knew gives way to what the node noted.
        name = noted if own in ("", "unknown") and noted in SUGGESTIONS else own
        name = name if name in SUGGESTIONS else "unknown"
        suggestion = SUGGESTIONS[name]
    return Failure(folder.name, cells, state, name, suggestion, _lines(folder, deaths))


def _in_words(row: Mapping[str, Any]) -> str:
    labels = [f"{axis}={label}" for axis, label in labels_of(row).items()]
    seed = f"seed {row['seed']:.0f}" if row["seed"] == row["seed"] else ""
    named = ", ".join(part for part in [*labels, seed] if part)
    if row["role"] == "student":
        return f"sweep {row['sweep']}: {named}"
    if row["role"] == "single":
        return f"single run: {named}" if named else "single run"
    return f"{row['role']} of sweep {row['sweep']}"


def _lines(folder: Path, deaths: list[dict[str, Any]]) -> tuple[str, ...]:
    """The end of the log, then what the last attempt and status.json say, unless the log has it."""
    status = read_json(folder / STATUS_FILE)
    facts = status if isinstance(status, dict) else {}
    said = [deaths[-1].get("reason") if deaths else None, facts.get("reason"), facts.get("error")]
    told: list[str] = []
    for words in said:
        line = printable(words)[:WIDTH] if isinstance(words, str) else ""
        if line and line not in told:
            told.append(line)
    log = [line for line in _tail(folder / LOG_FILE) if not any(line.endswith(one) or one in line for one in told)]
    return tuple([*log[-max(0, SHOWN - len(told)) :], *told][-SHOWN:]) if told else tuple(log[-SHOWN:])


def _tail(path: Path) -> list[str]:
    """The last lines of a log that hold something; of a progress bar's line what its last carriage return left."""
    try:
        raw = read_bytes(path, TAIL_BYTES)
    except (OSError, FormatError):
        return []
    lines: deque[str] = deque(maxlen=4 * SHOWN)
    for line in raw.decode("utf-8", "replace").split("\n"):
        if kept := printable(line.rstrip().rsplit("\r", 1)[-1])[:WIDTH].strip():
            lines.append(kept)
    return list(lines)


def _deaths(path: Path) -> list[dict[str, Any]]:
    """Lines of attempts.jsonl, oldest first; a line cut off by a crash is passed over."""
    try:
        raw = read_bytes(path, ATTEMPTS_BYTES)
    except (OSError, FormatError):
        return []
    found = []
    for line in raw.split(b"\n"):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except FormatError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found

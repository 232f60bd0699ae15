"""metrics.jsonl: one event a line, appended; an attempt drops the events of the steps that it repeats."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from c2d.core.disk import disk_error
from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_text

THINNED = "thinned"
"""Event of an export that left train events out: `kept` of them are there, of `of`; `iteration` is their last."""


def append_event(path: Path, event: dict[str, Any]) -> None:
    """Append one event.

    Raises:
        DiskError: the system refuses, e.g. the disk is full.
    """
    try:
        with path.open("a") as stream:
            stream.write(json.dumps(event) + "\n")
    except OSError as error:
        raise disk_error(path, error) from error


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a file; none where there is no file, without lines that a kill cut in half."""
    if not path.is_file():
        return []
    events = []
    for line in path.read_text(errors="replace").splitlines():
        with suppress(ValueError, RecursionError):
            if isinstance(event := json.loads(line), dict):
                events.append(event)
    return events


def drop_events_after(path: Path, iteration: int) -> None:
    """Drop the events after `iteration`: their steps were lost with an earlier attempt and are repeated.

    Raises:
        InputError: something other than a file has the name.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is not a file; move it away: it has the curves of earlier attempts")
    kept = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            if json.loads(line)["iteration"] <= iteration:
                kept.append(line + "\n")
        # A line cut in half when the process was killed, or damaged in another way.
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    atomic_write_text(path, "".join(kept))

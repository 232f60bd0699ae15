"""One part of the campaign: its rows, how a row is measured, and the JSON file of a part."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2d.core.run_folder import atomic_write_json

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One line of the campaign's table.

    Attributes:
        part: name of the part.
        name: what was done, e.g. "25 kills in the export".
        expected: what is right, with its limit.
        seen: what was measured, with its figures.
        passed: whether it was right.
        seconds: wall time.
        peak_mib: largest resident size of a process of this part so far.
        facts: figures behind `seen`, for the JSON file only.
    """

    part: str
    name: str
    expected: str
    seen: str
    passed: bool
    seconds: float = 0.0
    peak_mib: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


Outcome = tuple[bool, str] | tuple[bool, str, dict[str, Any]]
"""(passed, seen) or (passed, seen, facts)."""


def measure(part: str, name: str, expected: str, action: Callable[[], Outcome]) -> Row:
    """Call `action` and return its row with time and memory; an exception is a row that has not passed."""
    begun = time.monotonic()
    try:
        passed, seen, *facts = action()
    except Exception as error:
        passed, seen, facts = False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", []
    seconds = round(time.monotonic() - begun, 1)
    return Row(part, name, expected, seen, passed, seconds, peak_mib(), facts[0] if facts else {})


def peak_mib() -> float:
    """Largest resident size of this process, or of one of its ended children, in MiB."""
    sizes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(max(sizes) / 1024)


def run_part(name: str, rows: Iterator[Row], path: Path) -> bool:
    """Print and save every row as it comes; return whether all passed.

    The file is `complete` when the part has come to its end; a part that was interrupted is run again.
    """
    begun, found = time.monotonic(), list[Row]()

    def save(complete: bool) -> None:
        machine = {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
        value = {
            "format": FORMAT, "part": name, "complete": complete, "machine": machine,
            "time": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(time.monotonic() - begun, 1),
            "rows": [asdict(row) for row in found],
        }  # fmt: skip
        atomic_write_json(path, value)

    for row in rows:
        found.append(row)
        print(f"  {'ok  ' if row.passed else 'FAIL'} {name}: {row.name}: {row.seen} ({row.seconds:.1f} s)", flush=True)
        save(complete=False)
    save(complete=True)
    return all(row.passed for row in found)


def read_part(path: Path) -> dict[str, Any] | None:
    """Return the file of a part; None where it is missing or of another format."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("format") == FORMAT else None


def rows_of_process(part: str, module: str, scratch: Path, environment: dict[str, str]) -> Iterator[Row]:
    """Run `python -m MODULE SCRATCH`, which writes its rows to rows.jsonl, and yield them; one more if it failed.

    Args:
        part: name for that row.
        module: its `main` writes the rows.
        scratch: folder of the part.
        environment: of the process.
    """
    command = [sys.executable, "-m", module, str(scratch)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = scratch / "rows.jsonl"
    for line in found.read_text().splitlines() if found.exists() else []:
        yield Row(**json.loads(line))
    if ended.returncode:
        yield Row(part, "the part", "comes to its end", ended.stderr[-2000:], False)

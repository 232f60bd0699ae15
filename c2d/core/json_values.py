"""A store on disk: the names of its files, and reading one of them into a value or a `Problem`, never a traceback.

The names are those of c2d's run folders (README, "A run is a folder of plain files"). They are repeated on purpose:
this room imports nothing of the others and meets them on disk; tests compare the two. Nothing here writes.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
SPEC, STATUS, RESULT, ENV = "spec.json", "status.json", "result.json", "env.json"
METRICS, ATTEMPTS, LOG = "metrics.jsonl", "attempts.jsonl", "log.txt"
DETECTIONS, LATENCY = "detections.json.gz", "latency"
SWEEPS, TARGETS = "sweeps", "targets"
SHARED = (SWEEPS, TARGETS, "students", "weights", "snapshots")
"""Folders of a store that are no runs."""

FileState = tuple[int, int, int, int]
"""(size in bytes, mtime in ns, ctime in ns, inode): while all are the same, so is the content. ctime tells a file that
was changed and then given its old time back."""


@dataclass(frozen=True)
class Problem:
    """Something in the store that could not be used, in words for a person; the rest was read."""

    path: Path
    message: str


class Wrong(ValueError):
    """What is wrong with a value, in words that follow the name of its file."""


@dataclass(frozen=True)
class Entries:
    """What lies in a store. runs: names of folders that may be runs, sorted. problems: names nobody could write."""

    runs: list[str]
    problems: list[Problem]


def entries(runs: Path) -> Entries:
    """The folders of a store but for the shared and the hidden ones; loose files are nobody's business."""
    names, problems = [], []
    with os.scandir(runs) as found:
        for entry in found:
            if entry.name.startswith(".") or entry.name in SHARED or not _is_folder(entry):
                continue
            if is_run_id(entry.name):
                names.append(entry.name)
            else:
                problems.append(Problem(runs, f"the folder {entry.name!a} has a name that no run can have; left out"))
    return Entries(sorted(names), sorted(problems, key=lambda problem: problem.message))


def is_run_id(name: object) -> bool:
    """True for a name that can be a folder of a store and can be shown: printable text without a slash."""
    return isinstance(name, str) and name not in ("", ".", "..") and name.isprintable() and "/" not in name


def sweep_names(runs: Path) -> list[str]:
    """Names of the sweeps that were submitted to a store, sorted."""
    try:
        return sorted(
            path.stem for path in (runs / SWEEPS).iterdir() if path.suffix == ".json" and is_run_id(path.stem)
        )
    except OSError:
        return []


def sweep_path(runs: Path, name: str) -> Path:
    return runs / SWEEPS / f"{name}.json"


def targets_path(runs: Path, digest: str) -> Path:
    """Evaluation ground truth of a data set, shared by the runs of the store."""
    return runs / TARGETS / f"{digest}.json.gz"


def file_state(path: Path) -> FileState | Problem | None:
    """The state of a file; None where there is none; a Problem where something else bears its name.

    A named pipe would keep a reader waiting for ever, so nothing but a regular file is ever opened.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return Problem(path, f"cannot be looked at: {said(error)}")
    if not stat.S_ISREG(found.st_mode):
        return Problem(path, "is no file; remove what bears its name")
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def read_json(path: Path) -> Any | Problem:
    """The value of a .json or .json.gz file, or a Problem that says why there is none."""
    try:
        raw = read_bytes(path)
        return loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (EOFError, zlib.error) as error:
        return Problem(path, f"is no whole gzip file ({said(error)})")
    except Wrong as error:
        return Problem(path, str(error))
    except (OSError, MemoryError) as error:  # gzip.BadGzipFile is an OSError
        return Problem(path, f"cannot be read: {said(error)}")


def read_object(path: Path) -> dict[str, Any] | Problem:
    """The object in a JSON file of format 1, or a Problem."""
    value = read_json(path)
    if isinstance(value, Problem):
        return value
    try:
        return of_format(value)
    except Wrong as error:
        return Problem(path, str(error))


def read_bytes(path: Path, last: int | None = None) -> bytes:
    """A regular file, or its `last` bytes. Raises OSError or Wrong."""
    state = file_state(path)
    if state is None:
        raise Wrong("is missing")
    if isinstance(state, Problem):
        raise Wrong(state.message)
    with open(path, "rb") as stream:
        if last is not None and state[0] > last:
            stream.seek(-last, os.SEEK_END)
            return stream.read(last)
        return stream.read()


def loads(raw: bytes) -> Any:
    """A JSON value. NaN and Infinity are no JSON: who wrote them lost a number. Raises Wrong."""
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except Wrong:
        raise
    except RecursionError:
        raise Wrong("is not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise Wrong(f"is not valid JSON ({said(error)})") from None


def of_format(value: Any) -> dict[str, Any]:
    """`value`, if it is an object of format 1. Raises Wrong."""
    if not isinstance(value, dict):
        raise Wrong(f"holds {kind(value)} where an object belongs")
    found = value.get("format")
    if type(found) is not int or found != FORMAT:
        given = f"is of format {_shown(found)}" if "format" in value else "names no format"
        raise Wrong(f"{given}; this version reads format {FORMAT}")
    return value


def at(value: Any, *keys: str) -> Any:
    """What stands at nested keys. Raises Wrong where a key is missing."""
    for depth, key in enumerate(keys):
        if not isinstance(value, Mapping):
            raise Wrong(f"{'.'.join(keys[:depth]) or 'it'} is {kind(value)} where an object belongs")
        if key not in value:
            raise Wrong(f"{'.'.join(keys[: depth + 1])} is missing")
        value = value[key]
    return value


def maybe(value: Any, *keys: str) -> Any:
    """What stands at nested keys, None where a key is missing or the way to it is null. Raises Wrong."""
    for depth, key in enumerate(keys):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise Wrong(f"{'.'.join(keys[:depth]) or 'it'} is {kind(value)} where an object belongs")
        value = value.get(key)
    return value


def number(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> float | None:
    """A finite number within bounds, or None for null, which is how an undefined number is written. Raises Wrong."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"{name} is {_shown(value)} where a number belongs")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise Wrong(f"{name} is not finite")
    if not low <= found <= high:
        raise Wrong(f"{name} is {found:g}, outside {low:g} to {high:g}")
    return found


def text(value: Any, name: str) -> str:
    """A line of text, "" for null. Raises Wrong."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Wrong(f"{name} is {_shown(value)} where text belongs")
    return plain(value)


def items(value: Any, name: str) -> list[Any]:
    """A list. Raises Wrong."""
    if not isinstance(value, list):
        raise Wrong(f"{name} is {kind(value)} where a list belongs")
    return value


def plain(given: str) -> str:
    """One line that can be shown and written everywhere: no terminal codes, control characters or half characters."""
    if given.isprintable():
        return given
    given = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", given)
    given = given.encode("utf-8", "replace").decode()
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", given).split())


def said(error: BaseException) -> str:
    """What an error says, in one short line; the path, which is known, left out."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return plain(words)[:200] or type(error).__name__


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    names: Iterable[tuple[Any, str]] = (
        (bool, "a truth value"), (int | float, "a number"), (str, "text"), (list, "a list"), (dict, "an object"),
    )  # fmt: skip
    return next((name for of, name in names if isinstance(value, of)), "null")


def _shown(value: Any) -> str:
    return kind(value) if isinstance(value, list | dict) else ascii(value)[:60]


def _no_constant(name: str) -> float:
    raise Wrong(f"is not valid JSON (it holds {name}; an undefined number is null)")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False

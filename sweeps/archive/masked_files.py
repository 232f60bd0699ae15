"""Take the places of machines out of the copied files of runs, and check that none is left.

Changed are records of attempts, the manifests, and the paths of data in the configs with their digests in result.json
and status.json. The question, the numbers, the detections and the weights of a run never change: one with a place in
them is refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from c2d.core.archives.archive_index import entry_of
from c2d.core.errors import InputError
from c2d.core.regular_file import Problem
from c2d.core.run_folder import METRICS_FILE, RESULT_FILE, read_json
from c2d.core.store_folder import SWEEPS
from sweeps.archive.machine_places import HOST_KEYS, MachinePlaces, collect_places

RECORDS = ("*/status.json", "*/env.json", "*/latency/*.json")
"""JSON files about attempts, with names of machines."""
FINDINGS = (f"*/{RESULT_FILE}", f"{SWEEPS}/*.json")
"""JSON files whose texts are data as well, such as names of classes: only paths are replaced."""
LINES = "*/attempts.jsonl"
CONFIGS = ("*/config.json", "*/config.py", "*/train_config.py")
"""They name the files of the data set."""
BINARY = "its content"
CLUSTER = "$CLUSTER"
"""In the place of SLURM's variables that are no number: they name a cluster, its partitions and accounts."""
_NUMBER = re.compile(r"\d+")


def mask_files(folder: Path, store: Path) -> None:
    """Replace the places of machines in the files of an export.

    Args:
        folder: copies of run folders and of what they share.
        store: where they were copied from.

    Raises:
        InputError: a place is left in a file that cannot be changed; the message names file and key.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    records = [name for name in names if _fits(name, RECORDS)]
    places = collect_places(((name.partition("/")[0], read_json(folder / name)) for name in records), store)
    digests: dict[str, str] = {}
    for path in [folder / name for name in names if _fits(name, CONFIGS)]:
        before = entry_of(path).sha256
        path.write_text(places.without_folders(path.read_text(errors="replace")))
        digests[before] = entry_of(path).sha256

    def text(found: str) -> str:
        return digests.get(found) or places.without_folders(found)

    for name in names:
        path = folder / name
        if name in records:
            _write_json(path, _masked_record(read_json(path), text, places))
        elif _fits(name, FINDINGS):
            _write_json(path, _mapped(read_json(path), text))
        elif fnmatch(name, LINES):
            path.write_text("".join(_masked_lines(path, text, places)))
        _check(path, name, places)


def _write_json(path: Path, value: Any) -> None:
    # Without a flush to the disk for each file: the folder is a draft, and has thousands of them.
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _masked_record(value: Any, text: Callable[[str], str], places: MachinePlaces) -> Any:
    """Return a record without places; process ids are null.

    Args:
        value: of JSON.
        text: returns a text without folders.
        places: with the names.
    """
    if isinstance(value, list):
        return [_masked_record(one, text, places) for one in value]
    if not isinstance(value, dict):
        return places.without_names(text(value)) if isinstance(value, str) else value
    found: dict[str, Any] = {}
    for key, one in value.items():
        if key == "pid":
            found[key] = None
        elif str(key).startswith("SLURM") and not _NUMBER.fullmatch(str(one)):
            found[key] = CLUSTER
        elif key in HOST_KEYS and isinstance(one, str):
            found[key] = places.names.get(one, one)
        else:
            found[key] = _masked_record(one, text, places)
    return found


def _masked_lines(path: Path, text: Callable[[str], str], places: MachinePlaces) -> Iterator[str]:
    """Yield the lines of a JSON lines file; one that was cut off by a crash is left out, as readers leave it out."""
    for line in path.read_text(errors="replace").splitlines():
        try:
            yield json.dumps(_masked_record(json.loads(line), text, places)) + "\n"
        except (ValueError, RecursionError):
            continue


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_mapped(one, change) for one in value]
    if isinstance(value, dict):
        return {key: _mapped(one, change) for key, one in value.items()}
    return change(value) if isinstance(value, str) else value


def _check(path: Path, name: str, places: MachinePlaces) -> None:
    """Raise an error if a file has a place.

    Raises:
        InputError: it has one.
    """
    for where, text in _texts(path, name):
        find = places.first_known_place if where == BINARY else places.first_place
        if place := find(text):
            raise InputError(
                f"{name}: {where} has {place[:200]!a}, a place of a machine, in a file that stays as the run wrote "
                "it; leave the run out, or export it with places (without --no-places)"
            )


def _texts(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield (key or line, text) of a file. Of a binary file, its printable parts."""
    if path.name.endswith((".json", ".json.gz")):
        value = read_json(path)
        assert not isinstance(value, Problem)
        yield from _leaves(value, "")
    elif path.suffix in (".py", ".jsonl", ".txt"):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if path.name != METRICS_FILE or "/" in line:  # hundreds of lines of numbers
                yield f"line {number}", line
    else:
        for part in re.findall(rb"[\x20-\x7e]{4,}", path.read_bytes()):
            yield BINARY, part.decode("ascii")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for place, one in enumerate(value):
            yield from _leaves(one, f"{key}[{place}]")
    elif isinstance(value, dict):
        for name, one in value.items():
            yield f"a key of {key or 'it'}", str(name)
            yield from _leaves(one, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str):
        yield key, value

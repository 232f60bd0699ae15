"""ARCHIVE.json: what an exported folder holds, with size and sha256 of every file; and which files of a run it has."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from c2d.core.errors import InputError
from c2d.core.json_values import items, read_object, required, text, type_name, whole
from c2d.core.regular_file import FormatError, Problem, error_text, file_state, is_file
from c2d.core.run_folder import LATENCY_FOLDER, RunFolder, atomic_write_json, read_json
from c2d.core.store_folder import is_run_id

INDEX_FILE = "ARCHIVE.json"
FORMAT = 1
RECORD_FILES = ("spec.json", "status.json", "env.json", "result.json", "metrics.jsonl", "attempts.jsonl")
"""Question, state, code and machine, numbers, curves, and the attempts that failed."""
CONFIG_FILES = ("config.json", "config.py", "train_config.py")
DETECTION_FILES = ("detections.json.gz",)
WEIGHT_FILES = ("student.pth", "classifier.pth")
SYNTHESIS_FILES = ("card.json", "annotations/train.json", "sheet.png", "diagnostics.html")
"""Of a run that made images; the images themselves are left out."""
RUN_FILES = (*RECORD_FILES, *CONFIG_FILES, *DETECTION_FILES, *WEIGHT_FILES, *SYNTHESIS_FILES)
NUMBER_TABLES = ("AP_per_iou", "per_class", "tide", "protocols", "calibration")
"""Keys of result.json with tables of numbers."""
_PART_BYTES = 2**20


@dataclass(frozen=True)
class FileEntry:
    """One file of an archive.

    Attributes:
        bytes: its size.
        sha256: of its content (hex).
    """

    bytes: int
    sha256: str


@dataclass(frozen=True)
class ArchiveIndex:
    """The content of ARCHIVE.json.

    Attributes:
        made_by: version of c2d.
        made: time (UTC, ISO 8601).
        sweeps: names of the sweeps in it.
        runs: {run id: role}, `student` or `teacher`.
        missing: {run id: state} of planned runs that were not finished.
        left_out: what the runs have in their store and not here.
        files: {path with slashes: entry}, all files but ARCHIVE.json and README.txt.
    """

    made_by: str
    made: str
    sweeps: tuple[str, ...] = ()
    runs: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write ARCHIVE.json into a folder."""
        atomic_write_json(folder / INDEX_FILE, {"format": FORMAT, **asdict(self)})


def read_index(folder: Path) -> ArchiveIndex | None:
    """Return the index of a folder; None where there is none, as in a store.

    Raises:
        InputError: it is damaged, or of a format that this version does not read.
    """
    path = folder / INDEX_FILE
    if not os.path.lexists(path):
        return None
    value = read_object(path)
    if isinstance(value, Problem):
        raise InputError(f"{path} {value.message}; export the runs again, or update c2d if a newer one exported them")
    try:
        return ArchiveIndex(
            text(required(value, "made_by"), "made_by"),
            text(required(value, "made"), "made"),
            _texts(value, "sweeps"),
            _table(value, "runs"),
            _table(value, "missing"),
            _texts(value, "left_out"),
            {_checked_path(name): _checked_entry(entry, name) for name, entry in _object(value, "files").items()},
        )
    except FormatError as error:
        raise InputError(f"{path}: {error}; export the runs again") from None


def _object(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = required(value, key)
    if not isinstance(found, dict):
        raise FormatError(f"{key} is {type_name(found)} where an object belongs")
    return found


def _table(value: dict[str, Any], key: str) -> dict[str, str]:
    return {text(name, key): text(found, f"{key}.{name!a:.60}") for name, found in _object(value, key).items()}


def _texts(value: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(text(item, key) for item in items(required(value, key), key))


def _checked_entry(entry: Any, name: str) -> FileEntry:
    size = whole(required(entry, "bytes"), f"bytes of {name!a:.60}")
    return FileEntry(size or 0, text(required(entry, "sha256"), f"sha256 of {name!a:.60}"))


def _checked_path(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or not name.isprintable():
        raise FormatError(f"{name!a:.60} is no path inside the archive")
    return name


def run_files(run: RunFolder, *, weights: bool = True, detections: bool = True) -> Iterator[str]:
    """Yield the files of a run that belong into an archive, as paths inside its folder.

    Args:
        run: its folder.
        weights: include student.pth or classifier.pth.
        detections: include detections.json.gz.
    """
    chosen = [*RECORD_FILES, *CONFIG_FILES, *SYNTHESIS_FILES]
    chosen += [*DETECTION_FILES] * detections + [*WEIGHT_FILES] * weights
    yield from (name for name in chosen if is_file(run.path / name))
    if run.latency.is_dir():
        found = [path for path in run.latency.iterdir() if path.suffix == ".json" and is_file(path)]
        names = sorted(path.name for path in found if is_run_id(path.name))
        yield from (f"{LATENCY_FOLDER}/{name}" for name in names)


def is_run_file(name: str) -> bool:
    """Return whether a path inside a run folder is one that an archive may have."""
    return name in RUN_FILES or re.fullmatch(rf"{LATENCY_FOLDER}/[^/]+\.json", name) is not None


def entry_of(path: Path) -> FileEntry:
    """Return size and sha256 of a file.

    Raises:
        InputError: it is missing, or no regular file.
    """
    state = file_state(path)
    if state is None or isinstance(state, Problem):
        raise InputError(f"{path} {state.message if state else 'is missing'}")
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while part := stream.read(_PART_BYTES):
            digest.update(part)
            size += len(part)
    return FileEntry(size, digest.hexdigest())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file into a folder, which is made.

    Raises:
        InputError: the source cannot be read, or was removed meanwhile.
        OSError: the target cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.filename != os.fspath(source) or error.filename2:  # both names: the disk of the target is full
            raise
        raise InputError(f"{source} cannot be read: {error_text(error)}; restore it, or leave the run out") from None


def run_differences(here: RunFolder, there: RunFolder) -> list[str]:
    """Return how the findings of two finished runs of one id differ; empty if they agree.

    Times, machines and paths may differ: the numbers, the detections and the weights may not. A file that one of them
    does not have (an archive without weights) is not compared.
    """
    a, b = (_numbers(read_json(run.result)) for run in (here, there))
    names = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
    differ = [f"{name} {_shown(a.get(name))} here, {_shown(b.get(name))} there" for name in names]
    for name in (*DETECTION_FILES, *WEIGHT_FILES):
        paths = [run.path / name for run in (here, there)]
        if all(isinstance(file_state(path), tuple) for path in paths) and entry_of(paths[0]) != entry_of(paths[1]):
            differ.append(f"{name} has another content")
    return differ


def _numbers(result: Any) -> dict[str, Any]:
    """Return what follows from the weights: every plain number of a result.json, and its tables."""
    found = result if isinstance(result, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, int | float | None) or key in NUMBER_TABLES}


def _shown(value: Any) -> str:
    return (
        f"{value:.6g}" if isinstance(value, float) else "other values" if isinstance(value, dict) else f"{value!a:.40}"
    )

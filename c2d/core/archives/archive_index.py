"""ARCHIVE.json: what an archive holds, with size and sha256 of every file; and which files of a run it has."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.archives.member_names import is_inside_name
from c2d.core.errors import InputError
from c2d.core.json_values import MAX_BYTES, check_format, items, parse_json, required, text, type_name, whole
from c2d.core.regular_file import FormatError, Problem, error_text, file_state, is_file, read_bytes
from c2d.core.run_folder import LATENCY_FOLDER, RunFolder, atomic_write_json
from c2d.core.store_folder import STUDENTS, SWEEPS, TARGETS, is_run_id

INDEX_FILE, README_FILE = "ARCHIVE.json", "README.txt"
FORMAT = 1
RECORD_FILES = ("spec.json", "status.json", "env.json", "result.json", "metrics.jsonl", "attempts.jsonl")
"""Question, state, code and machine, numbers, curves, and the attempts that failed."""
CONFIG_FILES = ("config.json", "config.py", "train_config.py")
DETECTION_FILES = ("detections.json.gz",)
WEIGHT_FILES = ("student.pth", "classifier.pth")
SYNTHESIS_FILES = ("card.json", "annotations/train.json", "sheet.png", "diagnostics.html")
"""Of a run that made images; the images themselves are left out."""
RUN_FILES = (*RECORD_FILES, *CONFIG_FILES, *DETECTION_FILES, *WEIGHT_FILES, *SYNTHESIS_FILES)
PART_BYTES = 2**20
EXPORT_AGAIN = "export the runs again, or update c2d if a newer one exported them"


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
        made: time of the newest run (UTC, ISO 8601): the same runs make the same archive.
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
    try:
        return parse_index(read_bytes(path, most=MAX_BYTES))
    except FormatError as error:
        raise InputError(f"{path}: {error}; {EXPORT_AGAIN}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error_text(error)}; check its permissions") from None


def parse_index(raw: bytes) -> ArchiveIndex:
    """Return the index in the bytes of ARCHIVE.json.

    Raises:
        FormatError: it is damaged, or of a format that this version does not read.
    """
    value = check_format(parse_json(raw))
    return ArchiveIndex(
        text(required(value, "made_by"), "made_by"),
        text(required(value, "made"), "made"),
        _texts(value, "sweeps"),
        _table(value, "runs"),
        _table(value, "missing"),
        _texts(value, "left_out"),
        {_checked_path(name): _checked_entry(entry, name) for name, entry in _object(value, "files").items()},
    )


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
    if not is_inside_name(name):
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


def is_archive_name(name: str) -> bool:
    """Return whether a path inside an archive is one that an export writes: of a run, or shared by runs."""
    folder, _, rest = name.partition("/")
    if folder in (SWEEPS, TARGETS, STUDENTS):
        suffix = {SWEEPS: ".json", TARGETS: ".json.gz", STUDENTS: ".py"}[folder]
        return "/" not in rest and rest.endswith(suffix)
    return is_run_id(folder) and not folder.startswith(".") and is_run_file(rest)


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
        while part := stream.read(PART_BYTES):
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

"""List a store (`runs/`): its run folders, the sweeps submitted to it, and the files that its runs share.

Reports read stores whose folders other people and programs write, so names are checked before they are used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from c2d.core.regular_file import Problem

SWEEPS, TARGETS, STUDENTS, WEIGHTS, SNAPSHOTS = "sweeps", "targets", "students", "weights", "snapshots"
SHARED_FOLDERS = (SWEEPS, TARGETS, STUDENTS, WEIGHTS, SNAPSHOTS)
"""Folders of a store that are not runs."""


@dataclass(frozen=True)
class StoreListing:
    """Folders of a store.

    Attributes:
        runs: names of folders that may be runs, sorted.
        problems: folders whose names cannot be shown or written.
    """

    runs: list[str]
    problems: list[Problem]


def list_store(runs: Path) -> StoreListing:
    """List the folders of a store, without the shared and the hidden ones. Loose files are ignored.

    Raises:
        OSError: the store cannot be read.
    """
    names, problems = [], []
    with os.scandir(runs) as found:
        for entry in found:
            if entry.name.startswith(".") or entry.name in SHARED_FOLDERS or not _is_folder(entry):
                continue
            if is_run_id(entry.name):
                names.append(entry.name)
            else:
                problems.append(Problem(runs, f"the folder {entry.name!a} has a name that no run can have; left out"))
    return StoreListing(sorted(names), sorted(problems, key=lambda problem: problem.message))


def is_run_id(name: object) -> bool:
    """Return whether `name` can be a folder of a store: printable text without a slash."""
    return isinstance(name, str) and name not in ("", ".", "..") and name.isprintable() and "/" not in name


def sweep_names(runs: Path) -> list[str]:
    """Return the names of the sweeps that were submitted to a store, sorted; none if it has no folder for them."""
    try:
        return sorted(
            path.stem for path in (runs / SWEEPS).iterdir() if path.suffix == ".json" and is_run_id(path.stem)
        )
    except OSError:
        return []


def sweep_record_path(runs: Path, name: str) -> Path:
    """Return the file that records a submitted sweep: its definition, axes and runs."""
    return runs / SWEEPS / f"{name}.json"


def targets_path(runs: Path, digest: str) -> Path:
    """Return the file of the evaluation ground truth of a data set, which all runs of the store share.

    Args:
        runs: the store.
        digest: digest of the data card.
    """
    return runs / TARGETS / f"{digest}.json.gz"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False

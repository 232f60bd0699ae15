"""A store (`runs/`): the files that its runs share, the list of its run folders, and the search for one run.

Reports read stores whose folders other people and programs write, so names are checked before they are used.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import InputError, unknown_name
from c2d.core.regular_file import Problem, is_file
from c2d.core.run_folder import SPEC_FILE, RunFolder

SWEEPS, TARGETS, STUDENTS, WEIGHTS, SNAPSHOTS = "sweeps", "targets", "students", "weights", "snapshots"
DATASETS, TRACKING = "datasets", "tracking"
SHARED_FOLDERS = (SWEEPS, TARGETS, STUDENTS, WEIGHTS, SNAPSHOTS, DATASETS, TRACKING)
"""Folders of a store that are not runs."""
MAX_NAME_BYTES = 255
"""Limit of file systems for one name."""
SHOWN = 20
"""Ids that an error message lists."""


def runs_folder(runs: Path | str | None) -> Path:
    """Return the folder of all runs: `--runs`, else C2D_RUNS, else ./runs.

    Raises:
        InputError: it is a file, such as an archive.
    """
    folder = named_store(runs)
    if folder.is_file():
        raise InputError(
            f"{folder} is a file, and this command needs a store; import an archive: c2d runs import {folder} --runs "
            "STORE (`c2d report`, `explain`, `compare` and `browse` read it as it is)"
        )
    return folder


def named_store(runs: Path | str | None) -> Path:
    """Return what `--runs`, else C2D_RUNS names, else ./runs: a store, or for commands that only read an archive."""
    return Path(runs or os.environ.get("C2D_RUNS") or "runs")


@dataclass(frozen=True)
class RunStore:
    """A store: the folder of all runs, with what they share. Properties are paths that need not exist."""

    path: Path

    @property
    def sweeps(self) -> Path:
        """One manifest a sweep, and a folder with its submissions."""
        return self.path / SWEEPS

    @property
    def snapshots(self) -> Path:
        """Copies of the code, one a digest."""
        return self.path / SNAPSHOTS

    @property
    def tracking(self) -> Path:
        """What trackers write by default (`c2d.tracking`): copies of numbers, which nothing reads again."""
        return self.path / TRACKING

    def manifest(self, sweep: str) -> Path:
        """The planned runs of a sweep (`c2d.core.sweep_manifest`)."""
        return self.sweeps / f"{sweep}.json"

    def submission(self, sweep: str, name: str) -> Path:
        """Folder of one submission: its pickles, its script, its folders.txt and its logs."""
        return self.sweeps / sweep / name

    def targets(self, data_digest: str) -> Path:
        """Ground truth of the evaluation, one file a data set."""
        return self.path / TARGETS / f"{data_digest}.json.gz"

    def student_config(self, digest: str) -> Path:
        """The resolved config of a student that was given as a file."""
        return self.path / STUDENTS / f"{digest}.py"

    def dataset(self, digest: str) -> Path:
        """Where the data set lies that a spec named by its path (`c2d.data.card_places`)."""
        return self.path / DATASETS / f"{digest}.json"

    def weights(self, sha256: str) -> Path:
        """A weight file named by its content."""
        return self.path / WEIGHTS / f"{sha256}.pth"


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
    """Return whether `name` can be a folder of a store: printable text without a slash, of at most 255 bytes."""
    is_name = isinstance(name, str) and name not in ("", ".", "..") and name.isprintable() and "/" not in name
    return is_name and len(str(name).encode()) <= MAX_NAME_BYTES


def find_run(given: str, runs: Path) -> RunFolder:
    """Find a run.

    Args:
        given: its id, the beginning of its id if that fits one run only, or its folder.
        runs: the store.

    Raises:
        InputError: no run fits, or several do.
    """
    if is_file(Path(given) / SPEC_FILE):
        return RunFolder(Path(given).resolve())
    ids = sorted(path.parent.name for path in runs.glob(f"*/{SPEC_FILE}"))
    is_whole_id = re.search(r"-[0-9a-f]{12}-s\d+$", given)  # a whole id is no beginning of another: s1 is not s10
    fits = [given] if given in ids else [] if is_whole_id else [name for name in ids if name.startswith(given)]
    if len(fits) == 1:
        return RunFolder(runs / fits[0])
    if fits:
        raise InputError(f"run '{given}' fits {len(fits)} runs ({', '.join(fits[:3])}, ...); give more of the id")
    raise unknown_name(f"run in {runs}/", given, ids[:SHOWN], "train it first, or name another store with --runs")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False

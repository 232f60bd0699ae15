"""Find and remove old checkpoints, logs of finished submissions, leftovers of killed processes, and unused snapshots.

`plan_removals` only reads; `remove` removes what it lists. The newest complete checkpoint of a run always stays, a run
that runs or waits in a queue is not changed, and targets/, weights/ and students/ stay. Links are not followed.
"""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from c2d.core.disk import DiskError, unfinished
from c2d.core.errors import RunError
from c2d.core.job_file import load_job
from c2d.core.regular_file import Problem
from c2d.core.run_folder import LAUNCHER_FILES, RunFolder
from c2d.core.run_state import is_abandoned, lock_owner
from c2d.core.store_folder import RunStore
from sweeps.actions.workspace import submission_lock
from sweeps.launchers.submission import FOLDERS, read_folders
from sweeps.state.plan import Row

DAY_S = 86_400.0
LEFT = "a temporary file that a killed process left"
HOUR_S = 3_600.0
"""The jobs of a submission with newer files may still be ending."""


@dataclass(frozen=True)
class Removal:
    """One file or folder to remove.

    Attributes:
        path: absolute, or relative to the working directory as the store is.
        bytes: size on disk.
        why: the reason, in words.
    """

    path: Path
    bytes: int
    why: str


def plan_removals(rows: Iterable[Row], runs: Path, now: float | None = None) -> list[Removal]:
    """Return what can be removed without losing results. Changes nothing.

    Args:
        rows: of one sweep; its runs and submissions are read, and the snapshots, which the store shares.
        runs: the store.
        now: seconds since the epoch.
    """
    clock = time.time() if now is None else now
    every = list(rows)
    if runs.is_symlink() or not runs.is_dir():
        return []
    found: list[Removal] = []
    for row in every:
        if _is_idle(row) and row.run.path.parent == runs and _is_folder(row.run.path):
            found += _checkpoints(row.run)
        if _has_ended(row) and row.run.path.parent == runs and _is_folder(row.run.path):
            found += _leftovers(row.run, clock)
    return [*found, *_store_leftovers(runs, clock), *_submissions(every, runs, clock), *_snapshots(runs, clock)]


def remove(removals: Iterable[Removal]) -> int:
    """Remove what `plan_removals` returned, and return the freed bytes. A path that is missing is no error.

    Raises:
        RunError: something could not be removed; everything else was.
    """
    freed, failed = 0, []
    for removal in removals:
        path = removal.path
        # A checkpoint is two levels below its run folder, any other file of a run one level.
        if lock_owner(RunFolder(path.parent.parent)) or lock_owner(RunFolder(path.parent)):
            continue  # the run has been started since
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            freed += removal.bytes
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
    if failed:
        raise RunError(f"{len(failed)} paths could not be removed, first {failed[0]}; check its permissions", "disk")
    return freed


def remove_planned(plan: Callable[[], list[Removal]], runs: Path) -> list[Removal]:
    """Plan and remove under the submission lock, and return what was removed.

    A full disk has no room for the file of the lock. Then no submission is in progress, which would hold the lock, and
    none can begin: one file is removed without the lock, and the next call has room for it.

    Args:
        plan: returns what `plan_removals` returns. It is called again after a removal without the lock.
        runs: the store.

    Raises:
        DiskError: the store cannot be written, and nothing in it can be removed.
        RunError: something could not be removed; everything else was.
    """
    removed: list[Removal] = []
    while True:
        try:
            with submission_lock(runs):
                removals = plan()
                remove(removals)
                return [*removed, *removals]
        except DiskError as error:
            freed = next((one for one in plan() if remove([one])), None) if error.is_full else None
            if freed is None:
                raise
            removed.append(freed)


def _is_idle(row: Row) -> bool:
    """Return whether the run is known to be in no process and in no queue."""
    # What a damaged run does is unknown.
    held = row.state in ("running", "damaged") or (row.state == "waiting" and not row.launch) or row.run.lock.exists()
    return not held and row.status.get("state") != "running"


def _checkpoints(run: RunFolder) -> Iterator[Removal]:
    """Yield the checkpoints older than the newest complete one. Newer, incomplete files stay for inspection."""
    if not _is_folder(run.checkpoints):
        return
    files = sorted(path for path in run.checkpoints.glob("iter_*.pth") if path.is_file() and not path.is_symlink())
    complete = [place for place, path in enumerate(files) if _is_complete(path)]
    for path in files[: complete[-1]] if complete else []:
        yield Removal(path, path.stat().st_size, "older than the newest complete checkpoint")


def _is_complete(path: Path) -> bool:
    """Return whether the checksums of a checkpoint are right: torch writes zip files, and a disk can damage them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # damaged bytes can raise any type
        return False


def _has_ended(row: Row) -> bool:
    """Return whether the last attempt of a run has ended, also where it was killed and status.json says running."""
    held = row.state in ("running", "damaged") or (row.state == "waiting" and not row.launch) or row.is_last_known
    return not held and lock_owner(row.run) is None


def _leftovers(run: RunFolder, now: float) -> Iterator[Removal]:
    """Yield temporary files of a run whose last attempt has ended; those of other writers when these have ended."""
    for folder in (run.path, run.checkpoints):
        for path in _unfinished(folder):
            writer = unfinished(path.name)
            if (writer and writer.name not in LAUNCHER_FILES) or is_abandoned(path, now):
                yield Removal(path, _size_of(path), LEFT)
    for folder in (run.ranks, run.latency):
        yield from _abandoned(folder, now)


def _store_leftovers(runs: Path, now: float) -> Iterator[Removal]:
    """Yield what killed processes left in the folders that all runs share."""
    store = RunStore(runs)
    shared = (store.sweeps, store.targets("").parent, store.weights("").parent, store.student_config("").parent)
    for folder in (*shared, *sorted(store.sweeps.glob("*")), *sorted(store.sweeps.glob("*/*"))):
        yield from _abandoned(folder, now)


def _abandoned(folder: Path, now: float) -> Iterator[Removal]:
    for path in _unfinished(folder):
        if is_abandoned(path, now):
            yield Removal(path, _size_of(path), LEFT)


def _unfinished(folder: Path) -> list[Path]:
    """Return the files with a temporary name in a folder, sorted; [] for a link to a folder."""
    found = folder.iterdir() if _is_folder(folder) else ()
    return sorted(path for path in found if unfinished(path.name) and path.is_file() and not path.is_symlink())


def _size_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # renamed or removed meanwhile
        return 0


def _submissions(rows: list[Row], runs: Path, now: float) -> Iterator[Removal]:
    """Yield folders of pickles and logs in which every run is done."""
    mine = {row.run.id for row in rows}
    held = {row.run.id for row in rows if not _is_idle(row)}
    for folders in sorted(RunStore(runs).sweeps.glob(f"*/*/{FOLDERS}")):
        place = folders.parent
        if not (_is_folder(place) and _is_folder(place.parent) and _is_folder(RunStore(runs).sweeps)):
            continue
        try:
            members = [RunFolder(runs / run.id) for run in read_folders(place)]
            young = now - max(entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(place)) < HOUR_S
        except OSError:
            continue
        ids = {run.id for run in members}
        if ids & mine and not ids & held and not young and all(run.is_done for run in members):
            yield Removal(place, _size(place), f"logs and pickles of a submission whose {len(ids)} runs are done")


def _snapshots(runs: Path, now: float) -> Iterator[Removal]:
    """Yield snapshots that no job.json of the store names; none if one job.json cannot be read."""
    place = RunStore(runs).snapshots
    if not _is_folder(place):
        return
    named = set()
    for path in [path for name in LAUNCHER_FILES for path in runs.glob(f"*/{name}")]:
        job = load_job(RunFolder(path.parent))
        # It may name any of the snapshots.
        if isinstance(job, Problem):
            return
        named.add("" if job is None else job.snapshot)
    for folder in sorted(place.iterdir()):
        if is_abandoned(folder, now):
            yield Removal(folder, _size(folder), LEFT)
        elif folder.name not in named and _is_folder(folder) and now - folder.stat().st_mtime > DAY_S:
            yield Removal(folder, _size(folder), "a copy of code that no run of the store names")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _size(folder: Path) -> int:
    """Return the bytes of all files below; a link counts as itself."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(base, name)).st_size
    return total

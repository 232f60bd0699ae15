"""Import: add the finished runs of an archive, or of another store, to a store. Nothing that is there is replaced.

A run that both have is compared: equal findings are one run, others are a conflict, which a person has to decide.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from c2d.core.archives.archive_file import SUFFIX, is_archive_path
from c2d.core.archives.archive_index import (
    DETECTION_FILES,
    WEIGHT_FILES,
    ArchiveIndex,
    copy_file,
    entry_of,
    read_index,
    run_files,
)
from c2d.core.archives.result_differences import differences_text, result_differences
from c2d.core.archives.unpack_archive import unpack_archive
from c2d.core.disk import disk_error, make_draft_folder, temporary_path
from c2d.core.errors import InputError
from c2d.core.regular_file import Problem, file_state
from c2d.core.run_folder import LATENCY_FOLDER, RunFolder, read_json
from c2d.core.run_state import remove_abandoned
from c2d.core.store_folder import TARGETS, RunStore, list_store
from c2d.core.sweep_manifest import read_manifest, sweep_names, write_manifest
from c2d.specs.spec import parse_spec

LEFT_OUT_FILES = (*DETECTION_FILES, *WEIGHT_FILES)
"""What a run of an earlier import may lack: an archive can be without them."""


@dataclass
class Import:
    """What an import did.

    Attributes:
        added: run ids.
        equal: run ids that the store had, with the same findings.
        completed: {run id: number of files that a run of the store lacked and that were added to it: weights,
            detections, latency measurements}.
        sweeps: names of the manifests that were added.
        conflicts: a line for every run or sweep that both have and that differ.
        refused: a line for every run that cannot be used.
        left_out: run ids that are not finished.
    """

    added: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    completed: dict[str, int] = field(default_factory=dict)
    sweeps: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def import_runs(source: Path, runs: Path) -> Import:
    """Add the finished runs of an archive to a store.

    Args:
        source: an exported folder, an archive file, or another store.
        runs: the store; it is made if it is missing.

    Raises:
        InputError: `source` holds no run, or is the store itself; the archive or its index is damaged.
        DiskError: an archive file cannot be unpacked.
    """
    if runs.exists() and not runs.is_dir():
        raise InputError(f"{runs} is no folder; name the store with --runs")
    if is_archive_path(source) and not source.is_dir():
        with TemporaryDirectory(prefix="c2d-archive-") as place:
            try:
                unpack_archive(source, Path(place))
            except OSError as error:
                raise disk_error(Path(place), error, "name another folder with TMPDIR") from error
            return _import_folder(Path(place), runs, source)
    if not source.is_dir():
        raise InputError(
            f"no folder {source}; give a folder or a file NAME{SUFFIX} that `c2d runs export` wrote, or another store"
        )
    return _import_folder(source, runs, source)


def _import_folder(source: Path, runs: Path, given: Path) -> Import:
    """Add the finished runs of a folder, which a person gave as `given`."""
    if runs.exists() and os.path.samefile(source, runs):
        raise InputError(f"{given} is the store itself; give another folder")
    index = read_index(source)
    listing = list_store(source)
    names = [name for name in listing.runs if file_state(source / name / "spec.json") is not None]
    if not names:
        raise InputError(f"{given} holds no run; give a folder that `c2d runs export` wrote, or another store")
    done = Import(refused=[f"{problem.path}: {problem.message}" for problem in listing.problems])
    for name in sorted({*(index.runs if index else ())} - {*names}):
        done.refused.append(f"{name}: ARCHIVE.json names it and its folder is missing; export it again")
    for name in names:
        there = RunFolder(source / name)
        try:
            _import_run(there, RunFolder(runs / name), index, done)
        except InputError as error:
            done.refused.append(f"{name}: {error}")
    _import_shared(source, runs, index, done)
    _import_sweeps(source, runs, index, done)
    return done


def _import_run(there: RunFolder, here: RunFolder, index: ArchiveIndex | None, done: Import) -> None:
    """Add, compare or refuse one run.

    Raises:
        InputError: it cannot be used.
    """
    spec = parse_spec(read_json(there.spec), "spec.json")
    if spec.id != there.id:
        raise InputError(f"its spec.json is that of {spec.id}; restore it")
    if not there.is_done:
        done.left_out.append(there.id)
        return
    read_json(there.result)
    if links := [name for name in run_files(there) if _passes_a_link(there.path, name)]:
        raise InputError(f"{links[0]} is a link, which may name any file of this machine; copy the file into its place")
    if index is not None:
        _verify(there, index)
    if not os.path.lexists(here.path) and _add(there, here):
        done.added.append(there.id)
        return
    if not here.is_done:
        state = here.try_read_status()["state"]
        done.conflicts.append(f"{here.id}: {state} here, done there; cancel it and remove its folder, or keep it")
    elif parse_spec(read_json(here.spec), str(here.spec)).canonical() != spec.canonical():
        done.conflicts.append(f"{here.id}: another spec.json here; one of the two stores was changed by hand")
    elif differ := run_differences(here, there):
        done.conflicts.append(
            f"{here.id}: {differences_text(differ)}; the store's is kept (to take the other, remove {here.path})"
        )
    else:
        done.equal.append(here.id)
        if count := _complete(there, here):
            done.completed[here.id] = count


def run_differences(here: RunFolder, there: RunFolder) -> list[str]:
    """Return how the findings of two finished runs of one id differ; empty if they agree.

    Times, machines and paths may differ: the numbers, the detections and the weights may not. A file that one of them
    does not have (an archive without weights) is not compared.
    """
    differ = result_differences(read_json(here.result), read_json(there.result))
    for name in LEFT_OUT_FILES:
        paths = [run.path / name for run in (here, there)]
        if all(isinstance(file_state(path), tuple) for path in paths) and entry_of(paths[0]) != entry_of(paths[1]):
            differ.append(f"{name} has another content")
    return differ


def _passes_a_link(folder: Path, name: str) -> bool:
    """Return whether a file of a run folder, or a folder on its way, is a symbolic link."""
    places = [folder, *(folder / part for part in Path(name).parents if part.name), folder / name]
    return any(place.is_symlink() for place in places)


def _verify(run: RunFolder, index: ArchiveIndex) -> None:
    """Compare the files of a run with the index.

    Raises:
        InputError: a file is missing, or has another content.
    """
    listed = {path.partition("/")[2]: entry for path, entry in index.files.items() if path.partition("/")[0] == run.id}
    if not listed:
        raise InputError("ARCHIVE.json does not name it; export it again")
    for name, entry in listed.items():
        if entry_of(run.path / name) != entry:
            raise InputError(f"{name} is not the file that was exported (sha256 differs); get the archive again")
    if added := sorted({*run_files(run)} - {*listed}):
        raise InputError(f"{added[0]} was added after the export; get the archive again")


def _add(there: RunFolder, here: RunFolder) -> bool:
    """Copy a run beside its place and rename it: the store has all of it or nothing.

    Returns:
        False: another process made the run's folder meanwhile.
    """
    try:
        here.path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(here.path)
        work = make_draft_folder(here.path)
        try:
            for name in run_files(there):
                copy_file(there.path / name, work / name)
            os.rename(work, here.path)
            return True
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and here.path.is_dir():
            return False
        raise disk_error(here.path, error) from error


def _complete(there: RunFolder, here: RunFolder) -> int:
    """Copy what a run with the same findings lacks in the store; return the number of files.

    An archive may come without weights or detections, and latencies are measured later.
    """
    new = [name for name in run_files(there) if name.startswith(f"{LATENCY_FOLDER}/") or name in LEFT_OUT_FILES]
    new = [name for name in new if not os.path.lexists(here.path / name)]
    for name in new:
        _copy_new(there.path / name, here.path / name)
    return len(new)


def _import_shared(source: Path, runs: Path, index: ArchiveIndex | None, done: Import) -> None:
    """Add ground truths and student configs that an imported run needs; their names are digests of their content."""
    for path in _shared_files(source, [*done.added, *done.equal]):
        relative = path.relative_to(source)
        name, target = relative.as_posix(), runs / relative
        if index is not None and index.files.get(name) != entry_of(path):
            done.refused.append(f"{name} is not the file that was exported (sha256 differs); get the archive again")
        elif file_state(target) is None:
            _copy_new(path, target)
        elif path.parent.name == TARGETS and read_json(path) != read_json(target):
            done.conflicts.append(f"{name}: another ground truth here for the same data set; the store's is kept")


def _shared_files(source: Path, run_ids: list[str]) -> Iterator[Path]:
    seen: set[Path] = set()
    store = RunStore(source)
    for run in run_ids:
        folder = RunFolder(source / run)
        spec = parse_spec(read_json(folder.spec), str(folder.spec))
        found = [store.targets(spec.dataset.digest)]
        found += [store.student_config(spec.student.digest)] if spec.student is not None else []
        for path in found:
            if path not in seen and isinstance(file_state(path), tuple):
                seen.add(path)
                yield path


def _import_sweeps(source: Path, runs: Path, index: ArchiveIndex | None, done: Import) -> None:
    for name in sweep_names(source):
        theirs, ours = read_manifest(source, name), read_manifest(runs, name)
        path = RunStore(source).manifest(name)
        if isinstance(theirs, Problem):
            done.refused.append(f"sweep {name}: its manifest {theirs.message}")
        elif index is not None and index.files.get(path.relative_to(source).as_posix()) != entry_of(path):
            done.refused.append(f"sweep {name}: its manifest is not the one that was exported; get the archive again")
        elif isinstance(ours, Problem) and file_state(RunStore(runs).manifest(name)) is None:
            write_manifest(runs, theirs)
            done.sweeps.append(name)
        elif isinstance(ours, Problem):
            done.conflicts.append(f"sweep {name}: its manifest here {ours.message}; it is kept")
        elif ours["cells"] != theirs["cells"]:
            done.conflicts.append(
                f"sweep {name}: {len(ours['cells'])} cells here, {len(theirs['cells'])} there, and they differ; the "
                f"store's is kept, the runs are imported"
            )


def _copy_new(source: Path, target: Path) -> None:
    """Copy a file beside its place and rename it."""
    draft = temporary_path(target)
    try:
        copy_file(source, draft)
        os.replace(draft, target)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise disk_error(target, error) from error

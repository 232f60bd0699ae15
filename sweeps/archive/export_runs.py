"""Export: copy finished runs, their teachers and the manifests of their sweeps into a new folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from c2d import __version__
from c2d.core.disk import disk_error, make_draft_folder
from c2d.core.errors import InputError
from c2d.core.json_values import optional, text
from c2d.core.regular_file import FormatError, Problem, file_state, is_file
from c2d.core.run_folder import SPEC_FILE, RunFolder, atomic_write_text, read_json
from c2d.core.run_state import remove_abandoned
from c2d.core.store_folder import STUDENTS, SWEEPS, TARGETS, RunStore, find_run
from c2d.core.sweep_manifest import planned_runs, read_manifest, write_manifest
from c2d.specs.spec import parse_spec
from c2d.specs.teachers import needed_runs
from sweeps.archive.archive_index import ArchiveIndex, FileEntry, copy_file, entry_of, run_files
from sweeps.launchers.launch_request import PrintLine

DAMAGED = "damaged"
OTHER_PLACE = "give another folder with --out"
README = """Finished runs of c2d, exported {made} with version {version}.

Read them anywhere, without torch:   c2d report --runs . --out report
Add them to a store of your own:     c2d runs import . --runs STORE

Each folder is one run: spec.json the question, result.json the numbers, env.json code and machine, metrics.jsonl the
curves, detections.json.gz the detections, student.pth or classifier.pth the weights (stock mmdet or torchvision keys).
ARCHIVE.json has the sha256 of every file. sweeps/ has the questions, targets/ the ground truth of the evaluation.
"""


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        runs: the store.
        out: new folder.
        run_ids: ids or beginnings of ids.
        sweeps: names of submitted sweeps, with all of their finished runs.
        weights: include the exported weights.
        detections: include the detections.
    """

    runs: Path
    out: Path
    run_ids: Sequence[str] = ()
    sweeps: Sequence[str] = ()
    weights: bool = True
    detections: bool = True


def export_runs(request: ExportRequest, print_line: PrintLine) -> ArchiveIndex:
    """Write the archive; it has its name once it is complete.

    Args:
        request: what to export.
        print_line: called with a line for every run that is left out.

    Raises:
        InputError: `out` exists or is in the store, nothing is finished, a run or sweep is unknown, or a run is
            damaged; with sweeps, damaged runs are left out.
    """
    if os.path.lexists(request.out):
        raise InputError(f"{request.out} exists; give the name of a new folder")
    if request.runs.resolve() in request.out.resolve().parents:
        raise InputError(f"{request.out} is inside the store {request.runs}; give the name of a folder outside")
    if not request.run_ids and not request.sweeps:
        raise InputError("name runs, or sweeps with --sweep NAME")
    roles, missing = _chosen(request, print_line)
    for run, state in missing.items():
        if state != DAMAGED:
            print_line(f"left out: {run} is {state}")
    if not roles:
        raise _nothing(missing)
    out = request.out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out)
        work = make_draft_folder(out)
    except OSError as error:
        raise disk_error(out.parent, error, OTHER_PLACE) from error
    try:
        files: dict[str, FileEntry] = {}
        for run in list(roles):
            try:
                files |= dict(_copy_run(request, run, work))
            except InputError as error:
                _leave_out(run, error, request, missing, print_line)
                del roles[run]
                shutil.rmtree(work / run, ignore_errors=True)
        if not roles:
            raise _nothing(missing)
        files |= dict(_copy_shared(request, [*roles], work))
        made = datetime.now(UTC).isoformat(timespec="seconds")
        left_out = [
            name for name, kept in (("weights", request.weights), ("detections", request.detections)) if not kept
        ]
        left_out += ["checkpoints", "logs", "images of syntheses"]
        index = ArchiveIndex(
            f"c2d {__version__}",
            made,
            tuple(request.sweeps),
            roles,
            missing,
            tuple(left_out),
            dict(sorted(files.items())),
        )
        index.write(work)
        atomic_write_text(work / "README.txt", README.format(made=made, version=__version__))
        os.rename(work, out)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, OSError):
            raise disk_error(out, error, OTHER_PLACE) from error
        raise
    return index


def _nothing(missing: dict[str, str]) -> InputError:
    return InputError(f"no finished run to export; {len(missing)} are not finished or damaged (c2d sweep status)")


def _leave_out(
    run: str, error: InputError, request: ExportRequest, missing: dict[str, str], print_line: PrintLine
) -> None:
    """Record that a run is damaged: one of a sweep is left out, one that was named is an error."""
    if not request.sweeps:
        raise error
    missing[run] = DAMAGED
    print_line(f"left out: {error}")


def _chosen(request: ExportRequest, print_line: PrintLine) -> tuple[dict[str, str], dict[str, str]]:
    """Return ({run id: role} of what is finished, teachers first; {run id: state} of what is not)."""
    wanted: dict[str, str] = {}
    for name in request.sweeps:
        manifest = read_manifest(request.runs, name)
        if isinstance(manifest, Problem):
            known = "" if file_state(manifest.path) is not None else "; submitted sweeps: c2d sweep list"
            raise InputError(f"sweep {name}: {manifest.path} {manifest.message}{known}")
        planned = [run for run in planned_runs(manifest) if run.kind != "orphan"]
        wanted |= {run.run: run.kind for run in planned}
    wanted = {_named(given, request.runs): "student" for given in request.run_ids} | wanted
    done: dict[str, str] = {}
    missing: dict[str, str] = {}
    for run in wanted:
        folder = RunFolder(request.runs / run)
        if folder.is_done:
            done[run] = wanted[run]
        else:
            missing[run] = _state(folder, "not launched")
    teachers: dict[str, str] = {}
    for run in list(done):
        try:
            teachers |= _teachers_of(RunFolder(request.runs / run), missing)
        except InputError as error:
            _leave_out(run, error, request, missing, print_line)
            del done[run]
    return teachers | {run: role for run, role in done.items() if run not in teachers}, missing


def _named(given: str, runs: Path) -> str:
    """Return the id of a run of the store that was given by its id, a beginning of it, or its folder."""
    found = find_run(given, runs)
    if not (runs / found.id).is_dir() or not os.path.samefile(runs / found.id, found.path):
        raise InputError(f"{given} is no run of the store {runs}; name its store with --runs")
    return found.id


def _state(run: RunFolder, without_folder: str) -> str:
    """Return in a few words why a run is not finished."""
    if not run.path.is_dir():
        return without_folder
    state = str(run.try_read_status()["state"])
    return "done, but has no result.json" if state == "done" else state


def _teachers_of(run: RunFolder, missing: dict[str, str]) -> dict[str, str]:
    """Return the teachers of a run, and theirs, those of others first; what is not finished is added to `missing`."""
    found: dict[str, str] = {}
    spec = parse_spec(read_json(run.spec), str(run.spec))
    for teacher in needed_runs(spec.teachers).values():
        folder = RunFolder(run.path.parent / teacher)
        if folder.is_done:
            found |= {**_teachers_of(folder, missing), teacher: "teacher"}
        else:
            missing[teacher] = _state(folder, "deleted")
    return found


def _copy_run(request: ExportRequest, run: str, work: Path) -> Iterator[tuple[str, FileEntry]]:
    """Yield (path, entry) of every file of a run that was copied.

    Raises:
        InputError: the run is damaged, or changed after its result.
    """
    folder = RunFolder(request.runs / run)
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    if spec.id != run:
        raise InputError(f"{folder.path}: its spec.json is that of {spec.id}; restore it, or leave the run out")
    result = read_json(folder.result)
    for name in run_files(folder, weights=request.weights, detections=request.detections):
        entry = _copy(folder.path / name, work / run / name)
        try:
            recorded = text(optional(result, "sha256", name), f"sha256.{name}")  # older runs recorded none
        except FormatError as error:
            raise InputError(f"{folder.result}: {error}; restore it, or leave the run out") from None
        if recorded not in ("", entry.sha256):
            raise InputError(
                f"{folder.path / name} was changed after the run wrote its result (sha256 {entry.sha256[:12]}, "
                f"result.json {recorded[:12]}); restore it, or leave the run out"
            )
        yield f"{run}/{name}", entry


def _copy_shared(request: ExportRequest, runs: Sequence[str], work: Path) -> Iterator[tuple[str, FileEntry]]:
    """Yield (path, entry) of the ground truths, student configs and manifests of these runs."""
    store = RunStore(request.runs)
    shared: dict[str, Path] = {}
    for run in runs:
        spec = parse_spec(read_json(work / run / SPEC_FILE), run)
        shared[f"{TARGETS}/{spec.dataset.digest}.json.gz"] = store.targets(spec.dataset.digest)
        if spec.student is not None:
            shared[f"{STUDENTS}/{spec.student.digest}.py"] = store.student_config(spec.student.digest)
    for name, path in shared.items():
        if is_file(path):
            yield name, _copy(path, work / name)
    for sweep in request.sweeps:
        manifest = read_manifest(request.runs, sweep)
        assert isinstance(manifest, dict)
        write_manifest(work, manifest)
        yield f"{SWEEPS}/{sweep}.json", entry_of(RunStore(work).manifest(sweep))


def _copy(source: Path, target: Path) -> FileEntry:
    copy_file(source, target)
    return entry_of(target)

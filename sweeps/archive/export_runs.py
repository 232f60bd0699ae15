"""Export: copy finished runs, their teachers and the manifests of their sweeps into a new folder, or one file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from c2d import __version__
from c2d.core.archives.archive_file import SUFFIX, is_archive_path, pack
from c2d.core.archives.archive_index import README_FILE, ArchiveIndex, copy_file, entry_of, run_files
from c2d.core.disk import disk_error, make_draft_folder, temporary_path
from c2d.core.errors import InputError
from c2d.core.json_values import optional, text
from c2d.core.regular_file import FormatError, Problem, file_state, is_file
from c2d.core.run_folder import METRICS_FILE, SPEC_FILE, RunFolder, atomic_write_text, read_json
from c2d.core.run_state import remove_abandoned
from c2d.core.store_folder import STUDENTS, TARGETS, RunStore, find_run
from c2d.core.sweep_manifest import planned_runs, read_manifest, write_manifest
from c2d.specs.spec import parse_spec
from c2d.specs.teachers import needed_runs
from sweeps.archive.masked_files import mask_files
from sweeps.archive.thinned_curves import thin_curves
from sweeps.launchers.launch_request import PrintLine

DAMAGED = "damaged"
_NAMED = 3  # runs in a line
OTHER_PLACE = "give another place with --out"
OTHER_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.zst", ".7z", ".xz", ".txz")
README = """Finished runs of c2d, the newest of {made}, exported with version {version}.

Read them anywhere, without torch:   c2d report --runs . --out report
Add them to a store of your own:     c2d runs import . --runs STORE

Each folder is one run: spec.json the question, result.json the numbers, env.json code and machine, metrics.jsonl the
curves, detections.json.gz the detections, student.pth or classifier.pth the weights (stock mmdet or torchvision keys).
ARCHIVE.json has the sha256 of every file. sweeps/ has the questions, targets/ the ground truth of the evaluation.
{places}"""
NO_PLACES = "Folders, hosts and users of the machines are replaced: $RUNS, $DATA, $CODE, $HOME, $PLACE, host-1, ...\n"


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        runs: the store.
        out: new folder, or a new file NAME.tar.xz.
        run_ids: ids or beginnings of ids.
        sweeps: names of submitted sweeps, with all of their finished runs.
        weights: include the exported weights.
        detections: include the detections.
        places: keep the names of folders, hosts and users of the machines.
        curve_points: most train events of a run; None keeps all.
    """

    runs: Path
    out: Path
    run_ids: Sequence[str] = ()
    sweeps: Sequence[str] = ()
    weights: bool = True
    detections: bool = True
    places: bool = True
    curve_points: int | None = None


def export_runs(request: ExportRequest, print_line: PrintLine) -> ArchiveIndex:
    """Write the archive; it has its name once it is complete.

    Args:
        request: what to export.
        print_line: called with a line for every state in which runs are left out, and for every damaged run.

    Raises:
        InputError: `out` exists or is in the store, nothing is finished, a run or sweep is unknown, a run is damaged
            (with sweeps, damaged runs are left out), or a file that cannot be changed names a place of the machine.
    """
    _check_request(request)
    roles, missing = _chosen(request, print_line)
    for line in _left_out(missing):
        print_line(line)
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
        for run in list(roles):
            try:
                _copy_run(request, run, work)
            except InputError as error:
                _leave_out(run, error, request, missing, print_line)
                del roles[run]
                shutil.rmtree(work / run, ignore_errors=True)
        if not roles:
            raise _nothing(missing)
        _copy_shared(request, [*roles], work)
        if not request.places:
            mask_files(work, request.runs)
        index = _write_index(request, roles, missing, work)
        if is_archive_path(out):
            _pack(work, out)
        else:
            os.rename(work, out)
    except OSError as error:
        raise disk_error(out, error, OTHER_PLACE) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return index


def _left_out(missing: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each state but damage: most of a large sweep may not have run yet."""
    for state in dict.fromkeys(state for state in missing.values() if state != DAMAGED):
        runs = [run for run, of_run in missing.items() if of_run == state]
        if len(runs) == 1:
            yield f"left out: {runs[0]} is {state}"
        else:
            more = ", ... (all in ARCHIVE.json)" if len(runs) > _NAMED else ""
            yield f"left out: {len(runs)} runs are {state}: {', '.join(runs[:_NAMED])}{more}"


def _check_request(request: ExportRequest) -> None:
    """Check what needs no look at the runs.

    Raises:
        InputError: `out` exists, is in the store or names another kind of archive; too few points; nothing is named.
    """
    out = request.out
    if os.path.lexists(out):
        raise InputError(f"{out} exists; give the name of a new folder or file, or remove it")
    if not is_archive_path(out) and out.name.endswith(OTHER_ARCHIVES):
        raise InputError(f"{out} would be a folder; an archive file is NAME{SUFFIX}, a folder has no such ending")
    if request.runs.resolve() in out.resolve().parents:
        raise InputError(f"{out} is inside the store {request.runs}; give a place outside")
    if request.curve_points is not None and request.curve_points < 2:
        raise InputError(f"--curve-points {request.curve_points}; give 2 or more: the first and the last step stay")
    if not request.run_ids and not request.sweeps:
        raise InputError("name runs, or sweeps with --sweep NAME")


def _write_index(request: ExportRequest, roles: dict[str, str], missing: dict[str, str], work: Path) -> ArchiveIndex:
    """Write ARCHIVE.json and README.txt."""
    left_out = [name for name, kept in (("weights", request.weights), ("detections", request.detections)) if not kept]
    left_out += ["checkpoints", "logs", "images of syntheses"]
    left_out += [f"train events beyond {request.curve_points} of a run"] * (request.curve_points is not None)
    left_out += ["places of machines"] * (not request.places)
    paths = [path for path in work.rglob("*") if path.is_file()]
    files = {path.relative_to(work).as_posix(): entry_of(path) for path in paths}
    made = max(str(RunFolder(work / run).read_status().get("heartbeat") or "") for run in roles)
    index = ArchiveIndex(
        f"c2d {__version__}",
        made,
        tuple(sorted(request.sweeps)),
        roles,
        dict(sorted(missing.items())),
        tuple(left_out),
        dict(sorted(files.items())),
    )
    index.write(work)
    places = "" if request.places else NO_PLACES
    atomic_write_text(work / README_FILE, README.format(made=made, version=__version__, places=places))
    return index


def _pack(work: Path, out: Path) -> None:
    draft = temporary_path(out)
    try:
        pack(work, draft)
        os.rename(draft, out)
    finally:
        draft.unlink(missing_ok=True)


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


def _copy_run(request: ExportRequest, run: str, work: Path) -> None:
    """Copy the files of a run.

    Raises:
        InputError: the run is damaged, or changed after its result.
    """
    folder = RunFolder(request.runs / run)
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    if spec.id != run:
        raise InputError(f"{folder.path}: its spec.json is that of {spec.id}; restore it, or leave the run out")
    result = read_json(folder.result)
    for name in run_files(folder, weights=request.weights, detections=request.detections):
        copy_file(folder.path / name, work / run / name)
        try:
            recorded = text(optional(result, "sha256", name), f"sha256.{name}")  # older runs recorded none
        except FormatError as error:
            raise InputError(f"{folder.result}: {error}; restore it, or leave the run out") from None
        if recorded and recorded != (copied := entry_of(work / run / name).sha256):
            raise InputError(
                f"{folder.path / name} was changed after the run wrote its result (sha256 {copied[:12]}, "
                f"result.json {recorded[:12]}); restore it, or leave the run out"
            )
    if request.curve_points is not None and is_file(work / run / METRICS_FILE):
        thin_curves(work / run / METRICS_FILE, request.curve_points)


def _copy_shared(request: ExportRequest, runs: Sequence[str], work: Path) -> None:
    """Copy the ground truths, student configs and manifests of these runs."""
    store = RunStore(request.runs)
    shared: dict[str, Path] = {}
    for run in runs:
        spec = parse_spec(read_json(work / run / SPEC_FILE), run)
        shared[f"{TARGETS}/{spec.dataset.digest}.json.gz"] = store.targets(spec.dataset.digest)
        if spec.student is not None:
            shared[f"{STUDENTS}/{spec.student.digest}.py"] = store.student_config(spec.student.digest)
    for name, path in shared.items():
        if is_file(path):
            copy_file(path, work / name)
    for sweep in request.sweeps:
        manifest = read_manifest(request.runs, sweep)
        assert isinstance(manifest, dict)
        write_manifest(work, manifest)

"""Export: copy finished runs, their teachers and the manifests of their sweeps into a new folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from c2d import __version__
from c2d.core.disk import disk_error, make_draft_folder
from c2d.core.errors import InputError
from c2d.core.regular_file import Problem, file_state
from c2d.core.run_folder import RunFolder, atomic_write_text, read_json
from c2d.core.run_state import remove_abandoned
from c2d.core.store_folder import STUDENTS, SWEEPS, TARGETS, RunStore, find_run
from c2d.core.sweep_manifest import planned_runs, read_manifest, write_manifest
from c2d.specs.spec import parse_spec
from c2d.specs.teachers import needed_runs
from sweeps.archive.archive_index import ArchiveIndex, FileEntry, entry_of, run_files
from sweeps.launchers.launch_request import PrintLine

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
        InputError: `out` exists, nothing is finished, a run or sweep is unknown, or a file changed after its result.
    """
    if os.path.lexists(request.out):
        raise InputError(f"{request.out} exists; give the name of a new folder")
    if not request.run_ids and not request.sweeps:
        raise InputError("name runs, or sweeps with --sweep NAME")
    roles, missing = _chosen(request)
    for run, state in missing.items():
        print_line(f"left out: {run} is {state}")
    if not roles:
        raise InputError(f"no finished run to export; {len(missing)} are not finished (c2d sweep status)")
    out = request.out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out)
        work = make_draft_folder(out)
    except OSError as error:
        raise disk_error(out.parent, error) from error
    try:
        files = dict(_copy_all(request, roles, work))
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
            raise disk_error(out, error) from error
        raise
    return index


def _chosen(request: ExportRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Return ({run id: role} of what is finished, teachers first; {run id: state} of what is not)."""
    wanted: dict[str, str] = {}
    for name in request.sweeps:
        manifest = read_manifest(request.runs, name)
        if isinstance(manifest, Problem):
            known = "" if file_state(manifest.path) is not None else "; submitted sweeps: c2d sweep list"
            raise InputError(f"sweep {name}: {manifest.path} {manifest.message}{known}")
        planned = [run for run in planned_runs(manifest) if run.kind != "orphan"]
        wanted |= {run.run: run.kind for run in planned}
    wanted = {find_run(given, request.runs).id: "student" for given in request.run_ids} | wanted
    done, missing = {}, {}
    for run in wanted:
        folder = RunFolder(request.runs / run)
        if folder.is_done:
            done[run] = wanted[run]
        else:
            missing[run] = folder.try_read_status()["state"] if folder.path.is_dir() else "not launched"
    teachers: dict[str, str] = {}
    for run in done:
        teachers |= _teachers_of(RunFolder(request.runs / run), missing)
    return teachers | {run: role for run, role in done.items() if run not in teachers}, missing


def _teachers_of(run: RunFolder, missing: dict[str, str]) -> dict[str, str]:
    """Return the teachers of a run, and theirs, those of others first; what is not finished is added to `missing`."""
    found: dict[str, str] = {}
    spec = parse_spec(read_json(run.spec), str(run.spec))
    for teacher in needed_runs(spec.teachers).values():
        folder = RunFolder(run.path.parent / teacher)
        if folder.is_done:
            found |= {**_teachers_of(folder, missing), teacher: "teacher"}
        else:
            missing[teacher] = "deleted" if not folder.path.is_dir() else folder.try_read_status()["state"]
    return found


def _copy_all(request: ExportRequest, roles: dict[str, str], work: Path) -> Iterable[tuple[str, FileEntry]]:
    """Yield (path, entry) of every file that was copied."""
    store = RunStore(request.runs)
    shared: dict[str, Path] = {}
    for run in roles:
        folder = RunFolder(request.runs / run)
        spec = parse_spec(read_json(folder.spec), str(folder.spec))
        if spec.id != run:
            raise InputError(f"{folder.path}: its spec.json is that of {spec.id}; restore it, or leave the run out")
        recorded = read_json(folder.result).get("sha256") or {}
        for name in run_files(folder, weights=request.weights, detections=request.detections):
            entry = _copy(folder.path / name, work / run / name)
            if recorded.get(name, entry.sha256) != entry.sha256:
                raise InputError(
                    f"{folder.path / name} was changed after the run wrote its result (sha256 {entry.sha256[:12]}, "
                    f"result.json {recorded[name][:12]}); restore it, or leave the run out"
                )
            yield f"{run}/{name}", entry
        shared[f"{TARGETS}/{spec.dataset.digest}.json.gz"] = store.targets(spec.dataset.digest)
        if spec.student is not None:
            shared[f"{STUDENTS}/{spec.student.digest}.py"] = store.student_config(spec.student.digest)
    for name, path in shared.items():
        if isinstance(file_state(path), tuple):
            yield name, _copy(path, work / name)
    for sweep in request.sweeps:
        manifest = read_manifest(request.runs, sweep)
        assert isinstance(manifest, dict)
        write_manifest(work, manifest)
        yield f"{SWEEPS}/{sweep}.json", entry_of(RunStore(work).manifest(sweep))


def _copy(source: Path, target: Path) -> FileEntry:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return entry_of(target)

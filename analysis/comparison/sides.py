"""Read the sides of a comparison or of a page: runs, or files of detections, of one ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.loading.cache import cache_folder
from analysis.loading.derived_cache import evaluation_mismatch
from analysis.stats.bootstrap import full_set_values, same_truth
from c2d.core.archives.unpacked_store import unpacked_store
from c2d.core.errors import InputError
from c2d.core.json_values import number, optional, read_object, required, text
from c2d.core.regular_file import FormatError, Problem
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore, find_run, is_run_id, named_store
from c2d.metrics.coco_data import CocoData
from c2d.metrics.coco_json import read_detections, read_file_names, read_targets
from c2d.metrics.resampling.resampled_ap import Curves

_SAME = 1e-6
"""Tolerance between two ways to compute one AP, in 0-1."""


@dataclass(frozen=True)
class Pair:
    """Both sides on the same ground truth.

    Attributes:
        names: run ids, or names of the files.
        data: detections of each side.
        dataset: name of the data set, or of the file of ground truth.
        file_names: {image id: file name}.
    """

    names: tuple[str, str]
    data: tuple[CocoData, CocoData]
    dataset: str
    file_names: dict[Any, str]


@dataclass(frozen=True)
class Sides:
    """One or two sides on the same ground truth.

    Attributes:
        names: run ids, or names of the files.
        data: detections of each side.
        folders: of the runs; None for a file.
        dataset: name of the data set, or of the file of ground truth.
        digest: of the data set; "" where no side is a run.
        targets: file of the ground truth.
    """

    names: tuple[str, ...]
    data: tuple[CocoData, ...]
    folders: tuple[RunFolder | None, ...]
    dataset: str
    digest: str
    targets: Path


@dataclass(frozen=True)
class _Run:
    """What a comparison reads of a finished detector."""

    folder: RunFolder
    dataset: str
    digest: str
    split: str
    result: dict[str, Any]


def read_pair(a: Path | str, b: Path | str, targets: Path | str | None, runs: Path | str | None) -> Pair:
    """Read both sides and check that they belong to the same ground truth.

    Args:
        a, b: run (folder, id, or beginning of the id), or file of detections (COCO results, .json or .json.gz).
        targets: COCO ground truth of files of detections; of a run only where its store has none.
        runs: the store.

    Raises:
        InputError: no such run or file, a run without detections, runs of different data sets, files without ground
            truth, or detections that do not fit it.
    """
    sides = read_sides((a, b), targets, runs)
    assert same_truth(*sides.data)
    return Pair(
        (sides.names[0], sides.names[1]),
        (sides.data[0], sides.data[1]),
        sides.dataset,
        read_file_names(sides.targets),
    )


def read_sides(given: Sequence[Path | str], targets: Path | str | None, runs: Path | str | None) -> Sides:
    """Read one or two sides and check that they belong to the same ground truth.

    Args:
        given: runs or files, as in `read_pair`.
        targets: as in `read_pair`.
        runs: the store.

    Raises:
        InputError: as in `read_pair`.
    """
    sides = [_run(one, runs) if not _is_file(one) else Path(one) for one in given]
    found = [one for one in sides if isinstance(one, _Run)]
    if len(found) == 2:
        _check_same_data(*found)
    path = Path(targets) if targets is not None else _stored_targets(found)
    truth = read_targets(path)
    return Sides(
        tuple(one.folder.id if isinstance(one, _Run) else one.name for one in sides),
        tuple(_detections(one, truth, path) for one in sides),
        tuple(one.folder if isinstance(one, _Run) else None for one in sides),
        found[0].dataset if found and targets is None else path.name,
        found[0].digest if found else "",
        path,
    )


def _is_file(given: Path | str) -> bool:
    """Whether a side is a file of detections; a missing one is told by its name."""
    path = Path(given)
    if path.is_file():
        return True
    if str(given).endswith((".json", ".json.gz")):
        raise InputError(f"no file {path}; give a file of detections, or a run")
    return False


def _store(runs: Path | str | None) -> Path:
    """Return the store, or the folder where an archive file in its place is unpacked."""
    return unpacked_store(named_store(runs), cache_folder())


def _run(given: Path | str, runs: Path | str | None) -> _Run:
    folder = find_run(str(given), _store(runs))
    try:
        spec, result = _object(folder.spec), _object(folder.result) if folder.result.is_file() else None
        kind = text(required(spec, "kind"), "kind")
        if kind != "detector":
            raise InputError(f"run {folder.id} is a {kind}; only detectors have detections")
        if result is None or not folder.is_done:
            raise InputError(
                f"run {folder.id} is {folder.read_status()['state']} and has no numbers yet; "
                f"finish it: c2d train {folder.id}"
            )
        digest = text(required(spec, "dataset", "digest"), "dataset.digest")
        if not is_run_id(digest):  # it becomes a file name
            raise FormatError(f"dataset.digest is {digest[:60]!a}, which is no digest")
        split = text(optional(result, "evaluation_split") or "val", "evaluation_split")
        return _Run(folder, text(required(spec, "dataset", "name"), "dataset.name"), digest, split, result)
    except FormatError as error:
        raise InputError(f"run {folder.id} cannot be used: {error}; evaluate or import it again") from None


def _object(path: Path) -> dict[str, Any]:
    found = read_object(path)
    if isinstance(found, Problem):
        raise FormatError(f"{path.name} {found.message}")
    return found


def _check_same_data(a: _Run, b: _Run) -> None:
    if (a.digest, a.split) == (b.digest, b.split):
        return
    a_data, b_data = (f"{one.dataset}, split {one.split}, digest {one.digest[:12]}" for one in (a, b))
    raise InputError(
        f"A was evaluated on {a_data}, B on {b_data}: not the same images; compare runs of one data set, or detect the "
        "same images with both and give the two files with --targets"
    )


def _stored_targets(found: list[_Run]) -> Path:
    if not found:
        raise InputError("files of detections need their ground truth: --targets GT.json (COCO format)")
    places = [RunStore(one.folder.path.parent).targets(one.digest) for one in found]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"{places[0]} is missing, the ground truth of run {found[0].folder.id}; write it with "
        f"`c2d evaluate {found[0].folder.id}`, or give it with --targets"
    )


def _detections(side: _Run | Path, truth: CocoData, targets: Path) -> CocoData:
    path = side.folder.detections if isinstance(side, _Run) else side
    if isinstance(side, _Run) and not path.is_file():
        raise InputError(f"run {side.folder.id} has no {path.name} here; import the run from an archive that has it")
    try:
        data = read_detections(path, truth)
    except InputError as error:
        raise InputError(
            f"{path.name} and {targets.name}: {error}" if path.name not in str(error) else str(error)
        ) from None
    if isinstance(side, _Run):
        _check_recorded(side, data)
    return data


def _check_recorded(run: _Run, data: CocoData) -> None:
    """Check that detections and ground truth are those of the run's own numbers."""
    path = run.folder.detections
    try:
        recorded = number(required(run.result, "AP"), "AP", 0, 1)
        sizes = {key: number(optional(run.result, key), key, 0) for key in data.sizes}
    except FormatError as error:
        raise InputError(f"{run.folder.result} cannot be used: {error}; evaluate the run again") from None
    if problem := evaluation_mismatch(sizes, data.sizes):
        raise InputError(f"{path} {problem}")
    [value] = full_set_values([Curves(data)])
    if recorded is not None and not abs(value - recorded) <= _SAME:
        raise InputError(
            f"{path} gives AP {value:.4f}, {run.folder.result.name} has {recorded:.4f}: not one evaluation"
        )

"""Numbers that are computed from the detections of runs, and kept beside the warm cache of `analysis.loading.load`.

An entry is valid while the detections, the ground truth and the version of the numbers are unchanged. A run that cannot
give the numbers raises `Skipped` with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.loading.cache import SETTLED_NS, cache_folder, is_inside, load_cache
from analysis.loading.schema import Study
from c2d.core.errors import InputError
from c2d.core.json_values import read_object
from c2d.core.regular_file import FileState, Problem, file_state
from c2d.core.run_folder import DETECTIONS_FILE, RESULT_FILE, SPEC_FILE
from c2d.core.store_folder import RunStore, is_run_id

if TYPE_CHECKING:
    from c2d.metrics.coco_data import CocoData


class Skipped(Exception):
    """A run that cannot give the numbers; `problem` has the file and the reason."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(path, message)


def row_of_run(study: Study, run: str) -> Mapping[str, Any]:
    """Return the first row of a run; all its rows have the same values of its files.

    Raises:
        Skipped: the run is not in the study.
    """
    frame = study.frame
    at_run = frame.index[frame["run"] == run]
    if not len(at_run):
        raise Skipped(study.folder(run), "is no run of this study")
    return {str(key): value for key, value in frame.loc[at_run[0]].items()}


def finished_detector(study: Study, run: str) -> Mapping[str, Any]:
    """Return the row of a finished detector.

    Raises:
        Skipped: the run is not in the study, not finished, or no detector.
    """
    row = row_of_run(study, run)
    if row["state"] != "done":
        raise Skipped(study.folder(run), f"is {row['state']}, not done, so it has no numbers")
    if row["kind"] != "detector":
        raise Skipped(study.folder(run), f"is a {row['kind']}, not a detector; it has no boxes to score")
    return row


def detector_result(study: Study, run: str) -> dict[str, Any]:
    """Return result.json of a finished detector.

    Raises:
        Skipped: as in `finished_detector`; the file cannot be read.
    """
    finished_detector(study, run)
    value = read_object(study.folder(run) / RESULT_FILE)
    if isinstance(value, Problem):
        raise Skipped(value.path, value.message)
    return value


class DetectionNumbers:
    """Numbers of runs from their detections; the ground truth of one data set is read once.

    Attributes:
        study: the study.
        name: of the numbers, e.g. "TIDE curves", for messages.
        version: of their definition; those of another version are computed again.
    """

    def __init__(self, study: Study, cache: Path | None, folder: str, name: str, version: str) -> None:
        """Read what was kept.

        Args:
            study: the study.
            cache: folder of the warm cache, as in `analysis.loading.load.read_study`; one in the store is not used.
            folder: below it, one for each kind of numbers.
            name, version: see the class.
        """
        self.study, self.name, self.version = study, name, version
        place = cache_folder(cache)
        inside = place is None or is_inside(place, study.runs)
        self.kept = load_cache(None if inside or place is None else place / folder, study.runs)
        self.truths: dict[Path, CocoData] = {}

    def of(self, run: str, part: str, compute: Callable[[CocoData], Mapping[str, Any]]) -> Any:
        """Return one part of a run's numbers.

        Args:
            run: id of a finished detector.
            part: its name, with every parameter that it depends on.
            compute: returns {part: value that JSON can hold} of ground truth and detections, other parts included.

        Raises:
            Skipped: files are missing, damaged, or not of one evaluation.
        """
        row = row_of_run(self.study, run)
        digest, detections = str(row["dataset_digest"]), self.study.folder(run) / DETECTIONS_FILE
        if not is_run_id(digest):  # it becomes a file name
            raise Skipped(self.study.folder(run) / SPEC_FILE, f"names the data set {digest[:60]!a}, which is no digest")
        targets = RunStore(self.study.folder(run).parent).targets(digest)
        missing = f"is missing, so its {self.name} cannot be computed; evaluate the run again"
        of_detections = _state(detections, missing)
        of_targets = _state(targets, f"is missing: the ground truth of {run}; evaluate the run again")
        # The cache's key covers the detections only, so the state of the ground truth is part of the value.
        made_from = {"version": self.version, "targets": [digest, *of_targets]}
        key = f"{run}/{DETECTIONS_FILE}"
        entry = self.kept.get(key, of_detections)
        if not isinstance(entry, dict) or entry.get("made_from") != made_from:
            entry = {"made_from": made_from, "parts": {}}
        if part not in entry["parts"]:
            data = self._read(targets, detections)
            entry = {**entry, "sizes": data.sizes, "parts": {**entry["parts"], **compute(data)}}
            if time.time_ns() - of_targets[1] > SETTLED_NS:  # `Cache.put` checks the same of the detections
                self.kept.put(key, of_detections, entry)
        problem = evaluation_mismatch(row, entry["sizes"])
        if problem:
            raise Skipped(detections, problem)
        return entry["parts"][part]

    def _read(self, targets: Path, detections: Path) -> CocoData:
        from c2d.metrics import coco_json

        path = targets
        try:
            if targets not in self.truths:
                self.truths = {targets: coco_json.read_targets(targets)}
            path = detections
            return coco_json.read_detections(detections, self.truths[targets])
        except InputError as error:
            raise Skipped(path, str(error).removeprefix(f"{path} ")) from None

    def save(self) -> None:
        """Write the cache if something new was computed; entries of runs that no longer exist are removed."""
        if self.kept.changed:
            self.kept.keep_only({key.rpartition("/")[0] for key in self.kept.entries if self._is_here(key)})
            self.kept.save()

    def _is_here(self, key: str) -> bool:
        run, _, name = key.partition("/")
        return (self.study.folder(run) / name).exists()


def _state(path: Path, missing: str) -> FileState:
    found = file_state(path)
    if found is None:
        raise Skipped(path, missing)
    if isinstance(found, Problem):
        raise Skipped(path, found.message)
    return found


def evaluation_mismatch(row: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """Return why detections and ground truth are not those of a run's result, or "" where they are.

    Args:
        row: of the frame.
        sizes: `CocoData.sizes` of the files.
    """
    for key, computed in sizes.items():
        recorded = row.get(key)
        if recorded is not None and recorded == recorded and recorded != computed:  # NaN: not recorded
            return f"and the ground truth have {computed} {key}, {RESULT_FILE} has {recorded:g}: not one evaluation"
    return ""

"""Read numbers that the frame does not hold: TIDE at each IoU threshold, and the COCO numbers of each class.

TIDE comes from result.json. Where the run did not record it, it is computed from detections.json.gz and the ground
truth of the data set, and stored beside the warm cache of `analysis.loading.load`; an entry is valid while both files
and `tide.VERSION` are unchanged. Both ways run the same code on the same files.

Every function returns (frame, problems). A run without the numbers has no rows and a `Problem` with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.loading.cache import SETTLED_NS, cache_folder, is_inside, load_cache
from analysis.loading.columns import COCO, COUNTED, TIDE
from analysis.loading.schema import Study
from c2d.core.errors import InputError
from c2d.core.json_values import number, optional, read_object, required
from c2d.core.regular_file import FileState, FormatError, Problem, file_state, printable
from c2d.core.run_folder import DETECTIONS_FILE, RESULT_FILE, SPEC_FILE
from c2d.core.store_folder import RunStore, is_run_id

if TYPE_CHECKING:
    import pandas as pd

    from c2d.metrics.coco_data import CocoData

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
IOU_KEYS = {f"{iou:.2f}": iou for iou in IOUS}
PER_IOU = "per_iou"
RECORDED_VERSION = "1"
"""`tide.VERSION` of the records in result.json, which do not name it; under another version they are computed again."""

Result = Mapping[str, Any]
"""The part of the result of tide.evaluate that is cached: per_iou {"0.50": {dAP, counts}}."""


def tide_over_iou(study: Study, runs: Sequence[str], cache: Path | None = None) -> tuple[pd.DataFrame, list[Problem]]:
    """Read or compute TIDE totals at ten IoU thresholds.

    Args:
        runs: ids.
        cache: folder of the warm cache, as in `analysis.loading.load.read_study`; one in the store is not used.

    Returns:
        Columns run, iou (0.5 to 0.95), error, dAP (0-1), count. count is NaN for FalsePos and FalseNeg, dAP where it is
        undefined. And the problems of the runs that have no rows.
    """
    import pandas as pd

    computed = _Computed(study, cache)

    def rows(run: str) -> list[dict[str, Any]]:
        recorded = optional(_result(study, run), "tide", PER_IOU)
        complete = isinstance(recorded, dict) and set(IOU_KEYS) <= set(recorded) and _trusts_records()
        return list(_rows(run, recorded if complete else computed.of(run)[PER_IOU]))

    every, problems = _of_each(study, runs, rows)
    computed.save()
    return pd.DataFrame(every, columns=["run", "iou", "error", "dAP", "count"]), problems


def per_class(study: Study, runs: Sequence[str]) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the COCO numbers of each class.

    Returns:
        Columns run, class, AP ... ARl (0-1, NaN where undefined), boxes, detections. And the problems of the runs that
        have no rows.
    """
    import pandas as pd

    def rows(run: str) -> list[dict[str, Any]]:
        classes = required(_result(study, run), "per_class")
        if not isinstance(classes, dict):
            raise FormatError("per_class is no object")
        return [
            {"run": run, "class": printable(name)}
            | {key: _value(required(one, key), f"per_class.{printable(name)}.{key}", 0, 1) for key in COCO}
            | {
                key: _value(optional(one, key), f"per_class.{printable(name)}.{key}", 0)
                for key in ("boxes", "detections")
            }
            for name, one in classes.items()
        ]

    found, problems = _of_each(study, runs, rows)
    return pd.DataFrame(found, columns=["run", "class", *COCO, "boxes", "detections"]), problems


def _trusts_records() -> bool:
    from c2d.metrics import tide

    return tide.VERSION == RECORDED_VERSION


def _rows(run: str, per_iou: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, iou in IOU_KEYS.items():
        for error in TIDE:
            name = f"tide.{PER_IOU}.{key}"
            gain = _value(required(per_iou, key, "dAP", error), f"{name}.dAP.{error}", -1, 1)
            count = required(per_iou, key, "counts", error) if error in COUNTED else None
            yield {"run": run, "iou": iou, "error": error, "dAP": gain,
                   "count": _value(count, f"{name}.counts.{error}", 0)}  # fmt: skip


def _value(given: Any, name: str, low: float, high: float = float("inf")) -> float:
    found = number(given, name, low, high)
    return float("nan") if found is None else found


def _of_each(
    study: Study, runs: Sequence[str], rows: Callable[[str], list[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Rows of every run that has them, each run once, and why the others have none."""
    found: list[dict[str, Any]] = []
    problems = []
    for run in dict.fromkeys(runs):
        try:
            found += rows(run)
        except _Skipped as error:
            problems.append(error.problem)
        except FormatError as error:  # of result.json; the other files raise _Skipped
            problems.append(Problem(study.runs / run / RESULT_FILE, f"cannot be used: {error}"))
    return found, problems


class _Skipped(Exception):
    """A run that cannot give the numbers."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(path, message)


def _result(study: Study, run: str) -> dict[str, Any]:
    """result.json of a finished detector."""
    row = _row(study, run)
    if row["state"] != "done":
        raise _Skipped(study.runs / run, f"is {row['state']}, not done, so it has no numbers")
    if row["kind"] != "detector":
        raise _Skipped(study.runs / run, f"is a {row['kind']}, not a detector; it has no boxes to score")
    value = read_object(study.runs / run / RESULT_FILE)
    if isinstance(value, Problem):
        raise _Skipped(value.path, value.message)
    return value


def _row(study: Study, run: str) -> Mapping[str, Any]:
    """The first row of a run; all its rows have the same values of its files."""
    frame = study.frame
    at_run = frame.index[frame["run"] == run]
    if not len(at_run):
        raise _Skipped(study.runs / run, "is no run of this study")
    return {str(key): value for key, value in frame.loc[at_run[0]].items()}


class _Computed:
    """TIDE from detections, kept between commands; the ground truth of one data set is read once."""

    def __init__(self, study: Study, cache: Path | None) -> None:
        self.study = study
        place = cache_folder(cache)
        inside = place is None or is_inside(place, study.runs)
        self.kept = load_cache(None if inside or place is None else place / "derived", study.runs)
        self.truths: dict[Path, CocoData] = {}

    def of(self, run: str) -> Result:
        """Raises _Skipped."""
        from c2d.metrics import tide

        row = _row(self.study, run)
        digest, detections = str(row["dataset_digest"]), self.study.runs / run / DETECTIONS_FILE
        if not is_run_id(digest):  # it becomes a file name
            raise _Skipped(self.study.runs / run / SPEC_FILE, f"names the data set {digest[:60]!a}, which is no digest")
        targets = RunStore(self.study.runs).targets(digest)
        of_detections = _state(detections, "is missing, so its TIDE curves cannot be computed; evaluate the run again")
        of_targets = _state(targets, f"is missing: the ground truth of {run}; evaluate the run again")
        # The cache's key covers the detections only, so the state of the ground truth is part of the value.
        made_from = {"tide": tide.VERSION, "targets": [digest, *of_targets]}
        key = f"{run}/{DETECTIONS_FILE}"
        entry = self.kept.get(key, of_detections)
        if not isinstance(entry, dict) or entry.get("made_from") != made_from:
            data = self._read(targets, detections)
            full = tide.evaluate(data, None, "own", ious=IOUS, per_class=False)
            entry = {"made_from": made_from, "sizes": data.sizes, PER_IOU: full[PER_IOU]}
            if time.time_ns() - of_targets[1] > SETTLED_NS:  # `Cache.put` checks the same of the detections
                self.kept.put(key, of_detections, entry)
        _same_evaluation(row, entry["sizes"], detections)
        return entry

    def _read(self, targets: Path, detections: Path) -> CocoData:
        from c2d.metrics import coco_json

        path = targets
        try:
            if targets not in self.truths:
                self.truths = {targets: coco_json.read_targets(targets)}
            path = detections
            return coco_json.read_detections(detections, self.truths[targets])
        except InputError as error:
            raise _Skipped(path, str(error).removeprefix(f"{path} ")) from None

    def save(self) -> None:
        """Write the cache if something new was computed; entries of runs that no longer exist are removed."""
        if self.kept.changed:
            self.kept.keep_only({key.rpartition("/")[0] for key in self.kept.entries if self._is_here(key)})
            self.kept.save()

    def _is_here(self, key: str) -> bool:
        return (self.study.runs / key).exists()


def _state(path: Path, missing: str) -> FileState:
    found = file_state(path)
    if found is None:
        raise _Skipped(path, missing)
    if isinstance(found, Problem):
        raise _Skipped(path, found.message)
    return found


def _same_evaluation(row: Mapping[str, Any], sizes: Mapping[str, int], detections: Path) -> None:
    problem = evaluation_mismatch(row, sizes)
    if problem:
        raise _Skipped(detections, problem)


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

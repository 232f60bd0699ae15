"""Read numbers that the frame does not hold: TIDE at each IoU threshold, and the COCO numbers of each class.

TIDE comes from result.json. Where the run did not record it, it is computed from detections.json.gz and the ground
truth of the data set, and kept (`analysis.loading.derived_cache`). Both ways run the same code on the same files.

Every function returns (frame, problems). A run without the numbers has no rows and a `Problem` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.loading.columns import COCO, COUNTED, TIDE
from analysis.loading.derived_cache import DetectionNumbers, Skipped, detector_result
from analysis.loading.schema import Study
from c2d.core.json_values import number, optional, required
from c2d.core.regular_file import FormatError, Problem, printable
from c2d.core.run_folder import RESULT_FILE

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

    from c2d.metrics import tide

    computed = DetectionNumbers(study, cache, "derived", "TIDE curves", tide.VERSION)

    def rows(run: str) -> list[dict[str, Any]]:
        recorded = optional(detector_result(study, run), "tide", PER_IOU)
        complete = isinstance(recorded, dict) and set(IOU_KEYS) <= set(recorded) and _trusts_records()
        return list(_rows(run, recorded if complete else computed.of(run, PER_IOU, _compute)))

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
        classes = required(detector_result(study, run), "per_class")
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


def _compute(data: CocoData) -> Result:
    from c2d.metrics import tide

    return {PER_IOU: tide.evaluate(data, None, "own", ious=IOUS, per_class=False)[PER_IOU]}


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
        except Skipped as error:
            problems.append(error.problem)
        except FormatError as error:  # of result.json; the other files raise Skipped
            problems.append(Problem(study.folder(run) / RESULT_FILE, f"cannot be used: {error}"))
    return found, problems

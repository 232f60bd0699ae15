"""Curves of finished detectors from their stored detections: what four figures draw, computed once for each run.

The detections of a run are read once: what the default figures need is computed together, whichever asks first
(`analysis.loading.derived_cache` keeps it). Other thresholds are computed when a spec names them. Arrays are kept as
compressed text, so that the cache of a hundred runs on 80 classes has about 15 MB.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.loading.derived_cache import DetectionNumbers, Skipped, finished_detector
from analysis.loading.schema import Study
from c2d.core.regular_file import Problem, printable
from c2d.metrics.coco import IOUS

if TYPE_CHECKING:
    from c2d.metrics.coco_data import Array, CocoData

IOU = 0.5
"""Default of the figures at one threshold."""
MIN_SCORE = 0.25
"""Default of the confusion matrix: the score from which Ultralytics' tools count and show a detection."""

Value = TypeVar("Value")


class DetectorCurves:
    """The numbers of all runs of a study; every method raises `Skipped` where a run has none."""

    def __init__(self, study: Study) -> None:
        from c2d.metrics.operating_points import VERSION

        self.study = study
        self.kept = DetectionNumbers(study, study.cache, "curves", "curves", VERSION)

    def classes(self, run: str) -> tuple[list[str], Array]:
        """Return the names of the K classes, and (K,) int64 objects of each."""
        found = self._of(run, "classes")
        return [printable(name) for name in found["names"]], _unpacked(found["objects"])

    def mean_precision(self, run: str) -> Array:
        """Return (10, 101) in 0-1: precision at COCO's thresholds and recall points, mean over classes with objects."""
        return _unpacked(self._of(run, "mean_precision"))

    def class_precision(self, run: str, iou: float) -> Array:
        """Return (K, 101) in 0-1: precision at the recall points; NaN for classes without objects."""
        return _unpacked(self._of(run, f"class_precision {iou:g}"))

    def counts(self, run: str, iou: float) -> tuple[Array, Array]:
        """Return true positives and detections, both (K, 101) int32, from each of 101 scores on."""
        found = self._of(run, f"counts {iou:g}")
        return _unpacked(found["true"]), _unpacked(found["found"])

    def calibration(self, run: str, iou: float, min_score: float) -> dict[str, Any]:
        """Return the reliability diagram, see `c2d.metrics.detection_calibration.calibration`."""
        found: dict[str, Any] = self._of(run, f"calibration {iou:g} {min_score:g}")
        return found

    def confusion(self, run: str, iou: float, min_score: float) -> Array:
        """Return (K + 1, K + 1) int32 counts, see `c2d.metrics.confusion_matrix`."""
        return _unpacked(self._of(run, f"confusion {iou:g} {min_score:g}"))

    def of_runs(self, runs: Iterable[str], read: Callable[[str], Value]) -> tuple[dict[str, Value], list[Problem]]:
        """Return {run: what `read` returns} and the problems of the others, and keep what was computed.

        Args:
            runs: ids; those that are not finished are left out without a problem.
            read: takes a run, calls the methods above.
        """
        found: dict[str, Value] = {}
        problems: list[Problem] = []
        for run in dict.fromkeys(runs):
            try:
                found[run] = read(run)
            except Skipped as error:
                problems.append(error.problem)
        self.kept.save()
        return found, problems

    def _of(self, run: str, part: str) -> Any:
        finished_detector(self.study, run)
        return self.kept.of(run, part, lambda data: _computed(data, part))


def _computed(data: CocoData, part: str) -> dict[str, Any]:
    """The parts that the default report needs, and the one that is asked for."""
    import numpy as np

    from c2d.metrics import operating_points
    from c2d.metrics.confusion_matrix import confusion_matrix
    from c2d.metrics.detection_calibration import calibration
    from c2d.metrics.tide_errors import RECALLS

    usual = (f"class_precision {IOU:g}", f"counts {IOU:g}", f"calibration {IOU:g} 0",
             f"confusion {IOU:g} {MIN_SCORE:g}")  # fmt: skip
    out: dict[str, Any] = {"classes": {"names": data.class_names, "objects": _packed(data.objects_per_class)}}
    there = data.objects_per_class > 0
    means = np.full((len(IOUS), RECALLS), np.nan)
    for at, iou in enumerate(IOUS if there.any() else ()):
        precision = operating_points.interpolated_precision(operating_points.scored_matches(data, iou))
        means[at] = precision[there].mean(axis=0)
    out["mean_precision"] = _packed(means)
    for one in dict.fromkeys([*usual, part]):
        kind, _, rest = one.partition(" ")
        if not rest:
            continue
        iou, *others = (float(number) for number in rest.split())
        matches = operating_points.scored_matches(data, iou)
        if kind == "class_precision":
            out[one] = _packed(operating_points.interpolated_precision(matches))
        elif kind == "counts":
            true, found = operating_points.counts_at(matches)
            out[one] = {"true": _packed(true), "found": _packed(found)}
        elif kind == "calibration":
            out[one] = calibration(matches, others[0])
        else:
            out[one] = _packed(confusion_matrix(data, iou, others[0]))
    return out


def _packed(array: Array) -> dict[str, Any]:
    """An array as a value of JSON: whole numbers in 32 bits, others in 64."""
    import numpy as np

    kind = "<i4" if np.issubdtype(array.dtype, np.integer) else "<f8"
    body = zlib.compress(np.ascontiguousarray(array, dtype=kind).tobytes(), 6)
    return {"shape": list(array.shape), "type": kind, "body": base64.b64encode(body).decode()}


def _unpacked(value: dict[str, Any]) -> Array:
    import numpy as np

    raw = zlib.decompress(base64.b64decode(value["body"]))
    return np.frombuffer(raw, dtype=value["type"]).reshape(value["shape"])

"""The reference engines: pycocotools for COCO, tidecv for TIDE, adapted so that they accept any valid input.

Both are imported only when needed: tidecv imports OpenCV, matplotlib, pandas and seaborn. Neither is changed; what they
cannot do (boxes without polygons, no detections, no output) is handled here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.tide_errors import MAIN, SPECIAL, average_precision, countable_rows, size_of


def version(distribution: str) -> str:
    """Return the installed version of a distribution.

    Raises:
        InputError: it is missing; with the command that installs it.
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            f"engine 'reference' needs {distribution}, which is not installed; "
            f"install c2d-suite[analysis], or use engine 'fast'"
        ) from None


def precision_recall(data: CocoData) -> tuple[Array, Array]:
    """Compute pycocotools' tables; -1 is undefined.

    Returns:
        precision (10 IoU, 101 recall, K, 4 areas, 3 limits) and recall (10, K, 4, 3), both float64 in 0-1.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def holder(annotations: list[dict[str, Any]]) -> Any:
        # `loadRes` fails on an empty list and writes into its argument; an index over plain records does not.
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(data.image_ids))],
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(data.class_names)],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    truth = [
        {"id": i + 1, "image_id": im + 1, "category_id": k + 1, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for i, (im, k, box, area, crowd) in enumerate(
            zip(*_lists(data.gt_image, data.gt_class, data.gt_box, data.gt_area, data.gt_crowd), strict=True)
        )
    ]
    found = [
        {"id": i + 1, "image_id": im + 1, "category_id": k + 1, "bbox": box, "score": score, "iscrowd": 0,
         "area": box[2] * box[3]}
        for i, (im, k, box, score) in enumerate(
            zip(*_lists(data.dt_image, data.dt_class, data.dt_box, data.dt_score), strict=True)
        )
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(holder(truth), holder(found), "bbox")
        run.evaluate()
        run.accumulate()
    return run.eval["precision"], run.eval["recall"]


def _lists(*columns: Array) -> list[list[Any]]:
    return [column.tolist() for column in columns]


class TideRun:
    """One tidecv run, with the interface of `tide_errors.TideErrors`.

    tidecv decides what is matched, which error is which, and what fixing it does to the list of detections. It gets
    neither crowd regions nor the detections they forgive, because it could turn a forgiven detection into a correct
    one. The area under the curve is measured by our `average_precision`, for three reasons: tidecv averages over
    classes that have detections and no ground truth; once a type is fixed it puts errors first among equal scores; and
    its recall points are i/100, COCO's i*0.01, which differ in the last bit and then move a recall of exactly 0.35 by
    one bar. What remains: of two objects of a class that a detection overlaps equally tidecv matches the first, COCO
    the last (`matching.Tie`).
    `native` gives tidecv's own numbers.
    """

    def __init__(self, data: CocoData, iou: float, background: float) -> None:
        version("tidecv")
        gt_rows, dt_rows = countable_rows(data, iou)
        gt_rows = gt_rows[np.argsort(data.gt_class[gt_rows], kind="stable")]  # of equal overlaps tidecv takes the first
        with contextlib.redirect_stdout(io.StringIO()):
            from tidecv import TIDE, Data

            # The limit of 100 per image and class is applied to the rows; tidecv's own is per image.
            truth, found = Data("truth", max_dets=len(dt_rows) + 1), Data("found", max_dets=len(dt_rows) + 1)
            for k, name in enumerate(data.class_names):
                truth.add_class(k, name)
            for i in range(len(data.image_ids)):
                truth.add_image(i, str(i))
            area = data.dt_box[:, 2] * data.dt_box[:, 3]
            columns = (data.gt_image[gt_rows], data.gt_class[gt_rows], data.gt_box[gt_rows], data.gt_area[gt_rows])
            for image, k, box, size in zip(*_lists(*columns), strict=True):
                truth.add_ground_truth(image, k, box)
                truth.annotations[-1]["area"] = size
            # Only the order of scores matters; tidecv takes those below -1 for "none yet", so it gets their places.
            place = np.unique(data.dt_score[dt_rows], return_inverse=True)[1] / max(len(dt_rows), 1)
            columns = (data.dt_image[dt_rows], data.dt_class[dt_rows], place, data.dt_box[dt_rows])
            for image, k, score, box, size in zip(*_lists(*columns, area[dt_rows]), strict=True):
                found.add_detection(image, k, score, box)
                found.annotations[-1]["area"] = size
        self.data, self.dt_rows = data, dt_rows
        self.types = {error.short_name: error for error in TIDE._error_types}
        self.run: Any = None
        if len(gt_rows):  # without any object tidecv divides by the number of classes, which is 0
            self.run = TIDE().evaluate(truth, found, pos_threshold=iou, background_threshold=background, mode=TIDE.BOX)

    def aps(self, size: int | None = None) -> dict[str, Array]:
        """Return AP (K,) in 0-1 of each class before and after each oracle.

        Args:
            size: fix only errors of this size (position in SIZES); then tidecv has no special oracles and they are NaN.
        """
        nothing = np.full(len(self.data.class_ids), np.nan)
        if self.run is None:
            return dict.fromkeys(("AP", *MAIN, *SPECIAL), nothing)
        from tidecv import Qualifier
        from tidecv.errors.main_errors import FalsePositiveError

        run, test = self.run, self._test(size)
        out = {"AP": self._ap(run.ap_data)}
        for name in MAIN:
            out[name] = self._ap(run.fix_errors(Qualifier("", test)._make_error_func(self.types[name])))
        if size is None:
            out["FalsePos"] = self._ap(run.fix_errors(transform=FalsePositiveError.fix))
            out["FalseNeg"] = self._ap(run.fix_errors(false_neg_dict=run.false_negatives))
        else:
            out["FalsePos"] = out["FalseNeg"] = nothing
        return out

    def counts(self, size: int | None = None) -> Array:
        """Return the errors per class and main type, (K, 6) int64.

        Args:
            size: count only errors of this size (position in SIZES).
        """
        table = np.zeros((len(self.data.class_ids), len(MAIN)), np.int64)
        test = self._test(size)
        if self.run is None:  # nothing to hit: every detection is on background
            box = self.data.dt_box[self.dt_rows]
            rows = self.dt_rows[(size is None) | (size_of(box[:, 2] * box[:, 3]) == size)]
            table[:, MAIN.index("Bkg")] = np.bincount(self.data.dt_class[rows], minlength=len(table))
            return table
        for column, name in enumerate(MAIN):
            for error in self.run.error_dict[self.types[name]]:
                if test is None or test(error.gt if hasattr(error, "gt") else error.pred):
                    table[(error.pred if hasattr(error, "pred") else error.gt)["class"], column] += 1
        return table

    def native(self) -> dict[str, float] | None:
        """Return tidecv's own dAP in 0-1: clamped at 0, averaged over classes with detections or ground truth."""
        if self.run is None or not len(self.dt_rows):  # fixing Miss would leave it no class to average over
            return None
        found = {**self.run.fix_main_errors(), **self.run.fix_special_errors()}
        return {error.short_name: float(value) / 100 for error, value in found.items()}

    @staticmethod
    def _test(size: int | None) -> Callable[[dict[str, Any]], bool] | None:
        if size is None:
            return None
        return lambda annotation: int(size_of(annotation["area"])) == size

    def _ap(self, ap_data: Any) -> Array:
        """Return AP (K,) of tidecv's detection lists, on COCO's recall points and in COCO's order of equal scores."""
        objects, points = np.zeros(len(self.data.class_ids), np.int64), []
        for k, curve in ap_data.objs.items():
            objects[k] = curve.num_gt_positives
            points += [(k, key, score, bool(true)) for key, (score, true, _) in curve.data_points.items()]
        cls, key, score, true = np.array(points, float).reshape(-1, 4).T
        rows, cls = self.dt_rows[key.astype(int)], cls.astype(int)
        moved = self.data.dt_class[rows] != cls  # a corrected Cls error: after its new class's own equal scores
        order = np.lexsort((rows, self.data.dt_image[rows], moved, -score, cls))
        values = average_precision(cls[order], np.ones(len(cls), bool), true[order] > 0, objects)
        return np.where(self.data.objects_per_class > 0, values, np.nan)

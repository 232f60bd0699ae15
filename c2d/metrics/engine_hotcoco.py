"""The fast engine: hotcoco, a Rust port of pycocotools (MIT). Reads columns, prints nothing."""

from __future__ import annotations

from typing import Any

import hotcoco
import numpy as np

from c2d.metrics.coco_data import Array, CocoData

NAME = "hotcoco"
VERSION = str(hotcoco.__version__)


def evaluator(data: CocoData, gt_rows: Array | None = None, dt_rows: Array | None = None) -> Any:
    """Build a `hotcoco.COCOeval` on the given rows (default: all); ids are positions + 1, so 0 never is an id."""
    gt = slice(None) if gt_rows is None else gt_rows
    dt = slice(None) if dt_rows is None else dt_rows
    truth = hotcoco.COCO.from_arrays(
        [{"id": i + 1, "width": 1, "height": 1, "file_name": ""} for i in range(len(data.image_ids))],
        # Results go by id. hotcoco takes no name with half a surrogate pair, which JSON can hold.
        [{"id": k + 1, "name": str(k + 1)} for k in range(len(data.class_names))],
        data.gt_image[gt] + 1,
        data.gt_class[gt] + 1,
        np.ascontiguousarray(data.gt_box[gt]),
        area=data.gt_area[gt],
        iscrowd=data.gt_crowd[gt].astype(np.int64),
    )
    table = np.column_stack(
        [data.dt_image[dt] + 1, data.dt_box[dt], data.dt_score[dt], data.dt_class[dt] + 1]
    )  # (D, 7) float64: image, x, y, width, height, score, category
    return hotcoco.COCOeval(truth, truth.load_res(table), "bbox")


def precision_recall(data: CocoData) -> tuple[Array, Array]:
    """Compute COCO's tables; -1 is undefined.

    Returns:
        precision (10 IoU, 101 recall, K, 4 areas, 3 limits) and recall (10, K, 4, 3), both float64 in 0-1.
    """
    run = evaluator(data)
    run.evaluate()
    run.accumulate()
    return np.asarray(run.eval["precision"]), np.asarray(run.eval["recall"])


def tide_totals(data: CocoData, gt_rows: Array, dt_rows: Array, iou: float, background: float) -> dict[str, Any]:
    """Return hotcoco's TIDE totals on rows without crowd regions: `AP`, `dAP` and `counts`, under hotcoco's own keys.

    hotcoco 1.3 counts an overlap with a crowd region as poor localisation where COCO and tidecv ignore the region, so
    the caller leaves the regions and the detections they forgive out.
    """
    run = evaluator(data, gt_rows, dt_rows)
    run.params.iou_thrs = [iou]
    run.params.area_rng = [[0.0, 1e10]]
    run.params.area_rng_lbl = ["all"]
    run.params.max_dets = [100]
    run.evaluate()
    found: dict[str, Any] = run.tide_errors(iou, background)
    return found

"""Compare the numbers of the engines on the same files. Used by `c2d evaluate --check`.

COCO: hotcoco against pycocotools, every number the suite reports (the 12 numbers, AP at each IoU, and the 12 of each
class), at most 1e-6 apart, counts equal. TIDE at the given IoU: the totals over the set, that is AP and the eight dAP,
of hotcoco, tidecv and our own code, each against each, at most 0.05 AP points (0.0005 in 0-1) apart, and the six
counts, equal. Of two free objects that a detection overlaps equally, such as one annotated twice, COCO matches the
last, tidecv the first. Where that decides anything, our own code is compared with each under its rule, and hotcoco not
with tidecv; a line says how many detections it concerns and how far the rule moves the numbers. tidecv's detection
lists are integrated on COCO's recall points over the classes with ground truth (see `c2d.metrics.engine_reference`).
tidecv's own numbers are returned as `native` and not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from c2d.core.errors import abbreviate
from c2d.metrics import coco, tide
from c2d.metrics.coco_data import Array, CocoData, prepare
from c2d.metrics.matching import compute_overlaps, match
from c2d.metrics.tide_errors import TideErrors

COCO_TOLERANCE = 1e-6
TIDE_TOLERANCE = 0.0005  # 0.05 AP points


def compare_engines(
    targets: Mapping[str, Any] | CocoData, detections: Sequence[Mapping[str, Any]] | None = None, iou: float = 0.5
) -> dict[str, Any]:
    """Compare all engines on the same input.

    Args:
        targets: COCO ground truth, or a `CocoData`.
        detections: COCO results list; None with a `CocoData`.
        iou: foreground threshold of TIDE, 0-1.

    Returns:
        `ok`; `lines`, one sentence per comparison for a person to read, and what equal overlaps move; `coco` and
        `tide`, each {"ok", "compared": number of values, "beyond": how many are too far apart, "largest": largest
        difference, "at": where it is, "tolerance"}; `native`: tidecv's own dAP, None where it cannot give one;
        `equal_overlaps`: number of detections that COCO and tidecv match to different objects, or one of them to none;
        `repeated`: annotation ids of objects whose class, image and box are those of an earlier one (positions in the
        list for a `CocoData`).

    Raises:
        InputError: see `c2d.metrics.coco_data.prepare`; or tidecv or pycocotools is not installed.
    """
    data = prepare(targets, detections)
    c_fast, c_reference = coco.evaluate(data, None, "fast"), coco.evaluate(data, None, "reference")
    runs = {engine: tide.evaluate(data, None, engine, iou, per_size=False) for engine in tide.ENGINES}
    values = {engine: {key: run[key] for key in ("AP", "dAP", "counts")} for engine, run in runs.items()}
    tied = _equal_overlaps(data, iou)
    first = tide.totals_of(TideErrors(data, iou, tide.BACKGROUND, tie="first")) if tied else values["own"]
    of_coco = _compare([("coco", _numbers_of(c_fast), _numbers_of(c_reference))], COCO_TOLERANCE)
    pairs = [
        ("own code and hotcoco", values["own"], values["fast"]),
        ("own code and tidecv", first, values["reference"]),
    ]
    if not tied:
        pairs.append(("hotcoco and tidecv", values["fast"], values["reference"]))
    of_tide = _compare(pairs, TIDE_TOLERANCE)
    repeated = repeated_boxes(data).tolist()
    if isinstance(targets, Mapping):
        repeated = [targets["annotations"][row].get("id", row) for row in repeated]
    names = f"{_label(c_fast)} and {_label(c_reference)}", f"{_label(runs['fast'])}, {_label(runs['reference'])}, own"
    lines = [_line("COCO", names[0], of_coco), _line(f"TIDE at IoU {iou:g}", names[1], of_tide)]
    if tied:
        moved = max(gap for _, gap, _ in _gaps(values["own"]["dAP"], first["dAP"], "dAP", 0))
        lines.append(_moved(tied, moved, repeated))
    return {
        "ok": of_coco["ok"] and of_tide["ok"],
        "lines": lines,
        "coco": of_coco,
        "tide": of_tide,
        "native": runs["reference"].get("native"),
        "equal_overlaps": tied,
        "repeated": repeated,
    }


def repeated_boxes(data: CocoData) -> Array:
    """Return the rows (n,) int64 of objects (no crowd regions) with the image, class and box of an earlier one."""
    rows = np.flatnonzero(~data.gt_crowd)
    keys = np.column_stack([data.gt_image[rows], data.gt_class[rows], data.gt_box[rows]])
    first = np.unique(keys, axis=0, return_index=True)[1] if len(rows) else rows
    return np.setdiff1d(rows, rows[first])


def _equal_overlaps(data: CocoData, iou: float) -> int:
    found = compute_overlaps(data)
    return int((match(data, found, iou) != match(data, found, iou, tie="first")).sum())


def _numbers_of(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "engine"}


def _label(result: Mapping[str, Any]) -> str:
    return f"{result['engine']['name']} {result['engine']['version']}"


def _compare(pairs: list[tuple[str, Any, Any]], tolerance: float) -> dict[str, Any]:
    largest, at, compared, wrong = 0.0, None, 0, 0
    for name, a, b in pairs:
        for where, gap, allowed in _gaps(a, b, name, tolerance):
            compared += 1
            wrong += gap > allowed
            if gap > largest:
                largest, at = gap, where
    return {
        "ok": wrong == 0,
        "compared": compared,
        "beyond": wrong,
        "largest": largest,
        "at": at,
        "tolerance": tolerance,
    }


def _gaps(a: Any, b: Any, where: str, tolerance: float) -> Iterator[tuple[str, float, float]]:
    """Place, difference and allowed difference of every pair of values; whole numbers must be equal."""
    if isinstance(a, Mapping):
        for key in a:
            yield from _gaps(a[key], b[key], f"{where}/{key}", tolerance)
    elif a is None or b is None:
        yield where, 0.0 if a is b else float("inf"), tolerance
    else:
        yield where, abs(a - b), 0.0 if isinstance(a, int) else tolerance


def _moved(tied: int, largest: float, repeated: Sequence[Any]) -> str:
    """Say what the rule for equal overlaps moves, and which objects are the likely cause."""
    who = "1 detection overlaps" if tied == 1 else f"{tied} detections overlap"
    line = (
        f"{who} two objects equally: COCO and we match the last, tidecv the first. That rule moves dAP by up to "
        f"{largest:.2g}"
    )
    if repeated:
        boxes = "1 object has" if len(repeated) == 1 else f"{len(repeated)} objects have"
        line += (
            f"; {boxes} the class, image and box of another (annotation ids {abbreviate(repeated)}): remove the copies "
            "(`c2d data check` lists them)"
        )
    return line


def _line(what: str, engines: str, found: Mapping[str, Any]) -> str:
    verdict = "agree" if found["ok"] else f"DISAGREE in {found['beyond']} places"
    at = f" at {found['at']}" if found["at"] else ""
    return (
        f"{what}: {engines} {verdict}: {found['compared']} values compared, largest difference "
        f"{found['largest']:.2g}{at}, allowed {found['tolerance']:g}, of counts 0"
    )

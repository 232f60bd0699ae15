"""Do two engines say the same about these files? Used by `c2d evaluate --check`.

COCO: hotcoco against pycocotools, every number the suite reports (the 12 numbers, AP at each IoU, and the 12 of each
class), at most 1e-6 apart. TIDE at the given IoU: each of hotcoco, tidecv and our own code against the others, the eight
total dAP and the AP, at most 0.05 AP points (0.0005 in 0-1) apart, and the six counts equal; and our own code against
tidecv on the main errors of each class and size, same tolerance, whose counts must be equal too. tidecv's detection
lists are integrated on COCO's recall points over classes with ground truth (see `analysis.reference`); what tidecv
itself would print stands beside, as `native`, and is not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis import coco, tide
from analysis.inputs import Prepared, prepare

COCO_TOLERANCE = 1e-6
TIDE_TOLERANCE = 0.0005  # 0.05 AP points


def check(
    targets: Mapping[str, Any] | Prepared, detections: Sequence[Mapping[str, Any]] | None = None, iou: float = 0.5
) -> dict[str, Any]:
    """Run all engines on the same input and compare.

    Returns:
        `ok`; `lines`, one sentence per comparison for a person to read; `coco` and `tide`, each {"ok", "compared": number
        of values, "largest": largest difference, "at": where it is, "tolerance"}; `native`: tidecv's own dAP.

    Raises:
        InputError: see `analysis.inputs.prepare`; or tidecv or pycocotools is not installed.
    """
    data = prepare(targets, detections)
    c_fast, c_reference = coco.evaluate(data, None, "fast"), coco.evaluate(data, None, "reference")
    runs = {engine: tide.evaluate(data, None, engine, iou) for engine in tide.ENGINES}
    totals = {engine: {key: run[key] for key in ("AP", "dAP", "counts")} for engine, run in runs.items()}
    parts = {engine: {key: run[key] for key in ("per_class", "per_size")} for engine, run in runs.items()}
    of_coco = _compare([("coco", _numbers_of(c_fast), _numbers_of(c_reference))], COCO_TOLERANCE)
    of_tide = _compare(
        [
            ("hotcoco and tidecv", totals["fast"], totals["reference"]),
            ("own code and hotcoco", totals["own"], totals["fast"]),
            ("own code and tidecv", parts["own"], parts["reference"]),
        ],
        TIDE_TOLERANCE,
    )
    names = f"{_label(c_fast)} and {_label(c_reference)}", f"{_label(runs['fast'])}, {_label(runs['reference'])}, own"
    return {
        "ok": of_coco["ok"] and of_tide["ok"],
        "lines": [_line("COCO", names[0], of_coco), _line(f"TIDE at IoU {iou:g}", names[1], of_tide)],
        "coco": of_coco,
        "tide": of_tide,
        "native": runs["reference"].get("native"),
    }


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
        "ok": wrong == 0, "compared": compared, "largest": largest, "at": at, "beyond": wrong, "tolerance": tolerance,
    }  # fmt: skip


def _gaps(a: Any, b: Any, where: str, tolerance: float) -> Iterator[tuple[str, float, float]]:
    """Place, difference and allowed difference of every pair of values; whole numbers must be equal."""
    if isinstance(a, Mapping):
        for key in a:
            # tidecv defines no special errors per size
            if "per_size" in where and where.endswith("dAP") and key in ("FalsePos", "FalseNeg"):
                continue
            yield from _gaps(a[key], b[key], f"{where}/{key}", tolerance)
    elif a is None or b is None:
        yield where, 0.0 if a is b else float("inf"), tolerance
    else:
        yield where, abs(a - b), 0.0 if isinstance(a, int) else tolerance


def _line(what: str, engines: str, found: Mapping[str, Any]) -> str:
    verdict = "agree" if found["ok"] else f"DISAGREE in {found['beyond']} places"
    at = f" at {found['at']}" if found["at"] else ""
    return (
        f"{what}: {engines} {verdict}: {found['compared']} values compared, largest difference "
        f"{found['largest']:.2g}{at}, allowed {found['tolerance']:g} (counts: none)"
    )

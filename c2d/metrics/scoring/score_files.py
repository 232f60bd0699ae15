"""Every detection number of a pair of COCO files, ground truth and results, without any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, RunError
from c2d.metrics import coco, coco_json, tide
from c2d.metrics.coco_data import CocoData
from c2d.metrics.protocols.evaluate_protocol import evaluate_protocol
from c2d.metrics.scoring.box_form import box_form_warning


def score_files(
    targets: Path, detections: Path, *, check: bool = False, protocols: Sequence[str] = (), tide_iou: float = 0.5
) -> tuple[dict[str, Any], list[str]]:
    """Compute the 12 COCO numbers, those of each class, and TIDE of two files.

    Args:
        targets: COCO ground truth, .json or .json.gz.
        detections: COCO results list, .json or .json.gz; boxes are read, masks are not.
        check: compare the engines (hotcoco, pycocotools, tidecv, own code), too.
        protocols: voc or kitti; the annotations must have what the protocol reads.
        tide_iou: IoU of a correct localisation in TIDE, above 0.1 and below 1.

    Returns:
        (the keys of a run's result.json, without those of a training, `files` and `warnings`; lines of `check`).

    Raises:
        InputError: a file that is missing, damaged or of another form, or detections that do not fit the ground truth.
        RunError: of class `data`: the engines differ.
    """
    if not tide.BACKGROUND < tide_iou < 1:
        raise InputError(f"IoU {tide_iou:g} of TIDE; allowed is above {tide.BACKGROUND:g} and below 1, 0.5 is usual")
    data = _read(targets, detections)
    block: dict[str, Any] = {}
    if protocols:
        annotations = coco_json.read_annotations(targets)
        for name in dict.fromkeys(protocols):
            block |= evaluate_protocol(name, annotations, data)
    result = {
        "format": 1,
        "kind": "detector",
        "files": {"targets": targets.name, "detections": detections.name},
        **coco.evaluate(data),
        **({"protocols": block} if block else {}),
        "tide": tide.evaluate(data, iou=tide_iou, ious=tide.IOUS),
        "warnings": [sentence] if (sentence := box_form_warning(data)) else [],
    }
    if not check:
        return result, []
    from c2d.metrics.engine_parity import compare_engines

    report = compare_engines(data, iou=tide_iou)
    if not report["ok"]:
        raise RunError("the two engines differ: " + "; ".join(report["lines"]), "data")
    return result, list(report["lines"])


def _read(targets: Path, detections: Path) -> CocoData:
    """Read both files; an error names its file, and the likely mistake where there is one."""
    try:
        truth = coco_json.read_targets(targets)
    except InputError as error:
        raise _with_file(error, targets, _hint(targets, "targets")) from None
    try:
        return coco_json.read_detections(detections, truth)
    except InputError as error:
        raise _with_file(error, detections, _hint(detections, "detections")) from None


def _with_file(error: InputError, path: Path, hint: str) -> InputError:
    message = str(error)
    if str(path) not in message:
        message = f"{path}: {message}"
    return InputError(f"{message}; {hint}" if hint else message)


def _hint(path: Path, role: str) -> str:
    """What a file of another form seems to be; "" where it is unclear. The file was refused already."""
    try:
        value = coco_json.read_any(path)
    except InputError:
        return ""
    if role == "targets" and isinstance(value, list):
        return "this is a list, as detections are: the ground truth comes first, `c2d score TARGETS DETECTIONS`"
    if role != "detections":
        return ""
    if isinstance(value, Mapping):
        return _hint_of_object(value)
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, Mapping) and "segmentation" in first and "bbox" not in first:
        return "masks are not scored: give each detection the box of its mask as bbox"
    return ""


def _hint_of_object(value: Mapping[str, Any]) -> str:
    rows = value.get("annotations")
    if isinstance(rows, list) and rows and isinstance(rows[0], Mapping) and "score" in rows[0]:
        return "the list under its key 'annotations' is what is wanted: write that list alone to a file"
    if isinstance(rows, list):
        return "this is ground truth, whose boxes have no score: detections are the second file"
    return ""

"""What all boxes and areas of a file say together: boxes in other units or formats, areas that contradict their box.

A single number can be a slip; a whole file that agrees on another reading is written in another way. COCO's own files
have a few odd annotations, so what few boxes have is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2d.data.coco.file_issues import FileIssues, Severity

A_FEW = 1 / 1000
"""Share of the boxes of a file up to which a fault is a warning. COCO's train2017 has repeated boxes in one image."""
SOME, MOST, NEARLY_ALL = 0.1, 0.5, 0.95
TOLERANCE = 0.01
"""Relative difference of two numbers that are taken as equal: tools round boxes and areas."""
SCALES = {100: "percent", 1000: "thousandths"}
"""{what stands for the whole side of an image: its name}, in files with boxes in units of the image."""
FAR_OUTSIDE = 1.25
"""End of a box by the side of its image from which its unit may be another one."""
MANY_BOXES = 20
"""Boxes from which it is no coincidence that all are in one corner of their images."""
LEAST_BOXES = 3
"""Boxes from which equal areas of different boxes are no coincidence."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Boxes(NamedTuple):
    """Boxes of a file that are no crowd regions, with four finite numbers and sides above 0.

    Attributes:
        rows: N annotations.
        box: (N, 4) as in the file, px.
        area: (N,) px^2; NaN where it is no number above 0.
        size: (N, 2) width and height of the image, px; NaN where the file has none.
    """

    rows: Sequence[dict[str, Any]]
    box: Floats
    area: Floats
    size: Floats


def find_relative(boxes: Boxes, issues: FileIssues) -> Bools:
    """Report boxes in fractions of the image, and return which they are, (N,)."""
    relative: Bools = np.all((boxes.box >= 0) & (boxes.box <= 1 + TOLERANCE), axis=1)
    relative &= ~np.all(boxes.size == 1, axis=1)  # in an image of one pixel, pixels and fractions are the same
    if severity := _severity(relative):
        issues.add(
            severity, "relative boxes", _names(boxes, relative),
            f"{_share(relative)} have all four values between 0 and 1, which are fractions of the image; multiply x "
            "and w by its width, y and h by its height",
        )  # fmt: skip
    return relative


def find_other_format(boxes: Boxes, outside: Bools, issues: FileIssues) -> bool:
    """Report boxes that were written as x1 y1 x2 y2 or by their centre; return whether their areas prove it.

    Args:
        boxes: of the file.
        outside: (N,) which leave their image as x, y, w, h.
        issues: what is wrong is added.
    """
    x, y, w, h = boxes.box.T
    fix = "write x1, y1, x2 - x1, y2 - y1"
    corners = (w - x) * (h - y)
    # With x and y of 0 both readings are one.
    decided = np.isfinite(boxes.area) & ~(_equal(corners, boxes.area) & _equal(w * h, boxes.area))
    inclusive = (w - x + 1) * (h - y + 1)
    as_corners = decided & (w > x) & (h > y) & (_equal(corners, boxes.area) | _equal(inclusive, boxes.area))
    as_corners &= ~_equal(w * h, boxes.area)
    share = as_corners.sum() / max(1, decided.sum())
    if as_corners.sum() >= LEAST_BOXES and share >= SOME:
        severity: Severity = "error" if share >= MOST else "warning"
        issues.add(
            severity, "box format", _names(boxes, as_corners),
            f"{_share(as_corners)} have the area of (x1, y1, x2, y2), not of (x, y, w, h); {fix}",
        )  # fmt: skip
        return severity == "error"
    if _find_scaled(boxes, outside, issues):
        return True
    if outside.mean() <= A_FEW:
        return False
    wide, high = boxes.size.T
    readings = {
        "x1, y1, x2, y2": ((w > x) & (h > y) & (w <= wide + 1) & (h <= high + 1), fix),
        "centre x, centre y, w, h": (
            (x >= w / 2 - 1) & (y >= h / 2 - 1) & (x + w / 2 <= wide + 1) & (y + h / 2 <= high + 1),
            "write x - w / 2, y - h / 2, w, h",
        ),
    }
    far_outside = max(((x + w) / wide).max(), ((y + h) / high).max()) > FAR_OUTSIDE
    for scale, name in SCALES.items() if far_outside else ():
        readings[f"{name} of the image"] = (_inside(boxes, scale), _scaled_fix(scale))
    for name, (fits, how) in readings.items():
        if fits.all():
            issues.error(
                "box format", _names(boxes, outside),
                f"{_share(outside)} leave their image as (x, y, w, h), none as ({name}); if they are such, {how}",
            )  # fmt: skip
            break
    return False


def _inside(boxes: Boxes, scale: float) -> Bools:
    x, y, w, h = boxes.box.T
    result: Bools = np.maximum(x + w, y + h) <= scale * (1 + TOLERANCE)
    return result


def _scaled_fix(scale: int) -> str:
    return f"multiply x and w by the width / {scale}, y and h by the height / {scale}"


def _find_scaled(boxes: Boxes, outside: Bools, issues: FileIssues) -> bool:
    """Report boxes in percent or thousandths of the image; return whether their areas prove it.

    Without such areas, boxes that all leave out most of their images are a warning.
    """
    x, y, w, h = boxes.box.T
    whole = boxes.size.prod(axis=1)
    for scale, name in SCALES.items():
        if not _inside(boxes, scale).all():
            continue
        proven = _equal(boxes.area, w * h * whole / scale**2) & ~_equal(boxes.area, w * h)
        if proven.sum() >= max(LEAST_BOXES, MOST * len(proven)):
            issues.error(
                "box format", _names(boxes, proven),
                f"{_share(proven)} have the area of a box in {name} of the image, not in px; {_scaled_fix(scale)}",
            )  # fmt: skip
            return True
        reach = min(float((x + w).max()), float((y + h).max()))
        corner = len(w) >= MANY_BOXES and reach > 0.8 * scale and (boxes.size.min(axis=1) > 2 * scale).all()
        if corner and not outside.any():
            issues.warning(
                "box format", _names(boxes, np.ones(len(w), np.bool_)),
                f"all {len(w)} boxes are in the first {scale} x {scale} px of larger images, as boxes in {name} of the "
                f"image would be; if they are such, {_scaled_fix(scale)}",
            )  # fmt: skip
    return False


def check_areas(boxes: Boxes, issues: FileIssues) -> None:
    """Report areas that contradict their boxes. An area below w * h is normal: it is that of a mask."""
    known = np.isfinite(boxes.area)
    w, h = boxes.box[:, 2:].T
    whole = w * h
    # A mask counts pixels, and some tools count the last pixel of a side too.
    large = known & (boxes.area > (w + 1) * (h + 1) * (1 + TOLERANCE))
    if severity := _severity(large):
        first = int(np.argmax(large))
        issues.add(
            severity, "area above box", _names(boxes, large),
            f"{_share(large)} have an area above w * h, the first {boxes.area[first]:g} for a box of {w[first]:g} x "
            f"{h[first]:g}; areas of another image size? write w * h, or the area of the mask",
        )  # fmt: skip
    small = known & (boxes.area <= 1) & (whole >= 16)
    if severity := _severity(small):
        fraction = boxes.area[small] / (whole / boxes.size.prod(axis=1))[small]
        what = "fractions of the image" if np.median(np.abs(fraction - 1)) < 0.1 else "no areas in px"
        issues.add(
            severity, "area unit", _names(boxes, small),
            f"{_share(small)} have an area of at most 1 px^2 for a larger box: {what}, which AP of small, medium and "
            "large boxes needs; write w * h, or the area of the mask",
        )  # fmt: skip
    if not (large | small).any():
        for message in _placeholders(boxes, whole):
            issues.add(*message)


def _placeholders(boxes: Boxes, whole: Floats) -> Iterator[tuple[Severity, str, str, str]]:
    known = np.isfinite(boxes.area)
    if known.sum() < LEAST_BOXES or _equal(whole[known], np.full(known.sum(), whole[known][0])).all():
        return
    common = float(np.median(boxes.area[known]))
    constant = known & _equal(boxes.area, np.full_like(boxes.area, common))
    if constant.sum() >= NEARLY_ALL * known.sum():
        yield (
            "error", "area", _names(boxes, constant),
            f"{_share(constant)} have the area {common:g}, whatever their size, which AP of small, medium and large "
            "boxes needs; write w * h, or the area of the mask",
        )  # fmt: skip
        return
    ratio = boxes.area / whole
    usual = float(np.median(ratio[known]))
    same = known & _equal(ratio, np.full_like(ratio, usual))
    has_masks = any(row.get("segmentation") for row in boxes.rows)
    if not has_masks and usual < 0.5 and same.sum() >= NEARLY_ALL * known.sum():
        yield (
            "warning", "area", _names(boxes, same),
            f"{_share(same)} have {usual:.3g} times w * h as area; areas of another image size? write w * h",
        )  # fmt: skip
        return
    w, h = boxes.box[:, 2:].T
    no_mask = known & np.asarray([not row.get("segmentation") for row in boxes.rows])
    below = no_mask & (boxes.area < (w - 1) * (h - 1) * (1 - TOLERANCE))
    if below.sum() >= max(LEAST_BOXES, MOST * no_mask.sum()):
        yield (
            "warning", "area", _names(boxes, below),
            f"{_share(below)} have an area below w * h and no mask, the first {boxes.area[below][0]:g} for a box of "
            f"{w[below][0]:g} x {h[below][0]:g}; AP of small, medium and large boxes goes by the area: write w * h, "
            "unless it is that of a mask that was left out",
        )  # fmt: skip


def _severity(wrong: Bools) -> Severity | None:
    if not wrong.any():
        return None
    return "error" if wrong.mean() > A_FEW else "warning"


def _equal(a: Floats, b: Floats) -> Bools:
    result: Bools = np.abs(a - b) <= TOLERANCE * np.maximum(np.abs(a), np.abs(b))
    return result


def _share(wrong: Bools) -> str:
    return f"{int(wrong.sum())} of {len(wrong)} boxes"


def _names(boxes: Boxes, wrong: Bools, limit: int = 3) -> str:
    """`annotation 1, 2, 3 and 5 more` of the boxes that are wrong."""
    ids = [str(boxes.rows[index].get("id")) for index in np.flatnonzero(wrong)]
    more = f" and {len(ids) - limit} more" if len(ids) > limit else ""
    return f"annotation {', '.join(ids[:limit])}{more}"

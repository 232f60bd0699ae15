"""TIDE by plain loops over one image at a time, for tests only; imports nothing of the repository.

Written from the definitions (Bolya et al., ECCV 2020): slow and literal on purpose. Boxes are [x, y, width, height].
"""

from __future__ import annotations

MAIN = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")


def iou(a, b, crowd=False):
    """Intersection over union; over the area of `a` alone if `b` is a crowd region."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (a[2] * a[3] if crowd else a[2] * a[3] + b[2] * b[3] - w * h)


def average_precision(hits, objects):
    """COCO's AP of (score order) hits, True for a correct detection, at 101 recall points."""
    if objects == 0:
        return 0.0
    curve, correct = [], 0
    for place, hit in enumerate(hits, start=1):
        correct += hit
        curve.append((correct / objects, correct / place))
    total = 0.0
    for step in range(101):
        total += max((precision for recall, precision in curve if recall >= step * 0.01), default=0.0)
    return total / 101


def size_of(area):
    return "small" if area <= 32**2 else "medium" if area <= 96**2 else "large"


def tide(targets, detections, t_f=0.5, t_b=0.1, size=None, limit=100):
    """AP and {error: dAP} per class id, and {error: count}; `size` fixes only the errors of that size."""
    objects, crowds = [], []
    for box in targets["annotations"]:
        area = box.get("area")
        row = {
            "image": box["image_id"],
            "class": box["category_id"],
            "box": box["bbox"],
            "size": size_of(box["bbox"][2] * box["bbox"][3] if area is None else area),
            "by": None,
            "best": None,
        }
        (crowds if box.get("iscrowd") else objects).append(row)
    rows = []
    for order, d in enumerate(detections):
        rows.append(
            {
                "image": d["image_id"],
                "class": d["category_id"],
                "box": d["bbox"],
                "score": d["score"],
                "order": order,
                "size": size_of(d["bbox"][2] * d["bbox"][3]),
                "type": None,
                "at": None,
            }
        )
    rows.sort(key=lambda d: (-d["score"], d["image"], d["order"]))
    kept, seen = [], {}
    for d in rows:
        cell = (d["image"], d["class"])
        seen[cell] = seen.get(cell, 0) + 1
        if seen[cell] <= limit:
            kept.append(d)

    for d in kept:  # greedy matching in order of falling score
        best = None
        for g in objects:
            if g["image"] == d["image"] and g["class"] == d["class"] and g["by"] is None:
                overlap = iou(d["box"], g["box"])
                if overlap >= t_f and (best is None or overlap >= best[0]):
                    best = overlap, g
        if best:
            best[1]["by"], d["type"] = d, "correct"
    for d in kept:
        if d["type"] is None:
            for c in crowds:
                if c["image"] == d["image"] and c["class"] == d["class"] and iou(d["box"], c["box"], True) >= t_f:
                    d["type"] = "forgiven"

    for d in kept:  # name the false positives
        if d["type"] is not None:
            continue
        same, other, here = (0.0, None), (0.0, None), [g for g in objects if g["image"] == d["image"]]
        here.sort(key=lambda g: g["class"])  # of equal overlaps the lowest class counts, then the first in the file
        for g in here:
            overlap = iou(d["box"], g["box"])
            if g["class"] == d["class"] and overlap > same[0]:
                same = overlap, g
            if g["class"] != d["class"] and overlap > other[0]:
                other = overlap, g
        if t_b <= same[0] <= t_f:
            d["type"], d["at"] = "Loc", same[1]
        elif other[0] >= t_f:
            d["type"], d["at"] = "Cls", other[1]
        elif same[0] > t_f:
            d["type"] = "Dupe"
        elif other[0] <= t_b:
            d["type"] = "Bkg"
        else:
            d["type"] = "Both"
        if d["at"] is not None:
            d["size of error"] = d["at"]["size"]
            if d["at"]["by"] is None and d["at"]["best"] is None:  # the first has the highest score
                d["at"]["best"] = d
        else:
            d["size of error"] = d["size"]
    missed = [g for g in objects if g["by"] is None and g["best"] is None]
    unmatched = [g for g in objects if g["by"] is None]

    def fits(actual):
        return size is None or actual == size

    classes = sorted(c["id"] for c in targets["categories"])
    counts = {name: sum(d["type"] == name and fits(d["size of error"]) for d in kept) for name in MAIN[:5]}
    counts["Miss"] = sum(fits(g["size"]) for g in missed)

    def aps(fix=None):
        out = {}
        for k in classes:
            total = sum(g["class"] == k for g in objects)
            gone = missed if fix == "Miss" else unmatched if fix == "FalseNeg" else []
            left = total - sum(g["class"] == k and fits(g["size"]) for g in gone)
            own, moved = [], []
            for d in kept:
                if d["type"] == "forgiven":
                    continue
                if d["type"] == "correct":
                    if d["class"] == k:
                        own.append((d["score"], True))
                elif fix == "FalsePos" and fits(d["size"]):
                    continue
                elif d["type"] == fix and fits(d["size of error"]):
                    if d["at"] is not None and d["at"]["best"] is d and d["at"]["class"] == k:
                        (own if d["class"] == k else moved).append((d["score"], True))
                elif d["class"] == k:
                    own.append((d["score"], False))
            ranked = sorted(own + moved, key=lambda pair: -pair[0])  # stable: corrected classes after equal scores
            out[k] = average_precision([hit for _, hit in ranked], left) if total else None
        return out

    base = aps()
    delta = {}
    for name in (*MAIN, "FalsePos", "FalseNeg"):
        fixed = aps(name)
        delta[name] = {k: None if base[k] is None else fixed[k] - base[k] for k in classes}
    return {"AP": base, "dAP": delta, "counts": counts}


def mean(per_class):
    """Mean over the classes with ground truth, None if there is none."""
    values = [value for value in per_class.values() if value is not None]
    return sum(values) / len(values) if values else None

"""A sheet of detections: a column an image, a line of pictures for the ground truth and for each row, baseline first.

The selection is automatic: the images are the first of the validation set with enough objects, the seed is the lowest
that all rows have finished. At each place (IoU 0.5, whatever the class) the detection of the highest score is shown,
and compared at IoU 0.5 with the objects of its image:

  right   it overlaps an object of its class
  class   it overlaps only objects of other classes
  place   it overlaps no object

A detection with half of its area in a crowd region of its class and on no object is left out, as in COCO.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from analysis.plots.figure_parts import Limits
from analysis.plots.image_files import data_root, image_folder
from analysis.plots.points import run_columns
from analysis.plots.rows import rows_of
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec
from c2d.core.errors import InputError
from c2d.core.json_values import read_json
from c2d.core.regular_file import Problem, printable
from c2d.core.run_folder import DETECTIONS_FILE
from c2d.core.store_folder import RunStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study
    from analysis.plots.rows import Row
    from c2d.metrics.coco_data import Array, CocoData

IOU = 0.5
COLUMNS = ("part", "row", "image", "file", "width", "height", "object", "x", "y", "w", "h", "score", "class", "verdict",
           "n", "promised", "seeds", "runs", "missing", "note", "baseline")  # fmt: skip
EMPTY: dict[str, Any] = {
    **dict.fromkeys(("row", "image", "file", "object", "class", "verdict", "seeds", "runs", "missing", "note"), ""),
    **dict.fromkeys(("width", "height", "x", "y", "w", "h", "score"), math.nan),
    "n": 0,
    "promised": 0,
    "baseline": False,
}

NOT_SHOWN = {"n": 0, "seeds": "", "runs": ""}


class Spec(SeriesFigureSpec):
    """Ground truth and detections of some rows on the first validation images.

    Attributes:
        images: number of images.
        min_objects: smallest number of objects of an image.
        min_score: smallest score of a detection, 0-1.
    """

    kind: Literal["detections"]
    images: Annotated[int, Field(ge=1, le=24)] = 4
    min_objects: Annotated[int, Field(ge=0)] = 3
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.25


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return the lines of four parts, in this order:

    row     one a row of the figure: its run (n is 1, or 0 where none is shown and `note` says why)
    image   one a column: file relative to the data root ("" where the images were not found), width, height in pixels
    truth   the objects: image, object (its number in the image), box xywh in pixels, class
    found   the detections that are shown: also row, score, verdict, and the object they overlap most
    """
    import pandas as pd

    rows = rows_of(study, spec, sweep)
    rows = sorted(rows, key=lambda row: not row.is_baseline)
    seed = _seed(rows)
    heads, usable = _heads(rows, seed)
    lines: list[dict[str, Any]] = []
    problems: list[Problem] = []
    if usable and seed is not None:
        lines = _sheet(study, spec, usable, seed, heads, problems)
    every = [{**EMPTY, **line} for line in [*heads.values(), *lines]]
    out = pd.DataFrame(every, columns=list(COLUMNS))
    out.attrs["problems"] = problems
    return out


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: lines of pictures, the ground truth's among them, on one page."""
    from analysis.plots.image_grid import rows_per_page

    entries = [
        {str(key): value for key, value in line.items()} for line in data[data["part"] == "image"].to_dict("records")
    ]
    return Limits(rows=rows_per_page(entries), colors=False)


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw the sheet; pixels are read from the data root, and without them boxes are on a plain background."""
    from analysis.plots.image_grid import draw_image_grid

    return draw_image_grid(data, data_root(), spec.min_objects, spec.min_score, math_of(spec))


def _seed(rows: Sequence[Row]) -> int | None:
    """The seed that most rows have finished, all of them if there is one; the lowest of those."""
    tally = Counter(seed for row in rows for seed in row.done)
    return min(tally, key=lambda seed: (-tally[seed], seed)) if tally else None


def _heads(rows: Sequence[Row], seed: int | None) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """({row: its line}, the rows whose detections can be shown together)."""
    heads: dict[str, dict[str, Any]] = {}
    usable: list[Row] = []
    for row in rows:
        has = seed is not None and seed in row.done
        heads[row.name] = {
            "part": "row",
            "row": row.name,
            "baseline": row.is_baseline,
            **run_columns(row.group, [seed] if has and seed is not None else []),
        }
        if not has:
            heads[row.name]["note"] = f"{row.name}: no finished run" + (f" of seed {seed}." if row.done else ".")
        elif usable and _digest(row, seed) != _digest(usable[0], seed):
            heads[row.name] |= {**NOT_SHOWN, "note": f"{row.name}: evaluated on other images than {usable[0].name}."}
        else:
            usable.append(row)
    return heads, usable


def _digest(row: Row, seed: int | None) -> str:
    done = row.group.done
    return str(done.loc[done["seed"] == seed, "dataset_digest"].iloc[0])


def _sheet(
    study: Study,
    spec: Spec,
    rows: Sequence[Row],
    seed: int,
    heads: dict[str, dict[str, Any]],
    problems: list[Problem],
) -> list[dict[str, Any]]:
    """The lines of images, objects and detections; what cannot be read goes to `problems` and the notes of `heads`."""
    from c2d.metrics.coco_json import read_detections, read_targets

    digest = _digest(rows[0], seed)
    path = RunStore(study.folder(rows[0].done[seed]).parent).targets(digest)
    raw = read_json(path)
    try:
        if isinstance(raw, Problem):
            raise InputError(f"{raw.path.name} {raw.message}")
        truth = read_targets(path)
    except InputError as error:
        problems.append(Problem(path, f"no detections can be shown: {error}"))
        for row in rows:
            heads[row.name] |= {**NOT_SHOWN, "note": f"The ground truth: {error}."}
        return []
    chosen = _chosen(raw["images"], truth, spec)
    done = rows[0].group.done
    folder = image_folder(str(done["dataset"].iloc[0]), digest, data_root())
    lines = [_image(entry, place, truth, folder) for entry, place in chosen]
    for entry, place in chosen:
        lines += _objects(str(entry["id"]), place, truth)
    for row in rows:
        try:
            found = read_detections(study.folder(row.done[seed]) / DETECTIONS_FILE, truth)
        except InputError as error:
            problems.append(Problem(study.folder(row.done[seed]) / DETECTIONS_FILE, f"cannot be shown: {error}"))
            heads[row.name] |= {**NOT_SHOWN, "note": f"{row.name}: {error}."}
            continue
        same = {"part": "found", "row": row.name, **run_columns(row.group, [seed])}
        for entry, place in chosen:
            lines += [{**same, **line} for line in _found(str(entry["id"]), place, found, spec.min_score)]
    if not chosen:
        for row in rows:
            heads[row.name]["note"] = f"No validation image has {spec.min_objects} objects or more."
    return lines


def _chosen(images: Sequence[Mapping[str, Any]], truth: CocoData, spec: Spec) -> list[tuple[Mapping[str, Any], int]]:
    """(entry, place in `truth`) of the first images of the file that have enough objects."""
    objects = np.bincount(truth.gt_image[~truth.gt_crowd], minlength=len(truth.image_ids))
    place = {key: at for at, key in enumerate(truth.image_ids)}
    enough = [(entry, place[entry["id"]]) for entry in images if objects[place[entry["id"]]] >= spec.min_objects]
    return enough[: spec.images]


def _image(entry: Mapping[str, Any], place: int, truth: CocoData, folder: str | None) -> dict[str, Any]:
    boxes = truth.gt_box[truth.gt_image == place]
    corner = (boxes[:, :2] + boxes[:, 2:]).max(axis=0) if len(boxes) else np.array([1.0, 1.0])
    size = [entry.get(side) for side in ("width", "height")]
    width, height = (
        float(given) if isinstance(given, int | float) and given > 0 else max(1.0, float(far))
        for given, far in zip(size, corner, strict=True)
    )
    name = entry.get("file_name")
    file = f"{folder}/{name}" if folder and isinstance(name, str) else ""
    return {"part": "image", "image": str(entry["id"]), "file": file, "width": width, "height": height}


def _objects(image: str, place: int, truth: CocoData) -> list[dict[str, Any]]:
    there = np.flatnonzero((truth.gt_image == place) & ~truth.gt_crowd)
    return [
        {"part": "truth", "image": image, "object": str(number), **_box(truth.gt_box[at]),
         "class": printable(truth.class_names[truth.gt_class[at]])}
        for number, at in enumerate(there, 1)
    ]  # fmt: skip


def _found(image: str, place: int, data: CocoData, min_score: float) -> list[dict[str, Any]]:
    """The detections of one image that are shown, by falling score."""
    mine = np.flatnonzero((data.dt_image == place) & (data.dt_score >= min_score))
    mine = mine[np.argsort(-data.dt_score[mine], kind="stable")]
    objects = np.flatnonzero((data.gt_image == place) & ~data.gt_crowd)
    crowds = np.flatnonzero((data.gt_image == place) & data.gt_crowd)
    lines = []
    for at in mine[suppress_overlaps(data.dt_box[mine])]:
        box, of_class = data.dt_box[at], data.dt_class[at]
        overlap = box_ious(box[None], data.gt_box[objects])[0]
        near = overlap >= IOU
        same = near & (data.gt_class[objects] == of_class)
        verdict = "right" if same.any() else "class" if near.any() else "place"
        if verdict == "place" and _in_crowd(box, data.gt_box[crowds[data.gt_class[crowds] == of_class]]):
            continue
        hit = same if same.any() else near
        number = str(int(np.argmax(np.where(hit, overlap, -1))) + 1) if hit.any() else ""
        lines.append({"image": image, "object": number, **_box(box), "score": float(data.dt_score[at]),
                      "class": printable(data.class_names[of_class]), "verdict": verdict})  # fmt: skip
    return lines


def suppress_overlaps(boxes: Array) -> list[int]:
    """Return the places of the boxes that no better kept box overlaps with IoU 0.5 or more.

    Args:
        boxes: (n, 4) float64 xywh in pixels of the image, best first.
    """
    overlap = box_ious(boxes, boxes)
    kept: list[int] = []
    for at in range(len(boxes)):
        if not (overlap[at, kept] >= IOU).any():
            kept.append(at)
    return kept


def box_ious(a: Array, b: Array) -> Array:
    """Return the IoU (n, m) of xywh boxes (n, 4) and (m, 4), in pixels of the image; 0 where both are empty."""
    both = _shared(a, b)
    whole = (a[:, 2] * a[:, 3])[:, None] + (b[:, 2] * b[:, 3])[None] - both
    return np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)


def _shared(a: Array, b: Array) -> Array:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    return np.clip(high - low, 0, None).prod(axis=2)


def _in_crowd(box: Array, crowds: Array) -> bool:
    # COCO divides by the area of the detection, not of the union: a crowd region is larger than its objects.
    area = float(box[2] * box[3])
    return bool(len(crowds)) and area > 0 and bool((_shared(box[None], crowds)[0] / area >= IOU).any())


def _box(box: Array) -> dict[str, float]:
    return dict(zip("xywh", (float(side) for side in box), strict=True))

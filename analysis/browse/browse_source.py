"""What a page is made of: ground truth with its images, and one or two sets of detections on it.

Detections come from finished runs, whose ground truth the store keeps, or from plain COCO files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.comparison.sides import read_sides
from analysis.plots.image_files import data_root, image_folder
from c2d.core.errors import InputError
from c2d.core.json_values import read_object, required
from c2d.core.regular_file import Problem
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.metrics.coco_data import CocoData
from c2d.metrics.coco_json import read_any

MOST_SETS = 2


@dataclass(frozen=True)
class ImageEntry:
    """One image of the ground truth.

    Attributes:
        name: `file_name` of the annotation file, "" where it has none.
        width, height: px, as the file says; None where it says nothing.
    """

    name: str
    width: int | None
    height: int | None


@dataclass(frozen=True)
class DetectionSet:
    """One run, or one file of detections.

    Attributes:
        name: id of the run, or name of the file.
        data: ground truth and detections.
        run: folder of the run; None for a file.
    """

    name: str
    data: CocoData
    run: RunFolder | None = None


@dataclass(frozen=True)
class BrowseSource:
    """Ground truth, images and detections of a page.

    Attributes:
        sets: one or two, on the same ground truth.
        images: in the order of `CocoData.image_ids`.
        folder: of the image files; None where it is not known.
        dataset: name of the data set, or of the file of the ground truth.
    """

    sets: tuple[DetectionSet, ...]
    images: tuple[ImageEntry, ...]
    folder: Path | None
    dataset: str


def read_source(given: Sequence[str], targets: Path | None, store: Path, folder: Path | None = None) -> BrowseSource:
    """Read finished detector runs, or files of detections.

    Args:
        given: one or two; each a run (id, beginning of its id, or folder) or a file of detections.
        targets: COCO ground truth of files; of a run only where its store has none.
        store: of the runs.
        folder: of the image files; None: that of the data set of a run, under the data root.

    Raises:
        InputError: a run is no finished detector, a file is damaged, its scores are not in 0-1, or both are not of
            the same images.
    """
    if not 1 <= len(given) <= MOST_SETS:
        raise InputError(f"{len(given)} runs given; a page shows one run, or two that are compared")
    sides = read_sides(given, targets, store)
    for name, data in zip(sides.names, sides.data, strict=True):
        _check_scores(name, data)
    names = list(sides.names)
    if len(set(names)) < len(names):
        names = [str(one) for one in given]
    if folder is None and sides.digest:
        run = next(run for run in sides.folders if run is not None)
        folder = _image_folder(run, sides.digest)
    sets = [DetectionSet(*one) for one in zip(names, sides.data, sides.folders, strict=True)]
    return BrowseSource(tuple(sets), _images(sides.targets, sides.data[0]), folder, sides.dataset)


def _check_scores(name: str, data: CocoData) -> None:
    """Thresholds of the page are 0-1: with other scores its best F1 and its slider would mean nothing."""
    wrong = data.dt_score[(data.dt_score < 0) | (data.dt_score > 1)]
    if len(wrong):
        raise InputError(
            f"{name}: {len(wrong):,} of {len(data.dt_score):,} scores are outside 0-1, e.g. {wrong[0]:g}; "
            "give scores as probabilities, 0-1"
        )


def _image_folder(run: RunFolder, digest: str) -> Path | None:
    """The images of a run's data set: under the data root, or where the store says that the data set lies."""
    spec = read_object(run.spec)
    name = "" if isinstance(spec, Problem) else str(required(spec, "dataset", "name"))
    kept = read_object(RunStore(run.path.parent).dataset(digest))
    place = None if isinstance(kept, Problem) else kept.get("folder")
    for root in (data_root(), *([Path(place)] if isinstance(place, str) else [])):
        found = image_folder(name, digest, root)
        if found is not None:
            return root / found
    return None


def _images(targets: Path, truth: CocoData) -> tuple[ImageEntry, ...]:
    """Names and sizes of the images, which `CocoData` does not keep."""
    by_id = {image["id"]: image for image in read_any(targets)["images"]}
    return tuple(
        ImageEntry(_name(by_id[key]), _pixels(by_id[key], "width"), _pixels(by_id[key], "height"))
        for key in truth.image_ids
    )


def _name(image: Mapping[str, Any]) -> str:
    found = image.get("file_name")
    return found if isinstance(found, str) else ""


def _pixels(image: Mapping[str, Any], key: str) -> int | None:
    found = image.get(key)
    is_size = isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < 1e6
    return round(found) if is_size else None  # type: ignore[arg-type]


def picture_path(folder: Path, name: str) -> Path | None:
    """Return the path of an image, None for a name that would leave the folder: no other file comes onto a page."""
    if not name or "\0" in name or os.path.isabs(name):
        return None
    inside = os.path.normpath(name)
    return None if inside.startswith("..") else folder / inside

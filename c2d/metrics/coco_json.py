"""Read ground truth and detections from .json and .json.gz files into arrays, without a Python object per number.

Fast path: msgspec decodes the file into the records below, which refuse a missing key, a bbox without four numbers, NaN
and text instead of numbers; ids and signs are then checked on whole arrays. A file that does not pass takes the slow
path: the standard library's JSON and `c2d.metrics.coco_data`, record by record. There it is accepted (ids that are
text, NaN under a key that is not read, a byte order mark), or refused with the message that a list in memory gets. The
two paths never differ in a value or a message, with one harmless exception: bad JSON under a key that is not read
(nesting near Python's limit, an integer of more than 4,300 digits) may pass the fast path and fail the slow one.

Memory at 480,000 detections (70 MB of JSON): see docs/results/evaluation.md.
"""

from __future__ import annotations

import gzip
import json
import zlib
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from c2d.core.errors import InputError
from c2d.core.regular_file import FormatError, error_text, read_bytes
from c2d.metrics.coco_data import Array, CocoData, add_detections, read_truth

Box = tuple[float, float, float, float]


class _Detection(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: Box
    score: float


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: Box
    area: float | None = None
    iscrowd: int = 0


class _Image(msgspec.Struct, gc=False):
    id: int


class _NamedImage(msgspec.Struct, gc=False):
    id: int
    file_name: str = ""


class _NamedImages(msgspec.Struct, gc=False):
    images: list[_NamedImage]


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Truth(msgspec.Struct, gc=False):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


_TRUTH = msgspec.json.Decoder(_Truth)
_FILE_NAMES = msgspec.json.Decoder(_NamedImages)
_DETECTIONS = msgspec.json.Decoder(list[_Detection])


class _Unusual(Exception):
    """Raised for a file that needs the slow path."""


def load(targets: Path, detections: Path) -> CocoData:
    """Read and check ground truth and detections from two files.

    Raises:
        InputError: a file that is missing, damaged or not JSON, by name; or see `c2d.metrics.coco_data.prepare`.
    """
    return read_detections(detections, read_targets(targets))


def read_targets(path: Path) -> CocoData:
    """Read COCO ground truth without detections, once for several lists of detections.

    Raises:
        InputError: as in `load`.
    """
    raw = _bytes(path)
    try:
        return _fast_truth(raw)
    except _Unusual:
        return read_truth(_slow(path, raw))


def read_detections(path: Path, truth: CocoData) -> CocoData:
    """Return `truth` with the detections of a file, which is a COCO results list.

    Raises:
        InputError: as in `load`.
    """
    raw = _bytes(path)
    try:
        return _fast_detections(raw, truth)
    except _Unusual:
        return add_detections(truth, _slow(path, raw))


def read_file_names(path: Path) -> dict[Any, str]:
    """Return {image id: file name} of COCO ground truth that `read_targets` accepts; "" where there is no name."""
    raw = _bytes(path)
    try:
        return {image.id: image.file_name for image in _decoded(_FILE_NAMES, raw).images}
    except _Unusual:
        return {image["id"]: str(image.get("file_name") or "") for image in _slow(path, raw)["images"]}


def read_annotations(path: Path) -> list[dict[str, Any]]:
    """Return the annotations of COCO ground truth that `read_targets` accepts, with all their keys."""
    found: list[dict[str, Any]] = _slow(path, _bytes(path))["annotations"]
    return found


def read_any(path: Path) -> Any:
    """Return the JSON value of a file, whatever its form.

    Raises:
        InputError: it is missing, damaged or not JSON.
    """
    return _slow(path, _bytes(path))


def _bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in .gz."""
    try:
        raw = read_bytes(Path(path))
        return gzip.decompress(raw) if Path(path).suffix == ".gz" else raw
    except FormatError as error:
        raise InputError(f"{path} {error}") from None
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is not a complete gzip file ({error_text(error)}); write it again or remove it"
        ) from None
    except (OSError, MemoryError) as error:  # gzip.BadGzipFile is an OSError
        raise InputError(f"{path} cannot be read: {error_text(error)}") from None


def _slow(path: Path, raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except RecursionError:
        raise InputError(f"{path} is not valid JSON (nested too deeply); write it again or remove it") from None
    except ValueError as error:  # also where it is not UTF-8
        raise InputError(f"{path} is not valid JSON ({error_text(error)}); write it again or remove it") from None


def _decoded(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    try:
        if not raw.isascii():  # msgspec does not decode the text that it skips
            raw.decode()
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Unusual from None


def _fast_truth(raw: bytes) -> CocoData:
    found: _Truth = _decoded(_TRUTH, raw)
    boxes = found.annotations
    categories = sorted(found.categories, key=lambda category: category.id)
    image_ids, class_ids = sorted(image.id for image in found.images), [category.id for category in categories]
    names = [category.name for category in categories]
    annotation_ids = [box.id for box in boxes]
    if any(len(set(ids)) < len(ids) for ids in (image_ids, class_ids, names, annotation_ids)):
        raise _Unusual
    gt_box = _box_column(boxes)
    own = gt_box[:, 2] * gt_box[:, 3]
    area = np.array([np.nan if box.area is None else box.area for box in boxes], np.float64)
    nothing = np.zeros(0, np.int64)
    return CocoData(
        image_ids=image_ids,
        class_ids=class_ids,
        class_names=names,
        gt_image=_positions([box.image_id for box in boxes], image_ids),
        gt_class=_positions([box.category_id for box in boxes], class_ids),
        gt_box=gt_box,
        gt_area=_regular(np.where(np.isnan(area), own, area)),
        gt_crowd=np.array([box.iscrowd != 0 for box in boxes], bool),
        dt_image=nothing,
        dt_class=nothing,
        dt_box=np.zeros((0, 4)),
        dt_score=np.zeros(0),
    )


def _fast_detections(raw: bytes, truth: CocoData) -> CocoData:
    found: list[_Detection] = _decoded(_DETECTIONS, raw)
    return truth.with_detections(
        _positions([one.image_id for one in found], truth.image_ids),
        _positions([one.category_id for one in found], truth.class_ids),
        _box_column(found),
        _regular(np.array([one.score for one in found], np.float64)),
    )


def _positions(values: list[int], ids: list[Any]) -> Array:
    """Return the positions of the values in the ascending `ids`, (n,) int64."""
    # The truth may have come over the slow path, where ids can be text.
    if not all(isinstance(one, int) for one in ids):
        raise _Unusual
    try:
        known, wanted = np.array(ids, np.int64), np.array(values, np.int64)
    except OverflowError:
        raise _Unusual from None
    places = np.searchsorted(known, wanted)
    if len(wanted) and (not len(known) or (known[np.minimum(places, len(known) - 1)] != wanted).any()):
        raise _Unusual
    return places


def _box_column(records: list[Any]) -> Array:
    """Return the boxes, (n, 4) float64 xywh; no width or height is negative."""
    flat = np.fromiter(chain.from_iterable([one.bbox for one in records]), np.float64, 4 * len(records))
    table = _regular(flat).reshape(-1, 4)
    if (table[:, 2:] < 0).any():
        raise _Unusual
    return table


def _regular(numbers: Array) -> Array:
    if not np.isfinite(numbers).all():
        raise _Unusual
    return numbers

"""Read a COCO annotation file. A number in it that is NaN or infinite is refused, or reported with its entry."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.regular_file import FormatError, error_text, file_state, read_bytes

SOFT_LABEL = "soft_label"
"""Key of an annotation: one number for each class, in the order of the labels, sum 1. Synthesised targets have it."""
PROTOCOL = "protocol"
"""Key of an annotation: what the evaluation protocol of its data set reads. All annotations of a file have it, or none.

VOC: {"difficult": 0 | 1}, also where difficult objects are crowd regions: VOC's numbers ignore them in VOC's way.

KITTI: {"type": ..., "truncated": 0.0 to 1.0, "occluded": 0 to 3} with the type of the label file, or
{"type": "DontCare"}. With iscrowd 0 an annotation is an object of its category, with iscrowd 1 it is ignored: a region
of type DontCare (one for each category), or an object of a neighbouring type (a Van with the category Car). KITTI's
numbers go by the type alone: they are the benchmark's whatever was merged, so a Van with iscrowd 0 is ignored, too."""
# Segmentations, captions, licences and dates change no run and are not part of the digest.
READ_KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd", SOFT_LABEL, PROTOCOL),
    "categories": ("id", "name"),
}
"""Keys of each list that change a run."""
# Python reads NaN and Infinity, and a number such as 1e999 as infinity. No other text can be read as either.
_MAYBE_NOT_FINITE = re.compile(r"NaN|Infinity|[eE]\+?[0-9]{3}|[0-9]{309}")
# JSON can write half of a pair of surrogates, which is no character and has no UTF-8.
_MAYBE_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
LARGE_BYTES = 2**20
MOST_SHOWN = 80
"""Characters of a value that a message shows."""
_BYTE_ORDER_MARK = "\ufeff"


def read_coco(path: Path) -> dict[str, Any]:
    """Return the content of a COCO annotation file.

    Raises:
        InputError: missing, not JSON, not an object with the lists images, annotations and categories, or a number
            in it is NaN or infinite.
    """
    coco, not_finite = parse_coco(path)
    if not_finite:
        where, key, value = not_finite[0]
        more = f" (and {len(not_finite) - 1} more numbers like it)" if len(not_finite) > 1 else ""
        raise InputError(f"annotation file {path}: {where}: {key} is {value}{more}; wanted finite numbers")
    return coco


def parse_coco(path: Path) -> tuple[dict[str, Any], list[tuple[str, str, float]]]:
    """Return the content of a COCO annotation file, and the numbers in it that are not finite.

    Args:
        path: of the file.

    Returns:
        (content, [(entry, key, number)]), the entry as "annotation 17 (image 3)".

    Raises:
        InputError: missing, not JSON, not an object with the lists images, annotations and categories, or with a text
            that has no UTF-8.
    """
    try:
        text = _text_of(path)
        if text.startswith(_BYTE_ORDER_MARK):
            raise InputError(f"annotation file {path} begins with a byte order mark; save it as UTF-8 without one")
        coco = json.loads(text)
    except (OSError, FormatError) as error:
        raise InputError(
            f"cannot read annotation file {path}: {error_text(error)}; give the path of a COCO JSON file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"annotation file {path} is not JSON ({error}); give a COCO JSON file") from None
    if not isinstance(coco, dict):
        raise InputError(
            f"annotation file {path} holds a {type(coco).__name__}; wanted an object with the lists images, "
            "annotations and categories (a list is the format of a results file)"
        )
    for block in READ_KEYS:
        rows = coco.get(block)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            found = "is missing" if block not in coco else "is not a list of objects"
            raise InputError(
                f"annotation file {path}: '{block}' {found}; wanted COCO's images, annotations, categories"
            )
    try:
        if _MAYBE_HALF_PAIR.search(text):
            _check_characters(path, coco)
        return coco, list(_not_finite(coco)) if _MAYBE_NOT_FINITE.search(text) else []
    except RecursionError:
        raise InputError(f"annotation file {path} is nested too deeply; give a COCO JSON file") from None


def _text_of(path: Path) -> str:
    """Read a file of any size, as data sets have them; one that does not begin as JSON does is not read to its end."""
    if file_state(path) is None:
        raise FormatError("there is no such file")
    if isinstance(state := file_state(path), tuple) and state[0] > LARGE_BYTES:
        with path.open("rb") as stream:
            if stream.read(LARGE_BYTES).lstrip(b" \t\r\n\xef\xbb\xbf")[:1] not in (b"{", b"["):
                raise FormatError(f"has {state[0]} bytes and is not JSON")
    return read_bytes(path).decode("utf-8")


def entry_value(row: Mapping[str, Any], key: str) -> str:
    """Return what messages say of a value of an entry, as the file has it: "is null", "is missing"."""
    if key not in row:
        return "is missing"
    try:
        text = json.dumps(row[key], ensure_ascii=False)
    except RecursionError:
        return "is nested too deeply"
    return f"is {text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + '...'}"


def entry_name(block: str, row: Mapping[str, Any], index: int) -> str:
    """Return how messages name an entry: "annotation 17 (image 3)", "image 3 (a.jpg)", "category entry 0"."""
    noun = {"images": "image", "annotations": "annotation", "categories": "category"}[block]
    name = f"{noun} {row['id']}" if "id" in row else f"{noun} entry {index}"
    detail = {"images": row.get("file_name"), "annotations": row.get("image_id")}.get(block)
    shown = f"image {detail}" if block == "annotations" else detail
    return f"{name} ({shown})" if block != "categories" else name


def _check_characters(path: Path, coco: Mapping[str, Any]) -> None:
    for block, keys in READ_KEYS.items():
        for index, row in enumerate(coco[block]):
            for key in keys:
                try:
                    json.dumps(row.get(key), ensure_ascii=False).encode()
                except UnicodeEncodeError:
                    raise InputError(
                        f"annotation file {path}: {entry_name(block, row, index)}: {key} {entry_value(row, key)}; half "
                        "of a surrogate pair is no character: write the text again, in UTF-8"
                    ) from None


def _not_finite(coco: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    for block, content in coco.items():
        if block not in READ_KEYS:
            yield from ((block, block, number) for number in _numbers(content))
            continue
        for index, row in enumerate(content):
            for key, value in row.items():
                yield from ((entry_name(block, row, index), key, number) for number in _numbers(value))


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in a JSON value that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)

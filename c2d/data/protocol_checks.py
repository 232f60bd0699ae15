"""Check the key `protocol` of annotations: the numbers of VOC or KITTI beside COCO's are computed from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from c2d.core.errors import InputError
from c2d.data.card import Protocol
from c2d.data.coco_file import PROTOCOL, entry_name, entry_value

DONT_CARE = "DontCare"
_DIFFICULT = "difficult"
_KITTI_KEYS = {"type", "truncated", "occluded"}
WANTED: dict[Protocol, str] = {
    "voc": '{"difficult": 0} or {"difficult": 1}',
    "kitti": '{"type": "Car", "truncated": 0.0 to 1.0, "occluded": 0 to 3}, or {"type": "DontCare"} with iscrowd 1',
}


def protocol_of(coco: Mapping[str, Any]) -> Protocol | None:
    """Return the protocol that the annotations of a COCO file are written for, from the first that has the key."""
    first = next((row[PROTOCOL] for row in coco["annotations"] if PROTOCOL in row), None)
    if first is None:
        return None
    return "voc" if isinstance(first, dict) and _DIFFICULT in first else "kitti"


def protocol_errors(coco: Mapping[str, Any], protocol: Protocol | None = None) -> Iterator[tuple[str, str]]:
    """Yield (entry, what is wrong with it) of a file whose annotations are written for a protocol.

    Args:
        coco: content of a COCO file.
        protocol: of its data set; None: the one that its first annotations are written for.
    """
    wanted = protocol or protocol_of(coco)
    if wanted is None:
        return
    for index, row in enumerate(coco["annotations"]):
        if message := _error(row, wanted):
            yield entry_name("annotations", row, index), message


def check_protocol(coco: Mapping[str, Any], where: str, protocol: Protocol | None) -> None:
    """Check that the annotations of a file are written for the protocol of its data set.

    Args:
        coco: content of the file.
        where: its name, for the message.
        protocol: of the data set; None: it has none, and the key is not read.

    Raises:
        InputError: the key of an annotation is missing or malformed.
    """
    if protocol is None:
        return
    for entry, message in protocol_errors(coco, protocol):
        raise InputError(f"annotation file {where}: {entry}: {message}")


def _error(row: Mapping[str, Any], protocol: Protocol) -> str:
    """What is wrong with the protocol of an annotation, or an empty text."""
    if PROTOCOL not in row:
        return f"{PROTOCOL} is missing, and the numbers of {protocol.upper()} need it; wanted {WANTED[protocol]}"
    value = row[PROTOCOL]
    is_right = _is_voc(value) if protocol == "voc" else _is_kitti(value, row.get("iscrowd", 0) == 1)
    return "" if is_right else f"{PROTOCOL} {entry_value(row, PROTOCOL)}; wanted {WANTED[protocol]}"


def _is_voc(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {_DIFFICULT} and _is_whole(value[_DIFFICULT], 1)


def _is_kitti(value: Any, crowd: bool) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or not value["type"]:
        return False
    if value["type"] == DONT_CARE:
        return crowd and set(value) == {"type"}
    return set(value) == _KITTI_KEYS and _is_share(value["truncated"]) and _is_whole(value["occluded"], 3)


def _is_whole(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1

"""The record of 8-bit copies in their folder, `to_8bit.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.json_values import SMALL_BYTES, parse_json
from c2d.core.regular_file import is_file, read_bytes

SCALING_FILE = "to_8bit.json"


@dataclass
class Scaling:
    """How the copies of a folder were made; the content of `to_8bit.json`.

    Attributes:
        source: the folder of the originals.
        minimum, maximum: values that become 0 and 255; between them linear, rounded; outside clipped.
        scaled: number of images with more than 8 bits.
        copied: number of images with 8 bits, which are copied unchanged.
        clipped: {image: [its smallest value, its largest value]} where a value is outside the range.
        skipped: files that are no images.
    """

    source: str
    minimum: float
    maximum: float
    scaled: int = 0
    copied: int = 0
    clipped: dict[str, list[float]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def scaling_of(folder: Path) -> dict[str, Any] | None:
    """Return how the 8-bit copies of a folder were made (source, minimum, maximum); None if it has no such copies.

    Raises:
        InputError: its `to_8bit.json` cannot be read.
    """
    path = folder / SCALING_FILE
    if not is_file(path):
        return None
    try:
        content = parse_json(read_bytes(path, most=SMALL_BYTES))
        return {key: content[key] for key in ("source", "minimum", "maximum")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {path} ({error}); write the copies again with `c2d data to-8bit`") from None

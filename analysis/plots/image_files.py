"""Pixels of validation images: where the data root has them, and how they come into a figure without filling it.

A data set is a folder with a `card.json` under the data root (`C2D_DATA`, else ./data); the card names the folder of
the images that results are measured on. The format is repeated here on purpose: the other packages share only files on
disk with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from c2d.metrics.coco_data import Array

CARD, ROOT_VARIABLE, DEFAULT_ROOT, SPLIT = "card.json", "C2D_DATA", "data", "val"
COLOURS = 96
"""Colours of an image in a figure: a palette is a third of the bytes of full colour, and enough under boxes."""


def data_root() -> Path:
    """Return the folder of the data cards: $C2D_DATA or ./data."""
    return Path(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT)


def image_folder(name: str, digest: str, root: Path) -> str | None:
    """Return the folder of the validation images of a data set, relative to the data root; None where there is none.

    Args:
        name: of the data set.
        digest: of the runs' data; other data of the same name have other images.
        root: the data root.
    """
    for path in (*sorted(root.glob(f"*/{CARD}")), root / CARD):
        card = _card(path)
        images = _images(card)
        if card.get("name") == name and images is not None and digest in (card.get("digest"), _public_digest(card)):
            return os.path.relpath(path.parent / images, root)
    return None


def _public_digest(card: dict[str, Any]) -> str:
    """The digest that runs on a public data set record instead of the card's own: of name, classes and counts."""
    try:
        source = card.get("source")
        objects = source.get("objects", {}) if isinstance(source, dict) else {}
        counts = {
            str(name): [split["n_images"], objects.get(name, split["n_boxes"])]
            for name, split in card["splits"].items()
        }
        content = {"name": card["name"], "classes": card["classes"], "counts": counts}
    except (AttributeError, KeyError, TypeError):
        return ""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _card(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _images(card: dict[str, Any]) -> str | None:
    split = card.get("splits")
    entry = split.get(str(card.get("evaluation_split") or SPLIT)) if isinstance(split, dict) else None
    images = entry.get("images") if isinstance(entry, dict) else None
    return images if isinstance(images, str) else None


def read_pixels(root: Path, relative: str, most: int) -> Array | None:
    """Read an image as training does, or return None where it cannot be read: the figure is drawn without its pixels.

    Args:
        root: the data root.
        relative: path below the root; "" is no image.
        most: pixels on the longer side.

    Returns:
        (H, W, 3) uint8 RGB with at most `COLOURS` colours.
    """
    import numpy as np
    from PIL import Image

    from c2d.data.decoding.decoder import UnreadableImage, read_image

    if not relative:
        return None
    try:
        pixels = read_image(root / relative)  # in the frame of training, which the boxes are in
    except (UnreadableImage, OSError, ValueError):
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    image.thumbnail((most, most), Image.Resampling.LANCZOS)
    return np.asarray(image.quantize(COLOURS, dither=Image.Dither.NONE).convert("RGB"))

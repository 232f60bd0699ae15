"""Write a small VOC data set: one picture to train with and one to evaluate with, 64 x 48 pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = "<size><width>64</width><height>48</height></size>"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def noise(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """A picture of its own for each seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def item(box: tuple[float, ...] = (5, 6, 25, 30), name: str = "ant", extra: str = "") -> str:
    """An <object>."""
    return f"<object><name>{name}</name>{BOX.format(*box)}{extra}</object>"


def annotation(*items: str, size: str = SIZE) -> str:
    """The text of an XML file."""
    return f"<annotation>{size}{''.join(items)}</annotation>"


def write_voc(root: Path, train: str | None = None, val: str | None = None) -> Path:
    """Write the data set; `train` and `val` are the texts of the XML files of the images a and b."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for seed, (stem, split, text) in enumerate((("a", "train", train), ("b", "val", val))):
        noise(seed).save(root / f"JPEGImages/{stem}.jpg")
        (root / f"Annotations/{stem}.xml").write_text(text or annotation(item()))
        (root / f"ImageSets/Main/{split}.txt").write_text(f"{stem}\n")
    return root


def rows(out: Path, split: str = "train", block: str = "annotations") -> list[dict[str, Any]]:
    """A list of the COCO file of a split."""
    found: list[dict[str, Any]] = json.loads((out / f"annotations/instances_{split}.json").read_text())[block]
    return found

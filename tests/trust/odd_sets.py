"""Odd data sets of the campaign, in COCO layout: extreme sizes, counts, names, links, and files that are traps."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

BOX = (8.0, 8.0, 40.0, 40.0)
NAMES = ("ant", "bee", "wasp")


@dataclass
class OddSet:
    """One data set with the splits train and val.

    Attributes:
        folder: holds train.json, val.json and images/.
        classes: names of the categories, in the order of their ids from 1.
        images: {file name: (height, width)} of every split's images, which are drawn with random pixels.
        boxes: {file name: [(x, y, w, h)]}; BOX where a name is missing. Classes follow in turn.
        stated: {file name: (height, width)} in the annotations, where it is not that of `images`.
        place: called with the folder images/ at the end; it replaces or adds files.
    """

    folder: Path
    classes: tuple[str, ...] = NAMES
    images: dict[str, tuple[int, int]] = field(default_factory=lambda: {f"{k}.png": (64, 64) for k in range(4)})
    boxes: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)
    stated: dict[str, tuple[int, int]] = field(default_factory=dict)
    place: Callable[[Path], object] = lambda images: None

    @property
    def annotation_files(self) -> list[Path]:
        """train.json and val.json."""
        return [self.folder / "train.json", self.folder / "val.json"]

    @property
    def image_folder(self) -> Path:
        """The folder of all images."""
        return self.folder / "images"

    def write(self) -> OddSet:
        """Write the files."""
        self.image_folder.mkdir(parents=True)
        dice = np.random.default_rng(0)
        for number, path in enumerate(self.annotation_files):
            images: list[dict[str, Any]] = []
            annotations: list[dict[str, Any]] = []
            for name, (height, width) in self.images.items():
                file = f"{path.stem}/{name}"
                target = self.image_folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                pixels = dice.integers(0, 255, (height, width, 3), np.uint8)
                target.write_bytes(cv2.imencode(Path(name).suffix, pixels)[1].tobytes())
                stated_height, stated_width = self.stated.get(name, (height, width))
                size = {"height": stated_height, "width": stated_width}
                images.append({"id": len(images) + 1, "file_name": file, **size})
                for box in self.boxes.get(name, [BOX]):
                    entry = {"bbox": list(box), "area": box[2] * box[3], "iscrowd": 0, "image_id": len(images)}
                    category = (len(annotations) + number) % len(self.classes) + 1
                    annotations.append({"id": len(annotations) + 1, "category_id": category, **entry})
            categories = [{"id": k, "name": name} for k, name in enumerate(self.classes, 1)]
            value = {"images": images, "annotations": annotations, "categories": categories}
            path.write_text(json.dumps(value))
        self.place(self.image_folder)
        return self


def grid_of_boxes(count: int, side: int) -> list[tuple[float, float, float, float]]:
    """Return `count` different boxes of 12 to 20 px in an image of `side` px."""
    dice = np.random.default_rng(1)
    corners, sizes = dice.uniform(0, side - 20, (count, 2)), dice.uniform(12, 20, (count, 2))
    return [(round(x, 2), round(y, 2), round(w, 2), round(h, 2)) for (x, y), (w, h) in zip(corners, sizes, strict=True)]


def zero_png(width: int, height: int, bits: int = 1) -> bytes:
    """Return a PNG of zeros in grey: 50,000 x 50,000 pixels of one bit are 300 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + (width * bits + 7) // 8)
    rows = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def outside_link(images: Path) -> None:
    """Move the images of both splits out of the data set; links take their place."""
    for file in list(images.rglob("*.png")):
        target = images.parent.parent / "elsewhere" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        file.symlink_to(target)


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a function that replaces one image of the training split by what `make` writes there."""

    def place(images: Path) -> None:
        path = images / "train" / name
        path.unlink()
        make(path)

    return place

"""The generated data sets of smoke runs: eight images, with the class list of the data set that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import Protocol
from c2d.data.card_lookup import data_reference, find_card_file, load_card
from c2d.data.coco_file import PROTOCOL
from c2d.data.make_card import make_card
from c2d.data.public import public_cards
from c2d.data.scenes.scene_objects import SPECIES

Box = tuple[float, float, float, float]
SIZE = (160, 120)
"""Width and height of every image in px."""
IMAGES = {"train": 6, "val": 2}
"""{split: number of images}. The last image of `train` has no box."""
BOXES: tuple[Box, ...] = (
    (0.08, 0.1, 0.4, 0.5),
    (0.55, 0.3, 0.35, 0.6),
    (0.3, 0.65, 0.12, 0.2),
    (0.7, 0.05, 0.05, 0.07),
)
"""x, y, width, height of the boxes of an image, as shares of its sides: two large, a medium, a small one."""
WHOLE_IMAGES = ("imagenet",)
"""Data sets whose images are one object each, with one box of the image's own size."""
KITTI = ("Car", "Pedestrian", "Cyclist")


class _Labels(NamedTuple):
    classes: tuple[str, ...]
    protocol: Protocol | None = None


WITHOUT_CARD: dict[str, _Labels] = {
    "bccd": _Labels(("Platelets", "RBC", "WBC")),
    "coco_mini": _Labels(tuple(public_cards()["coco2017"].classes)),
    "kitti": _Labels(KITTI, "kitti"),
    **{name: _Labels(tuple(SPECIES)) for name in ("scenes", "scenes-180", "scenes-60")},
    "voc": _Labels(tuple(public_cards()["voc0712"].classes), "voc"),
}
"""Labels of data sets that shipped definitions name and that have no shipped card."""


class SmokeData:
    """Makes the data sets of a smoke store, each once.

    Args:
        root: of the generated data sets.
        real: root of the real data cards, whose class lists are used; None: C2D_DATA, else ./data.
    """

    def __init__(self, root: Path, real: Path | None = None) -> None:
        self.root, self.real = root, real

    def references(self, names: Iterable[str]) -> dict[str, tuple[str, str] | InputError]:
        """Return {name of a data set: (name, digest) of the generated one}, or the error that it is unknown."""
        found: dict[str, tuple[str, str] | InputError] = {}
        for name in names:
            try:
                found[name] = self._reference(name)
            except InputError as error:
                found[name] = error
        return found

    def _reference(self, name: str) -> tuple[str, str]:
        labels = _labels(name, self.real)
        is_coco = labels == WITHOUT_CARD["coco_mini"]
        own = f"smoke{len(labels.classes)}" + ("" if is_coco else f"-{Path(name).name}")
        if find_card_file(own, self.root) is None:
            boxes = ((0.0, 0.0, 1.0, 1.0),) if name in WHOLE_IMAGES else BOXES
            write_smoke_data(self.root / own, own, labels.classes, labels.protocol, boxes)
        return data_reference(own, self.root)


def _labels(name: str, real: Path | None) -> _Labels:
    """Return class list and protocol of a data set: of its card here, its shipped card, or the list of this file."""
    if find_card_file(name, real) is None:
        if (public := public_cards().get(name)) is not None:
            return _Labels(tuple(public.classes), getattr(public, "protocol", None))
        if name in WITHOUT_CARD:
            return WITHOUT_CARD[name]
    card = load_card(name, real).card
    return _Labels(tuple(card.classes), card.protocol)


def write_smoke_data(
    folder: Path, name: str, classes: Sequence[str], protocol: Protocol | None = None, shares: Sequence[Box] = BOXES
) -> None:
    """Write images with boxes, annotations and a card.

    Args:
        folder: of the data set.
        name: of the data set.
        classes: names, in order; the boxes take them in turn.
        protocol: of the data set; every box has what it reads.
        shares: boxes of an image, as in BOXES. With one box, no image is without.
    """
    import numpy as np
    from PIL import Image

    width, height = SIZE
    noise = np.random.default_rng(0)
    splits: dict[str, tuple[Path, Path]] = {}
    label = 0
    for split, count in IMAGES.items():
        images: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            file = f"{number}.png"
            pixels = noise.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(SIZE, Image.Resampling.NEAREST).save(folder / split / file)
            images.append({"id": number, "file_name": file, "width": width, "height": height})
            for box in shares if len(shares) == 1 or (split, number) != ("train", count) else ():
                boxes.append(_annotation(len(boxes) + 1, number, box, label % len(classes), classes, protocol))
                label += 1
        categories = [{"id": place, "name": one} for place, one in enumerate(classes, start=1)]
        atomic_write_json(folder / f"{split}.json", {"images": images, "annotations": boxes, "categories": categories})
        splits[split] = folder / f"{split}.json", folder / split
    make_card(folder, name, classes, splits, source="generated for c2d sweep smoke", protocol=protocol)


def _annotation(
    number: int,
    image: int,
    box: Box,
    label: int,
    classes: Sequence[str],
    protocol: Protocol | None,
) -> dict[str, Any]:
    width, height = SIZE
    x, y, w, h = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    of_protocol: dict[str, dict[str, Any]] = {
        "voc": {"difficult": number % 2},
        "kitti": {"type": classes[label], "truncated": 0.0, "occluded": number % 4},
    }
    extra = {} if protocol is None else {PROTOCOL: of_protocol[protocol]}
    row = {"id": number, "image_id": image, "category_id": 1 + label, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
    return {**row, **extra}

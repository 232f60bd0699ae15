"""Draw procedural scenes in COCO layout: beetles of eight look-alike species on natural ground.

Made for classifier-to-detector distillation: finding a beetle is easy, its species needs the detail of a crop.
Every picture has its own generator, seeded by (seed, split, index): picture i is the same however many there are.
Boxes are COCO x, y, w, h in pixel edges, clipped to the picture; `area` is the box's (the data set is box-only).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import Card
from c2d.data.conversion.atomic_folder import staged_folder
from c2d.data.make_card import make_card
from c2d.data.scenes import scene_backgrounds
from c2d.data.scenes.scene_objects import SPECIES, Sprite, draw_beetle

VERSION = 1  # increased when the pictures change
SPLITS = {"train": 0, "val": 1}

_EMPTY = 0.05  # share of pictures without an object
_CROWDED = 0.03  # share of pictures with a swarm under one crowd box
_CLOSE_UP = 0.12  # share of pictures with one large beetle
_MIN_VISIBLE = 0.70  # share of every beetle that stays visible; a sprite that would hide more is not drawn there
_MAX_ON_TOP = 0.40  # share of a beetle that may cover earlier ones
_MIN_INSIDE = 0.75  # share of a box that has to lie inside the picture
_TURN = 0.30  # standard deviation of the direction a beetle crawls in, radians; 0 is upwards
_RARER = 0.88  # each species of the list is that much rarer than the one before
_UNMARKED = 0.04  # distractors: beetles without a species, per object


@dataclass
class _Scene:
    """A picture while it is drawn: pixels (RGB float), the object at each pixel, and the objects."""

    image: NDArray[Any]
    owner: NDArray[np.int16]
    areas: list[float] = field(default_factory=list)  # pixels each object covered when it was placed
    objects: list[dict[str, Any]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return int(self.image.shape[0])


def _class_shares() -> NDArray[np.float64]:
    shares = _RARER ** np.arange(len(SPECIES))
    return shares / shares.sum()


def _clip(box: tuple[float, float, float, float], size: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(size)), min(y2, float(size))


def _place(
    scene: _Scene,
    sprite: Sprite,
    category: int | None,
    rng: np.random.Generator,
    crowd: bool = False,
    centre: tuple[float, float] | None = None,
) -> tuple[float, float, float, float] | None:
    """Draw a sprite where it and all earlier ones stay visible. Return its clipped box (x1, y1, x2, y2) px, or None."""
    size, (h, w) = scene.size, sprite.alpha.shape
    for _ in range(25 if centre is None else 1):
        cx, cy = rng.uniform(0, size, 2) if centre is None else centre
        left, top = round(cx - w / 2), round(cy - h / 2)
        ex1, ey1, ex2, ey2 = sprite.extent
        full = (left + ex1, top + ey1, left + ex2, top + ey2)
        box = _clip(full, size)
        inside = max(box[2] - box[0], 0) * max(box[3] - box[1], 0) / ((full[2] - full[0]) * (full[3] - full[1]))
        if inside < _MIN_INSIDE:
            continue
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + w, size), min(top + h, size)
        alpha = sprite.alpha[y1 - top : y2 - top, x1 - left : x2 - left]
        region = scene.owner[y1:y2, x1:x2]
        solid = alpha > 0.5
        if not crowd and (region[solid] >= 0).sum() > _MAX_ON_TOP * solid.sum():
            continue
        # Shifted by 1 and cut: the ground is -1, and bincount accepts no negative number.
        hidden = np.bincount(region[solid] + 1, minlength=len(scene.areas) + 1)[1:]
        visible = np.bincount(scene.owner.ravel() + 1, minlength=len(scene.areas) + 1)[1:]
        if not crowd and any(
            (v - b) < _MIN_VISIBLE * a for v, b, a in zip(visible, hidden, scene.areas, strict=True) if b
        ):
            continue
        view = scene.image[y1:y2, x1:x2]
        shade = cv2.GaussianBlur(sprite.alpha, (0, 0), max(1.0, 0.04 * h))[y1 - top : y2 - top, x1 - left : x2 - left]
        view *= 1 - 0.35 * shade[..., None]
        view += alpha[..., None] * (sprite.rgb[y1 - top : y2 - top, x1 - left : x2 - left] - view)
        region[solid] = len(scene.areas)
        scene.areas.append(float(solid.sum()))
        if category is not None:
            scene.objects.append({"category": category, "box": box, "iscrowd": 0})
        return box
    return None


def _swarm(scene: _Scene, rng: np.random.Generator) -> None:
    """Draw a cluster of tiny beetles of one species under a single crowd box, as COCO marks crowds."""
    category = int(rng.choice(len(SPECIES), p=_class_shares()))
    cx, cy = rng.uniform(0.25, 0.75, 2) * scene.size
    boxes = []
    for _ in range(int(rng.integers(14, 24))):
        sprite = draw_beetle(
            list(SPECIES)[category], rng.uniform(0.05, 0.07) * scene.size, rng.uniform(0, 2 * np.pi), rng
        )
        x, y = np.array([cx, cy]) + rng.normal(0, 0.09, 2) * scene.size
        box = _place(scene, sprite, None, rng, crowd=True, centre=(float(x), float(y)))
        if box is not None:
            boxes.append(box)
    if boxes:
        lower, upper = np.min(boxes, axis=0), np.max(boxes, axis=0)
        box4 = (float(lower[0]), float(lower[1]), float(upper[2]), float(upper[3]))
        scene.objects.append({"category": category, "box": box4, "iscrowd": 1})


def _lengths(size: int, rng: np.random.Generator) -> list[float]:
    """Draw body lengths in px, largest first: log-uniform from 1/8 to 2/5 of the picture; a close-up adds one."""
    count = int(rng.integers(2, 9))
    lengths = size * np.exp(rng.uniform(np.log(0.12), np.log(0.42), count))
    if rng.uniform() < _CLOSE_UP:
        lengths = np.append(lengths[: max(1, count // 2)], size * rng.uniform(0.6, 0.8))
    return sorted((float(v) for v in lengths), reverse=True)


def draw_scene(size: int, seed: int, split: str, index: int) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Draw one picture.

    Args:
        size: width and height in px.
        seed: seed of the data set.
        split: train or val.
        index: number of the picture in its split.

    Returns:
        (size, size, 3) uint8 RGB, and the objects: {category: label from 0, box: (x1, y1, x2, y2) px, iscrowd}.
    """
    rng = np.random.default_rng([seed, SPLITS[split], index])
    scene = _Scene(scene_backgrounds.draw_ground(size, rng), np.full((size, size), -1, np.int16))
    for _ in range(int(rng.integers(0, 4))):
        scene_backgrounds.add_leaf(scene.image, rng)
    for _ in range(int(rng.integers(0, 5))):
        scene_backgrounds.add_pebble(scene.image, rng)
    if rng.uniform() >= _EMPTY:
        # _CROWDED is a share of all pictures, and this branch is reached by 1 - _EMPTY of them.
        if rng.uniform() < _CROWDED / (1 - _EMPTY):
            _swarm(scene, rng)
        names = list(SPECIES)
        for length in _lengths(size, rng):
            label = int(rng.choice(len(names), p=_class_shares()))
            marked = rng.uniform() >= _UNMARKED
            sprite = draw_beetle(names[label] if marked else None, length, rng.normal(0, _TURN), rng)
            _place(scene, sprite, label if marked else None, rng)
    for _ in range(int(rng.choice(3, p=(0.6, 0.25, 0.15)))):
        cover, rgb = scene_backgrounds.draw_blade(size, rng)
        scene.image += cover[..., None] * (rgb - scene.image)
    blur = rng.uniform(0.0, 0.5)
    if blur > 0.3:
        scene.image = cv2.GaussianBlur(scene.image, (0, 0), blur)
    scene.image *= rng.uniform(0.85, 1.12)
    scene.image += rng.normal(0, 3.0, scene.image.shape).astype(np.float32)
    return np.clip(np.round(scene.image), 0, 255).astype(np.uint8), scene.objects


def _write_split(out: Path, split: str, count: int, size: int, seed: int) -> tuple[Path, Path]:
    folder = out / split
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        pixels, objects = draw_scene(size, seed, split, index)
        name = f"{split}_{index:06d}.png"
        # PNG keeps what was drawn; level 1 is the fastest and costs a tenth in size
        if not cv2.imwrite(str(folder / name), pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise RunError(
                f"cannot write {folder / name}; free some space or give another folder, then call again", "disk"
            )
        images.append({"id": index + 1, "file_name": name, "width": size, "height": size})
        for item in objects:
            x1, y1, x2, y2 = (round(float(v), 2) for v in item["box"])
            w, h = round(x2 - x1, 2), round(y2 - y1, 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": item["category"] + 1,
                    "bbox": [x1, y1, w, h],
                    "area": round(w * h, 2),
                    "iscrowd": item["iscrowd"],
                }
            )
    categories = [{"id": i + 1, "name": name, "supercategory": "beetle"} for i, name in enumerate(SPECIES)]
    info = {"description": f"c2d procedural scenes, version {VERSION}, seed {seed}, {split}"}
    path = out / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    atomic_write_json(path, {"info": info, "images": images, "annotations": annotations, "categories": categories})
    return path, folder


def make_scenes(out: Path, *, train: int = 600, val: int = 300, size: int = 160, seed: int = 0) -> Card:
    """Draw a data set with annotations and card.json. A second call with the same arguments changes nothing.

    Args:
        out: new folder.
        train: number of training pictures.
        val: number of validation pictures.
        size: width and height in px.
        seed: another seed draws other pictures.

    Raises:
        InputError: `out` holds something else, or a number is out of range.
        RunError: the disk is full.
    """
    for name, value, least in (("train", train, 1), ("val", val, 1), ("size", size, 64), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"scenes: {name} = {value}; it has to be at least {least}")
    source = {"maker": "c2d data scenes", "version": VERSION, "seed": seed, "size": size, "train": train, "val": val}
    with staged_folder(Path(out), source) as stage:
        if stage.existing is not None:
            return stage.existing
        files = {split: _write_split(stage.path, split, n, size, seed) for split, n in (("train", train), ("val", val))}
        return make_card(stage.path, "scenes", list(SPECIES), files, source)

"""Convert KITTI's 2D object layout to COCO JSON with a data card.

KITTI's boxes are left, top, right, bottom in pixels counted from 0, and its own evaluation takes right - left and
bottom - top as the sides. The COCO boxes are (left, top, right - left, bottom - top), so that every side, area and IoU
is that of KITTI's evaluation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, abbreviate, unknown_name
from c2d.data.coco_file import PROTOCOL
from c2d.data.conversion.coco_content import NO_SIDES, ConvertedImage, LabelledBox, clipped
from c2d.data.conversion.source_images import SourceImage, read_images
from c2d.data.conversion.write_converted import Conversion, Images, write_converted
from c2d.data.decoding.orientation import Size
from c2d.data.issues import InvalidDataset
from c2d.data.kitti.kitti_splits import choose_split, find_folders, find_image
from c2d.data.kitti.label_file import DONT_CARE, NEIGHBOURS, TYPES, KittiObject, read_labels

CLASSES = ("Car", "Pedestrian", "Cyclist")
"""The classes of KITTI's evaluation."""


def convert_kitti(
    src: Path,
    out: Path,
    *,
    train: Path | None = None,
    val: Path | None = None,
    val_share: float | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    merge: Mapping[str, str] | None = None,
    name: str | None = None,
    images: Images = "reference",
    published: bool = False,
) -> Conversion:
    """Convert the labelled images of KITTI's object benchmark.

    DontCare regions become crowd regions of every class. A type that neighbours a class (Van that of Car,
    Person_sitting that of Pedestrian) becomes crowd regions of it. The other types are left out: background.

    Args:
        src: folder with training/image_2 and training/label_2.
        out: new folder; gets annotations/instances_<split>.json and card.json.
        train, val: lists of image ids, both or none.
        val_share: share of the images to evaluate on, drawn at random, where no lists are given.
        seed: of that draw.
        classes: class names in the order of the labels; Car, Pedestrian, Cyclist by default.
        merge: {type: class that its objects are boxes of}.
        name: name of the data set; that of `out` by default.
        images: image files are referenced where they are, copied, or linked.
        published: see `c2d.data.conversion.source_images.read_images`.

    Raises:
        InvalidDataset: all issues of the files; nothing is written.
        InputError: a folder is missing, an option does not fit, or `out` holds something else.
    """
    src, out = Path(src), Path(out)
    chosen = list(classes) if classes is not None else list(CLASSES)
    class_of = _classes_of_types(chosen, dict(merge or {}))
    folder, labels = find_folders(src)
    ids = sorted(path.stem for path in labels.glob("*.txt"))
    parts, split = choose_split(ids, {"train": train, "val": val}, val_share, seed)
    pairs = [(part, name) for part, names in parts.items() for name in names]
    issues: list[str] = []
    notes: list[str] = []
    objects: dict[str, list[KittiObject]] = {}
    for _, image in pairs:
        objects[image], wrong = read_labels(labels / f"{image}.txt")
        issues += wrong
    paths = [find_image(folder, image) for _, image in pairs]
    sources = [
        SourceImage(part, f"{image}.txt", path.name, path) for (part, image), path in zip(pairs, paths, strict=True)
    ]
    found = read_images(sources, folder, issues, notes, published=published)
    splits: dict[str, list[ConvertedImage]] = {part: [] for part in parts}
    left_out: Counter[str] = Counter()
    lost: list[str] = []
    for (part, image), source_image, facts in zip(pairs, sources, found, strict=True):
        if facts is None:
            continue
        boxes, dropped = _boxes(objects[image], facts.size, chosen, class_of, left_out)
        lost += [f"{image}.txt: {line}" for line in dropped]
        splits[part].append(ConvertedImage(source_image.name, facts.size, boxes))
    if not issues and not any(not box.crowd for part in splits.values() for image in part for box in image.boxes):
        why = f"; {len(lost)} were dropped or clipped, the first: {lost[0]}" if lost else ""
        issues.append(f"{labels}: no object of the classes {', '.join(chosen)} in {len(pairs)} label files{why}")
    if issues:
        raise InvalidDataset(f"{src} cannot be converted", issues)
    notes += lost
    found_types = {item.type for _, image in pairs for item in objects[image]}
    notes += _type_notes(left_out, {kind: target for kind, target in class_of.items() if kind in found_types})
    if val_share is not None:
        notes.append("a random split: frames of one drive, which look alike, are in both splits")
    if unused := sorted(set(ids) - {image for _, image in pairs}):
        notes.append(f"{len(unused)} label files are in no list and left out: {abbreviate(unused)}")
    label = name or out.name
    source: dict[str, Any] = {
        "maker": "c2d data kitti",
        "name": label,
        "split": split,
        "classes": chosen,
        "merge": dict(sorted((merge or {}).items())),
        "images": images,
    }
    return write_converted(
        out,
        splits,
        dict.fromkeys(splits, folder),
        src=src,
        name=label,
        classes=chosen,
        source=source,
        images=images,
        protocol="kitti",
        notes=notes,
    )


def _classes_of_types(classes: Sequence[str], merge: Mapping[str, str]) -> dict[str, tuple[str, bool]]:
    """Return {type: (its class, whether its objects are ignored)} of the types that are not left out.

    Raises:
        InputError: a class twice, or one that no type has; a merge from or into something else.
    """
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f"--classes {','.join(classes)}; wanted at least one class, each once")
    types = [name for name in TYPES if name != DONT_CARE]
    for kind, target in merge.items():
        if kind not in types:
            raise unknown_name("type of --merge", kind, types)
        if target not in classes:
            raise unknown_name("class of --merge", target, classes, "a type is merged into one of the classes")
        if kind in classes and kind != target:
            raise InputError(f"--merge {kind}={target}: {kind} is a class of its own; leave it out of --classes")
    for name in classes:
        if name not in types and name not in merge.values():
            raise unknown_name(
                "class", name, types, "another name needs a type that is merged into it: --merge Van=NAME"
            )
    class_of = {name: (name, False) for name in classes if name in types}
    class_of |= {kind: (target, False) for kind, target in merge.items()}
    for kind, neighbour in NEIGHBOURS.items():
        if neighbour in class_of:
            class_of.setdefault(kind, (class_of[neighbour][0], True))
    return class_of


def _boxes(
    objects: Sequence[KittiObject],
    size: Size,
    classes: Sequence[str],
    class_of: Mapping[str, tuple[str, bool]],
    left_out: Counter[str],
) -> tuple[list[LabelledBox], list[str]]:
    """Return the annotations of one image, and a line for each object that was dropped or clipped."""
    boxes: list[LabelledBox] = []
    lines: list[str] = []
    first: dict[object, int] = {}
    for item in objects:
        if item.type != DONT_CARE and item.type not in class_of:
            left_out[item.type] += 1
            continue
        left, top, right, bottom = item.corners
        if right <= left or bottom <= top:
            lines.append(f"{item} dropped: {NO_SIDES}")
            continue
        box, done = clipped(item.corners, size)
        if done:
            lines.append(f"{item} {done}")
        if box is None:
            continue
        if item.type == DONT_CARE:
            boxes += [LabelledBox(name, box, True, {PROTOCOL: {"type": DONT_CARE}}) for name in classes]
            continue
        if (other := first.setdefault((item.type, item.corners), item.line)) != item.line:
            lines.append(f"{item} dropped: it repeats line {other}")
            continue
        name, ignored = class_of[item.type]
        value = {"type": item.type, "truncated": item.truncated, "occluded": item.occluded}
        boxes.append(LabelledBox(name, box, ignored, {PROTOCOL: value}))
    return boxes, lines


def _type_notes(left_out: Mapping[str, int], class_of: Mapping[str, tuple[str, bool]]) -> list[str]:
    notes = []
    if left_out:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        notes.append(f"objects of other types are left out and background: {counts}")
    for kind, (name, ignored) in sorted(class_of.items()):
        if ignored:
            notes.append(f"{kind} objects are ignored regions of {name}; --merge {kind}={name} makes them boxes of it")
        elif kind != name:
            notes.append(f"{kind} objects are boxes of {name}; {_own_numbers(kind, name)}")
    return notes


def _own_numbers(kind: str, name: str) -> str:
    """Return what a merge means in KITTI's own numbers, which go by the types of the label files."""
    if name not in CLASSES:
        return f"KITTI's own numbers have no class {name}"
    if NEIGHBOURS.get(kind) == name:
        return f"COCO's numbers count them, KITTI's own ignore them as {kind}"
    return f"COCO's numbers count them, KITTI's own have no {kind}: a detection of one is wrong there"

"""Convert a YOLO data set to COCO JSON with a data card.

Its lines are checked here, all of them, and hotcoco turns them into pixels. hotcoco alone would stop at the first bad
line, take NaN and fractions above 1 for boxes, and leave out images without a label file, which YOLO has as background.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, abbreviate
from c2d.data.conversion.coco_content import ConvertedImage, LabelledBox, clipped, rounded
from c2d.data.conversion.source_images import SourceImage, common_folder, frame_error, read_images
from c2d.data.conversion.write_converted import Conversion, Images, write_converted
from c2d.data.decoding.orientation import Box, Size
from c2d.data.issues import InvalidDataset
from c2d.data.yolo.label_lines import LabelLines, read_label_lines
from c2d.data.yolo.yolo_layout import YoloLayout, label_file, read_layout

SLACK_PX = 0.5
"""Part of a pixel by which rounded fractions leave the image without a note."""


def convert_yolo(
    src: Path,
    out: Path,
    *,
    train: str = "train",
    val: str | None = None,
    name: str | None = None,
    images: Images = "reference",
) -> Conversion:
    """Convert a YOLO data set.

    Args:
        src: folder with data.yaml, or the path of such a file.
        out: new folder; gets annotations/instances_<split>.json and card.json.
        train: key of the file that names the images to train on.
        val: key that names the images to evaluate on; val or valid by default.
        name: name of the data set; that of `out` by default.
        images: image files are referenced where they are, copied, or linked.

    Raises:
        InvalidDataset: all issues of the files; nothing is written.
        InputError: a path is missing, or `out` holds something else.
    """
    src, out = Path(src), Path(out)
    layout = read_layout(src)
    keys = {"train": train, "val": val or ("val" if "val" in layout.splits else "valid")}
    paths = {split: layout.images(key) for split, key in keys.items()}
    flat = [(split, path) for split, part in paths.items() for path in part]
    folders = {split: common_folder(part) for split, part in paths.items()}
    issues, notes, labels = _read_labels([path for _, path in flat], len(layout.classes))
    notes = [*layout.notes, *notes]
    sources = [
        SourceImage(split, label_file(path).name, path.relative_to(folders[split]).as_posix(), path)
        for split, path in flat
    ]
    facts = read_images(sources, layout.root, issues, notes)
    for (_, path), found in zip(flat, facts, strict=True):
        if found is not None and (message := frame_error(found, None, path)):
            issues.append(f"{path.name}: {message}")
    if not issues and not any(lines.boxes for lines in labels):
        issues.append(
            f"{layout.file}: no box in the label files of {len(flat)} images (the first: {label_file(flat[0][1])})"
        )
    if issues:
        raise InvalidDataset(f"{src} cannot be converted", issues)
    sizes = [found.size for found in facts if found is not None]
    in_pixels = _pixels(flat, labels, layout)
    splits: dict[str, list[ConvertedImage]] = {split: [] for split in paths}
    for source, lines, size, boxes in zip(sources, labels, sizes, in_pixels, strict=True):
        kept, dropped = _boxes(lines, boxes, size, layout.classes)
        notes += [f"{source.labels}: {line}" for line in dropped]
        splits[source.split].append(ConvertedImage(source.name, size, kept))
    label = name or out.name
    source_entry: dict[str, Any] = {"maker": "c2d data yolo", "name": label, "splits": keys, "images": images}
    return write_converted(
        out,
        splits,
        folders,
        src=src,
        name=label,
        classes=layout.classes,
        source=source_entry,
        images=images,
        notes=notes,
    )


def _read_labels(images: Sequence[Path], classes: int) -> tuple[list[str], list[str], list[LabelLines]]:
    """Return issues, notes and the lines of the label file of each image."""
    issues: list[str] = []
    notes: list[str] = []
    labels: list[LabelLines] = []
    owner: dict[Path, Path] = {}
    without: list[str] = []
    for image in images:
        file = label_file(image)
        if (other := owner.setdefault(file, image)) != image:
            issues.append(
                f"{file.name}: is the label file of {other.name} and {image.name}; rename one with its labels"
            )
        if not file.exists():
            without.append(image.name)
            labels.append(LabelLines())
            continue
        lines = read_label_lines(file, classes)
        issues += lines.issues
        notes += lines.notes
        labels.append(lines)
    polygons = [(label_file(image).name, lines.polygons) for image, lines in zip(images, labels, strict=True)]
    if total := sum(number for _, number in polygons):
        names = abbreviate([file for file, number in polygons if number])
        notes.append(f"{total} polygons and oriented boxes became the upright boxes around their corners: {names}")
    if without:
        notes.append(f"{len(without)} images have no label file and no box (background): {abbreviate(without)}")
    extra = sorted(
        path.name for folder in {file.parent for file in owner} for path in folder.glob("*.txt") if path not in owner
    )
    if extra:
        notes.append(f"{len(extra)} text files beside the label files belong to no image: {abbreviate(extra)}")
    return issues, notes, labels


def _pixels(flat: Sequence[tuple[str, Path]], labels: Sequence[LabelLines], layout: YoloLayout) -> list[list[Box]]:
    """Return the boxes of each image, (x, y, width, height) in pixels, as hotcoco reads its lines.

    Raises:
        InputError: hotcoco read other boxes than the files have.
    """
    import hotcoco

    with tempfile.TemporaryDirectory() as folder:
        texts, images = Path(folder) / "labels", Path(folder) / "images"
        texts.mkdir()
        images.mkdir()
        # Numbers instead of names: images of two folders may share a name, and hotcoco reads no name in every script.
        names = "".join(f"  {number}: class{number}\n" for number in range(len(layout.classes)))
        (texts / "data.yaml").write_text(f"names:\n{names}", encoding="utf-8")
        for number, ((_, path), lines) in enumerate(zip(flat, labels, strict=True)):
            (texts / f"{number}.txt").write_text(lines.text(), encoding="utf-8")
            (images / f"{number}{path.suffix}").symlink_to(path)
        read = hotcoco.COCO.from_yolo(str(texts), str(images)).dataset
    place = {row["id"]: int(row["file_name"]) for row in read["images"]}
    boxes: list[list[Box]] = [[] for _ in flat]
    for row in read["annotations"]:
        boxes[place[row["image_id"]]].append(tuple(row["bbox"]))
    wrong = [
        path.name for (_, path), found, lines in zip(flat, boxes, labels, strict=True) if len(found) != len(lines.boxes)
    ]
    if wrong:
        raise InputError(
            f"hotcoco {hotcoco.__version__} read other boxes of {wrong[0]} than its label file has; report it"
        )
    return boxes


def _boxes(
    lines: LabelLines, boxes: Sequence[Box], size: Size, classes: Sequence[str]
) -> tuple[list[LabelledBox], list[str]]:
    """Return the annotations of one image, and a line for each that was dropped or clipped."""
    kept: list[LabelledBox] = []
    notes: list[str] = []
    for number, (index, *_), (x, y, w, h) in zip(lines.numbers, lines.boxes, boxes, strict=True):
        box, done = clipped((x, y, x + w, y + h), size, SLACK_PX)
        if done:
            notes.append(f"line {number} {done}")
        if box is not None:
            kept.append(LabelledBox(classes[index], rounded(box)))
    return kept, notes

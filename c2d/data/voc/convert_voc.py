"""Convert Pascal VOC layout (Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/) to COCO JSON with a data card.

What is corrected or dropped is returned as notes with file names. Anything that cannot be trusted is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from c2d.core.errors import InputError
from c2d.data.coco_file import PROTOCOL
from c2d.data.conversion.coco_content import ConvertedImage, LabelledBox
from c2d.data.conversion.write_converted import Conversion, Images, write_converted
from c2d.data.issues import InvalidDataset
from c2d.data.voc.image_sets import find_image_sets
from c2d.data.voc.voc_boxes import VocImage
from c2d.data.voc.voc_frame import Frame, Origin
from c2d.data.voc.voc_splits import read_splits

Difficult = Literal["crowd", "keep"]


def _converted(image: VocImage, difficult: Difficult, protocol: Literal["voc"] | None) -> ConvertedImage:
    """Return the image with COCO's rows: the flags of VOC are further keys, difficult as the protocol has it."""
    boxes = []
    for item, box in image.boxes:
        is_difficult = item.flags.get("difficult", 0)
        keys: dict[str, Any] = {key: value for key, value in item.flags.items() if key != "difficult"}
        keys |= {PROTOCOL: {"difficult": is_difficult}} if protocol is not None else {}
        boxes.append(LabelledBox(item.name, box, bool(is_difficult and difficult == "crowd"), keys))
    return ConvertedImage(image.file_name, image.size, boxes)


def convert(
    src: Path,
    out: Path,
    *,
    splits: dict[str, str] | None = None,
    difficult: Difficult = "crowd",
    classes: Sequence[str] | None = None,
    name: str | None = None,
    images: Images = "reference",
    merge: bool = False,
    origin: Origin | None = None,
    frame: Frame | None = None,
    protocol: Literal["voc"] | None = None,
    published: bool = False,
) -> Conversion:
    """Convert a VOC data set.

    Args:
        src: folder with Annotations, ImageSets/Main and JPEGImages, or one that holds several of them by year.
        out: new folder; gets annotations/instances_<split>.json and card.json.
        splits: {split: lists, see `find_image_sets`}; train and val by default.
        difficult: objects marked difficult become crowd regions (not trained on, ignored in evaluation), or are kept.
        classes: class names in the order of the labels; the names found, sorted, by default.
        name: name of the data set; that of `out` by default.
        images: image files are referenced where they are, copied, or linked.
        merge: class names that differ in case or blanks alone are one class.
        origin: pixel that counting starts at; None: 1, with a note where the boxes speak against it.
        frame: frame of the boxes of images with an orientation, where sizes do not tell it.
        protocol: "voc": results have the numbers of VOC beside COCO's; always so where `src` holds years.
        published: see `c2d.data.conversion.source_images.read_images`.

    Raises:
        InvalidDataset: all issues of the files; nothing is written.
        InputError: a folder or list is missing; `out` holds something else.
    """
    src, out = Path(src), Path(out)
    lists = find_image_sets(src, splits or {"train": "train", "val": "val"})
    by_year = any(item.year for several in lists.values() for item in several)
    protocol = "voc" if by_year else protocol
    if classes is not None and len(set(classes)) < len(classes):
        raise InputError(f"--classes {','.join(classes)} names a class twice; name every class once")
    folder = src if by_year else src / "JPEGImages"
    reading = read_splits(lists, folder, classes=classes, merge=merge, origin=origin, frame=frame, published=published)
    parts, issues = reading.splits, reading.issues
    listed = {split: "+".join(map(str, several)) for split, several in lists.items()}
    if not issues and not any(image.boxes for part in parts.values() for image in part):
        issues.append(f"{src}: no box in any of the splits {', '.join(listed.values())}")
    if issues:
        raise InvalidDataset(f"{src} cannot be converted", issues)
    found = {item.name for part in parts.values() for image in part for item, _ in image.boxes}
    # Sorted, VOC's own 20 names are in their customary order.
    chosen = sorted(found) if classes is None else list(classes)
    label = name or out.name
    source: dict[str, Any] = {
        "maker": "c2d data voc",
        "name": label,
        "splits": listed,
        "difficult": difficult,
        "classes": chosen,
        "images": images,
    }
    options = (("merge", merge), ("origin", origin), ("frame", frame), ("protocol", protocol))
    source |= {key: value for key, value in options if value}
    # The published numbers are those of the objects in the files, of which a conversion may drop some.
    source |= {"objects": reading.objects} if by_year else {}
    return write_converted(
        out,
        {split: [_converted(image, difficult, protocol) for image in part] for split, part in parts.items()},
        dict.fromkeys(parts, folder),
        src=src,
        name=label,
        classes=chosen,
        source=source,
        images=images,
        protocol=protocol,
        notes=reading.notes,
        unused_hint="--difficult keep makes difficult objects boxes",
    )

"""Boxes of one VOC annotation file as training reads its image: clipped, in COCO's form, in the frame of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from c2d.data.conversion.coco_content import NO_SIDES, Corners, clipped
from c2d.data.conversion.source_images import IMAGE_SUFFIXES
from c2d.data.decoding.image_facts import ImageFacts
from c2d.data.decoding.orientation import Box, Size
from c2d.data.voc.voc_frame import Frame, Origin, edges, frame_size, to_trained_frame
from c2d.data.voc.voc_xml import BadAnnotation, VocAnnotation, VocObject


@dataclass
class VocImage:
    """One image of a split.

    Attributes:
        file_name: path below the image folder.
        size: (width, height) in pixels as training reads it.
        boxes: the object and (x, y, width, height) in pixels as in COCO, of each object that is kept.
    """

    file_name: str
    size: Size
    boxes: list[tuple[VocObject, Box]] = field(default_factory=list)


def find_image(folder: Path, stem: str, named: str) -> Path:
    """Return the path of the image of an annotation file: by the name of the XML file, else by the name inside it.

    Args:
        folder: folder of the images.
        stem: name of the XML file without suffix.
        named: name of the image in the XML file, "" for none.

    Raises:
        BadAnnotation: several files have the name.
    """
    suffixes = [variant for suffix in IMAGE_SUFFIXES for variant in (suffix, suffix.upper())]
    found = [path for suffix in suffixes if (path := folder / f"{stem}{suffix}").is_file()]
    own = folder / (Path(named.replace("\\", "/")).name if named else f"{stem}.jpg")
    if len(found) > 1:
        if not named or own not in found:
            names = " or ".join(path.name for path in found)
            raise BadAnnotation(f"its image is {names}; keep one, or name it in <filename>")
        return own
    return found[0] if found else own


def trained_boxes(
    annotation: VocAnnotation, file_name: str, facts: ImageFacts, frame: Frame | None, origin: Origin
) -> VocImage:
    """Return the image of an annotation file with its boxes. What is dropped or clipped is added to its notes.

    Args:
        annotation: the annotation file.
        file_name: path of its image below the image folder.
        facts: its image.
        frame: frame of its boxes.
        origin: the pixel that counting starts at.
    """
    image = VocImage(file_name, facts.size)
    size = frame_size(facts, frame)
    for item in annotation.objects:
        x1, y1, x2, y2 = item.corners
        if x2 <= x1 or y2 <= y1:
            why = "xmax is below xmin, or ymax below ymin" if x2 < x1 or y2 < y1 else NO_SIDES
            annotation.notes.append(f"{item} dropped: {why}")
            continue
        inside, done = clipped(edges(item.corners, origin), size)
        if done:
            annotation.notes.append(f"{item} {done}")
        if inside is not None:
            image.boxes.append((item, to_trained_frame(inside, facts, frame)))
    return image


def in_fractions(corners: Corners) -> bool:
    """Return whether a box is in fractions of its image: between 0 and 1, and not in whole pixels."""
    return all(0 <= value <= 1 for value in corners) and any(value != int(value) for value in corners)

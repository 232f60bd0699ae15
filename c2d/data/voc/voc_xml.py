"""Read one Pascal VOC annotation file and the size of its image.

Frames: VOC counts pixels from 1 and both corners belong to the box, so (xmin, ymin, xmax, ymax) becomes COCO's
x = xmin - 1, y = ymin - 1, w = xmax - xmin + 1, h = ymax - ymin + 1 in pixel edges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from PIL import Image, UnidentifiedImageError


@dataclass
class VocImage:
    """One image of a split.

    Attributes:
        stem: name without suffix.
        file: path of the image.
        size: (width, height) of the file in pixels.
        boxes: (class, (x, y, width, height) in pixels as in COCO, difficult) of each object.
    """

    stem: str
    file: Path
    size: tuple[int, int]
    boxes: list[tuple[str, tuple[float, float, float, float], bool]] = field(default_factory=list)


class BadAnnotation(Exception):
    """An issue of one file. The caller collects them and reports all at once."""


def _number(parent: Element, path: str) -> float:
    text = parent.findtext(path)
    try:
        value = float(text) if text is not None else None
    except ValueError:
        value = None
    if value is None or not abs(value) < 1e7:  # also NaN and infinity
        raise BadAnnotation(f"<{path}> is {text!r}; wanted a number")
    return value


def _parse(path: Path) -> Element:
    try:
        # defusedxml, because entities let an XML file of a few lines expand to gigabytes.
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise BadAnnotation("no such file, but its split lists it") from None
    except (ParseError, DefusedXmlException, OSError, ValueError) as error:
        raise BadAnnotation(f"cannot be read as XML ({error})") from None
    if root is None or root.tag != "annotation":
        raise BadAnnotation(f"the root element is <{root.tag if root is not None else ''}>; wanted <annotation>")
    return root


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise BadAnnotation(f"its image {path.name} does not exist in {path.parent}") from None
    except (UnidentifiedImageError, OSError) as error:
        raise BadAnnotation(f"its image {path.name} cannot be read ({error})") from None


def _find_image(folder: Path, stem: str, named: str | None) -> Path:
    """Return the image of an annotation: by the stem of the XML file, as in VOC, else by the name inside it."""
    for suffix in (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"):
        if (folder / f"{stem}{suffix}").is_file():
            return folder / f"{stem}{suffix}"
    return folder / (Path(named).name if named else f"{stem}.jpg")


def read_annotation(xml: Path, image_folder: Path, notes: list[str]) -> VocImage:
    """Read one XML file.

    Args:
        xml: the file.
        image_folder: folder of the images.
        notes: a line is appended for every object that is dropped or clipped.

    Raises:
        BadAnnotation: the file cannot be used.
    """
    root = _parse(xml)
    file = _find_image(image_folder, xml.stem, root.findtext("filename"))
    size = _image_size(file)
    stated = (
        (int(_number(root, "size/width")), int(_number(root, "size/height")))
        if root.find("size") is not None
        else (0, 0)
    )
    if 0 in stated:
        notes.append(f"{xml.name}: states no image size; the image's own, {size[0]} x {size[1]}, is used")
    elif stated != size:
        raise BadAnnotation(
            f"states {stated[0]} x {stated[1]} pixels, the image has {size[0]} x {size[1]}; boxes cannot be trusted"
        )
    image = VocImage(xml.stem, file, size)
    for index, item in enumerate(root.findall("object"), start=1):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise BadAnnotation(f"object {index} has no name")
        x1, y1, x2, y2 = (_number(item, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax"))
        what = f"{xml.name}: object {index} ({name}, xmin {x1:g} ymin {y1:g} xmax {x2:g} ymax {y2:g})"
        if x2 <= x1 or y2 <= y1:
            notes.append(f"{what} dropped: no width or height")
            continue
        left, top, right, bottom = max(x1 - 1, 0.0), max(y1 - 1, 0.0), min(x2, size[0]), min(y2, size[1])
        if right - left < 1 or bottom - top < 1:
            notes.append(f"{what} dropped: outside the image of {size[0]} x {size[1]}")
            continue
        if (left, top, right, bottom) != (x1 - 1, y1 - 1, x2, y2):
            notes.append(f"{what} clipped to the image of {size[0]} x {size[1]}")
        difficult = (item.findtext("difficult") or "0").strip() not in ("0", "")
        image.boxes.append((name, (left, top, right - left, bottom - top), difficult))
    return image

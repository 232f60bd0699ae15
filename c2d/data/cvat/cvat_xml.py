"""Read a file of CVAT for images 1.1 as it is: labels, images, and what can be trusted of their shapes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from c2d.core.errors import InputError, unknown_name
from c2d.core.regular_file import error_text, read_bytes
from c2d.data.conversion.label_number import label_number

SHAPES = ("box", "polygon")
"""Shapes that become boxes, as hotcoco reads them."""
LEFT_OUT = ("polyline", "points", "cuboid", "ellipse", "mask", "skeleton", "tag")


@dataclass(frozen=True)
class CvatShape:
    """One shape of an image that hotcoco reads.

    Attributes:
        number: its place among the children of its image, from 1.
        label: its class.
        rotation: degrees by which a box is turned around its centre.
        polygon: whether it is a polygon.
        occluded: the flag, None where the file has none.
    """

    number: int
    label: str
    rotation: float
    polygon: bool
    occluded: int | None

    def __str__(self) -> str:
        """Describe the shape for a note."""
        return f"{'polygon' if self.polygon else 'box'} {self.number} ({self.label})"


@dataclass
class CvatImage:
    """One image.

    Attributes:
        name: as the file has it.
        subset: of its task, "" for none.
        size: stated (width, height) in pixels.
        shapes: those that hotcoco reads, in the order of the file.
    """

    name: str
    subset: str
    size: tuple[int, int]
    shapes: list[CvatShape] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Return its name with its subset: two subsets may have images of one name."""
        return f"{self.subset}/{self.name}" if self.subset else self.name


@dataclass
class CvatFile:
    """The content of a file.

    Attributes:
        path: of the file.
        labels: class names in the order of the file.
        images: in the order of the file.
        issues: a line for everything that cannot be trusted.
        notes: a line for everything that is left out.
    """

    path: Path
    labels: list[str] = field(default_factory=list)
    images: list[CvatImage] = field(default_factory=list)
    issues: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def subsets(self) -> list[str]:
        """The subsets that its images are in, each once."""
        return list(dict.fromkeys(image.subset for image in self.images if image.subset))


def read_cvat(path: Path) -> CvatFile:
    """Read a file.

    Args:
        path: of the XML file.

    Raises:
        InputError: it is no XML, or not of CVAT for images 1.1.
    """
    root = _parse(path)
    if root.tag != "annotations" or root.find("track") is not None or root.find("image") is None:
        what = "a CVAT for video file" if root.find("track") is not None else f"<{root.tag}> without <image>"
        raise InputError(f"{path} is {what}; export the task as 'CVAT for images 1.1'")
    if (version := (root.findtext("version") or "").strip()) not in ("", "1.1"):
        raise InputError(f"{path} has version {version}; export the task as 'CVAT for images 1.1'")
    found = CvatFile(path)
    names = [(label.findtext("name") or "").strip() for label in root.iterfind("meta/*/labels/label")]
    names += [(label.findtext("name") or "").strip() for label in root.iterfind("meta/labels/label")]
    found.labels = list(dict.fromkeys(name for name in names if name))
    if not found.labels:
        raise InputError(f"{path} has no labels in <meta>, so the order of the classes is not known; export it again")
    left_out: Counter[str] = Counter()
    attributes: set[str] = set()
    seen: set[str] = set()
    for place, element in enumerate(root.iterfind("image"), start=1):
        try:
            image = _image(element, place)
        except ValueError as error:
            found.issues.append(f"{path.name}: {error}")
            continue
        if image.key in seen:
            found.issues.append(f"{path.name}: image {image.key} is in it twice; keep one")
        seen.add(image.key)
        found.images.append(image)
        for number, shape in enumerate(element, start=1):
            where = f"{path.name}: image {image.name}: {shape.tag} {number}"
            if shape.tag in LEFT_OUT:
                left_out[shape.tag] += 1
                continue
            try:
                image.shapes.append(_shape(shape, number, found.labels))
            except ValueError as error:
                found.issues.append(f"{where}: {error}")
            attributes.update(attribute.get("name", "") for attribute in shape.iterfind("attribute"))
    if left_out:
        counts = ", ".join(f"{count} {tag}" for tag, count in sorted(left_out.items()))
        found.notes.append(f"{path.name}: no boxes and left out: {counts}")
    if attributes:
        found.notes.append(f"{path.name}: attributes are not kept: {', '.join(sorted(attributes))}")
    return found


def _parse(path: Path) -> Element:
    try:
        # defusedxml, because entities let an XML file of a few lines expand to gigabytes.
        root = ElementTree.fromstring(read_bytes(path))
    except DefusedXmlException:
        raise InputError(f"{path}: its DOCTYPE defines entities, which are not read; export it again") from None
    except (ParseError, OSError, ValueError, LookupError) as error:
        raise InputError(f"{path} cannot be read as XML ({error_text(error)}); export it again") from None
    if root is None:
        raise InputError(f"{path} is empty; export it again")
    return root


def _image(element: Element, place: int) -> CvatImage:
    name = element.get("name", "")
    if not name:
        raise ValueError(f"image {place} has no name")
    sides = [element.get(side, "") for side in ("width", "height")]
    if not all(side.isascii() and side.isdigit() and 0 < int(side) < 10**7 for side in sides):
        raise ValueError(f"image {name}: width {sides[0]!r}, height {sides[1]!r}; wanted whole numbers of pixels")
    return CvatImage(name, element.get("subset", ""), (int(sides[0]), int(sides[1])))


def _shape(element: Element, number: int, labels: list[str]) -> CvatShape:
    """Return a shape.

    Raises:
        ValueError: what is wrong with it.
    """
    if element.tag not in SHAPES:
        raise ValueError(f"unknown shape; known: {', '.join((*SHAPES, *LEFT_OUT))}")
    label = element.get("label", "")
    if label not in labels:
        raise ValueError(str(unknown_name("label", label, labels)))
    if element.tag == "polygon":
        points = [point.split(",") for point in element.get("points", "").split(";")]
        if len(points) < 3 or any(len(point) != 2 for point in points):
            raise ValueError('has no three points; wanted points="x,y;x,y;x,y"')
        for point in points:
            _number(point[0], "points"), _number(point[1], "points")
    else:
        for key in ("xtl", "ytl", "xbr", "ybr"):
            _number(element.get(key, ""), key)
    occluded = element.get("occluded")
    if occluded not in (None, "0", "1"):
        raise ValueError(f"occluded is {occluded!r}; wanted 0 or 1")
    rotation = _number(element.get("rotation", "0"), "rotation")
    return CvatShape(number, label, rotation, element.tag == "polygon", None if occluded is None else int(occluded))


def _number(text: str, key: str) -> float:
    value = label_number(text)
    if math.isnan(value):
        raise ValueError(f"{key} is {text!r}; wanted a number")
    return value

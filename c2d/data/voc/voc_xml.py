"""Read one Pascal VOC annotation file: the stated size and the objects, as the file has them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from c2d.core.regular_file import FormatError, read_bytes
from c2d.data.conversion.coco_content import Corners
from c2d.data.conversion.label_number import label_number
from c2d.data.flag_words import read_flag
from c2d.data.usable_boxes import BOX_DECIMALS

MAX_XML_BYTES = 16 * 2**20
"""5,000 objects have about 2 MB."""
FLAGS = ("difficult", "truncated", "occluded")


@dataclass(frozen=True)
class VocObject:
    """One object of an annotation file.

    Attributes:
        number: its place in the file, from 1.
        name: its class.
        corners: (xmin, ymin, xmax, ymax) as the file has them.
        flags: {difficult, truncated, occluded: 0 or 1}, those that the file has.
    """

    number: int
    name: str
    corners: Corners
    flags: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Describe the object for a note."""
        x1, y1, x2, y2 = self.corners
        return f"object {self.number} ({self.name}, xmin {x1:g} ymin {y1:g} xmax {x2:g} ymax {y2:g})"


@dataclass
class VocAnnotation:
    """One annotation file.

    Attributes:
        stem: its name without suffix.
        file_name: name of the image in the file; "" if it has none.
        size: stated (width, height) in pixels; None if the file states none.
        objects: in the order of the file.
        notes: a line for everything that was dropped or found in another place.
    """

    stem: str
    file_name: str
    size: tuple[int, int] | None
    objects: list[VocObject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class BadAnnotation(Exception):
    """An issue of one file. The caller collects them and reports all at once."""


def read_annotation(xml: Path) -> VocAnnotation:
    """Read one XML file.

    Raises:
        BadAnnotation: the file cannot be used.
    """
    root = _parse(xml)
    annotation = VocAnnotation(xml.stem, _text(root, "filename", "the file"), _stated_size(root))
    items = root.findall("object")
    nested = [item for item in root.iter("object") if item not in items]
    if nested:
        annotation.notes.append(f"{len(nested)} of its objects are inside another element and were read from there")
    for number, item in enumerate(root.iter("object"), start=1):
        annotation.objects.append(_object(item, number))
    boxes = sum(1 for _ in root.iter("bndbox")) - sum(1 for _ in root.iterfind(".//part//bndbox"))
    if boxes > len(annotation.objects):
        raise BadAnnotation(
            f"has {boxes} <bndbox> and {len(annotation.objects)} <object>; every box needs an <object> of its own"
        )
    return annotation


def _parse(path: Path) -> Element:
    try:
        # defusedxml, because entities let an XML file of a few lines expand to gigabytes.
        root = ElementTree.fromstring(read_bytes(path, most=MAX_XML_BYTES))
    except FormatError as error:
        if os.path.lexists(path):
            raise BadAnnotation(f"cannot be read: {error}; give an XML file of one image") from None
        raise BadAnnotation("no such file, but its split lists it (a list has names without suffix)") from None
    except DefusedXmlException:
        raise BadAnnotation("its DOCTYPE defines entities, which are not read; write their text instead") from None
    except (ParseError, OSError, ValueError, LookupError) as error:
        raise BadAnnotation(f"cannot be read as XML ({error}); {_xml_fix(path)}") from None
    for element in root.iter() if root is not None else ():
        if isinstance(element.tag, str):  # without namespace, and in the case of VOC
            element.tag = element.tag.rpartition("}")[2].lower()
    if root is None or root.tag != "annotation":
        raise BadAnnotation(f"the root element is <{root.tag if root is not None else ''}>; wanted <annotation>")
    return root


def _xml_fix(path: Path) -> str:
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "its bytes are not UTF-8: save it as UTF-8, or name its encoding in the first line"
    except OSError:
        return "check its permissions"
    return "correct that place (& is written &amp;), or export the file again"


def _stated_size(root: Element) -> tuple[int, int] | None:
    size = _child(root, "size", "the file")
    if size is None:
        return None
    width, height = _number(size, "width", "<size>"), _number(size, "height", "<size>")
    if width != int(width) or height != int(height):
        raise BadAnnotation(f"<size> is {width:g} x {height:g}; wanted whole numbers of pixels")
    return (int(width), int(height)) if width and height else None


def _object(item: Element, number: int) -> VocObject:
    name = _text(item, "name", f"object {number}")
    if not name:
        raise BadAnnotation(f"object {number} has no name")
    where = f"object {number} ({name})"
    box = _child(item, "bndbox", where)
    if box is None:
        raise BadAnnotation(f"{where} has no <bndbox>; wanted <bndbox> with xmin, ymin, xmax, ymax")
    x1, y1, x2, y2 = (_number(box, key, where) for key in ("xmin", "ymin", "xmax", "ymax"))
    flags: dict[str, int] = {}
    for key in FLAGS:
        if key in {name.lower() for name in item.attrib}:
            raise BadAnnotation(f"{where}: {key} is an attribute of <object>; wanted an element <{key}>")
        if (element := _child(item, key, where)) is not None:
            if len(element):
                raise BadAnnotation(f"{where}: <{key}> contains <{element[0].tag}>; wanted 0 or 1")
            try:
                flags[key] = read_flag(element.text)
            except ValueError as error:
                raise BadAnnotation(f"{where}: <{key}> {error}") from None
    return VocObject(number, name, (x1, y1, x2, y2), flags)


def _child(parent: Element, tag: str, where: str) -> Element | None:
    found = parent.findall(tag)
    if len(found) > 1:
        raise BadAnnotation(f"{where} has {len(found)} <{tag}>; wanted one")
    return found[0] if found else None


def _text(parent: Element, tag: str, where: str) -> str:
    element = _child(parent, tag, where)
    return (element.text or "").strip() if element is not None else ""


def _number(parent: Element, tag: str, where: str) -> float:
    text = _text(parent, tag, where)
    value = label_number(text)
    if math.isnan(value):
        raise BadAnnotation(f"{where}: <{tag}> is {text!r}; wanted a number")
    return value


def drop_repeated(annotation: VocAnnotation) -> None:
    """Keep the first of objects with one class and one box; report boxes that two classes share.

    Args:
        annotation: its objects and notes are changed.

    Raises:
        BadAnnotation: a repetition has another difficult flag.
    """
    kept: dict[tuple[float, ...], list[VocObject]] = {}
    for item in list(annotation.objects):
        others = kept.setdefault(tuple(round(value, BOX_DECIMALS) for value in item.corners), [])
        same = next((other for other in others if other.name == item.name), None)
        if same is None:
            if others:
                annotation.notes.append(f"{item} has the box of object {others[0].number} ({others[0].name})")
            others.append(item)
        elif same.flags.get("difficult", 0) != item.flags.get("difficult", 0):
            raise BadAnnotation(f"{item} repeats object {same.number} with another <difficult>; remove one")
        else:
            annotation.notes.append(f"{item} dropped: it repeats object {same.number}")
            annotation.objects.remove(item)

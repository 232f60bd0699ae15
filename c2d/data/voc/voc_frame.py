"""Frames of VOC boxes: the pixel that counting starts at, and the frame of the image, stored or upright.

VOC counts pixels from 1 and both corners belong to the box, so (xmin, ymin, xmax, ymax) becomes COCO's x = xmin - 1,
y = ymin - 1, w = xmax - xmin + 1, h = ymax - ymin + 1 in pixel edges. Other tools write pixels from 0, or edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from c2d.data.conversion.coco_content import Corners
from c2d.data.decoding.image_facts import ImageFacts
from c2d.data.decoding.orientation import Box, Size, stored_box, upright_box
from c2d.data.voc.voc_xml import BadAnnotation

Origin = Literal["1", "0", "edge"]
Frame = Literal["stored", "upright"]

# What is added to (xmin, ymin) and to (xmax, ymax) to make edges.
_TO_EDGES: dict[Origin, tuple[int, int]] = {"1": (-1, 0), "0": (0, 1), "edge": (0, 0)}
_AT_THE_END = 3
"""Boxes that end one pixel before the border, none at the border: fewer can be chance."""


def edges(corners: Corners, origin: Origin) -> Corners:
    """Return (left, top, right, bottom) in pixel edges of corners that are counted from `origin`."""
    low, high = _TO_EDGES[origin]
    x1, y1, x2, y2 = corners
    return x1 + low, y1 + low, x2 + high, y2 + high


def origin_note(boxes: Sequence[tuple[Corners, Size]]) -> str | None:
    """Return what speaks against counting from 1 in a data set; None if nothing does.

    Args:
        boxes: (corners, (width, height) of the image in pixels) of every box.
    """
    zero = sum(0 <= min(corners[:2]) < 1 for corners, _ in boxes)
    full = sum(corners[2] == size[0] or corners[3] == size[1] for corners, size in boxes)
    last = sum(corners[2] == size[0] - 1 or corners[3] == size[1] - 1 for corners, size in boxes)
    fractions = sum(any(value != int(value) for value in corners) for corners, _ in boxes)
    counts = f"of {len(boxes)} boxes {zero} have an xmin or ymin below 1, {full} end at the width or height"
    if fractions:
        counts += f", {fractions} have fractions"
    if zero and (full or fractions):
        return f"{counts}: these look like pixel edges, not pixels counted from 1; {_choice('edge')}"
    if zero:
        return f"{counts}: these look like pixels counted from 0, not from 1; {_choice('0')}"
    if fractions and len(boxes) == fractions:
        return f"{counts}: these look like pixel edges, not pixels counted from 1; {_choice('edge')}"
    if last >= _AT_THE_END and not full:
        return f"{counts}, {last} one pixel before it: these may be pixels counted from 0; {_choice('0')}"
    return None


def _choice(origin: Origin) -> str:
    return f"they were read as counted from 1; state it with --origin {origin}, or --origin 1 for no note"


def xml_frame(stated: Size | None, facts: ImageFacts, given: Frame | None) -> Frame | None:
    """Return the frame of the boxes of an annotation file; None if the image has no orientation.

    Args:
        stated: (width, height) in pixels in the file.
        facts: its image.
        given: the frame where sizes do not tell it.

    Raises:
        BadAnnotation: the stated size is that of neither frame; the frame is open and not given.
    """
    stored, upright = facts.stored_size, facts.size if facts.turned else facts.other_size
    if stated is not None and stated not in (stored, upright):
        sizes = f"{stored[0]} x {stored[1]}" + (f" (upright {upright[0]} x {upright[1]})" if upright != stored else "")
        raise BadAnnotation(f"states {stated[0]} x {stated[1]} pixels, the image has {sizes}; boxes cannot be trusted")
    if facts.orientation == 1:
        return None
    if stated is not None and stored != upright:
        return "stored" if stated == stored else "upright"
    if given is not None:
        return given
    why = "it states no size" if stated is None else "its size fits the image as stored and upright"
    raise BadAnnotation(
        f"its image has the orientation {facts.orientation} (EXIF or XMP) and {why}, so the frame of its boxes is not "
        "known; state it for all such files with --frame stored or --frame upright"
    )


def frame_size(facts: ImageFacts, frame: Frame | None) -> Size:
    """Return (width, height) in pixels of a frame of an image."""
    return facts.size if frame is None or frame == _trained_frame(facts) else facts.other_size


def to_trained_frame(box: Box, facts: ImageFacts, frame: Frame | None) -> Box:
    """Return a box in the frame that training reads.

    Args:
        box: (x, y, width, height) in pixel edges of `frame`.
        facts: the image.
        frame: the frame of the box.
    """
    if frame is None or frame == _trained_frame(facts):
        return box
    turn = upright_box if frame == "stored" else stored_box
    return turn(box, facts.stored_size, facts.orientation)


def _trained_frame(facts: ImageFacts) -> Frame:
    return "upright" if facts.turned else "stored"


def frame_notes(frames: Sequence[tuple[str, ImageFacts, Frame | None]]) -> list[str]:
    """Return a line for each frame in which boxes of images with an orientation are.

    Args:
        frames: (name of the annotation file, its image, the frame of its boxes).
    """
    notes = []
    for frame in ("stored", "upright"):
        found = [(xml, facts) for xml, facts, own in frames if own == frame]
        for kept in (True, False):
            names = [xml for xml, facts in found if (_trained_frame(facts) == frame) == kept]
            if names:
                others = f" and {len(names) - 3} more" if len(names) > 3 else ""
                done = "as training reads the images" if kept else "and were turned to the frame of training"
                notes.append(
                    f"{len(names)} images have an orientation (EXIF or XMP) and boxes in the {frame} frame, {done}: "
                    f"{', '.join(names[:3])}{others}"
                )
    return notes

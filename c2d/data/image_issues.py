"""What is wrong with an image file as training reads it: unreadable, damaged, in another frame, with content lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from c2d.data.decoding.decoder import UnreadableImage
from c2d.data.decoding.decoder_messages import means_incomplete
from c2d.data.decoding.image_facts import ImageFacts
from c2d.data.decoding.image_format import png_command, to_8bit_command

THINNEST = 1000
"""Longer side by shorter side of the thinnest image. mmdet's Resize scales the longer side to at most 1333 pixels."""


class ImageIssue(NamedTuple):
    """An issue of an image file, before it is known which entry of which annotation file it belongs to.

    Attributes:
        severity: an error, or a warning that may be intended.
        kind: equal for issues of the same kind.
        message: what is wrong, and the fix.
    """

    severity: Literal["error", "warning"]
    kind: str
    message: str


def read_error(error: Exception, folder: Path) -> tuple[str, str]:
    """Return (kind, message) for the error of reading a file of `folder`."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return "missing image", f"no such file in {folder}"
    if isinstance(error, UnreadableImage):
        return "unreadable image", str(error)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return "unreadable image", f"the file cannot be opened ({reason})"


def content_issue(facts: ImageFacts, folder: Path) -> ImageIssue | None:
    """Return what training does to the content of a file of `folder`; None if it reads all of it."""
    if max(facts.size) > THINNEST * min(facts.size):
        return ImageIssue(
            "error", "thin image",
            f"{facts.size[0]} x {facts.size[1]} pixels: students scale the longer side to about {THINNEST} pixels, and "
            "nothing would be left of the shorter one; cut the image into parts, or leave it out",
        )  # fmt: skip
    if facts.lost == "alpha":
        return ImageIssue(
            "error",
            "content in alpha",
            "the content is in the alpha channel, which training drops: all pixels are equal as trained; "
            "write the image on a background, without alpha",
        )
    if facts.lost:
        return ImageIssue(
            "error",
            "content lost",
            f"{facts.bits}-bit values up to {facts.maximum:g} all become {facts.trained_maximum} in the 8 bits of "
            f"training; {to_8bit_command(folder, facts.minimum, facts.maximum)} writes copies with a stated scaling",
        )
    if facts.message and means_incomplete(facts.message):
        return ImageIssue(
            "error",
            "incomplete image",
            f"a part of the image is missing and grey in training ({facts.message}); get the file again",
        )
    if facts.message:
        return ImageIssue("warning", "damaged image", f"the decoder reports: {facts.message}")
    if facts.one_colour:
        return ImageIssue("warning", "one colour", f"all pixels are equal (largest value {facts.trained_maximum})")
    return None


def frame_issue(facts: ImageFacts, stated: tuple[Any, Any], path: Path) -> ImageIssue | None:
    """Return an issue where the stated size is not the one of training, or leaves the frame open.

    Args:
        facts: the image file.
        stated: (width, height) in the annotations.
        path: of the image, for the message.
    """
    (width, height), applied = facts.size, "applies" if facts.turned else "does not apply"
    orientation = f"orientation {facts.orientation} (EXIF or XMP) of this {facts.form} file"
    if stated == facts.size:
        if facts.orientation == 1 or facts.other_size != facts.size:
            return None
        frame = "upright" if facts.turned else "as stored"
        message = f"training {applied} the {orientation}; the size does not tell whether the boxes are {frame}, too"
        return ImageIssue("warning", "orientation", message)
    message = f"the file has {width} x {height} pixels, the annotations have {stated[0]} x {stated[1]}"
    if facts.orientation == 1 or stated != facts.other_size:
        return ImageIssue("error", "image size differs", f"{message}; boxes would be wrong")
    fix = f"turn the boxes, or {png_command(path)}" if facts.turned else png_command(path, upright=True)
    return ImageIssue("error", "image size differs", f"{message}: training {applied} the {orientation}; {fix}")


def depth_issue(found: list[tuple[ImageFacts, Path]], folder: Path) -> ImageIssue | None:
    """Return a warning about the images of `folder` that have more than 8 bits, with the largest value of them."""
    deep = [(facts, path) for facts, path in found if facts.bits > 8]
    if not deep:
        return None
    facts, path = max(deep, key=lambda pair: pair[0].maximum)
    low = min(facts.minimum for facts, _ in deep)
    trained = max(facts.trained_maximum for facts, _ in deep)
    bits = ", ".join(str(bits) for bits in sorted({facts.bits for facts, _ in deep}))
    below = f"from {low:g} " if low < 0 else ""
    message = (
        f"{len(deep)} of {len(found)} images have {bits} bits with values {below}up to {facts.maximum:g} "
        f"({path.name}); training reads 8 bits and sees at most {trained} of 255; "
        f"{to_8bit_command(folder, low, facts.maximum)} writes copies with a stated scaling (one for all splits)"
    )
    return ImageIssue("warning", "more than 8 bits", message)

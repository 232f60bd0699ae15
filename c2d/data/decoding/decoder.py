"""Read image files as mmdet's `LoadImageFromFile` does: OpenCV, 8 bits, three channels in the order BGR.

OpenCV applies the EXIF orientation of JPEG, PNG and TIFF files, and not that of WebP and AVIF files or one in XMP.
Alpha is dropped, and of 16 bits the high byte is kept. Every reader of pixels in this project calls this file.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from c2d.data.decoding.image_format import UNREADABLE, damaged_text, format_name, png_command, to_8bit_command
from c2d.data.decoding.pillow_header import header_size, pillow_reads

Pixels = NDArray[np.uint8]

MOST_BYTES = 2**31
"""Of an image file; OpenCV takes no more than this in one buffer."""
_LIMIT = re.compile(r"CV_IO_MAX_IMAGE_(\w+)")


class UnreadableImage(Exception):
    """Training cannot read a file; the message has the format, the reason and the fix."""


def decode(content: bytes, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any] | None:
    """Decode an image.

    Args:
        content: the bytes of the file.
        flags: OpenCV's flags; training's by default.

    Returns:
        (H, W, 3) uint8 BGR with the default flags; None if OpenCV cannot decode it.

    Raises:
        cv2.error: it is larger than OpenCV's limits.
    """
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None


def image_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        UnreadableImage: it is no file, but a device or a pipe, which would never end; or it has more than 2 GiB.
        OSError: it cannot be opened.
    """
    found = os.stat(path)  # before it is opened: opening a pipe waits for its writer
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise UnreadableImage("it is a device or a pipe and not a file; give an image file")
    if found.st_size > MOST_BYTES:
        raise UnreadableImage(f"it has {found.st_size} bytes, and an image has at most {MOST_BYTES}; give another file")
    return path.read_bytes()


def read_image(path: Path) -> Pixels:
    """Return the pixels of a file as training reads them: (H, W, 3) uint8 BGR.

    Raises:
        UnreadableImage: training cannot read it.
        OSError: the file cannot be opened.
    """
    return decode_or_explain(image_bytes(path), path)


def decode_or_explain(content: bytes, path: Path) -> Pixels:
    """Return the pixels as training reads them: (H, W, 3) uint8 BGR.

    Args:
        content: the bytes of the file.
        path: its path, for the message.

    Raises:
        UnreadableImage: training cannot read it.
    """
    try:
        pixels = decode(content)
    except cv2.error as error:
        raise UnreadableImage(_limit_text(content, str(error))) from None
    if pixels is None:
        raise UnreadableImage(_reason(content, path))
    return pixels


def _limit_text(content: bytes, error: str) -> str:
    limit = _LIMIT.search(error)
    if limit is None:
        return f"OpenCV cannot decode it ({' '.join(error.split())[:200]}); write it again as PNG"
    size = header_size(content)
    stated = f"of {size[0]} x {size[1]} pixels " if size else ""
    wanted = "the number of its pixels"
    if size:
        wanted = str({"WIDTH": size[0], "HEIGHT": size[1]}.get(limit[1], size[0] * size[1]))
    return (
        f"the image {stated}is above a limit of OpenCV; set OPENCV_IO_MAX_IMAGE_{limit[1]}={wanted} in the environment "
        "of this command and of every run, or give smaller images"
    )


def _reason(content: bytes, path: Path) -> str:
    """Say why OpenCV returned nothing, and what to do."""
    form = format_name(content, path.suffix)
    if form == "TIFF" and (raw := decode(content, cv2.IMREAD_UNCHANGED)) is not None:
        finite = raw[np.isfinite(raw)]
        if not finite.size:
            return f"training cannot read {raw.dtype.name} TIFF, and this one has no finite value; get the file again"
        low, high = float(finite.min()), float(finite.max())
        return (
            f"training cannot read {raw.dtype.name} TIFF; {to_8bit_command(path.parent, low, high)} writes 8-bit "
            "copies (choose one range for all splits)"
        )
    if pillow_reads(content):
        what = form if form in UNREADABLE else f"this file ({form or 'unknown format'})"
        return f"training cannot read {what}; {png_command(path)}"
    if form in UNREADABLE:
        return f"training cannot read {form}; write it as PNG and name that file in the annotations"
    return damaged_text(form, content)

"""What Pillow finds in a file: its size, its orientation, its transparency.

No pixel that is trained on, compared or drawn is read with Pillow.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image

# The limit on the size of an image is OpenCV's (OPENCV_IO_MAX_IMAGE_PIXELS), because OpenCV decodes it in training.
Image.MAX_IMAGE_PIXELS = None
MOST_PIXELS = 2**27
"""Larger images are not decoded here: a file of a few kB can state any size."""

_MARKS = (b"Exif", b"eXIf", b"EXIF", b"exif", b"Orientation", b"ftypavi")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of metadata
        with Image.open(io.BytesIO(content)) as image:
            yield image


def header_size(content: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as stored; None if Pillow does not know the format."""
    try:
        with _opened(content) as image:
            return image.size
    except Exception:  # Pillow's readers raise many types on broken files (struct.error, SyntaxError, ...)
        return None


def header_orientation(content: bytes) -> int:
    """Return the orientation of EXIF or XMP, 1 to 8; 1 if there is none."""
    if not content.startswith(_TIFF) and not any(mark in content for mark in _MARKS):
        return 1
    try:
        with _opened(content) as image:
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as above
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def pillow_reads(content: bytes) -> bool:
    """Return whether Pillow can decode a file, so that it can be converted."""
    try:
        with _opened(content) as image:
            if image.size[0] * image.size[1] > MOST_PIXELS:
                return False
            image.load()
        return True
    except Exception:  # as above
        return False


def alpha_varies(content: bytes) -> bool:
    """Return whether a file has an alpha channel or transparent colours, and not one value of them everywhere."""
    try:
        with _opened(content) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                return False
            if image.size[0] * image.size[1] > MOST_PIXELS:
                return True  # not known, so it is taken for what differs
            low, high = image.convert("RGBA").getchannel("A").getextrema()
            return low != high
    except Exception:  # as above
        return False

"""Images as small JPEG files inside a page: pixels as training reads them, nothing else of the file.

A page shows pixels alone: EXIF, comments, profiles and places of a photograph are not copied, and its orientation is
that of training (`c2d.data.decoding`).
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.browse.browse_source import ImageEntry, picture_path

QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """One image of the page, or why it has none.

    Attributes:
        jpeg: base64 of the file, "" where there is no picture.
        width, height: px that the boxes are in; 0 where there is no picture.
        reason: why there is no picture, else "".
    """

    jpeg: str
    width: int
    height: int
    reason: str


def make_thumbnail(folder: Path | None, image: ImageEntry, side: int) -> Thumbnail:
    """Make the thumbnail of an image; one that cannot be read is no error.

    A file that is a smaller or larger copy of the annotated image is shown in the frame of the annotation, where the
    boxes are. One of another shape is no picture of these boxes.

    Args:
        folder: of the images; None: not known.
        image: name of the file, relative to the folder, and its size as annotated.
        side: largest width or height in px; a smaller image keeps its size.
    """
    from PIL import Image

    from c2d.data.decoding.decoder import UnreadableImage, read_image

    if folder is None:
        return _without("the folder of the images is not known")
    path = picture_path(folder, image.name)
    if path is None:
        return _without("its name is no name of a file in the folder of the images")
    try:
        pixels = read_image(path)
    except FileNotFoundError:
        return _without("its file is missing")
    except (UnreadableImage, OSError, ValueError) as error:
        return _without(f"its file cannot be read ({type(error).__name__})")
    height, width = pixels.shape[:2]
    frame = image.width or width, image.height or height
    if abs(width * frame[1] - height * frame[0]) > max(width, height, *frame):
        return _without(f"its file has {width} x {height} px, the annotation file says {frame[0]} x {frame[1]}")
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(base64.b64encode(content.getvalue()).decode("ascii"), *frame, "")


def _without(reason: str) -> Thumbnail:
    return Thumbnail("", 0, 0, reason)

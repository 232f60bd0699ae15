"""What training does to an image file: its size, depth, orientation and content, and a hash of its pixels."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from c2d.data.decoding.decoder import Pixels, UnreadableImage, decode, decode_or_explain, image_bytes
from c2d.data.decoding.decoder_messages import captured_messages, jpeg_message
from c2d.data.decoding.image_format import format_name
from c2d.data.decoding.orientation import Size, same_pixels, upright_pixels, upright_size
from c2d.data.decoding.pillow_header import alpha_varies, header_orientation, header_size

EIGHT_BIT_FORMATS = ("JPEG", "WebP", "GIF", "BMP")
TURNED_FORMATS = ("JPEG", "PNG", "TIFF")
CHUNK = 512
LARGE_PIXELS = 2**24
_one_large_image = threading.Lock()
"""Number of files whose messages are caught together."""


@dataclass(frozen=True)
class ImageFacts:
    """An image file that training can read.

    Attributes:
        form: name of the format.
        size: (width, height) in pixels as training reads it.
        pixels: hash of its pixels as training reads them; as the file has them where training drops bits or content.
        orientation: 1 to 8, of EXIF or XMP; 1 is none.
        turned: training applies the orientation.
        bits: bits of a value in the file: 8, 16, 32 or 64.
        minimum, maximum: smallest and largest value in the file; NaN if it has 8 bits.
        trained_maximum: largest value as training reads it, 0 to 255.
        one_colour: all pixels are equal as training reads them.
        lost: where the file has content that training drops, so that one colour is left: "alpha", "low bits" or "".
        message: what the decoder printed about damage, "" without any.
    """

    form: str
    size: Size
    pixels: str
    orientation: int
    turned: bool
    bits: int
    minimum: float
    maximum: float
    trained_maximum: int
    one_colour: bool
    lost: str
    message: str = ""

    @property
    def other_size(self) -> Size:
        """(width, height) in pixels of the frame that training does not use: stored if it is turned, else upright."""
        return upright_size(self.size, self.orientation)

    @property
    def stored_size(self) -> Size:
        """(width, height) in pixels of the frame as stored."""
        return self.other_size if self.turned else self.size


def _pixel_hash(pixels: NDArray[Any]) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    # The same bytes can be the pixels of images of different shape.
    digest.update(repr((pixels.shape, pixels.dtype.str)).encode())
    return digest.hexdigest()


def _one_value(values: NDArray[Any]) -> bool:
    """Return whether all pixels of (H, W) or (H, W, C) are equal."""
    first = values[0, 0]
    return bool((values[0] == first).all() and (values == first).all())


def _may_have_more_bits(content: bytes, form: str) -> bool:
    if form == "PNG":
        return content[24:25] == b"\x10"  # the bit depth in its header
    return form not in EIGHT_BIT_FORMATS


def _is_turned(content: bytes, form: str, orientation: int, pixels: Pixels) -> bool:
    """Return whether the pixels that training reads have the orientation applied."""
    stored = decode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    # OpenCV turns a TIFF file whatever the flags.
    if form == "TIFF" or stored is None:
        return form in TURNED_FORMATS
    upright = upright_pixels(stored, orientation)
    if same_pixels(stored, upright):  # a symmetric image does not show it
        return form in TURNED_FORMATS
    return same_pixels(pixels, upright)


def image_facts(path: Path, stated: Size | None = None) -> ImageFacts:
    """Decode a file as training does and describe it.

    Large images are decoded one at a time, whatever the number of threads.

    Args:
        path: the file.
        stated: its size in the annotations. A large image of another size is not decoded: a few kB can state any size.

    Raises:
        UnreadableImage: training cannot read it.
        OSError: the file cannot be opened.
    """
    content = image_bytes(path)
    size = header_size(content)
    if size is None or size[0] * size[1] <= LARGE_PIXELS:
        return _facts(content, path)
    if stated is not None and sorted(stated) != sorted(size):
        raise UnreadableImage(
            f"the file has {size[0]} x {size[1]} pixels, the annotations have {stated[0]} x {stated[1]}; boxes "
            "would be wrong"
        )
    with _one_large_image:
        return _facts(content, path)


def _facts(content: bytes, path: Path) -> ImageFacts:
    pixels = decode_or_explain(content, path)
    form = format_name(content, path.suffix) or "unknown format"
    orientation = header_orientation(content)
    turned = orientation != 1 and _is_turned(content, form, orientation, pixels)
    one_colour, hashed = _one_value(pixels), pixels
    bits, minimum, maximum, lost = 8, float("nan"), float("nan"), ""
    if one_colour or _may_have_more_bits(content, form):
        raw = decode(content, cv2.IMREAD_UNCHANGED)
        if raw is not None:
            bits = 8 * raw.dtype.itemsize
            colours = raw if raw.ndim == 2 else raw[..., :3]
            if bits > 8:
                finite = colours if colours.dtype.kind in "iu" else colours[np.isfinite(colours)]
                minimum, maximum = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
            if one_colour and bits > 8 and not _one_value(colours):
                lost = "low bits"
            if bits > 8:
                hashed = raw
    if one_colour and not lost and alpha_varies(content):
        lost, hashed = "alpha", np.frombuffer(content, np.uint8)
    return ImageFacts(
        form=form,
        size=(pixels.shape[1], pixels.shape[0]),
        pixels=_pixel_hash(hashed),
        orientation=orientation,
        turned=turned,
        bits=bits,
        minimum=minimum,
        maximum=maximum,
        trained_maximum=int(pixels.max()),
        one_colour=one_colour,
        lost=lost,
    )


def _facts_or_error(path: Path, stated: Size | None) -> ImageFacts | Exception:
    try:
        return image_facts(path, stated)
    except (UnreadableImage, OSError, ValueError) as error:
        return error
    except cv2.error as error:
        return UnreadableImage(f"OpenCV cannot decode it ({' '.join(str(error).split())[:200]}); get the file again")


def facts_of_images(
    paths: Sequence[Path], workers: int = 8, sizes: Sequence[Size | None] = ()
) -> list[ImageFacts | Exception]:
    """Decode files as training does.

    Args:
        paths: the files.
        workers: number of threads. Decoding releases the GIL.
        sizes: of each file, see `image_facts`; none by default.

    Returns:
        For each file its facts, or the error of reading it.
    """
    found: list[ImageFacts | Exception] = []
    stated = list(sizes) or [None] * len(paths)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for start in range(0, len(paths), CHUNK):
            with captured_messages() as text:
                chunk = list(pool.map(_facts_or_error, paths[start : start + CHUNK], stated[start : start + CHUNK]))
                printed = text()
            if jpeg_message(printed):
                # Which file it was about: decode them one after another.
                for index, facts in enumerate(chunk):
                    if isinstance(facts, ImageFacts) and facts.form == "JPEG":
                        chunk[index] = replace(facts, message=_message_about(paths[start + index]))
            found += chunk
    return found


def _message_about(path: Path) -> str:
    with captured_messages() as text:
        decode(path.read_bytes())
        return jpeg_message(text())

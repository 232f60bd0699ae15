"""Check the image files of a COCO data set: they exist, can be decoded, have the stated size. Hash their pixels."""

from __future__ import annotations

import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from c2d.data.issues import Issue


@dataclass(frozen=True)
class ImageFile:
    """An image of one annotation file.

    Attributes:
        file: the annotation file.
        id: id of the image.
        name: its `file_name`.
        path: resolved path; None if the image was not opened.
        pixels: hash of its decoded pixels; None if it was not decoded.
    """

    file: str
    id: int
    name: str
    path: str | None
    pixels: str | None


def size_and_pixel_hash(path: Path) -> tuple[tuple[int, int], str]:
    """Decode a file completely.

    Returns:
        Its size (width, height) in pixels as training reads it, with the EXIF orientation applied, and a hash of its
        RGB pixels.

    Raises:
        OSError: it cannot be decoded; Pillow raises other types too on broken files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of metadata; a real defect raises
        with Image.open(path) as image:
            image.verify()  # checksums, where the format has them; the file has to be opened again after it
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image).convert("RGB")
    digest = hashlib.blake2b(upright.tobytes(), digest_size=16)
    # The same bytes can be the pixels of images of different shape.
    digest.update(repr(upright.size).encode())
    return upright.size, digest.hexdigest()


def _check_image(file: str, row: dict[str, Any], folder: Path) -> tuple[ImageFile, Issue | None]:
    name, where = row["file_name"], f"image {row['id']} ({row['file_name']})"
    found = ImageFile(file, row["id"], name, None, None)
    try:
        path = folder / name
        found = ImageFile(file, row["id"], name, str(path.resolve()), None)
        if not path.is_file():
            return found, Issue("error", "missing image", file, where, f"no such file in {folder}")
        size, pixels = size_and_pixel_hash(path)
    except Exception as error:  # Pillow's decoders raise many types on broken files (struct.error, SyntaxError, ...)
        reason = str(error) or type(error).__name__
        return found, Issue(
            "error", "unreadable image", file, where, f"cannot be decoded ({reason}); get the file again"
        )
    found = ImageFile(file, row["id"], name, found.path, pixels)
    if size != (row.get("width"), row.get("height")):
        stated = f"{row.get('width')} x {row.get('height')}"
        message = f"the file has {size[0]} x {size[1]} pixels, the annotations have {stated}; boxes would be wrong"
        return found, Issue("error", "image size differs", file, where, message)
    return found, None


def check_images(
    file: str, rows: list[dict[str, Any]], folder: Path | None, issues: list[Issue], workers: int = 8
) -> list[ImageFile]:
    """Open every image of an annotation file.

    Args:
        file: name of the annotation file.
        rows: its list `images`.
        folder: the image folder; None to open nothing and return names alone.
        issues: issues are appended to this list, in the order of the file.
        workers: number of threads. Decoding releases the GIL.
    """
    usable = [
        row
        for row in rows
        if isinstance(row.get("id"), int) and isinstance(row.get("file_name"), str) and row["file_name"]
    ]
    if folder is None:
        return [ImageFile(file, row["id"], row["file_name"], None, None) for row in usable]
    if not folder.is_dir():
        issues.append(
            Issue("error", "missing folder", file, "", f"no folder {folder}; give the image folder with --images")
        )
        return []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        checked = list(pool.map(lambda row: _check_image(file, row, folder), usable))
    issues += [issue for _, issue in checked if issue is not None]
    return [found for found, _ in checked]

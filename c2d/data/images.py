"""The image files of a COCO data set, opened once: are they there, whole, of the stated size; a hash of pixels."""

from __future__ import annotations

import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from c2d.data.issues import Problem


@dataclass(frozen=True)
class FoundImage:
    """An image of one annotation file: resolved path and hash of its decoded pixels, None where not looked at."""

    file: str  # the annotation file
    id: int
    name: str
    path: str | None
    pixels: str | None


def read_pixels(path: Path) -> tuple[tuple[int, int], str]:
    """Decode a file to the end: its size (w, h) as training reads it (EXIF turn applied) and a hash of its RGB pixels.

    Raises OSError (or what Pillow raises on a broken file) when it cannot be decoded completely.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of metadata; a real defect raises
        with Image.open(path) as image:
            image.verify()  # checksums, where the format has them; the file has to be opened anew afterwards
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image).convert("RGB")
    digest = hashlib.blake2b(upright.tobytes(), digest_size=16)
    digest.update(repr(upright.size).encode())
    return upright.size, digest.hexdigest()


def _look(file: str, row: dict[str, Any], folder: Path) -> tuple[FoundImage, Problem | None]:
    name, where = row["file_name"], f"image {row['id']} ({row['file_name']})"
    found = FoundImage(file, row["id"], name, None, None)
    try:
        path = folder / name
        found = FoundImage(file, row["id"], name, str(path.resolve()), None)
        if not path.is_file():
            return found, Problem("error", "missing image", file, where, f"no such file in {folder}")
        size, pixels = read_pixels(path)
    except Exception as error:  # Pillow's decoders raise many types on broken files (struct.error, SyntaxError, ...)
        reason = str(error) or type(error).__name__
        return found, Problem(
            "error", "unreadable image", file, where, f"cannot be decoded ({reason}); get the file again"
        )
    found = FoundImage(file, row["id"], name, found.path, pixels)
    if size != (row.get("width"), row.get("height")):
        stated = f"{row.get('width')} x {row.get('height')}"
        message = f"the file has {size[0]} x {size[1]} pixels, the annotations say {stated}; boxes would be wrong"
        return found, Problem("error", "image size differs", file, where, message)
    return found, None


def check_images(
    file: str, rows: list[dict[str, Any]], folder: Path | None, into: list[Problem], workers: int = 8
) -> list[FoundImage]:
    """Open every image that the annotation file `file` lists below `folder`; defects go to `into`, in the file's order.

    folder None: nothing is opened and only names are returned. Decoding releases the GIL, so threads share the work.
    """
    usable = [
        row
        for row in rows
        if isinstance(row.get("id"), int) and isinstance(row.get("file_name"), str) and row["file_name"]
    ]
    if folder is None:
        return [FoundImage(file, row["id"], row["file_name"], None, None) for row in usable]
    if not folder.is_dir():
        into.append(
            Problem("error", "missing folder", file, "", f"no folder {folder}; give the image folder with --images")
        )
        return []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        looked = list(pool.map(lambda row: _look(file, row, folder), usable))
    into += [problem for _, problem in looked if problem is not None]
    return [found for found, _ in looked]

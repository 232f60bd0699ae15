"""Write 8-bit copies of images that have more bits, with one stated range for all of them."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from c2d.core.disk import make_draft_folder
from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.core.run_state import remove_abandoned
from c2d.data.decoding.decoder import Pixels, decode
from c2d.data.decoding.orientation import same_pixels
from c2d.data.decoding.scaling_record import SCALING_FILE, Scaling


def to_8bit(values: NDArray[Any], minimum: float, maximum: float) -> Pixels:
    """Return round(255 (v - minimum) / (maximum - minimum)), clipped to 0 and 255; NaN becomes 0."""
    scaled = 255 * ((values.astype(np.float64) - minimum) / (maximum - minimum))
    return np.clip(np.rint(np.nan_to_num(scaled, nan=0.0)), 0, 255).astype(np.uint8)


def write_8bit_copies(source: Path, out: Path, minimum: float, maximum: float) -> Scaling:
    """Write copies of all images of a folder under the same names, upright and without alpha where they are scaled.

    Args:
        source: folder of images, with its subfolders.
        out: new folder.
        minimum: value that becomes 0.
        maximum: value that becomes 255.

    Raises:
        InputError: no such folder, no image in it, `out` is used, or the range is empty. Nothing is written.
    """
    if not source.is_dir():
        raise InputError(f"no folder {source}; give the folder of the images")
    if not (math.isfinite(minimum) and math.isfinite(maximum) and minimum < maximum):
        raise InputError(f"--min {minimum:g} --max {maximum:g}: wanted two numbers, the smaller one first")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists; give a new or empty folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{out} is inside {source}; give a folder outside it")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(out.absolute())
    work = make_draft_folder(out.absolute())
    try:
        done = Scaling(str(source.resolve()), minimum, maximum)
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            _copy(path, path.relative_to(source), work, done)
        if not done.scaled:
            raise InputError(f"{source} has no image with more than 8 bits ({done.copied} images with 8 bits)")
        atomic_write_json(work / SCALING_FILE, asdict(done))
        os.replace(work, out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return done


def _copy(path: Path, name: Path, out: Path, done: Scaling) -> None:
    content = path.read_bytes()
    # Depth as in the file; upright and without alpha, as training reads it.
    values = _decoded(content)
    if values is None or not np.isfinite(values).any():
        done.skipped.append(name.as_posix())
        return
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    if values.dtype == np.uint8:
        shutil.copyfile(path, out / name)
        done.copied += 1
        return
    low, high = (float(np.nan_to_num(end)) for end in (np.nanmin(values), np.nanmax(values)))  # JSON has no infinity
    if low < done.minimum or high > done.maximum:
        done.clipped[name.as_posix()] = [low, high]
    (out / name).write_bytes(_encoded(to_8bit(values, done.minimum, done.maximum), path))
    done.scaled += 1


def _encoded(pixels: Pixels, path: Path) -> bytes:
    """Return the pixels in the format of the suffix of `path`, from which training reads them again without loss."""
    try:
        written, content = cv2.imencode(path.suffix.lower(), pixels)
        again = _decoded(content.tobytes()) if written else None
    except cv2.error:
        again = None
    if again is None or again.dtype != np.uint8 or not same_pixels(again, pixels):
        raise InputError(
            f"{path}: {path.suffix} cannot hold 8 bits without loss; convert the images to PNG or TIFF first"
        )
    return content.tobytes()


def _decoded(content: bytes) -> NDArray[Any] | None:
    try:
        values = decode(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
        if values is None:  # float TIFF, which is read with this flag alone
            values = decode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return values[..., :3] if values is not None and values.ndim == 3 else values

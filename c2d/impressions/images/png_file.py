"""Write the images of a synthesis: PNG, so that no pixel changes in the file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from c2d.core.run_folder import atomic_write_bytes

COMPRESSION = 1
"""Of zlib: the fastest, a tenth larger than the best."""


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a PNG file; a reader sees no part of it, and equal pixels give equal bytes.

    Args:
        path: of the file.
        pixels: (height, width, 3) uint8 RGB.

    Raises:
        DiskError: the system refuses, e.g. the disk is full.
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=COMPRESSION)
    atomic_write_bytes(path, content.getvalue())

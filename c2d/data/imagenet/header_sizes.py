"""Sizes of many image files from their headers, in processes, with progress.

The size is that of the image as training reads it. Only a file with an orientation is decoded for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from c2d.core.process.usable_cores import usable_cores
from c2d.data.decoding.decoder import UnreadableImage
from c2d.data.decoding.image_facts import image_facts
from c2d.data.decoding.pillow_header import header_orientation, header_size

Size = tuple[int, int]
HEAD_BYTES = 2**16
"""Bytes that are read at first; a header that is longer, such as one with a large preview, is read whole."""
CHUNK = 512
PROGRESS_S = 10.0


def header_sizes(
    folder: Path, names: Sequence[str], workers: int, print_line: Callable[[str], None]
) -> list[Size | str]:
    """Return (width, height) in px of each image, or why it cannot be read.

    Args:
        folder: of the images.
        names: relative to the folder.
        workers: processes; 1: this one alone.
        print_line: called with the progress every ten seconds.
    """
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    read = partial(_sizes, folder)
    found: list[Size | str] = []
    begun = reported = time.monotonic()
    alone = workers < 2 or len(chunks) < 2
    pool = None if alone else ProcessPoolExecutor(max_workers=min(workers, len(chunks)))
    parts: Iterable[list[Size | str]] = map(read, chunks) if pool is None else pool.map(read, chunks)
    try:
        for part in parts:
            found += part
            now = time.monotonic()
            if now - reported >= PROGRESS_S:
                reported, rate = now, len(found) / (now - begun)
                left = (len(names) - len(found)) / rate
                print_line(
                    f"{folder.name}: {len(found):,} of {len(names):,} headers, {rate:,.0f} a second, {left:,.0f} s left"
                )
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return found


def available_processes() -> int:
    """Return the number of processes for this machine: its cores, at most 16."""
    return min(usable_cores(), 16)


def _sizes(folder: Path, names: Sequence[str]) -> list[Size | str]:
    return [_size(folder / name) for name in names]


def _size(path: Path) -> Size | str:
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            size = header_size(head)
            if size is None:
                head += stream.read()
                size = header_size(head)
        if size is None or header_orientation(head) != 1:
            return image_facts(path).size
    except (UnreadableImage, OSError, ValueError) as error:
        return str(error)
    return size

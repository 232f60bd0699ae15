"""Drawn figures beside the warm cache of `analysis.loading.cache`, so that a later report draws only what changed.

A figure follows from its data, its spec and the code. The key is the digest of all three, so an entry is never out of
date: other numbers, another label or another version make another key. The folder may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import c2d
from analysis.loading.cache import cache_folder, is_inside
from analysis.loading.draft_files import DRAFT_PREFIX, remove_old_drafts
from analysis.spec.report_item import FigureSpec
from c2d.core.disk import open_draft

MOST_BYTES = 200_000_000
"""Of all entries; the oldest go first."""
SUFFIXES = (".pdf", ".svg")
PACKAGES = ("matplotlib", "fonttools", "numpy", "pandas")
NOT_KEPT = ("detections",)
"""Kinds that show files beside their data: the pixels of images."""


class FigureCache:
    """The drawn figures of all stores.

    Attributes:
        folder: of the entries; None where nothing is kept.
    """

    def __init__(self, cache: Path | None, store: Path) -> None:
        """Name the folder.

        Args:
            cache: folder of the warm cache; None for the usual one.
            store: the store, in which nothing is ever written.
        """
        place = cache_folder(cache)
        self.folder = None if place is None or is_inside(place, store) else place / "figures"

    def files(self, spec: FigureSpec, csv: bytes, draw: Callable[[], dict[str, bytes]]) -> dict[str, bytes]:
        """Return the files of a figure: those that were kept, else those of `draw`, which are kept then.

        Args:
            spec: of the figure.
            csv: its data.
            draw: returns {".pdf": ..., ".svg": ..., ".csv": ...}.
        """
        if self.folder is None or spec.kind in NOT_KEPT:
            return draw()
        key = hashlib.sha256(b"\0".join([_code().encode(), spec.model_dump_json().encode(), csv])).hexdigest()
        path = self.folder / f"{key}.figure"
        kept = _read(path)
        if kept is not None:
            return {**kept, ".csv": csv}
        made = draw()
        _write(path, made)
        return made

    def trim(self) -> None:
        """Remove the oldest entries beyond `MOST_BYTES`, and drafts of killed reports; no error is raised."""
        if self.folder:
            remove_old_drafts(self.folder)
        try:
            entries = [(path.stat(), path) for path in self.folder.glob("*.figure")] if self.folder else []
            total = sum(state.st_size for state, _ in entries)
            for state, path in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
                if total <= MOST_BYTES:
                    break
                path.unlink(missing_ok=True)
                total -= state.st_size
        except OSError:
            return


@functools.cache
def _code() -> str:
    """Digest of the code that draws and of the packages it uses."""
    digest = hashlib.sha256(json.dumps([c2d.__version__, *map(version, PACKAGES)]).encode())
    root = Path(__file__).parents[2]
    for folder in ("analysis", "c2d/core", "c2d/markup", "c2d/metrics"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, bytes] | None:
    """The files of an entry; None where there is none that is whole."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != head:
            return None
        os.utime(path)  # used now: it is removed last
        sizes, _, joined = zlib.decompress(body).partition(b"\n")
        length = int(sizes)
        return dict(zip(SUFFIXES, (joined[:length], joined[length:]), strict=True))
    except (OSError, ValueError, zlib.error):
        return None


def _write(path: Path, files: dict[str, bytes]) -> None:
    """Write an entry as a whole or not at all."""
    first, second = (files[suffix] for suffix in SUFFIXES)
    body = zlib.compress(b"%d\n" % len(first) + first + second, 1)
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = open_draft(path, DRAFT_PREFIX)
        with os.fdopen(handle, "wb") as stream:
            stream.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        os.replace(draft, path)
    except OSError:
        if draft is not None:
            draft.unlink(missing_ok=True)

"""An archive file in the place of a store: it is unpacked once, into a folder of the cache that its sha256 names."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from c2d.core.archives.archive_file import is_archive_path
from c2d.core.archives.archive_index import INDEX_FILE, parse_index
from c2d.core.archives.unpack_archive import unpack_archive
from c2d.core.disk import disk_error, make_draft_folder
from c2d.core.errors import InputError
from c2d.core.regular_file import FormatError, error_text
from c2d.core.run_state import remove_abandoned

UNUSED_S = 30 * 86_400.0
"""Age after which an unpacked archive that nobody read is removed."""
OTHER_CACHE = "name another cache with C2D_CACHE"


def unpacked_store(path: Path, cache: Path | None) -> Path:
    """Return the folder of a store: `path` itself, or for an archive file the folder where it is unpacked.

    Args:
        path: a store, an exported folder, or an archive file.
        cache: folder of all caches; None: unpacked for this process alone.

    Raises:
        InputError: it is a file and no archive, or is damaged.
        DiskError: the cache cannot be written, or is full.
    """
    if not path.is_file():
        return path
    if not is_archive_path(path):
        raise InputError(f"{path} is a file; give a store, an exported folder, or an archive NAME.tar.xz")
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error_text(error)}; check its permissions") from None
    if cache is None:
        folder = Path(tempfile.mkdtemp(prefix="c2d-archive-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        unpack_archive(path, folder)
        return folder
    place = cache / "archives" / digest
    try:
        if not _is_complete(place):
            _unpack_to(path, place)
        os.utime(place)  # used now
        _remove_unused(place.parent)
    except OSError as error:
        raise disk_error(place, error, OTHER_CACHE) from error
    return place


def _is_complete(place: Path) -> bool:
    """Return whether all files are there with their sizes; a program that cleans caches may have removed some."""
    try:
        index = parse_index((place / INDEX_FILE).read_bytes())
        return all((place / name).stat().st_size == entry.bytes for name, entry in index.files.items())
    except (OSError, FormatError):
        return False


def _unpack_to(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(place)
    work = make_draft_folder(place)
    try:
        unpack_archive(path, work)
        shutil.rmtree(place, ignore_errors=True)
        try:
            os.rename(work, place)
        except OSError:
            if not _is_complete(place):  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_unused(folder: Path) -> None:
    for other in folder.iterdir():
        with suppress(OSError):
            if time.time() - other.stat().st_mtime > UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)

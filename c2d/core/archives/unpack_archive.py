"""Unpack an archive file that is not trusted: every member is one that ARCHIVE.json lists, with its size and sha256.

Headers are read here and not by `tarfile`, which would interpret links, devices, sparse files and headers of any length
before it returns one: here a member is a regular file of the old, fixed form, or the archive is refused.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from c2d.core.archives.archive_file import MAX_UNPACKED_BYTES
from c2d.core.archives.archive_index import (
    INDEX_FILE,
    PART_BYTES,
    README_FILE,
    ArchiveIndex,
    FileEntry,
    is_archive_name,
    parse_index,
)
from c2d.core.disk import DiskError, free_text
from c2d.core.errors import InputError
from c2d.core.json_values import MAX_BYTES
from c2d.core.regular_file import FormatError, error_text, printable

MAX_MEMORY_BYTES = 2**28
"""Of decompression; a header can ask for gigabytes."""
MAX_README_BYTES = 2**16


def unpack_archive(path: Path, folder: Path) -> ArchiveIndex:
    """Unpack an archive file; every file has the size and sha256 of ARCHIVE.json.

    Args:
        path: the archive file.
        folder: an empty folder; after an error it holds a part of the archive.

    Returns:
        The content of ARCHIVE.json.

    Raises:
        InputError: it cannot be read, is damaged, or not what an export writes.
        DiskError: there is not enough space.
        OSError: the folder cannot be written.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error_text(error)}; check the name and its permissions") from None
    with stream:
        try:
            return _unpack(_Content(stream), folder)
        except (FormatError, lzma.LZMAError) as error:
            raise InputError(
                f"{path} is refused: {error_text(error)}; nothing of it was used: get the archive again, or export "
                "the runs again"
            ) from None


class _Content:
    """The decompressed content of a file, read in order and up to a limit."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw, self.left = raw, MAX_UNPACKED_BYTES
        self.decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY_BYTES)

    def parts(self, count: int) -> Iterator[bytes]:
        """Yield exactly `count` bytes, in parts.

        Raises:
            FormatError: the content ends before, or is larger than an archive may be.
            lzma.LZMAError: it is damaged.
        """
        self.left -= count
        if self.left < 0:
            raise FormatError(f"it holds more than {MAX_UNPACKED_BYTES // 2**30} GiB")
        while count:
            part = self._some(min(count, PART_BYTES))
            if not part:
                raise FormatError("it ends early")
            count -= len(part)
            yield part

    def read(self, count: int) -> bytes:
        """Return exactly `count` bytes; raises as `parts`."""
        return b"".join(self.parts(count))

    def check_end(self) -> None:
        """Check that nothing but the zeros follows which fill the last record of a tar archive.

        Raises:
            FormatError: something else follows, or the end of the compressed data is missing.
        """
        rest = 0
        while part := self._some(tarfile.RECORDSIZE):
            rest += len(part)
            if part.strip(b"\0") or rest > tarfile.RECORDSIZE:
                raise FormatError("something follows its last file")
        if not self.decoder.eof:
            raise FormatError("it ends early")
        if self.decoder.unused_data or self.raw.read(1):
            raise FormatError("something follows its end")

    def _some(self, most: int) -> bytes:
        """Return some bytes, at most `most`; none at the end."""
        while not self.decoder.eof:
            raw = self.raw.read(PART_BYTES) if self.decoder.needs_input else b""
            if self.decoder.needs_input and not raw:
                return b""
            if part := self.decoder.decompress(raw, most):
                return part
        return b""


def _unpack(content: _Content, folder: Path) -> ArchiveIndex:
    first = _next_member(content)
    if first is None or first[0] != INDEX_FILE:
        raise FormatError(f"its first file is not {INDEX_FILE}, so no export wrote it")
    if first[1] > MAX_BYTES:
        raise FormatError(f"{INDEX_FILE} has {first[1]} bytes")
    raw = content.read(first[1])
    _skip_padding(content, first[1])
    index = _checked_index(raw)
    _check_space(folder, index)
    (folder / INDEX_FILE).write_bytes(raw)
    seen = set()
    while (member := _next_member(content)) is not None:
        name, size = member
        if name in seen:
            raise FormatError(f"{name} is there twice")
        seen.add(name)
        _write(content, folder, name, size, index)
        _skip_padding(content, size)
    content.check_end()
    if missing := sorted({*index.files} - seen):
        raise FormatError(f"{missing[0]} is missing")
    return index


def _checked_index(raw: bytes) -> ArchiveIndex:
    """Return the index, all of whose names are those of runs and of what they share.

    Raises:
        FormatError: it is damaged, has another name, or one that is a file and a folder.
    """
    try:
        index = parse_index(raw)
    except FormatError as error:
        raise FormatError(f"{INDEX_FILE}: {error}") from None
    for name in index.files:
        if not is_archive_name(name):
            raise FormatError(f"{name[:200]} is no file that an export writes")
        if any(str(parent) in index.files for parent in Path(name).parents):
            raise FormatError(f"{name[:200]} is inside another file")
    return index


def _check_space(folder: Path, index: ArchiveIndex) -> None:
    size = sum(entry.bytes for entry in index.files.values())
    if size > MAX_UNPACKED_BYTES:
        raise FormatError(f"it holds more than {MAX_UNPACKED_BYTES // 2**30} GiB")
    if size > shutil.disk_usage(folder).free:
        raise DiskError(
            f"the archive needs {size / 2**20:.0f} MiB unpacked{free_text(folder)}; free some space there, then call "
            "the same command again",
            True,
        )


def _next_member(content: _Content) -> tuple[str, int] | None:
    """Return (name, bytes) of the next member; None at the end of the archive.

    Raises:
        FormatError: its header is damaged, or it is no regular file.
    """
    header = content.read(tarfile.BLOCKSIZE)
    if not header.strip(b"\0"):
        return None
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError):
        raise FormatError("the header of a file in it is damaged") from None
    name = printable(info.name)[:200]
    if info.type != tarfile.REGTYPE or info.size < 0:
        raise FormatError(f"{name} is a link, a device or another thing than a file")
    return info.name, info.size


def _write(content: _Content, folder: Path, name: str, size: int, index: ArchiveIndex) -> None:
    """Write one member.

    Raises:
        FormatError: ARCHIVE.json does not list it, or lists another size or sha256.
    """
    entry = index.files.get(name)
    if name == README_FILE and size <= MAX_README_BYTES:
        entry = FileEntry(size, "")
    if entry is None:
        raise FormatError(f"{printable(name)[:200]} is not listed in {INDEX_FILE}")
    if size != entry.bytes:
        raise FormatError(f"{name} has {size} bytes, {INDEX_FILE} lists {entry.bytes}")
    path, digest = folder / name, hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        for part in content.parts(size):
            digest.update(part)
            target.write(part)
    if entry.sha256 != digest.hexdigest() and name != README_FILE:
        raise FormatError(f"{name} is not the file that was exported (sha256 differs)")


def _skip_padding(content: _Content, size: int) -> None:
    if content.read(-size % tarfile.BLOCKSIZE).strip(b"\0"):
        raise FormatError("something lies between two files of it")

"""Unpack the wanted members of a zip or tar archive: nothing outside the folder, no links, no devices.

All names are checked before the first byte is written. A member whose file is there with the same size is left out, so
that a call continues what an earlier one began.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from c2d.core.archives.member_names import is_inside_name
from c2d.core.disk import DiskError
from c2d.core.download.remote_file import PrintLine, size_text
from c2d.core.errors import RunError, first_line, unknown_name

CHUNK = 2**20
# No link is followed that lies in the place of a file.
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
LINES_EVERY = 20_000
"""Files between two lines about progress."""


class Member(NamedTuple):
    """A regular file in an archive.

    Attributes:
        name: with slashes, relative.
        size: bytes.
        open: returns a stream of its content.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]


class Unpacked(NamedTuple):
    """What is in the folder after unpacking.

    Attributes:
        files: number of wanted members.
        size: of them, in bytes.
        written: files that were not there before.
    """

    files: int
    size: int
    written: int


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...], print_line: PrintLine) -> Unpacked:
    """Unpack members of an archive into a folder.

    Args:
        archive: a .zip or .tar file.
        folder: it exists.
        wanted: names of files, and beginnings of names that end with a slash; each has to be there.
        print_line: called with lines about progress.

    Raises:
        RunError: the archive is damaged, has a member that may not be unpacked, or lacks a wanted one.
        DiskError: there is not enough space.
        OSError: the folder cannot be written.
    """
    with _reading(archive), _members(archive) as members:
        chosen = [member for member in members if _is_wanted(member.name, wanted)]
        _check(archive, chosen, wanted)
        missing = [member for member in chosen if not _is_there(folder / member.name, member.size)]
        _check_space(folder, archive, sum(member.size for member in missing))
        for done, member in enumerate(missing, start=1):
            _write(member, folder / member.name)
            if done % LINES_EVERY == 0:
                print_line(f"{archive.name}: {done:,} of {len(missing):,} files unpacked")
    return Unpacked(len(chosen), sum(member.size for member in chosen), len(missing))


def _is_wanted(name: str, wanted: tuple[str, ...]) -> bool:
    return any(name == one or (one.endswith("/") and name.startswith(one)) for one in wanted)


DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, IndexError, KeyError, OverflowError),
)
"""What `zipfile` and `tarfile` raise on a damaged archive (found by fuzzing); OSErrors of reading become EOFErrors."""


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn the errors of a damaged archive into one line."""
    try:
        yield
    except DAMAGED as error:
        raise RunError(
            f"{archive} is damaged ({first_line(error)}); remove it, and call the same command again", "data"
        ) from None


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """Yield the files of an archive, which stays open in the body.

    Raises:
        RunError: a member is no regular file and no folder, or its name leads elsewhere.
    """
    with ExitStack() as stack:
        try:
            members = _listed(archive, stack)
        except OSError as error:
            raise EOFError(first_line(error)) from None
        yield members


def _listed(archive: Path, stack: ExitStack) -> list[Member]:
    if archive.suffix == ".zip":
        opened = stack.enter_context(zipfile.ZipFile(archive))
        return [_zip_member(archive, opened, info) for info in opened.infolist() if not info.is_dir()]
    if archive.suffix == ".tar":
        tar = stack.enter_context(tarfile.TarFile(archive))
        return [_tar_member(archive, tar, info) for info in tar if not info.isdir()]
    raise unknown_name("kind of archive", archive.name, (".zip", ".tar"))


def _zip_member(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on a Unix system
    if kind not in (0, stat.S_IFREG):
        raise _refused(archive, info.filename, "it is a link or a device")
    if info.flag_bits & 1:
        raise _refused(archive, info.filename, "it has a password")
    return Member(_checked_name(archive, info.filename), info.file_size, lambda: opened.open(info))


def _tar_member(archive: Path, opened: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    if not info.isreg():
        raise _refused(archive, info.name, "it is a link or a device")

    def stream() -> IO[bytes]:
        found = opened.extractfile(info)
        assert found is not None
        return found

    return Member(_checked_name(archive, info.name), info.size, stream)


def _checked_name(archive: Path, name: str) -> str:
    clean = name.removeprefix("./")
    if not is_inside_name(clean):
        raise _refused(archive, name, "its name leads out of the folder")
    return clean


def _refused(archive: Path, name: str, reason: str) -> RunError:
    return RunError(
        f"{archive} has a member {name[:200]!a} that is not unpacked: {reason}; nothing of the archive was unpacked; "
        "get it from its publisher",
        "data",
    )


def _check(archive: Path, chosen: list[Member], wanted: tuple[str, ...]) -> None:
    names = [member.name for member in chosen]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise _refused(archive, twice, "it is there twice")
    missing = [one for one in wanted if not any(_is_wanted(name, (one,)) for name in names)]
    if missing:
        raise RunError(f"{archive} has no {missing[0]}; it is another archive: get it from its publisher", "data")


def _is_there(path: Path, size: int) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def _check_space(folder: Path, archive: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DiskError(
            f"{folder} has {size_text(free)} free, and {archive.name} needs {size_text(size)} unpacked; free some "
            "space there, or move the folder (--out), then call the same command again",
            True,
        )


def _write(member: Member, path: Path) -> None:
    """Write one file. What was killed in between is shorter than the member, and is written again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, WRITE_FLAGS, 0o666)
    with os.fdopen(number, "wb") as target:
        for chunk in _chunks(member):
            target.write(chunk)
    if path.stat().st_size != member.size:
        raise EOFError(f"{member.name} ends early")


def _chunks(member: Member) -> Iterator[bytes]:
    try:
        with member.open() as source:
            while chunk := source.read(CHUNK):
                yield chunk
    except OSError as error:
        raise EOFError(f"{member.name}: {first_line(error)}") from None

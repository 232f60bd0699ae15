"""Read regular files: their state and bytes, and short printable texts for what went wrong. Nothing here writes.

A reader of a store meets files that other programs wrote, so a named pipe, a folder or a broken link under the name of
a file is reported, never opened.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

# A pipe does not block the open; Windows has no pipes as files, and would translate the ends of lines.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
LOG_TAIL_BYTES = 65536
NOT_REGULAR = "is not a regular file; remove it"
FileState = tuple[int, int, int, int]
"""(size in bytes, mtime in ns, ctime in ns, inode). If all four are the same, the content is the same: ctime reveals a
file that was changed and then given its old mtime back."""


@dataclass(frozen=True)
class Problem:
    """A file or folder of the store that cannot be used; the rest of the store was read.

    Attributes:
        path: the file or folder.
        message: what is wrong with it; a clause that follows the path.
    """

    path: Path
    message: str


class FormatError(ValueError):
    """A file or a value of another form than expected. The message is a clause that follows the name of the file."""


class MissingFile(FormatError):
    """There is no such file."""


def file_state(path: Path) -> FileState | Problem | None:
    """Return the state of a regular file.

    Args:
        path: the file; a named pipe is not opened, because that would block.

    Returns:
        None if there is no such file; a Problem if something other than a file has its name.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    # ValueError: a null byte in the path.
    except (OSError, ValueError) as error:
        return Problem(path, f"cannot be read: {error_text(error)}")
    if not stat.S_ISREG(found.st_mode):
        return Problem(path, NOT_REGULAR)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def is_file(path: Path) -> bool:
    """Return whether there is such a file; False for a name that no file can have (300 letters, a NUL byte)."""
    return isinstance(file_state(path), tuple)


def read_bytes(path: Path, last: int | None = None, most: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        last: read only this many bytes at its end.
        most: refuse a larger file; a sparse file of 2 GB takes no disk, but all of it would be read into memory.

    Raises:
        OSError: the system refuses.
        MissingFile: there is no such file.
        FormatError: not a regular file, or too large.
    """
    # One call of the system before the read, not two: a store may be on a network file system.
    try:
        handle = os.open(path, READ_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile("is missing") from None
    except ValueError as error:  # a null byte in the path
        raise FormatError(f"cannot be read: {error_text(error)}") from None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise FormatError(NOT_REGULAR) from None
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise FormatError(NOT_REGULAR)
        if most is not None and found.st_size > most:
            raise FormatError(f"has {found.st_size} bytes, more than the {most} that such a file can have")
        with open(handle, "rb", closefd=False) as stream:
            if last is not None and found.st_size > last:
                stream.seek(-last, os.SEEK_END)
                return stream.read(last)
            return stream.read()
    finally:
        os.close(handle)


def read_log_tail(path: Path, lines: int = 200) -> list[str]:
    """Return the last lines of a log, of at most its last 64 KiB; [] if it is not a regular file.

    Of the line of a progress bar, the part after its last carriage return is returned, as a terminal shows it.
    """
    try:
        text = read_bytes(path, LOG_TAIL_BYTES).decode(errors="replace")
    except (OSError, FormatError):
        return []
    return [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")[-lines:]]


def printable(text: str) -> str:
    """Return `text` as one line that can be shown and written everywhere.

    Terminal codes and marks that turn the direction of the text around are removed, control characters become blanks,
    lone surrogates become question marks.
    """
    if text.isprintable():
        return text
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    text = re.sub("[\u202a-\u202e\u2066-\u2069]", "", text.encode("utf-8", "replace").decode())
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())


def error_text(error: BaseException) -> str:
    """Return the message of an error in one line of at most 200 characters, without the path of an OSError."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text)[:200] or type(error).__name__

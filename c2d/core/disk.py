"""Files under temporary names with the mode that umask gives, and the errors of a disk that cannot be written.

`tempfile` makes files of mode 0600 and folders of 0700: colleagues in the group of a store could not read them. A
temporary name tells its writer, so that cleaners recognise exactly what a killed process left
(`c2d.core.run_state.is_abandoned`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from c2d.core.errors import InputError, RunError

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
DISK_ERRORS: Final = (
    *FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EFBIG,
)  # fmt: skip
"""Numbers of an OSError that are about a file system, not about the code that called it."""


LONGEST_NAME = 200
"""Bytes of a file's name in its temporary name; file systems allow 255 for both together."""
TEMPORARY_NAME = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{6})-(?P<pid>\d{1,10})-[0-9a-f]{8}\.tmp", re.DOTALL)
EARLIER_NAME = re.compile(
    r"\.(?P<name>(iter_\d+|[a-z_]+)\.(json|jsonl|json\.gz|py|pth))\.[a-z0-9_]{8}"  # a file of a run
    r"|(?P<weights>[0-9a-f]{64})\.\d+\.partial"  # weights of the store
)


@dataclass(frozen=True)
class Unfinished:
    """What a temporary name tells.

    Attributes:
        name: the final name; its beginning where it is long.
        host: digest of the writer's host; "" in names of earlier versions.
        pid: of the writer; 0 in names of earlier versions.
    """

    name: str
    host: str
    pid: int


class DiskError(RunError):
    """A file or folder could not be written.

    Attributes:
        is_full: the disk or the quota is used up.
    """

    def __init__(self, message: str, is_full: bool) -> None:
        super().__init__(message, "disk")
        self.is_full = is_full


def check_output(path: Path) -> None:
    """Check, before any work, that a file of this name can be written or replaced.

    Raises:
        InputError: it is a folder, a device or a pipe, or a file lies in the place of a folder above it.
    """
    above = next((parent for parent in path.parents if os.path.lexists(parent)), path)
    if path.is_dir() or not path.name:
        raise InputError(f"{path} is a folder; give the name of a file in it")
    if os.path.lexists(path) and not path.is_file() and not path.is_symlink():
        raise InputError(f"{path} is a device or a pipe; give the name of a file")
    if not above.is_dir():
        raise InputError(f"{path} cannot be written: {above} is no folder; give another name")


def check_no_device(path: Path) -> None:
    """Check that a rename to this name would replace no device; root could.

    Raises:
        OSError: it would.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = os.lstat(path).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise OSError(errno.EEXIST, "it is a device", str(path))


def open_draft(path: Path, prefix: str | None = None, mode: int = 0o666) -> tuple[int, Path]:
    """Create a new file beside `path` and return its descriptor and name.

    Beside it, because a rename is atomic within one file system only. Mode and group follow from umask and folder.

    Args:
        path: the file that the draft will replace.
        prefix: of the draft's name, before eight characters; None: the name of `temporary_path`.
        mode: permissions that umask then reduces; 0o600 for a file with a secret.

    Raises:
        OSError: the system refuses.
    """
    draft = temporary_path(path) if prefix is None else path.with_name(prefix + secrets.token_hex(4))
    return os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode), draft


def make_draft_folder(path: Path) -> Path:
    """Create a new folder beside `path`, named and with a mode as in `open_draft`.

    Raises:
        OSError: the system refuses.
    """
    draft = temporary_path(path)
    draft.mkdir()
    return draft


def temporary_path(path: Path) -> Path:
    """Return a new name beside `path`: `.NAME.HOST-PID-` and eight characters, `.tmp`."""
    name = path.name.encode()[:LONGEST_NAME].decode(errors="ignore")
    return path.with_name(f".{name}.{host_digest()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def unfinished(name: str) -> Unfinished | None:
    """Return what the name of a file or folder tells, if `temporary_path` made it, or an earlier version did.

    >>> unfinished(".status.json.0a1b2c-77-00112233.tmp")
    Unfinished(name='status.json', host='0a1b2c', pid=77)
    >>> unfinished(".iter_00000007.pth.x_3kq9ab"), unfinished(".notes.markdown"), unfinished("status.json")
    (Unfinished(name='iter_00000007.pth', host='', pid=0), None, None)
    """
    if found := TEMPORARY_NAME.fullmatch(name):
        return Unfinished(found["name"], found["host"], int(found["pid"]))
    if found := EARLIER_NAME.fullmatch(name):
        return Unfinished(found["name"] or found["weights"], "", 0)
    return None


def host_digest() -> str:
    """Return six hex digits for this host; a name can be too long, and have characters that no file name may have."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def disk_error(path: Path, error: OSError, move: str = "give another folder with --runs") -> DiskError:
    """Build the error for a failed write: the path, the reason, how much is free, and how to continue.

    Args:
        path: what was written.
        error: of the system.
        move: how a person chooses another place.
    """
    if error.errno == errno.EDQUOT:
        fix = "remove files of yours there (`c2d sweep gc` lists old ones) or have the quota raised"
    elif error.errno == errno.ENOSPC:
        fix = "free some space there (`c2d sweep gc` lists old files)"
    elif error.errno == errno.EROFS:
        fix = "have the file system mounted writable"
    elif error.errno in (errno.EACCES, errno.EPERM):
        fix = "change the permissions of its folder"
    else:
        fix = "check the file system"
    return DiskError(
        f"cannot write {path}: {error.strerror or error}{free_text(path) if error.errno in FULL else ''}; {fix}, or "
        f"{move}, then call the same command again",
        error.errno in FULL,
    )


def as_disk_error(error: Exception) -> Exception:
    """Return the DiskError for an OSError about a file system; any other error unchanged."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return disk_error(Path(os.fsdecode(error.filename or tempfile.gettempdir())), error)
    return error


def free_text(path: Path) -> str:
    """Return " (0.0 of 512.0 MiB free in FOLDER)"; "" where the system does not tell."""
    folder = path.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
        entries = os.statvfs(folder) if hasattr(os, "statvfs") else None  # not on Windows
    except OSError:
        return ""
    no_entry = ", no entry for another file" if entries and entries.f_files and not entries.f_favail else ""
    return f" ({usage.free / 2**20:.1f} of {usage.total / 2**20:.1f} MiB free in {folder}{no_entry})"

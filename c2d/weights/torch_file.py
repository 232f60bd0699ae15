"""Check a torch file before torch reads it: its format, its archive and its pickles (`c2d.weights.pickle_scan`)."""

from __future__ import annotations

import contextlib
import io
import mmap
import pickletools
import zipfile
from collections import deque
from pathlib import Path

from c2d.core.regular_file import error_text, printable
from c2d.weights.pickle_scan import FOREIGN, MAGIC, Scan, Unreadable

MAX_MEMBERS = 65_535
"""Of an archive: one for each tensor and a few more. Reading more of them takes seconds."""
NAMED_BYTES = 1_000_000
"""Of a pickle, in which names are looked for."""


def check_torch_file(path: Path) -> None:
    """Check a file in one of torch's two formats.

    Args:
        path: of a regular file that is not empty.

    Raises:
        Unreadable: the file is damaged, has another format, or holds what torch.save does not write.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head[:4] == b"PK\x03\x04":
        Scan().pickle(io.BytesIO(_checked_pickle(path)))
    elif head[257:262] == b"ustar":
        raise Unreadable("is a tar archive of torch before 0.4, which can hold code", damaged=False)
    elif head[:1] == b"\x80":
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source:
            _check_pickles(source)
    elif b"git-lfs" in head[:64]:
        raise Unreadable("is a Git LFS pointer", damaged=True, fix="fetch the file with: git lfs pull")
    elif _is_pickle(path):  # of the protocols 0 and 1
        raise Unreadable(FOREIGN, damaged=False)
    else:
        begins = "begins with zeros" if not any(head) else f"begins {head[:24]!r}"
        raise Unreadable(f"is no torch file ({begins})", damaged=True, fix="give a .pth file written by torch.save")


def _is_pickle(path: Path) -> bool:
    """True for a file that begins with a whole pickle."""
    with contextlib.suppress(Exception), path.open("rb") as file:  # damaged bytes can raise any type
        return sum(1 for _ in pickletools.genops(file.read(NAMED_BYTES))) > 1
    return False


def _check_pickles(source: mmap.mmap) -> None:
    """Check the five pickles of a file that is no zip archive, and that all tensors have data."""
    scan = Scan()
    if scan.pickle(source) != MAGIC:
        raise Unreadable(FOREIGN, damaged=False)
    for _ in ("protocol version", "machine", "content"):
        scan.pickle(source)
    keys = scan.pickle(source)
    listed = {item.content for item in keys} if isinstance(keys, list) else set()
    if absent := scan.storages - listed:
        raise Unreadable(f"is damaged (no data for {len(absent)} of its tensors)", damaged=True)


def _checked_pickle(path: Path) -> bytes:
    """Check a zip archive, and return the pickle in it.

    Checksums, because torch ignores them and a run must not resume from a flipped bit; that nothing is compressed and
    that no byte is used twice, so that no member is larger than the file.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise Unreadable("is cut short (its end is missing)", damaged=True)
        if _member_count(path) > MAX_MEMBERS:
            raise Unreadable(f"has more than {MAX_MEMBERS:,} members in its archive", damaged=False)
        with zipfile.ZipFile(path) as archive:
            pickled = _check_members(archive.infolist(), path.stat().st_size)
            bad = archive.testzip()
            if bad is not None:
                raise Unreadable(f"is damaged (checksum of {printable(bad)})", damaged=True)
            return archive.read(pickled)
    except Unreadable:
        raise
    except Exception as error:  # damaged bytes can raise any type, is_zipfile as well
        raise Unreadable(f"is damaged ({error_text(error)})", damaged=True) from None


def _member_count(path: Path) -> int:
    """The number of members that the end of a zip archive states, without reading their list."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**16 - 200))
        tail = file.read()
    # "end of central directory", and that of archives with 65,535 members and more
    end, end64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    return max(
        int.from_bytes(tail[end + 10 : end + 12], "little") if end >= 0 else 0,
        int.from_bytes(tail[end64 + 32 : end64 + 40], "little") if end64 >= 0 else 0,
    )


def _check_members(members: list[zipfile.ZipInfo], size: int) -> str:
    """Return the name of the pickle in an archive of `size` bytes."""
    names = [member.filename for member in members]
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") for name in names):
        raise Unreadable("is a TorchScript archive, which can hold code", damaged=False)
    if not pickles:
        raise Unreadable("is no torch file (a zip archive without data.pkl)", damaged=True, fix="give a .pth file")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Unreadable("is compressed inside, which torch.save does not do", damaged=False)
    if len(pickles) > 1 or len(set(names)) < len(names) or sum(member.file_size for member in members) > size:
        raise Unreadable("holds the same bytes or names twice, which torch.save does not do", damaged=False)
    return pickles[0]


def imported_names(path: Path) -> list[str]:
    """Return the names that a pickle would import, without running it; STACK_GLOBAL takes the two texts before it.

    Args:
        path: a torch file, or any pickle.
    """
    names: dict[str, None] = {}
    texts: deque[str] = deque(maxlen=2)
    # Damaged bytes can raise any type; what was found before is enough.
    with contextlib.suppress(Exception), path.open("rb") as file:
        content = file.read(NAMED_BYTES)
        if content[:2] == b"PK":
            content = _checked_pickle(path)[:NAMED_BYTES]
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("GLOBAL", "INST"):
                names[str(argument).replace(" ", ".")] = None
            elif opcode.name == "STACK_GLOBAL":
                names[".".join(texts)] = None
            elif isinstance(argument, str):
                texts.append(argument[:100])
    return [printable(name) for name in names]

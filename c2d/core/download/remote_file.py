"""A published file: where it is, how large it is, and the sha256 that tells whether a copy is right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PrintLine = Callable[[str], None]
SHOWN_DIGITS = 12


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes:
        url: http or https.
        name: of the file on the disk.
        size: bytes; None where it is not published.
        sha256: hex; its first digits where only those are published, "" where nothing is.
        by_hand: what a person does where the address does not work, for messages; "" for nothing.
    """

    url: str
    name: str
    size: int | None = None
    sha256: str = ""
    by_hand: str = ""


class Comparison(NamedTuple):
    """A file on the disk beside the published one.

    Attributes:
        sha256: of the file (hex); "" where its size tells already that it is another one.
        difference: "" where they are the same.
    """

    sha256: str
    difference: str


def compare(path: Path, remote: RemoteFile) -> Comparison:
    """Compare size and sha256 of a file with what was published.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return Comparison("", f"it has {size:,} bytes instead of {remote.size:,}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    same = found.startswith(remote.sha256)
    wanted = remote.sha256[:SHOWN_DIGITS]
    return Comparison(found, "" if same else f"its sha256 begins with {found[:SHOWN_DIGITS]} instead of {wanted}")


def size_text(size: float) -> str:
    """Return a number of bytes for people.

    >>> size_text(19336861798), size_text(5601213), size_text(900)
    ('18.0 GiB', '5.3 MiB', '900 bytes')
    """
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if size >= 2**power:
            return f"{size / 2**power:.1f} {unit}"
    return f"{size:.0f} bytes"

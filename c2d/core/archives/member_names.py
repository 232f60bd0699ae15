"""Names of files in archives: which of them stay inside the folder where they are unpacked, on every system."""

from __future__ import annotations

import re

_DRIVE = re.compile(r"[A-Za-z]:")


def is_inside_name(name: str) -> bool:
    """Return whether a name with slashes is that of a file inside the folder: printable, relative, without `..`.

    >>> [is_inside_name(name) for name in ("a/b.json", "../b", "/b", "a//b", "C:b", "a/./b")]
    [True, False, False, False, False, False]
    """
    return (
        name.isprintable() and "\\" not in name and not _DRIVE.match(name) and not {"", ".", ".."} & {*name.split("/")}
    )

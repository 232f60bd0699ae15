"""Names of the files of a report from labels, which may hold any character."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def name_of_labels(labels: Iterable[str]) -> str:
    """Join labels to a part of a file name: ASCII, at most 60 characters; a longer name is cut and gets a digest."""
    given = "-".join(labels)
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in given)
    name = "_" + name[1:] if name.startswith(".") else name  # a dot would hide the file
    return name if len(name) <= 60 else f"{name[:51]}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"

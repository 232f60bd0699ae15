"""Catch what the C libraries of image formats print.

A damaged JPEG file is decoded with a grey rest, and a printed message is the only sign of it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_JPEG_MESSAGE = re.compile(r"^(?:Corrupt JPEG data|Premature end of JPEG).*$", re.MULTILINE)
# The rest of the image is grey after these; others (a few extra bytes before a marker) leave it whole.
_INCOMPLETE = re.compile(r"premature end|bad Huffman code", re.IGNORECASE)


@contextmanager
def captured_messages() -> Iterator[Callable[[], str]]:
    """Redirect the standard error of the process to a file inside the block; yields a function that returns its text.

    All threads of the process are redirected.
    """
    sys.stderr.flush()
    try:
        original = os.dup(2)
    except OSError:  # closed: the libraries' messages are lost
        yield lambda: ""
        return
    with tempfile.TemporaryFile() as file:

        def text() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)


def jpeg_message(text: str) -> str:
    """Return the first message about a damaged JPEG file, "" if there is none."""
    found = _JPEG_MESSAGE.search(text)
    return found[0].strip() if found else ""


def means_incomplete(message: str) -> bool:
    """Return whether a part of the image is missing after this message."""
    return _INCOMPLETE.search(message) is not None

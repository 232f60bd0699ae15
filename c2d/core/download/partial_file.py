"""The bytes of an unfinished download, and what the server said about the file they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2d.core.json_values import SMALL_BYTES, parse_json
from c2d.core.regular_file import FormatError, read_bytes
from c2d.core.run_folder import atomic_write_json


class PartialFile:
    """`NAME.part` and `NAME.part.json` beside the file NAME.

    Attributes:
        path: of the bytes.
        record: of what the server said.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self.record = path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str:
        """Return the value of If-Range: a strong ETag, else the date; "" where neither is known of this address."""
        try:
            known = parse_json(read_bytes(self.record, most=SMALL_BYTES))
        except (OSError, ValueError, FormatError):
            return ""
        if not isinstance(known, dict) or known.get("url") != url:
            return ""
        etag, date = known.get("etag"), known.get("last_modified")
        if isinstance(etag, str) and etag and not etag.startswith("W/"):
            return etag
        return date if isinstance(date, str) else ""

    def start(self, url: str, headers: Any) -> None:
        """Drop the bytes that are here, and record what the server says about the file that follows.

        Args:
            url: of the file.
            headers: of the answer.
        """
        self.path.unlink(missing_ok=True)
        known = {"url": url, "etag": headers.get("ETag"), "last_modified": headers.get("Last-Modified")}
        atomic_write_json(self.record, known)

    def remove(self) -> None:
        """Remove both files."""
        for path in (self.path, self.record):
            path.unlink(missing_ok=True)

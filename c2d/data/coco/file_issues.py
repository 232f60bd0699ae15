"""The issues of one annotation file, appended to the list of all files."""

from __future__ import annotations

from typing import Literal

from c2d.data.issues import Issue

Severity = Literal["error", "warning"]


class FileIssues:
    """The issues of one file, appended to the list of all files."""

    def __init__(self, file: str, into: list[Issue]) -> None:
        self.file, self.into = file, into

    def add(self, severity: Severity, kind: str, where: str, message: str) -> None:
        """Append an issue; see `Issue` for the arguments."""
        self.into.append(Issue(severity, kind, self.file, where, message))

    def error(self, kind: str, where: str, message: str) -> None:
        """Append an error."""
        self.add("error", kind, where, message)

    def warning(self, kind: str, where: str, message: str) -> None:
        """Append a warning."""
        self.add("warning", kind, where, message)

"""Issues of a data set: each has its file and id, and all of them are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from c2d.core.errors import InputError
from c2d.core.printable import printable_line


class InvalidDataset(InputError):
    """Issues that were found before anything was written.

    Attributes:
        issues: a line for each; the message has their number and the first one.
    """

    def __init__(self, what: str, issues: Sequence[str]) -> None:
        noun = "problem" if len(issues) == 1 else "problems"
        super().__init__(
            f"{what}: {len(issues)} {noun} (first: {issues[0]}); nothing was written, correct them and call again"
        )
        self.issues = list(issues)


@dataclass(frozen=True)
class Issue:
    """One issue.

    Attributes:
        severity: an error makes a data set unusable or wrong; a warning may be intended.
        kind: equal for issues of the same kind.
        file: the annotation file.
        where: the entry ("annotation 17", "image 3 (a.jpg)"), "" for the whole file.
        message: what is wrong.
    """

    severity: Literal["error", "warning"]
    kind: str
    file: str
    where: str
    message: str

    def line(self) -> str:
        """Return `severity: file: where: message`."""
        place = f"{self.where}: " if self.where else ""
        return printable_line(f"{self.severity}: {self.file}: {place}{self.message}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def issue_lines(issues: Iterable[Issue], limit: int = 20) -> list[str]:
    """Return a line for each issue.

    Args:
        issues: the issues.
        limit: largest number of lines of one file and kind; a further line has the number of the others.
    """
    groups: dict[tuple[str, str], list[Issue]] = {}
    for issue in issues:
        groups.setdefault((issue.file, issue.kind), []).append(issue)
    lines: list[str] = []
    for (file, kind), group in groups.items():
        lines += [issue.line() for issue in group[:limit]]
        if len(group) > limit:
            rest = f"{len(group) - limit} more of this kind ({kind}); --json lists all"
            lines.append(f"{group[0].severity}: {file}: {rest}")
    return lines

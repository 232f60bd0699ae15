"""How defects of a data set are told: every one with its file and id, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from c2d.core.errors import InputError


class ProblemsFound(InputError):
    """Several defects found before anything was changed: `problems` has a line for each, the message says how many."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(
            f"{what}: {len(problems)} {noun} (first: {problems[0]}); nothing was written, correct them and call again"
        )
        self.problems = list(problems)


@dataclass(frozen=True)
class Problem:
    """One defect. `kind` groups equal ones; `where` names the entry ("annotation 17", "image 3 (a.jpg)")."""

    severity: Literal["error", "warning"]
    kind: str
    file: str
    where: str
    message: str

    def line(self) -> str:
        """`severity: file: where: message` on one line."""
        place = f"{self.where}: " if self.where else ""
        return f"{self.severity}: {self.file}: {place}{self.message}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def lines(problems: Iterable[Problem], most: int = 20) -> list[str]:
    """A line for each problem, `most` of each file and kind; a last line says how many more there are."""
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.file, problem.kind), []).append(problem)
    told: list[str] = []
    for (file, kind), group in groups.items():
        told += [problem.line() for problem in group[:most]]
        if len(group) > most:
            told.append(
                f"{group[0].severity}: {file}: {len(group) - most} more of this kind ({kind}); --json lists all"
            )
    return told

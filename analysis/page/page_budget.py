"""What a page leaves out so that it has 5 MB at most and can be mailed, and the file that holds it.

Left out is, in this order and the largest first: the data of figures, drawings, the full numbers of tables, whole
tables, the list of runs. Everything else is small. Nothing disappears without a word: the place of each part and a list
at the top of the page name the file that has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from analysis.page.views import FigureView, TableView

PAGE_BYTES = 5_000_000
SMALLEST_PART = 1000
"""Bytes; the sentence in the place of a smaller part would need as much."""
LINE_BYTES = 250
"""Tags and ids around the values of one line of a table's full numbers, and of a run; an estimate."""


@dataclass(frozen=True)
class Omission:
    """One part that is not on the page.

    Attributes:
        part: what it is: data, drawing, numbers, table or runs.
        name: of its figure or table; "" for the list of runs.
        bytes: its size in the page.
        file: the file that has it, beside the page.
    """

    part: str
    name: str
    bytes: int
    file: str

    @property
    def sentence(self) -> str:
        """What a reader finds at its place."""
        what = {
            "data": "The data of this figure are",
            "drawing": "The drawing is",
            "numbers": "The numbers in full, with their runs, are",
            "table": "The table is",
            "runs": "The list of runs is",
        }[self.part]
        size = f"{self.bytes / 1e6:.2f} MB" if self.bytes >= 10_000 else f"{self.bytes / 1e3:.1f} kB"
        return f"{what} not on this page ({size}), which has {PAGE_BYTES / 1e6:g} MB at most; see {self.file}."


@dataclass
class PageParts:
    """The large parts of a page, and those that are left out.

    Attributes:
        figures, tables: their views.
        runs: (run, its cells) of the list of runs.
        left_out: {(part, place of its figure or table on the page): omission}, in the order in which they went.
    """

    figures: list[FigureView]
    tables: list[TableView]
    runs: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    left_out: dict[tuple[str, int], Omission] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """ "data of 40 figures, 2 drawings": what is left out, for the top of the page; "" for nothing."""
        nouns = {"data": "data of {} figure", "drawing": "{} drawing", "numbers": "full numbers of {} table",
                 "table": "{} table", "runs": "the list of runs"}  # fmt: skip
        counts = Counter(part for part, _ in self.left_out)
        return ", ".join(nouns[part].format(n) + ("s" if n > 1 else "") for part, n in counts.items())

    @property
    def heading(self) -> str:
        """The sentence above the list of what is left out."""
        return f"Left out, because a page has {PAGE_BYTES / 1e6:g} MB at most: {self.summary}"

    def leave_out(self, excess: int) -> bool:
        """Leave out parts of `excess` bytes in the order of the module; return whether there was one to leave out."""
        before = len(self.left_out)
        for part, place, omission in list(self._candidates()):
            if excess <= 0:
                break
            self.left_out[part, place] = omission
            excess -= omission.bytes
        return len(self.left_out) > before

    def elsewhere(self, part: str, place: int = 0) -> str:
        """Return the sentence on a part that was left out, or "" where it is on the page.

        Args:
            part: as in `Omission`.
            place: of the figure or table on the page, from 0.
        """
        found = self.left_out.get((part, place))
        return found.sentence if found else ""

    def _name(self, part: str, place: int) -> str:
        return self.figures[place].figure.name if part in ("data", "drawing") else self.tables[place].table.name

    def _candidates(self) -> Iterator[tuple[str, int, Omission]]:
        """Every part that is still on the page, in the order in which parts go."""
        sizes: list[tuple[str, list[int]]] = [
            ("data", [_bytes(escape(one.csv)) for one in self.figures]),
            ("drawing", [_bytes(one.svg) for one in self.figures]),
            ("numbers", [_number_bytes(one) for one in self.tables]),
            ("table", [_table_bytes(one) for one in self.tables]),
            ("runs", [sum(LINE_BYTES + sum(_bytes(text) for text, _ in cells) for _, cells in self.runs)]),
        ]
        for part, of_part in sizes:
            for place in sorted(range(len(of_part)), key=lambda place: -of_part[place]):
                if of_part[place] > SMALLEST_PART and (part, place) not in self.left_out:
                    name = "" if part == "runs" else self._name(part, place)
                    yield part, place, Omission(part, name, of_part[place], self._file(part, place))

    def _file(self, part: str, place: int) -> str:
        if part == "runs":
            return "runs.csv"
        if part in ("data", "drawing"):
            name, suffix = self.figures[place].figure.name, {"data": ".csv", "drawing": ".svg"}[part]
            files = self.figures[place].figure.files
            return next((file for file in files if file.endswith(suffix)), f"figures/{name}{suffix}")
        return f"tables/{self.tables[place].table.name}.{'json' if part == 'numbers' else 'html'}"


def _bytes(text: str | Markup) -> int:
    return len(text.encode("utf-8", "replace"))


def _number_bytes(view: TableView) -> int:
    texts = (text if isinstance(text, str) else " ".join(text) for line in view.details for text in vars(line).values())
    return LINE_BYTES * len(view.details) + sum(map(_bytes, texts))


def _table_bytes(view: TableView) -> int:
    cells = sum(len(line) for _, line, _ in view.rows)
    return LINE_BYTES * cells + sum(_bytes(value) for _, values in view.facts for value in values)

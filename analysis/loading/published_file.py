"""The rows of published.csv, or of a file of your own with the same columns: every one with its source.

AP columns are percent. `other_metric` and `other_value` are lists with semicolons, in the same order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from c2d.core.errors import InputError
from c2d.core.regular_file import FormatError, error_text, read_bytes

SHIPPED = Path(__file__).parent / "published.csv"
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
COLUMNS = (
    "paper_key", "arxiv_id", "table", "dataset", "split", "detector", "student_backbone", "teacher", "teacher_kind",
    "method", "schedule", *METRICS, "delta_AP", "other_metric", "other_value", "source", "verified",
)  # fmt: skip
REQUIRED = ("paper_key", "table", "method", "source")
OTHER = "other."
"""Prefix of conditions on `other_metric`."""
_SPELLED = {"AR100": "mAR", "ARs": "ARs", "ARm": "ARm", "ARl": "ARl", "teacher_top1": "teacher_top1"}
_PER_IOU = {f"iou.0.{step}": f"AP{step}" for step in range(50, 100, 5)}


@dataclass(frozen=True)
class PublishedRow:
    """One row of the file.

    Attributes:
        text: {column: as written}.
        other: {name in `other_metric`: its value as written}.
        line: number of its line in the file.
    """

    text: dict[str, str]
    other: dict[str, str]
    line: int

    @property
    def source(self) -> str:
        """The paper and table, or the file, that the numbers are from."""
        return self.text["source"]

    def number(self, key: str) -> float | None:
        """Return the number under a key of `analysis.loading.columns`, in percent; None where the source has none."""
        if key in METRICS:
            return as_number(self.text[key])
        if key in _PER_IOU:  # a table over thresholds names them all; AP50 alone may be of another split
            return as_number(self.other.get(_PER_IOU[key], "")) if "AP55" in self.other else None
        return as_number(self.other.get(_SPELLED.get(key, ""), ""))

    def fits(self, conditions: Mapping[str, str]) -> bool:
        """Whether all conditions hold, each as `equal` compares."""
        return all(equal(self._value(column), wanted) for column, wanted in conditions.items())

    def _value(self, column: str) -> str:
        return self.other.get(column[len(OTHER) :], "") if column.startswith(OTHER) else self.text[column]


def load_published(path: Path = SHIPPED) -> tuple[PublishedRow, ...]:
    """Read all rows of a file.

    Raises:
        InputError: not readable, other columns, a row without source, an invalid number; with file:line.
    """
    return _load(Path(path))


@lru_cache(maxsize=8)
def _load(path: Path) -> tuple[PublishedRow, ...]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front.
        lines = csv.reader(io.StringIO(read_bytes(path).decode("utf-8-sig"), newline=""), strict=True)
        header = next(lines, [])
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise InputError(
                f"{path}:1: no column {', '.join(missing)}; a file of results has {', '.join(REQUIRED)}, and of "
                f"{', '.join(name for name in COLUMNS if name not in REQUIRED)} those it needs"
            )
        return tuple(_entry(path, lines.line_num, dict(zip(header, row, strict=False)), len(header), len(row))
                     for row in lines if row)  # fmt: skip
    except (OSError, FormatError) as error:
        raise InputError(f"cannot read the results {path}: {error_text(error)}; give a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV in UTF-8 ({error}); save it as UTF-8 CSV") from None


def _entry(path: Path, line: int, text: dict[str, str], wanted: int, given: int) -> PublishedRow:
    if given != wanted:
        raise InputError(f"{path}:{line}: {given} values for {wanted} columns; quote values that hold commas")
    text = {**dict.fromkeys(COLUMNS, ""), **{name: value.strip() for name, value in text.items()}}
    if not text["source"]:
        raise InputError(f"{path}:{line}: no source; name the paper and table, or the file, that the numbers are from")
    for name in (*METRICS, "delta_AP"):
        if text[name] and as_number(text[name]) is None:
            raise InputError(f"{path}:{line}: {name} is {text[name]!r}; write a number in percent, or nothing")
    names, values = (text[key].split(";") if text[key] else [] for key in ("other_metric", "other_value"))
    if len(names) != len(values):
        raise InputError(f"{path}:{line}: {len(names)} names in other_metric, {len(values)} values in other_value")
    return PublishedRow(text, {n.strip(): value.strip() for n, value in zip(names, values, strict=True)}, line)


def as_number(text: str) -> float | None:
    """Return the number of a text, or None where it has none or is outside ±1000, which no percentage is."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= 1000 else None  # no percent: nan and inf are none either


def equal(given: str, wanted: str) -> bool:
    """Whether a text has the wanted value: equal as text or as a number, or with the start before a final star.

    Alternatives are separated by |, and an empty one is a column without a value.
    """
    if "|" in wanted and given != wanted:
        return any(equal(given, one.strip()) for one in wanted.split("|"))
    numbers = as_number(given), as_number(wanted)
    if wanted.endswith("*"):
        return given.startswith(wanted[:-1])
    return given == wanted or (None not in numbers and numbers[0] == numbers[1])

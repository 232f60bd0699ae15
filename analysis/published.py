"""Published numbers, to stand beside measured ones: each with its source, none in a test, none ever bold.

published.csv holds what papers, model zoos and repositories print; a file of your own has the same columns. AP columns
are percent. `other_metric` and `other_value` are lists with semicolons, in the same order.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from analysis.errors import InputError, some, unknown
from analysis.reportspec import Published
from analysis.select import Group
from analysis.table import Cell

SHIPPED = Path(__file__).parent / "published.csv"
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
COLUMNS = (
    "paper_key", "arxiv_id", "table", "dataset", "split", "detector", "student_backbone", "teacher", "teacher_kind",
    "method", "schedule", *METRICS, "delta_AP", "other_metric", "other_value", "source", "verified",
)  # fmt: skip
OTHER = "other."
"""Prefix of conditions on `other_metric`."""
_BESIDE = ("paper_key", "table", "dataset", "split", "detector", "student_backbone")
"""What a row has in common with the baseline row that its own gain is computed from."""
_SPELLED = {"AR100": "mAR", "ARs": "ARs", "ARm": "ARm", "ARl": "ARl", "teacher_metric": "teacher_top1"}
_PER_IOU = {f"iou.0.{step}": f"AP{step}" for step in range(50, 100, 5)}


@dataclass(frozen=True)
class Entry:
    """One row of the file. text: {column: as written}. other: {name: as written}. line: in its file."""

    text: dict[str, str]
    other: dict[str, str]
    line: int

    @property
    def source(self) -> str:
        return self.text["source"]

    def number(self, key: str) -> float | None:
        """The number under a key of `analysis.columns`, in percent; None where the source has none."""
        if key in METRICS:
            return _number(self.text[key])
        if key in _PER_IOU:  # a table over thresholds names them all; AP50 alone may be of another split
            return _number(self.other.get(_PER_IOU[key], "")) if "AP55" in self.other else None
        return _number(self.other.get(_SPELLED.get(key, ""), ""))

    def fits(self, conditions: Mapping[str, str]) -> bool:
        """Whether all conditions hold; 0.10 and 0.1 are one value."""
        return all(_equal(self._value(column), wanted) for column, wanted in conditions.items())

    def _value(self, column: str) -> str:
        return self.other.get(column[len(OTHER) :], "") if column.startswith(OTHER) else self.text[column]


def load(path: Path = SHIPPED) -> tuple[Entry, ...]:
    """All rows of a file.

    Raises:
        InputError: not readable, other columns, a row without source, a number that is none; with file:line.
    """
    return _load(Path(path))


@lru_cache(maxsize=8)
def _load(path: Path) -> tuple[Entry, ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            missing = [name for name in COLUMNS if name not in header]
            if missing:
                raise InputError(
                    f"{path}:1: no column {', '.join(missing)}; a file of results has {', '.join(COLUMNS)}"
                )
            return tuple(_entry(path, lines.line_num, dict(zip(header, row, strict=False)), len(header), len(row))
                         for row in lines if row)  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot read the results {path} ({error.strerror}); give a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV in UTF-8 ({error}); save it anew") from None


def _entry(path: Path, line: int, text: dict[str, str], wanted: int, given: int) -> Entry:
    if given != wanted:
        raise InputError(f"{path}:{line}: {given} values for {wanted} columns; quote values that hold commas")
    text = {name: value.strip() for name, value in text.items()}
    if not text["source"]:
        raise InputError(f"{path}:{line}: no source; name the paper and table, or the file, that the numbers are from")
    for name in (*METRICS, "delta_AP"):
        if text[name] and _number(text[name]) is None:
            raise InputError(f"{path}:{line}: {name} is {text[name]!r}; write a number in percent, or nothing")
    names, values = (text[key].split(";") if text[key] else [] for key in ("other_metric", "other_value"))
    if len(names) != len(values):
        raise InputError(f"{path}:{line}: {len(names)} names in other_metric, {len(values)} values in other_value")
    return Entry(text, {n.strip(): value.strip() for n, value in zip(names, values, strict=True)}, line)


def pick(spec: Published, group: Group) -> Entry | None:
    """The published row that stands beside a row of the table; None for a row without conditions, or not published.

    A row has conditions when every axis of `spec.rows` has some for its label; axes that made no difference to it are
    passed over. Later axes win where two set the same column, and may name another paper or table. A combination that
    its paper does not have is not published; a condition that no row of the paper fulfils is a mistake.

    Raises:
        InputError: an unknown column or table; a condition that nothing fits; several rows that fit: with candidates.
    """
    conditions = _conditions(spec, group)
    if conditions is None:
        return None
    for column in conditions:
        if not column.startswith(OTHER) and column not in COLUMNS:
            raise unknown("column of published results", column, [*COLUMNS, "other.NAME"])
    entries = load(Path(spec.file) if spec.file else SHIPPED)
    found = [entry for entry in entries if entry.fits(conditions)]
    if len(found) == 1:
        return found[0]
    if found:
        _refuse(group, conditions, "several published rows fit; add conditions", found)
    paper = [entry for entry in entries if entry.text["paper_key"] == conditions["paper_key"]]
    table = [entry for entry in paper if entry.text["table"] == conditions["table"]]
    if not paper:
        raise unknown(
            "published paper", conditions["paper_key"], sorted({entry.text["paper_key"] for entry in entries})
        )
    if not table:
        tables = sorted({entry.text["table"] for entry in paper})
        raise unknown(f"table of {conditions['paper_key']}", conditions["table"], tables)
    for column, value in conditions.items():
        if not any(entry.fits({column: value}) for entry in paper):
            _refuse(group, conditions, f"no published row of the paper has {column}: {value}; change it", table)
    return None


def _conditions(spec: Published, group: Group) -> dict[str, str] | None:
    axes = [axis for axis in spec.rows if axis not in group.labels or group.depends(axis)]
    if not axes or any(group.labels.get(axis) not in spec.rows[axis] for axis in axes):
        return None
    conditions = {"paper_key": spec.paper, "table": spec.table, **spec.all}
    for axis in axes:
        conditions |= spec.rows[axis][group.labels[axis]]
    return conditions


def _refuse(group: Group, conditions: Mapping[str, str], problem: str, near: Sequence[Entry]) -> NoReturn:
    asked = ", ".join(f"{column}: {value}" for column, value in conditions.items())
    varying = [name for name in COLUMNS[:11] if len({entry.text[name] for entry in near}) > 1]
    told = some((_described(entry, varying) for entry in near), 12)
    raise InputError(f"row {group.key}, published {{{asked}}}: {problem}; candidates: {told}")


def _described(entry: Entry, varying: Sequence[str]) -> str:
    pairs = [(name, entry.text[name]) for name in varying] + [
        (OTHER + name, text) for name, text in entry.other.items()
    ]
    return ", ".join(f"{name}: {text}" for name, text in pairs if text) or f"line {entry.line}"


def gain(entry: Entry, key: str, spec: Published) -> tuple[float | None, str]:
    """(published difference to the published baseline in percent points, where it is from or why there is none)."""
    if entry.text["method"] == "baseline":
        return None, "baseline"
    printed = _number(entry.text["delta_AP"]) if key == "AP" else None
    if printed is not None:
        return printed, f"{entry.source} (difference as printed)"
    beside = [
        other
        for other in load(Path(spec.file) if spec.file else SHIPPED)
        if other.text["method"] == "baseline" and all(other.text[name] == entry.text[name] for name in _BESIDE)
    ]
    where = "its baseline row"
    if not beside:  # an ablation without a baseline of its own: that of the paper's other tables, if they agree on one
        same = [name for name in (*_BESIDE, "schedule") if name != "table"]
        beside = [
            other
            for other in load(Path(spec.file) if spec.file else SHIPPED)
            if other.text["method"] == "baseline" and all(other.text[name] == entry.text[name] for name in same)
        ]
        where = f"the baseline of {beside[0].text['table']}" if beside else ""
    if len(beside) > 1:  # schedules tell them apart, where they do
        beside = [other for other in beside if other.text["schedule"] == entry.text["schedule"]]
    own, lows = entry.number(key), {other.number(key) for other in beside} - {None}
    if own is None or len(lows) != 1:
        return None, "not published" if own is None or not lows else "several published baselines"
    low = lows.pop()
    assert low is not None
    # Percent with one or two decimals: their difference has no more, so the binary tail is cut off.
    return round(own - low, 6), f"{entry.source} (difference computed from {where}, {low:g})"


def cells(spec: Published, group: Group, gains: bool) -> dict[str, Cell]:
    """{column key: cell} of what was published about a row; `gains`: with its differences."""
    entry = pick(spec, group)
    nothing = Cell(kind="missing", reason="not published")
    made = {}
    for key in spec.columns:
        value = entry.number(key) if entry else None
        made[f"published.{key}"] = (
            nothing if entry is None or value is None else Cell(value=value, source=_where(entry, entry.source))
        )
    for key in spec.differences if gains else ():
        value, source = gain(entry, key, spec) if entry else (None, "not published")
        made[f"published.delta.{key}"] = (
            Cell(kind="missing", reason=source)
            if entry is None or value is None
            else Cell(value=value, source=_where(entry, source))
        )
    return made


def _where(entry: Entry, source: str) -> str:
    """The source with the paper and table it speaks of."""
    return f"{entry.text['paper_key']}, {entry.text['table']}: {source}"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= 1000 else None  # no percent: nan and inf are none either


def _equal(given: str, wanted: str) -> bool:
    numbers = _number(given), _number(wanted)
    return given == wanted or (None not in numbers and numbers[0] == numbers[1])

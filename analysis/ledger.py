"""The fairness ledger: what differs between the rows of a table, and whether rows that are compared may be.

Rows are compared with their baseline; where there is none, rows of one student with each other. They must have been
trained under one protocol: data, start, input, schedule, overrides, student and the engine that scored them. What an
axis of the rows sets is the question and no fault, for rows that have different labels on it. Software and machines are
no protocol: where they differ from the baseline's a footnote says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from analysis import facts
from analysis.errors import InputError
from analysis.facts import Facts
from analysis.frame import Study
from analysis.select import Group
from analysis.table import Ledger

_SETS = {"dataset digest": "dataset", "student digest": "student"}
"""{fact: the key of a sweep that decides it}, where they are called otherwise."""
_MOST_TOLD = 4


@dataclass(frozen=True)
class Entries:
    """The ledger, and {row key: sentences} that belong to a row as footnotes."""

    ledger: Ledger
    notes: dict[str, list[str]]


def make(
    study: Study, sweep: str, groups: Sequence[Group], baselines: Sequence[Group | None], allow_mixed: bool
) -> Entries:
    """The ledger of a table.

    Args:
        groups: one a row. baselines: the row each is compared with; itself where it is one.
        allow_mixed: rows under different protocols are told, not refused.
    Raises:
        InputError: rows that are compared were trained under different protocols.
    """
    known = {group.key: facts.of(group) for group in groups}
    axes = _axes(study, sweep, groups)
    notes: dict[str, list[str]] = {group.key: [] for group in groups}
    for group in groups:
        notes[group.key] += _within(known[group.key])
    for group, other in _compared(groups, baselines, known):
        notes[group.key] += _protocol(group, other, known, axes)
    mixed = {key: list(dict.fromkeys(told)) for key, told in notes.items() if told}
    if mixed and not allow_mixed:
        told = [f"{key}: {sentence}" for key, sentences in mixed.items() for sentence in sentences]
        more = f"; and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        raise InputError(
            f"rows under different protocols cannot share a table: {'; '.join(told[:_MOST_TOLD])}{more}; "
            "leave them out (`rows`, `where`), or pass --allow-mixed, which adds footnotes"
        )
    for group, baseline in zip(groups, baselines, strict=True):
        notes[group.key] += _environment(known[group.key], known.get(baseline.key, {}) if baseline else {})
    same, differs = _compare(known)
    told = [f"{key}: {sentence}" for key, sentences in mixed.items() for sentence in sentences]
    return Entries(Ledger(same, differs, tuple(told)), notes)


def _compare(known: Mapping[str, Facts]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """(facts that all rows share, {fact: {row: value}} of the others); rows without finished runs have "" there."""
    same: dict[str, str] = {}
    differs: dict[str, dict[str, str]] = {}
    rows = {key: found for key, found in known.items() if found}
    for name in dict.fromkeys(name for found in rows.values() for name in found if name != "method"):
        values = {facts.shown(found.get(name, ())) for found in rows.values()}
        if values == {"none"}:
            continue
        if len(values) == 1:
            same[name] = values.pop()
        else:
            differs[name] = {key: facts.shown(found.get(name, ())) if found else "" for key, found in known.items()}
    return same, differs


def _compared(
    groups: Sequence[Group], baselines: Sequence[Group | None], known: Mapping[str, Facts]
) -> Iterator[tuple[Group, Group]]:
    """(row, the row whose protocol it must share): the baseline, or the first row that has been trained."""
    first: dict[tuple[str, ...], Group] = {}
    for group, baseline in zip(groups, baselines, strict=True):
        if not known[group.key]:
            continue
        if baseline is not None and known.get(baseline.key):
            other = baseline
        else:
            together = ("baseline", baseline.key) if baseline else ("student", *known[group.key]["student"])
            other = first.setdefault(together, group)
        if other is not group:
            yield group, other


def _within(found: Facts) -> Iterator[str]:
    """What the seeds of one row do not share, though they must."""
    for name, values in found.items():
        if len(values) > 1 and facts.is_protocol(name):
            yield f"its seeds differ in {name}: {facts.shown(values)}"
    if len(found.get("method", ())) > 1:
        yield "its seeds differ in the parameters or the version of their method"


def _protocol(
    group: Group, other: Group, known: Mapping[str, Facts], axes: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    mine, theirs = known[group.key], known[other.key]
    apart = [axis for axis in axes if not group.values(axis) & other.values(axis)]
    keys = [key for axis in apart for key in axes[axis]]
    for name in dict.fromkeys([*mine, *theirs]):
        here, there = set(mine.get(name, ("",))), set(theirs.get(name, ("",)))
        if facts.is_protocol(name) and here != there and not any(_decides(key, name) for key in keys):
            yield (
                f"{name} is {facts.shown(mine.get(name, ()))}, "
                f"but {facts.shown(theirs.get(name, ()))} in {other.key}, which it is compared with"
            )


def _decides(key: str, fact: str) -> bool:
    """Whether a key of a sweep sets a fact: `schedule` sets all of `schedule.*`."""
    name = _SETS.get(fact, fact)
    return name == key or name.startswith(f"{key}.")


def _environment(mine: Facts, baseline: Facts) -> Iterator[str]:
    """Sentences on software and machines: within a row, and against its baseline."""
    if not mine:
        return
    for name in facts.ENVIRONMENT:
        if len(mine[name]) > 1:
            yield f"seeds ran with {name} {facts.shown(tuple(sorted(mine[name])))}"
    other = [name for name in facts.ENVIRONMENT if baseline and set(mine[name]) != set(baseline[name])]
    if other:
        here = ", ".join(f"{name} {facts.shown(mine[name])}" for name in other)
        there = ", ".join(f"{name} {facts.shown(baseline[name])}" for name in other)
        yield f"ran with {here}; its baseline with {there}"


def _axes(study: Study, sweep: str, groups: Sequence[Group]) -> dict[str, list[str]]:
    """{axis of the rows: the keys of a sweep that it sets}; a bundle sets what its labels name in the definition."""
    named = list(groups[0].labels) if groups else []
    definition = _definition(study.sweeps.get(sweep, {}))
    return {axis: _keys(axis, definition.get(axis)) for axis in named}


def _keys(axis: str, values: Any) -> list[str]:
    if isinstance(values, dict) and values and all(isinstance(value, dict) for value in values.values()):
        return sorted({str(key) for value in values.values() for key in value})
    return [axis]


def _definition(record: Mapping[str, Any]) -> dict[str, Any]:
    """The axes as the sweep's author wrote them; nothing where the record does not hold them."""
    try:
        read = yaml.load(record.get("definition", ""), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return {}
    axes = read.get("axes") if isinstance(read, dict) else None
    return axes if isinstance(axes, dict) else {}

"""A side of a comparison: a cell, or a form of sides.

    {method: icod}                         the mean of a cell over its seeds
    {gain: [SIDE, SIDE]}                   the first minus the second
    {sum: [SIDE, ...]}, {mean: [SIDE, ...]}

The keys of a form have lists, the axes of a cell have text, so an axis may be called `gain`. Every side is linear in
the means of its cells: `terms` returns their factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from c2d.core.errors import unknown_name

FORMS = ("gain", "sum", "mean")
SWEEP = "sweep"
"""Key of a cell that names the sweep which has it; an axis of this name cannot be in a claim."""
HOW_TO_WRITE = "write a cell, {AXIS: LABEL}, or one of {gain: [SIDE, SIDE]}, {sum: [SIDE, ...]}, {mean: [SIDE, ...]}"


@dataclass(frozen=True)
class CellSide:
    """One cell.

    Attributes:
        labels: {axis: label}.
        sweep: its own; "" takes that of the comparison.
    """

    labels: Mapping[str, str]
    sweep: str = ""


@dataclass(frozen=True)
class FormSide:
    """A gain, sum or mean of sides.

    Attributes:
        form: of `FORMS`.
        sides: two of a gain, else one or more.
    """

    form: str
    sides: tuple[Side, ...]

    @property
    def factors(self) -> tuple[float, ...]:
        """The factor of each side."""
        if self.form == "gain":
            return (1.0, -1.0)
        return (1.0 if self.form == "sum" else 1 / len(self.sides),) * len(self.sides)


Side = CellSide | FormSide


def terms(side: Side, factor: float = 1.0) -> Iterator[tuple[float, CellSide]]:
    """Yield (factor, cell) of every cell of a side; a cell that is named twice is yielded twice."""
    if isinstance(side, CellSide):
        yield factor, side
        return
    for own, inner in zip(side.factors, side.sides, strict=True):
        yield from terms(inner, factor * own)


def side_of(given: Any) -> Side:
    """Return the side that a YAML value describes.

    Raises:
        ValueError: it describes none; the message has the part that is wrong.
    """
    if isinstance(given, CellSide | FormSide):
        return given
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"wanted a side of the comparison, given {_shown(given)}; {HOW_TO_WRITE}")
    lists = [key for key, value in given.items() if isinstance(value, list | tuple)]
    if not lists:
        return _cell(given)
    (form, *_), others = lists, [key for key in given if key != lists[0]]
    if form not in FORMS:
        raise ValueError(str(unknown_name("form", form, FORMS, HOW_TO_WRITE)))
    if others:
        raise ValueError(f"{form} and {', '.join(map(str, others))} in one side; {HOW_TO_WRITE}")
    inner = tuple(side_of(one) for one in given[form])
    if len(inner) != 2 if form == "gain" else not inner:
        wanted = "two sides, the first minus the second" if form == "gain" else "at least one side"
        raise ValueError(f"{form} has {len(inner)} sides; it takes {wanted}")
    return FormSide(str(form), inner)


def plain_side(side: Side) -> dict[str, Any]:
    """Return a side as a YAML value, from which `side_of` makes it again."""
    if isinstance(side, CellSide):
        return {**side.labels, **({SWEEP: side.sweep} if side.sweep else {})}
    return {side.form: [plain_side(inner) for inner in side.sides]}


def _cell(given: Mapping[Any, Any]) -> CellSide:
    labels = {}
    for axis, label in given.items():
        if isinstance(label, bool) or not isinstance(label, str | int | float):
            raise ValueError(f"{axis}: wanted a label, given {_shown(label)}; {HOW_TO_WRITE}")
        labels[str(axis)] = label if isinstance(label, str) else f"{label:.12g}"
    sweep = labels.pop(SWEEP, "")
    return CellSide(labels, sweep)


def _shown(value: Any) -> str:
    return "a list" if isinstance(value, list | tuple) else "nothing" if value in ("", None, {}) else repr(value)

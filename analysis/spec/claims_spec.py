"""The spec of claims: sentences, and for each of them the comparisons of cells that would show or contradict it.

A side of a comparison is a cell or a form, which a form may contain again:

    {method: icod}                         the mean of a cell over its seeds
    {gain: [SIDE, SIDE]}                   the first minus the second
    {sum: [SIDE, ...]}, {mean: [SIDE, ...]}

The keys of a form are lists, labels of a cell are text, so an axis may be called `gain`. Every side is linear in the
means of its cells: `terms` returns their factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, model_validator

from analysis.spec.report_item import Key, Label, Labels, ReportItem
from c2d.core.errors import unknown_name

FORMS = ("gain", "sum", "mean")
SWEEP = "sweep"
"""Key of a cell that names the sweep which has it; an axis of this name cannot be in a claim."""
_HOW = "write a cell, {AXIS: LABEL}, or one of {gain: [SIDE, SIDE]}, {sum: [SIDE, ...]}, {mean: [SIDE, ...]}"


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
        raise ValueError(f"wanted a side of the comparison, given {_shown(given)}; {_HOW}")
    lists = [key for key, value in given.items() if isinstance(value, list | tuple)]
    if not lists:
        return _cell(given)
    (form, *_), others = lists, [key for key in given if key != lists[0]]
    if form not in FORMS:
        raise ValueError(str(unknown_name("form", form, FORMS, _HOW)))
    if others:
        raise ValueError(f"{form} and {', '.join(map(str, others))} in one side; {_HOW}")
    inner = tuple(side_of(one) for one in given[form])
    if len(inner) != 2 if form == "gain" else not inner:
        wanted = "two sides, the first minus the second" if form == "gain" else "at least one side"
        raise ValueError(f"{form} has {len(inner)} sides; it takes {wanted}")
    return FormSide(str(form), inner)


def _cell(given: Mapping[Any, Any]) -> CellSide:
    labels = {}
    for axis, label in given.items():
        if isinstance(label, bool) or not isinstance(label, str | int | float):
            raise ValueError(f"{axis}: wanted a label, given {_shown(label)}; {_HOW}")
        labels[str(axis)] = label if isinstance(label, str) else f"{label:.12g}"
    sweep = labels.pop(SWEEP, "")
    return CellSide(labels, sweep)


def _sides(given: Any) -> tuple[Side, ...]:
    """One side, or a list of sides that are compared one after another."""
    several = given if isinstance(given, list | tuple) else [given]
    if not several:
        raise ValueError(f"an empty list; {_HOW}")
    return tuple(side_of(one) for one in several)


def _two_sides(given: Any) -> tuple[Side, ...]:
    sides = _sides(given)
    if len(sides) != 2:
        raise ValueError(f"wanted two sides, given {len(sides)}; write same: [SIDE, SIDE]")
    return sides


def _shown(value: Any) -> str:
    return "a list" if isinstance(value, list | tuple) else "nothing" if value in ("", None, {}) else repr(value)


SideList = Annotated[Any, BeforeValidator(_sides)]
TwoSides = Annotated[Any, BeforeValidator(_two_sides)]
Margins = dict[Key, PositiveFloat]


class Comparison(BaseModel):
    """One or several comparisons of one number.

    Attributes:
        column: key of the number; None takes that of the claim.
        more, less: sides, of which the first is claimed to be larger. Lists of sides are compared pair by pair.
        same: two sides that are claimed to differ by less than the margin.
        at: {axis: label} of all cells that do not name the axis; added to those of the claim.
        sweep: that has the cells; "" takes that of the claim.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    column: Key | None = None
    more: SideList = ()
    less: SideList = ()
    same: TwoSides = ()
    at: Labels = {}
    sweep: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Comparison:
        if self.same and (self.more or self.less):
            raise ValueError("has `same` beside `more` or `less`; keep one of them")
        if bool(self.more) != bool(self.less):
            missing = "less" if self.more else "more"
            raise ValueError(f"has no `{missing}`; a comparison has the sides `more` and `less`, or `same`")
        return self

    @property
    def is_empty(self) -> bool:
        """Whether it has no sides."""
        return not self.more and not self.same


class Claim(Comparison):
    """One sentence.

    Attributes:
        says: the sentence, which may have math.
        all: comparisons that have to be shown all.
        any: comparisons of which one has to be shown. Without both, the claim is its own comparison.
        margin: as that of the spec, for this claim.
    """

    says: Label
    all: list[Comparison] = []
    any: list[Comparison] = []
    margin: Margins = {}

    @model_validator(mode="after")
    def _comparisons(self) -> Claim:
        given = [name for name, there in (("all", self.all), ("any", self.any)) if there]
        given += ["same" if self.same else "more"] if not self.is_empty else []
        if len(given) != 1:
            has = f"has {' and '.join(given)}" if given else "compares nothing"
            raise ValueError(f"{has}; write one of: `more` and `less`, `same`, `all` or `any` with a list of these")
        for place, one in enumerate(self.comparisons):
            if one.is_empty:
                raise ValueError(f"number {place + 1} of `{given[0]}` compares nothing; write `more` and `less`, or `same`")
            if one.column is None and self.column is None:
                raise ValueError("no `column`; write which number is compared, e.g. column: AP50")
        return self

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons in their order."""
        return tuple(self.all or self.any) or (self,)


class ClaimsSpec(ReportItem):
    """Sentences with their verdicts, as one table.

    Attributes:
        margin: {column: difference} in the shown unit; a smaller difference does not matter.
        claims: {name: claim}; the name is that of its row.
        latency: conditions that select the latency files, as in tables.
        wide: a LaTeX table over both columns of a page.
    """

    kind: Literal["claims"]
    margin: Margins = {}
    claims: Annotated[dict[str, Claim], Field(min_length=1)]
    latency: Labels = {}
    wide: bool = True

    @model_validator(mode="after")
    def _of_cells(self) -> ClaimsSpec:
        for key, there in (("where", self.where), ("labels_of_axes", self.labels_of_axes)):
            if there:
                raise ValueError(f"`{key}` is not for claims, which name their cells one by one; take it out")
        for name, claim in self.claims.items():
            for one in claim.comparisons:
                column = one.column or claim.column
                if one.same and column not in {**self.margin, **claim.margin}:
                    raise ValueError(
                        f"claims.{name}: `same` needs a margin of {column}, the difference that would matter; "
                        f"write margin: {{{column}: NUMBER}}"
                    )
        return self

    def sweeps(self, default: str) -> list[str]:
        """Return the names of all sweeps that the claims compare cells of, each once.

        Args:
            default: of claims that name none.
        """
        found = []
        for claim in self.claims.values():
            for one in claim.comparisons:
                own = one.sweep or claim.sweep or self.sweep or default
                for side in (*one.more, *one.less, *one.same):
                    found += [cell.sweep or own for _, cell in terms(side)]
        return list(dict.fromkeys(found))


def all_sides(comparison: Comparison) -> Iterator[tuple[Side, Side]]:
    """Yield the pairs of sides that a comparison compares, (claimed to be larger, the other)."""
    if comparison.same:
        yield comparison.same[0], comparison.same[1]
    for more in comparison.more:
        for less in comparison.less:
            yield more, less


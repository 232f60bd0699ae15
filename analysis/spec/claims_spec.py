"""The spec of claims: sentences, and for each of them the comparisons of cells that would show or contradict it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PositiveFloat, model_validator

from analysis.spec.claim_sides import HOW_TO_WRITE, Side, plain_side, side_of, terms
from analysis.spec.report_item import Key, Label, Labels, ReportItem


def _sides(given: Any) -> tuple[Side, ...]:
    """One side, or a list of sides that are compared one after another."""
    several = given if isinstance(given, list | tuple) else [given]
    if not several:
        raise ValueError(f"an empty list; {HOW_TO_WRITE}")
    return tuple(side_of(one) for one in several)


def _two_sides(given: Any) -> tuple[Side, ...]:
    sides = _sides(given)
    if len(sides) != 2:
        raise ValueError(f"wanted two sides, given {len(sides)}; write same: [SIDE, SIDE]")
    return sides


def _plain(sides: tuple[Side, ...]) -> list[dict[str, Any]]:
    return [plain_side(side) for side in sides]


SideList = Annotated[Any, BeforeValidator(_sides), PlainSerializer(_plain)]
TwoSides = Annotated[Any, BeforeValidator(_two_sides), PlainSerializer(_plain)]
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
                raise ValueError(
                    f"number {place + 1} of `{given[0]}` compares nothing; write `more` and `less`, or `same`"
                )
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

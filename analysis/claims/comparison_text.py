"""What a row of claims compares, in words: "kd_cls − baseline, retinanet". Labels that all cells share come once."""

from __future__ import annotations

from collections.abc import Callable

from analysis.spec.claim_sides import CellSide, FormSide, Side, terms

MINUS = "\N{MINUS SIGN}"
Named = Callable[[CellSide], dict[str, str]]
"""{axis: label as shown} of a cell."""


def comparison_text(more: Side, less: Side, named: Named) -> str:
    """Return "more − less", then the labels that all cells share.

    Args:
        named: labels of a cell, those of the whole comparison among them.
    """
    return _text(FormSide("gain", (more, less)), named, set(), outer=True)


def _text(side: Side, named: Named, above: set[tuple[str, str]], outer: bool = False) -> str:
    """A side without the labels that are written above it."""
    if isinstance(side, CellSide):
        own = [pair for pair in named(side).items() if pair not in above]
        text = "/".join(label for _, label in own) or "/".join(named(side).values()) or "all"
        return f"({text})" if " + " in text or f" {MINUS} " in text else text
    of_cells = [named(cell) for _, cell in terms(side)]
    shared = {pair for pair in of_cells[0].items() if all(pair in one.items() for one in of_cells)}
    new = [label for axis, label in of_cells[0].items() if (axis, label) in shared - above]
    inner = [_text(one, named, above | shared) for one in side.sides]
    joined = {"gain": f" {MINUS} ", "sum": " + ", "mean": ", "}[side.form].join(inner)
    words = ", ".join([f"mean({joined})" if side.form == "mean" else joined, *new])
    return words if outer or (side.form == "mean" and not new) else f"({words})"

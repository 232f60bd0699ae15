"""What a contrast is made of: the terms of each seed, and their sum over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

Term = tuple[float, str, int | None, float | None]
"""(factor, run, seed, value of the run)."""


def contrast_lines(cell: Mapping[str, str], terms: Sequence[Term]) -> Iterator[str]:
    """Yield the lines of `c2d explain` on a contrast: its interval, and the sum over each seed.

    Args:
        cell: {header of the table's CSV: text}.
        terms: of the runs; the contrast is the sum of factor x value.
    """
    shown = {
        "interval": "difference of the row, with its interval by itself",
        "p value": "p value of the row's difference, adjusted",
    }
    yield f"  {shown.get(cell['kind'], 'sum of factor x value over the runs below')}"
    if cell["low"]:
        yield f"  interval: [{cell['low']}, {cell['high']}]: {cell['interval']}"
    found = [(factor, run, seed, value) for factor, run, seed, value in terms if value is not None]
    by_seed: dict[int | None, list[tuple[float, float]]] = {}
    for factor, _, seed, value in found:
        by_seed.setdefault(seed, []).append((factor, value))
    for seed, pairs in by_seed.items():
        # The factors of a seed are those of the contrast over the number of seeds.
        written = " ".join(f"{'-' if factor < 0 else '+'} {abs(factor):.6g} x {value!r}" for factor, value in pairs)
        yield f"  seed {seed}: {written.removeprefix('+ ')} = {math.fsum(f * v for f, v in pairs):+.6g}"
    if len(found) == len(terms) and by_seed:
        yield f"  sum over seeds: {math.fsum(factor * value for factor, _, _, value in found):.10g}"
    else:
        yield "  no sum: a run of the table has no value any more"

"""Combine the axes of a sweep and its rules into cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.definition.axes import Axis

MAX_CELLS = 100_000
Labels = tuple[str, ...]
"""One label for each axis, in the order of the axes."""


def size_mistake(axes: Mapping[str, Axis], seeds: int) -> str:
    """Return the error message of a grid with more than `MAX_CELLS` cells; "" for others."""
    cells = math.prod(len(axis.values) for axis in axes.values()) * seeds
    if cells <= MAX_CELLS:
        return ""
    return f"{cells:,} cells; at most {MAX_CELLS:,} make a sweep: fewer values, or several sweeps"


def grid(
    axes: Mapping[str, Axis], exclude: Sequence[Mapping[str, str]], include: Sequence[Mapping[str, str]]
) -> tuple[list[Labels], list[int]]:
    """Combine the axes into cells without their seeds.

    Axes in file order, the last one fastest; then what the include rules add. In an include rule an axis that it does
    not name takes every value of its own, without those that other rules add. Excludes do not touch includes.

    Args:
        axes: by name.
        exclude: {axis: label} rules.
        include: {axis: label} rules.

    Returns:
        (the labels of each cell, places of the include rules that add no cell).
    """
    names = list(axes)
    rules = [[(names.index(name), label) for name, label in rule.items()] for rule in exclude]
    cells = [
        cell
        for cell in itertools.product(*(axis.values for axis in axes.values()))
        if not any(all(cell[place] == label for place, label in rule) for rule in rules)
    ]
    seen, idle = set(cells), []
    for place, rule in enumerate(include):
        new = [
            cell
            for cell in itertools.product(*([rule[name]] if name in rule else axes[name].values for name in names))
            if cell not in seen
        ]
        seen.update(new)
        cells += new
        if not new:
            idle.append(place)
    return cells, idle


def cell_values(base: Mapping[str, Any], axes: Mapping[str, Axis], labels: Labels) -> dict[str, Any]:
    """Return {settable key: value} of one cell: `base`, and what the label of each axis sets."""
    values = dict(base)
    for axis, label in zip(axes.values(), labels, strict=True):
        values.update(axis.sets(label))
    return values

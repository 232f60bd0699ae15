"""Expand a definition into cells with run ids. Pure: the same definition and the same lookup make the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from c2d.core.errors import InputError
from c2d.specs.lookup import Lookup, StoredRun
from c2d.specs.names import scaling_lines
from c2d.specs.resolve_spec import SpecResolver
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import given_teachers, kind_of_role
from sweeps.definition.definition import CellValues, Definition

MAX_MISTAKES = 100


@dataclass(frozen=True)
class Cell:
    """One cell and seed of a sweep.

    Attributes:
        labels: {axis: label}.
        seed: of the run.
        spec: of the run.
        run: its id, `spec.id`.
    """

    labels: dict[str, str]
    seed: int
    spec: RunSpec
    run: str


@dataclass(frozen=True)
class Grid:
    """What a definition expands to.

    Attributes:
        cells: all of them.
        teachers: every teacher that a cell needs, once, in an order in which they can be trained.
        scaled: a line for each schedule with `scale_to_batch`.
    """

    cells: list[Cell]
    teachers: list[RunSpec]
    scaled: list[str] = field(default_factory=list)


def expand(definition: Definition, cells: Sequence[CellValues], lookup: Lookup) -> Grid:
    """Resolve every cell of a sweep into a run spec.

    Args:
        definition: the sweep.
        cells: `definition.cells()`.
        lookup: of `names_in(cell.values for cell in cells)`.

    Returns:
        The cells in the same order, each with its seeds. Cells with equal specs stay apart and share one run.

    Raises:
        InputError: a line for every distinct mistake, with the first cell that has it.
    """
    resolver = SpecResolver(_finished_teachers(definition.teachers, lookup))
    resolved: list[Cell] = []
    mistakes: dict[str, list[CellValues]] = {}
    for cell in cells:
        try:
            spec = resolver.resolve({**cell.values, "seed": definition.seeds[0]})
        except InputError as error:
            mistakes.setdefault(str(error), []).append(cell)
        else:
            resolved += _seeds(cell.labels, spec, definition.seeds)
    if mistakes:
        lines = [_mistake_line(definition, text, wrong) for text, wrong in mistakes.items()]
        more = len(lines) - MAX_MISTAKES
        raise InputError(*lines[:MAX_MISTAKES], *[f"{definition.source}: {more} more mistakes"] * (more > 0))
    scaled = scaling_lines((cell.values for cell in cells), lookup)
    return Grid(resolved, list(resolver.teachers.values()), scaled)


def _finished_teachers(teachers: Mapping[str, Any], lookup: Lookup) -> Lookup:
    """Return the lookup, with an error for every run id that is not a finished teacher of its kind."""
    runs = dict(lookup.runs)
    named = [(kind, one) for kind, given in teachers.items() for one in given_teachers({kind: given})]
    for kind, given in named:
        run = runs[given] if isinstance(given, str) else None
        if isinstance(run, StoredRun) and (run.kind != kind_of_role(kind) or run.state != "done"):
            what = "synthesis (kind impressions)" if kind == "impressions" else kind_of_role(kind)
            runs[given] = InputError(
                f"teachers.{kind}: run {run.id} is of kind {run.kind} and {run.state}; give a finished {what}, or "
                "describe it in a block, so that it is made first"
            )
    return replace(lookup, runs=runs)


def _seeds(labels: dict[str, str], spec: RunSpec, seeds: list[int]) -> list[Cell]:
    """Return one cell for each seed. The seed is no part of the hash, so the ids differ in their last part only."""
    stem = spec.id.removesuffix(f"s{spec.seed}")
    specs = [spec, *(spec.model_copy(update={"seed": seed}) for seed in seeds[1:])]
    return [Cell(labels, one.seed, one, f"{stem}s{one.seed}") for one in specs]


def _mistake_line(definition: Definition, text: str, cells: list[CellValues]) -> str:
    labels = " ".join(f"{axis}={label}" for axis, label in cells[0].labels.items())
    more = f" (and {len(cells) - 1} more)" if len(cells) > 1 else ""
    return f"{definition.source}: cell {labels or definition.name}{more}: {text}"

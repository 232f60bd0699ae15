"""Definition -> cells. Pure: the same definition and the same known names make the same cells in the same order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from c2d.core.errors import InputError
from c2d.specs.resolve_spec import Known, Mentions, compose, composed_method, found
from c2d.specs.spec import RunSpec, needed_teachers
from sweeps.definition.axes import Labels
from sweeps.definition.definition import Definition
from sweeps.definition.settable_keys import settle

HERE = "its question"
MOST_TOLD = 100


@dataclass(frozen=True)
class Cell:
    """One cell: {axis: label}, its seed, the question it asks and the run that answers it."""

    labels: dict[str, str]
    seed: int
    spec: RunSpec
    run: str


@dataclass(frozen=True)
class Grid:
    """All cells, and every teacher that one of them needs, once, in an order in which they can be trained."""

    cells: list[Cell]
    teachers: list[RunSpec]


def mentions(definition: Definition) -> Mentions:
    """Every name that some cell or teacher may use, for `gather`."""
    named = Mentions()
    assigned = [definition.base, *(axis.sets(label) for axis in definition.axes.values() for label in axis.labels)]
    for values in assigned:
        for key, value in values.items():
            named.add(key.split(".", 2)[2] if key.startswith("teacher.") else key, value)
    for block in definition.teachers.values():
        if isinstance(block, str):
            named.runs.add(block)
        else:
            for key, value in block.items():
                named.add(key, value)
    return named


def expand(definition: Definition, known: Known) -> Grid:
    """The cells in file order: the last axis is the fastest but for the seeds, and included cells come last.

    Equal cells stay apart and share one run.

    Raises:
        InputError: a line for every distinct mistake, with the first cell it is in.
    """
    asking = _Asking(definition, known)
    cells: list[Cell] = []
    mistakes: dict[str, list[Labels]] = {}
    for labels in definition.cells():
        try:
            cells += asking.cell(labels)
        except InputError as error:
            mistakes.setdefault(str(error).removeprefix(f"{HERE}: "), []).append(labels)
    if mistakes:
        told = [_line(definition, text, where) for text, where in mistakes.items()]
        more = [f"{definition.source}: {len(told) - MOST_TOLD} more mistakes"] if len(told) > MOST_TOLD else []
        raise InputError("\n".join(told[:MOST_TOLD] + more))
    return Grid(cells, list(asking.teachers.values()))


def _line(definition: Definition, text: str, where: list[Labels]) -> str:
    labels = " ".join(f"{axis}={label}" for axis, label in zip(definition.axes, where[0], strict=True))
    more = f" (and {len(where) - 1} more)" if len(where) > 1 else ""
    return f"{definition.source}: cell {labels or definition.name}{more}: {text}"


class _Asking:
    """Composes cells; teachers that were composed before are kept, in the order in which they were needed first."""

    def __init__(self, definition: Definition, known: Known) -> None:
        self.definition, self.known = definition, known
        self.teachers: dict[str, RunSpec] = {}  # by run id
        self._composed: dict[str, str | InputError] = {}  # what it was made of -> run id

    def cell(self, labels: Labels) -> list[Cell]:
        """One cell for each seed. The seed is no part of the hash, so one id serves them all but for its end."""
        values = dict(self.definition.base)
        for axis, label in zip(self.definition.axes.values(), labels, strict=True):
            values.update(axis.sets(label))
        question = settle({key: value for key, value in values.items() if not key.startswith("teacher.")})
        method = composed_method(question.get("method") or [], self.known, HERE)
        needed = sorted(needed_teachers(method, self.known.methods))
        if needed:
            question["teachers"] = {kind: self._teacher(kind, values, question, method) for kind in needed}
        seeds = self.definition.seeds
        first = compose({**question, "seed": seeds[0]}, self.known, HERE)
        stem = first.id.removesuffix(f"s{seeds[0]}")
        named = dict(zip(self.definition.axes, labels, strict=True))
        specs = [first, *(first.model_copy(update={"seed": seed}) for seed in seeds[1:])]
        return [Cell(named, spec.seed, spec, f"{stem}s{spec.seed}") for spec in specs]

    def _teacher(self, kind: str, values: dict[str, Any], question: dict[str, Any], method: Any) -> str:
        """The run id of the teacher that this cell needs."""
        block = self.definition.teachers.get(kind, {})
        if isinstance(block, str):
            return self._finished(kind, block)
        start = f"teacher.{kind}."
        own = {key.removeprefix(start): value for key, value in values.items() if key.startswith(start)}
        block = {**block, **own}
        if not block:
            names = ", ".join(next(iter(item)) for item in method)
            subject = "network" if kind == "classifier" else "student"
            raise InputError(
                f"method {names} needs a {kind} teacher; add teachers: {{{kind}: {{{subject}: ..., schedule: ...}}}}"
            )
        asked = settle(block)
        if "dataset" in question:
            asked.setdefault("dataset", question["dataset"])
        key = json.dumps([kind, asked], sort_keys=True)
        if key not in self._composed:
            self._composed[key] = self._train(kind, asked)
        return str(found(self._composed[key]))

    def _train(self, kind: str, asked: dict[str, Any]) -> str | InputError:
        where = f"teachers.{kind}"
        try:
            teacher = compose(asked, self.known, where)
        except InputError as error:
            return InputError(f"{where}: {str(error).removeprefix(f'{where}: ')}")
        run = teacher.id
        self.teachers.setdefault(run, teacher)
        return run

    def _finished(self, kind: str, given: str) -> str:
        run = found(self.known.runs[given])
        if run.kind != kind or run.state != "done":
            raise InputError(
                f"teachers.{kind}: run {run.id} is a {run.kind} and {run.state}; give a finished {kind}, or describe "
                "the teacher in a block, so that it is trained"
            )
        return str(run.id)

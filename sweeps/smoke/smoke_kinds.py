"""A part of a smoke in which every kind of run is left: `c2d sweep smoke --kinds`, for a CI that is short of time."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from c2d.specs import first_weights
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import needed_runs
from sweeps.smoke.smoke_grid import SmokeGrid

LARGE = re.compile(r"r50|r101|r152|x101|vgg16")
"""Backbones that take most of a smoke's time: other runs come before theirs."""


def runs_of_every_kind(grids: Sequence[SmokeGrid]) -> set[str]:
    """Return ids of runs that together have every kind of part that the runs of the grids have, and their teachers.

    The parts of a run are its teacher's network or its student's family, its data set, its methods and teachers on that
    family, and each value of methods, schedule and overrides. Two numbers other than 0 are of one kind. Each sweep
    keeps a cell. That every shipped student can be built and trained is a test (tests/c2d/configs/test_students.py).
    """
    specs = {run: spec for grid in grids for run, spec in grid.specs().items()}
    parts = {run: {(spec.kind, *part) for part in _parts(spec)} for run, spec in specs.items()}
    for grid in grids:
        for cell in grid.grid.cells:
            parts[cell.run].add(("sweep", grid.definition.name))
    chosen: set[str] = set()
    seen: set[Hashable] = set()
    for run in sorted(specs, key=lambda run: bool(LARGE.search(run))):  # otherwise in the order of the definitions
        if parts[run] <= seen:
            continue
        for needed in [run, *_teachers(specs[run], specs)]:
            chosen.add(needed)
            seen |= parts[needed]
    return chosen


def _parts(spec: RunSpec) -> Iterator[tuple[Hashable, ...]]:
    name = spec.network or (spec.student.name if spec.student else "")
    yield "model", spec.network or _family(name), first_weights.network_source(spec.init)
    yield "data", spec.dataset.name, spec.data_free
    methods = tuple(method for item in spec.method for method in item)
    teachers = tuple(sorted(kind for kind, given in spec.teachers.model_dump().items() if given))
    yield "methods", _family(name), methods, teachers
    for item in spec.method:
        yield from (("method", method, *part) for method, given in item.items() for part in _values(given))
    yield from (("schedule", *part) for part in _values(spec.to_json()["schedule"]["values"]))
    yield from (("override", *part) for part in _values(spec.overrides))


def _values(given: Mapping[str, Any]) -> Iterator[tuple[Hashable, Hashable]]:
    """Yield (key, kind of its value); the keys of a mapping in it as well."""
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", kind) for inner, kind in _values(value))
        else:
            yield key, _kind(value)


def _family(name: str) -> str:
    """Return a name without its backbone, which begins with the first later word that has a digit."""
    first, *words = name.split("-")
    backbone = next((place for place, word in enumerate(words) if re.search(r"\d", word)), len(words))
    return "-".join([first, *words[:backbone]])


def _kind(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return tuple(map(_kind, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number" if value else 0
    return value if isinstance(value, Hashable) else str(value)


def _teachers(spec: RunSpec, specs: Mapping[str, RunSpec]) -> list[str]:
    """Return the runs that a run needs, those that they need in turn as well."""
    own = [run for run in needed_runs(spec.teachers).values() if run in specs]
    return list(chain(own, *(_teachers(specs[run], specs) for run in own)))

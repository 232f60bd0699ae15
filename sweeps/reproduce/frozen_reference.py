"""Frozen references: which runs a sweep of a published table plans, so that a changed default cannot pass unseen.

`sweeps/frozen/<sweep>.json` is written by `make freeze` and compared by a test and by `c2d reproduce`. A run id is a
hash of the whole spec (data, student, teachers, methods, schedule, seed), so equal ids are equal questions. Versions of
code and packages are not in it: env.json has them. A sweep on a data set without a shipped card has no reference: its
ids depend on files of the user.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json, read_json
from c2d.data.public import public_cards
from sweeps.actions.submit import resolve
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import read_definition
from sweeps.definition.expand import Grid
from sweeps.definition.profile import load_profile
from sweeps.reproduce.shipped_reports import reported_sweeps

FOLDER = Path(__file__).parents[1] / "frozen"
FORMAT = 1
SHOWN = 3


@dataclass(frozen=True)
class FrozenReference:
    """The runs of one sweep.

    Attributes:
        sweep: its name.
        seeds: of every cell.
        cells: {"axis=label axis=label": run id without its seed}, in the order of the definition.
        teachers: run ids of the teachers, in an order in which they can be trained.
    """

    sweep: str
    seeds: list[int]
    cells: dict[str, str]
    teachers: list[str]

    @property
    def n_runs(self) -> int:
        """Number of different student runs."""
        return len({*self.cells.values()}) * len(self.seeds)

    def differences(self, now: FrozenReference) -> list[str]:
        """Return a line for everything that `now` plans otherwise; empty if it plans the same."""
        lines = [] if self.seeds == now.seeds else [f"seeds {now.seeds} instead of {self.seeds}"]
        lines += [f"{name} is missing" for name in self.cells if name not in now.cells]
        lines += [f"{name} is new" for name in now.cells if name not in self.cells]
        changed = [name for name, run in self.cells.items() if now.cells.get(name, run) != run]
        lines += [f"{name} is {now.cells[name]} instead of {self.cells[name]}" for name in changed]
        gone = [run for run in self.teachers if run not in now.teachers]
        added = [run for run in now.teachers if run not in self.teachers]
        if gone or added:
            lines.append(f"teachers {', '.join(added) or 'none'} instead of {', '.join(gone) or 'none'}")
        return lines


def reference_of(grid: Grid, sweep: str) -> FrozenReference:
    """Return what an expanded definition plans."""
    cells = {" ".join(f"{axis}={label}" for axis, label in cell.labels.items()): cell.run for cell in grid.cells}
    return FrozenReference(
        sweep,
        sorted({cell.seed for cell in grid.cells}),
        {name: run.rpartition("-s")[0] for name, run in cells.items()},
        [spec.id for spec in grid.teachers],
    )


def planned_reference(sweep: str) -> FrozenReference:
    """Return what a shipped definition plans with this version, without any store or data."""
    with tempfile.TemporaryDirectory() as empty:
        workspace = Workspace(Path(empty) / "runs", Path(empty) / "data", "dry", load_profile("default"))
        return reference_of(resolve(read_definition(sweep), workspace), sweep)


def can_be_frozen(sweep: str) -> bool:
    """Return whether the data set of a shipped definition has a shipped card."""
    return read_definition(sweep).base.get("dataset") in public_cards()


def frozen_reference(sweep: str) -> FrozenReference:
    """Read the frozen reference of a sweep."""
    value: dict[str, Any] = read_json(FOLDER / f"{sweep}.json")
    return FrozenReference(**{key: found for key, found in value.items() if key != "format"})


def check_frozen(grid: Grid, sweep: str) -> FrozenReference:
    """Compare an expanded definition with its frozen reference, if it has one, and return what it plans.

    Raises:
        InputError: it plans other runs.
    """
    now = reference_of(grid, sweep)
    if can_be_frozen(sweep) and (lines := frozen_reference(sweep).differences(now)):
        more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise InputError(
            f"{sweep} does not plan the runs of its frozen reference: {'; '.join(lines[:SHOWN])}{more}; restore the "
            "definition, the student, the data card or the package versions, or give --changed to run what is planned "
            "now"
        )
    return now


def freeze() -> Iterator[str]:
    """Write the reference of every published sweep; yield the name of each one that changed."""
    for sweep in filter(can_be_frozen, reported_sweeps()):
        now = planned_reference(sweep)
        path = FOLDER / f"{sweep}.json"
        if not path.exists() or frozen_reference(sweep) != now:
            atomic_write_json(path, {"format": FORMAT, **asdict(now)})
            yield sweep


if __name__ == "__main__":
    for changed in freeze():
        print(f"{FOLDER / changed}.json written")

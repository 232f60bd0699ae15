"""Run the smoke of definitions: expand, train every run, check it, print a line for each cell, write the manifests."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.sweep_manifest import write_manifest
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import needed_runs
from sweeps.smoke.check_run import absent_terms, problem_of_run
from sweeps.smoke.run_in_workers import Ended, run_in_workers
from sweeps.smoke.smoke_grid import SmokeGrid
from sweeps.smoke.smoke_store import SmokeStore
from sweeps.state.manifest import build_manifest

MOST_MEMORY_MIB = 6 * 1024
"""Peak of a worker; a run that needs more cannot be tried on a small machine."""
MARK = "SMOKE of two steps on generated images: "
"""Before the question of a sweep in its manifest, which reports show."""


@dataclass
class SmokeResult:
    """What a smoke found.

    Attributes:
        ended: {run id: how it ended}.
        problems: {run id: what is wrong}.
    """

    ended: dict[str, Ended] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def smoke_sweeps(
    grids: Sequence[SmokeGrid],
    runs: Collection[str],
    store: SmokeStore,
    at_once: int,
    print_line: Callable[[str], None],
) -> SmokeResult:
    """Train runs of some sweeps, each once, and write the sweeps' manifests.

    Args:
        grids: of the sweeps.
        runs: those to train, with their teachers.
        store: of the smoke.
        at_once: worker processes.
        print_line: called with a line for every cell, and for every teacher, when its run has ended.
    """
    specs = {run: spec for grid in grids for run, spec in grid.specs().items() if run in runs}
    cells = _cells_of_runs(grids)
    result, left = SmokeResult(), Counter(run for spec in specs.values() for run in needed_runs(spec.teachers).values())
    for grid in grids:
        question = MARK + grid.definition.question
        definition = grid.definition.model_copy(update={"question": question, "seeds": [0]})
        write_manifest(store.runs, build_manifest(definition, grid.grid))
    for run, spec in specs.items():
        folder = RunFolder(store.runs / run)
        shutil.rmtree(folder.path, ignore_errors=True)
        atomic_write_json(folder.spec, spec.to_json())

    def handle_end(spec: RunSpec, end: Ended) -> bool:
        run = RunFolder(store.runs / spec.id)
        problem = end.reason or problem_of_run(run, spec) or _problem_of_memory(end)
        result.ended[spec.id] = end
        if problem:
            result.problems[spec.id] = problem
        store.remove_checkpoints(run)
        left.subtract(used := list(needed_runs(spec.teachers).values()))
        for name in [spec.id, *used]:
            if left[name] <= 0:
                store.remove_weights(RunFolder(store.runs / name))
        absent = absent_terms(run, spec) if not problem else []
        more = f": {problem}" if problem else f" (0 here: {', '.join(absent)})" if absent else ""
        state = "FAILED" if problem else "ok"
        for number, cell in enumerate(cells[spec.id]):
            shown = "same run" if number else f"{end.seconds:5.1f} s"
            print_line(f"{state:6} {shown:>8}  {cell}{more}")
        return not problem

    inits = {run: spec.init for grid in grids for run, spec in grid.real.items() if spec.kind != "impressions"}
    run_in_workers(specs, inits, store.runs, store.data, at_once, handle_end)
    return result


def _problem_of_memory(end: Ended) -> str:
    if end.memory_mib <= MOST_MEMORY_MIB:
        return ""
    return f"its process has needed {end.memory_mib} MiB, at most {MOST_MEMORY_MIB} are meant for a smoke"


def _cells_of_runs(grids: Iterable[SmokeGrid]) -> dict[str, list[str]]:
    """{run id: what it is for: a teacher, or cells of sweeps}."""
    cells: dict[str, list[str]] = {}
    for grid in grids:
        name = grid.definition.name
        for spec in grid.grid.teachers:
            model = spec.network or (spec.student.name if spec.student else "")
            what = "synthesis of images" if spec.kind == "impressions" else f"{spec.kind} teacher {model}"
            cells.setdefault(spec.id, []).append(f"{name} [{what}] {spec.id}")
        for cell in grid.grid.cells:
            labels = ", ".join(f"{axis}={label}" for axis, label in cell.labels.items())
            cells.setdefault(cell.run, []).append(f"{name} [{labels}] {cell.run}")
    return cells


def kinds_table(grids: Sequence[SmokeGrid], result: SmokeResult) -> list[str]:
    """Return lines with the number of runs, failures and seconds of each kind of run and each method.

    Args:
        grids: of the sweeps.
        result: of the smoke.
    """
    specs = {run: spec for grid in grids for run, spec in grid.specs().items()}
    rows: dict[str, list[str]] = {}
    for run, spec in specs.items():
        if run not in result.ended:
            continue
        methods = "+".join(next(iter(item)) for item in spec.method)
        rows.setdefault(f"detector, {methods or 'no method'}" if spec.kind == "detector" else spec.kind, []).append(run)
    lines = [f"{'kind':32} {'runs':>5} {'failed':>6} {'seconds':>8}"]
    for kind, runs in sorted(rows.items()):
        failed = sum(run in result.problems for run in runs)
        seconds = sum(result.ended[run].seconds for run in runs)
        lines.append(f"{kind:32} {len(runs):5} {failed:6} {seconds:8.0f}")
    return lines


def check_names(grids: Sequence[SmokeGrid]) -> None:
    """Check that no two definitions have one name, under which their manifests lie.

    Raises:
        InputError: two have.
    """
    for name, count in Counter(grid.definition.name for grid in grids).items():
        if count > 1:
            raise InputError(f"{count} definitions have the name {name}; give each once")

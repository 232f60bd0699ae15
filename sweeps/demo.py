"""The demo: does an image classifier teach a compact detector? The sweep `demo` on this machine, then its report.

The demo generates scenes and submits `sweeps/defs/demo.yaml` to the local launcher. Finished runs are not repeated, so
an interrupted demo continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import RunError
from c2d.core.process.python_process import run_c2d
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.sweep_manifest import planned_runs
from sweeps.actions.submit import submit_sweep
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import Definition, read_definition
from sweeps.definition.profile import load_profile
from sweeps.launchers.launch_request import PrintLine
from sweeps.state.manifest import load_manifest

NAME, FULL = "demo", "demo-full"


@dataclass(frozen=True)
class DemoCell:
    """One row of the table and its finished runs, one a seed."""

    name: str
    runs: tuple[RunFolder, ...]


@dataclass(frozen=True)
class Demo:
    """The finished demo.

    Attributes:
        teacher: run of the classifier teacher.
        cells: in the definition's order.
        detector: run of the detector teacher, if there is one.
    """

    definition: Definition
    teacher: RunFolder
    cells: list[DemoCell]
    detector: RunFolder | None = None

    @property
    def n_seeds(self) -> int:
        """Number of seeds in the definition."""
        return len(self.definition.seeds)


def run_demo(runs: Path, data: Path, full: bool, print_line: PrintLine) -> Demo:
    """Generate the scenes, run the sweep, and return the finished demo.

    Args:
        runs: the store.
        data: root of the data cards; `scenes` is generated in it if it is missing.
        full: every cell and seed of `demo-full` instead of the demo's first seed.
        print_line: called with a line about each step.

    Raises:
        RunError: a run failed; the printed lines name it and the reason.
        KeyboardInterrupt: interrupted; the same call continues.
    """
    definition = read_definition(FULL if full else NAME)
    scenes = data / "scenes"
    if not (scenes / "card.json").exists():
        code = run_c2d(["data", "scenes", str(scenes)])
        if code:
            raise RunError(f"generating the scenes failed with exit code {code}; its message is above")
    workspace = Workspace(runs, data, "local", load_profile("cpu"))
    filters = [] if full else [f"seed={definition.seeds[0]}"]
    code = submit_sweep(
        definition, workspace, filters=filters, forward=False, print_line=print_line, print_run=lambda line: None
    )
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise RunError("a run of the demo failed; it is named above, its log.txt is in its run folder")
    return read_demo(definition, runs)


def make_report(name: str, runs: Path, data: Path) -> int:
    """Run `c2d report` on the sweep `name`, into `reports/NAME` beside the store; return its exit code."""
    folder = runs.parent / "reports" / name
    return run_c2d(["report", "--sweep", name, "--runs", str(runs), "--data", str(data), "--out", str(folder)])


def read_demo(definition: Definition, runs: Path) -> Demo:
    """Read the demo from the store: cells with their finished runs."""
    record = load_manifest(runs, definition.name)
    rows: dict[str, dict[str, RunFolder]] = {}
    for cell in record["cells"]:
        run = RunFolder(runs / cell["run"])
        done = rows.setdefault(cell["labels"]["method"], {})
        if run.read_status()["state"] == "done":
            done[run.id] = run
    teachers = [RunFolder(runs / planned.run) for planned in planned_runs(record) if planned.kind == "teacher"]
    kinds = {read_json(run.spec)["kind"]: run for run in teachers}
    cells = [DemoCell(name, tuple(done.values())) for name, done in rows.items()]
    return Demo(definition, kinds["classifier"], cells, kinds.get("detector"))


def has_teacher(run: RunFolder, kind: str = "classifier") -> bool:
    """Return whether the run was trained with a teacher of this kind."""
    return read_json(run.spec)["teachers"].get(kind) is not None

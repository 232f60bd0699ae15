"""The demo: does an image classifier teach a compact detector? The sweep `demo` on this machine, then its report.

Scenes are made, then `sweeps/defs/demo.yaml` is submitted to the local launcher; everything else is a sweep's. What is
finished is not done again, so an interrupted demo continues.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import RunError
from c2d.core.run_folder import RunFolder, read_json
from sweeps.actions.submit import Workspace, submit
from sweeps.definition.definition import Definition, read_definition
from sweeps.definition.profile import load_profile
from sweeps.launchers.launch_request import PrintLine
from sweeps.state.manifest import promises, read_record

NAME, FULL = "demo", "demo-full"


@dataclass(frozen=True)
class Cell:
    """One row of the table and its finished runs, one a seed."""

    name: str
    runs: tuple[RunFolder, ...]


@dataclass(frozen=True)
class Demo:
    """The finished demo: rows in the definition's order, the teachers, and the seeds the sweep promises."""

    definition: Definition
    teacher: RunFolder
    cells: list[Cell]
    detector: RunFolder | None = None

    @property
    def seeds(self) -> int:
        return len(self.definition.seeds)


def run_demo(runs: Path, data: Path, full: bool, print_line: PrintLine) -> Demo:
    """Scenes, then the sweep.

    Args:
        runs: the store.
        data: root of the data cards; `scenes` is made in it unless it is there.
        full: every cell and seed of `demo-full` instead of the demo's first seed.
        say: takes a line about what is done.
    Raises:
        RunError: a run failed; the line above says which and why.
        KeyboardInterrupt: interrupted; the same call continues.
    """
    definition = read_definition(FULL if full else NAME)
    scenes = data / "scenes"
    if not (scenes / "card.json").exists():
        code = subprocess.run([sys.executable, "-m", "c2d", "data", "scenes", str(scenes)], check=False).returncode
        if code:
            raise RunError(f"making the scenes ended with exit code {code}; its message is above")
    place = Workspace(runs, data, "local", load_profile("cpu"))
    filters = [] if full else [f"seed={definition.seeds[0]}"]
    code = submit(definition, place, filters=filters, forward=False, print_line=print_line, explain=lambda line: None)
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise RunError("a run of the demo failed; it is named above, its log.txt is in its run folder")
    return finished(definition, runs)


def make_report(name: str, runs: Path, data: Path) -> int:
    """`c2d report` of the sweep `name` into `reports/NAME` beside the store; its exit code. It says what it made."""
    command = [sys.executable, "-m", "c2d", "report", "--sweep", name, "--runs", str(runs), "--data", str(data)]
    sys.stdout.flush()  # its words come after ours
    return subprocess.run([*command, "--out", str(runs.parent / "reports" / name)], check=False).returncode


def finished(definition: Definition, runs: Path) -> Demo:
    """The demo as far as it has been run: cells with the runs that are done."""
    record = read_record(runs, definition.name)
    rows: dict[str, dict[str, RunFolder]] = {}
    for cell in record["cells"]:
        run = RunFolder(runs / cell["run"])
        found = rows.setdefault(cell["labels"]["method"], {})
        if run.read_status()["state"] == "done":
            found[run.id] = run
    teachers = [RunFolder(runs / promise.run) for promise in promises(record) if promise.kind == "teacher"]
    kinds = {read_json(run.spec)["kind"]: run for run in teachers}
    cells = [Cell(name, tuple(found.values())) for name, found in rows.items()]
    return Demo(definition, kinds["classifier"], cells, kinds.get("detector"))


def taught(run: RunFolder, kind: str = "classifier") -> bool:
    """Whether a teacher of that kind taught this run."""
    return read_json(run.spec)["teachers"].get(kind) is not None

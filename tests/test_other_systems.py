"""Reports and plans work where fcntl, USR2 and /proc are missing: Windows and macOS, imitated by `other_system.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from c2d.core.process.stop_signals import STOP_SIGNALS
from tests.test_arrows import ROOT

STORE = ROOT / "tests" / "fixtures" / "runs"
DEFINITION = """\
question: Does a plan need a SLURM?
base: {dataset: coco2017, student: retinanet-qr18, schedule: demo}
axes: {method: {baseline: []}}
seeds: 1
"""
SPEC = "kind: table\nsweep: tiny\nrows: {method: [baseline, kd_cls]}\ncolumns: [AP]\n"
PROGRAM = """
import importlib
from c2d.cli.main import main
from tests.test_arrows import COMMAND_MODULES, TORCH_FREE, modules, within

imported = [m for m in modules() if (m in COMMAND_MODULES or within(m, *TORCH_FREE)) and not m.endswith("__main__")]
for module in imported:
    importlib.import_module(module)
print(len(imported), "modules")
for arguments in (
    ["report", "rows.yaml", "--runs", "STORE", "--out", "out"],
    ["sweep", "plan", "one.yaml", "--runs", "runs"],
    ["sweep", "submit", "one.yaml", "--where", "dry", "--runs", "runs"],
):
    try:
        main(arguments)
    except SystemExit as end:
        print("EXIT", *arguments[:2], end.code)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The working directory of each system, after the program has run there."""
    found = {system: tmp_path_factory.mktemp(system) for system in ("windows", "macos")}
    for folder in found.values():
        (folder / "one.yaml").write_text(DEFINITION)
        (folder / "rows.yaml").write_text(SPEC)
    words = [f"{system}={folder}" for system, folder in found.items()]
    command = [sys.executable, "-m", "tests.other_system", PROGRAM.replace("STORE", str(STORE)), *words]
    home = str(tmp_path_factory.mktemp("home"))
    # A clean process: the standard library is changed before anything of ours is imported.
    subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "HOME": home, "PATH": home}, timeout=300, check=False
    )
    return found


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_reports_and_plans_work(folders: dict[str, Path], system: str) -> None:
    output = (folders[system] / "output.txt").read_text()
    ends = [line for line in output.splitlines() if line.startswith("EXIT")]
    assert ends == ["EXIT report rows.yaml 0", "EXIT sweep plan 0", "EXIT sweep submit 0"], output[-3000:]
    assert "#SBATCH" in output
    assert (folders[system] / "out" / "tables" / "rows.csv").is_file()


def test_a_training_here_hears_both_signals() -> None:
    assert [signal.name for signal in STOP_SIGNALS] == ["SIGTERM", "SIGUSR2"]

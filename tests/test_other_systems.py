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


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_reports_and_plans_work(system: str, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(DEFINITION)
    (tmp_path / "rows.yaml").write_text(SPEC)
    program = PROGRAM.replace("STORE", str(STORE))
    command = [sys.executable, "-m", "tests.other_system", system, program]
    # A clean process: the standard library is changed before anything of ours is imported.
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": str(tmp_path)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [line for line in done.stdout.splitlines() if line.startswith("EXIT")]
    assert ends == ["EXIT report rows.yaml 0", "EXIT sweep plan 0", "EXIT sweep submit 0"], done.stdout[-2000:]
    assert "#SBATCH" in done.stdout
    assert (tmp_path / "out" / "tables" / "rows.csv").is_file()


def test_a_training_here_hears_both_signals() -> None:
    assert [signal.name for signal in STOP_SIGNALS] == ["SIGTERM", "SIGUSR2"]

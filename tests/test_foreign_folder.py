"""Processes that we start import our packages, also in a folder with modules of the same names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from c2d.core.process.python_process import module_command, module_environment

MODULES = (
    "c2d",
    "benchmarks.latency.student_memory",
    "benchmarks.latency.worker",
    "benchmarks.suite.evaluation_speed",
    "benchmarks.suite.overhead",
    "benchmarks.training.step_of_spec",
    "c2d.preflight.dry_run",
    "sweeps.node.job",
)


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a module or package of the name of each of ours."""
    for name in ("analysis.py", "benchmarks.py", "c2d.py", "sweeps/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('raise SystemExit("foreign")\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def test_the_working_directory_would_replace_our_packages(foreign: Path) -> None:
    """Without -P: this is what the helper prevents."""
    done = subprocess.run([sys.executable, "-m", "c2d"], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "foreign"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_ours(foreign: Path, module: str) -> None:
    """Without arguments each of them fails, or prints its help, in our own file."""
    done = subprocess.run(module_command(module), env=module_environment(), capture_output=True, text=True, check=False)
    assert "foreign" not in done.stderr + done.stdout
    assert "No module named" not in done.stderr
    assert "IndexError" in done.stderr or "usage" in (done.stdout + done.stderr).lower()


def test_a_command_and_its_children_run(foreign: Path) -> None:
    """The children of `c2d bench overhead` are run in such a folder by test_overhead.py."""
    done = CliRunner().invoke(app, ["eval", "--images", "20", "--resamples", "100"], catch_exceptions=False)
    assert done.exit_code == 0, done.output

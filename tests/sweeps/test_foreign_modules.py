"""Processes that sweeps start never import `analysis.py`, `sweeps/` or `c2d.py` of the user's working directory."""

from __future__ import annotations

import functools
import operator
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from c2d.core.process.python_process import run_c2d
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from sweeps.checks import dry_run_process
from sweeps.definition.profile import Profile
from sweeps.launchers import local
from sweeps.launchers.arrays import JobArray
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.slurm import submit_array
from sweeps.launchers.snapshot import take_snapshot
from sweeps.node import probe_job
from tests.sweeps.actions.test_submit import GRID
from tests.sweeps.fake_slurm.control import FakeSlurm

ROOT = Path(__file__).parents[2]
FOREIGN = 'raise SystemExit("foreign")\n'


@pytest.fixture(autouse=True)
def foreign_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: modules with the names of our packages that end the process which imports them."""
    folder = tmp_path / "foreign"
    for package in ("sweeps", "submitit"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(FOREIGN)
    for module in ("analysis", "benchmarks", "c2d"):
        (folder / f"{module}.py").write_text(FOREIGN)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return folder


def request(root: Path, *tasks: Task) -> LaunchRequest:
    runs = root / "runs"
    profile = Profile(gpus=0, cpus=1, python=sys.executable)
    return LaunchRequest("s", runs, root / "data", list(tasks), profile, take_snapshot(runs))


def test_the_folder_is_foreign(foreign_folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "c2d"], capture_output=True, text=True, check=False)
    assert "foreign" in done.stderr


def test_a_local_run(tmp_path: Path) -> None:
    """A folder without a spec is refused by our own code, with our message."""
    run = RunFolder(tmp_path / "runs" / "run")
    run.path.mkdir(parents=True)
    lines: list[str] = []
    assert local.launch(request(tmp_path, Task(run)), lines.append, at_once=1, threads=1) == 1
    assert "foreign" not in (text := "\n".join(lines)), text
    assert run.read_status()["reason"]
    log = next((tmp_path / "runs" / "sweeps" / "s").rglob("run.out")).read_text()
    assert "c2d attempt begins" in log
    assert "foreign" not in log


def test_a_batch_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm(tmp_path / "slurm", monkeypatch)
    task = Task(RunFolder(tmp_path / "runs" / "run"))
    launch = request(tmp_path, task)
    array = JobArray("c2d-s-0", (task,))
    number = submit_array([functools.partial(operator.mul, 6, 7)], array, launch, "", print)
    folder = RunStore(launch.runs).submission("s", array.name)
    monkeypatch.setenv("SLURM_JOB_ID", number)
    done = subprocess.run(
        ["bash", str(folder / "submission.sh")], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert pickle.loads((folder / f"{number}_0_result.pkl").read_bytes()) == ("success", 42)


def test_the_dry_run(tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    assert list(dry_run_process._process([], tmp_path, errors, tmp_path / "runs", None)) == []
    assert "foreign" not in errors.read_text()


def test_commands_of_a_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_c2d(["data", "--help"]) == 0
    assert "scenes" in capfd.readouterr().out


def test_the_doctor_of_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    command = probe_job.module_command
    monkeypatch.setattr(probe_job, "module_command", lambda module, *arguments: command(module, "--version"))
    assert "c2d" in probe_job.doctor()["error"]  # the version is no JSON; what was printed is in the error


def test_check_by_the_console_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(sys.executable).with_name("c2d")
    if not script.is_file():
        pytest.skip("missing: the console script c2d; fix: pip install -e .")
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [str(script), "sweep", "check", str(tmp_path / "grid.yaml"), "--no-forward", "--runs", "runs"]
    done = subprocess.run([*command, "--data", "data"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr

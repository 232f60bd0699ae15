"""`c2d sweep ...` as typed: output, exit codes, and that nothing heavy is loaded for it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from sweeps.actions.feeder import submit_and_wait
from sweeps.cli import app
from sweeps.commands.command_options import MAX_LINES
from tests.sweeps.actions.test_submit import GRID
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")


class Shell:
    """Commands on one definition and one store."""

    def __init__(self, folder: Path, slurm: FakeSlurm) -> None:
        self.slurm = slurm
        self.runs, self.definition = folder / "runs", folder / "grid.yaml"
        self.definition.write_text(GRID)
        self.data = folder / "data"

    def run(self, command: str, *words: str, data: bool = False, code: int = 0) -> str:
        given = ["--runs", str(self.runs), *(["--data", str(self.data)] if data else [])]
        result = CliRunner().invoke(app, [command, str(self.definition), *given, *words])
        assert result.exit_code == code, result.output + str(result.exception)
        return result.output

    def submit(self) -> str:
        return self.run("submit", "--where", "slurm", "--no-forward", data=True)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, FakeSlurm(tmp_path / "slurm", monkeypatch))


def test_check_prints_counts_and_missing_data(shell: Shell) -> None:
    out = shell.run("check", "--no-forward", data=True)
    assert "grid: How warm, and how much?" in out
    assert "8 cells, 6 runs, of these 1 teachers" in out
    assert "data set coco2017 is missing here; jobs verify it when they start" in out
    assert out.endswith("no problem found\n")


def test_an_error_of_a_definition_has_its_line(shell: Shell) -> None:
    shell.definition.write_text(GRID.replace("seeds: 1", "seed: 1"))
    result = CliRunner().invoke(app, ["check", str(shell.definition), "--runs", str(shell.runs)])
    assert isinstance(result.exception, InputError)
    assert f"{shell.definition}:12: seed: unknown key 'seed'; did you mean 'seeds'?" in str(result.exception)


def test_plan_as_lines_and_as_json(shell: Shell) -> None:
    out = shell.run("plan", data=True)
    assert out.count("-> new") == 6
    assert "(+3 equal)" in out
    assert out.endswith("6 new\n")
    found = json.loads(shell.run("plan", "--json", "--filter", "method=baseline", data=True))
    assert [run["state"] for run in found["runs"]] == ["new"]
    assert len(found["runs"][0]["cells"]) == 4


def test_a_scaled_schedule_is_printed_by_check_and_plan(shell: Shell) -> None:
    shell.definition.write_text(GRID.replace("schedule: 1x-dense", "schedule: {name: 1x-dense, scale_to_batch: 8}"))
    line = (
        "schedule 1x-dense at batch 8 instead of 16: lr 0.01 -> 0.005 (linear rule), iterations 90000 -> 180000, "
        "warm-up 500 -> 1000, milestones 60000 80000 -> 120000 160000"
    )
    assert f"\n{line}\n" in shell.run("check", "--no-forward", data=True)
    assert shell.run("plan", data=True).startswith(f"{line}\n")
    assert json.loads(shell.run("plan", "--json", data=True))["scaled"] == [line]


def test_many_runs_are_summarised_unless_all_is_given(shell: Shell) -> None:
    shell.definition.write_text(GRID.replace("seeds: 1", "seeds: 50"))
    out = shell.run("plan", data=True)
    assert MAX_LINES < 251
    assert "251 -> new" in out
    assert out.count("\n") == 3
    assert shell.run("plan", "-v", data=True).count("-> new") == 251


def test_trackers_are_checked_and_named_before_a_launch(shell: Shell) -> None:
    words = ("--where", "dry", "--no-forward", "--track")
    assert "tracked by tensorboard, wandb:papers" in shell.run("submit", *words, "tensorboard,wandb:papers", data=True)
    refused = CliRunner().invoke(app, ["submit", str(shell.definition), "--runs", str(shell.runs), *words, "mlflov"])
    assert "did you mean 'mlflow'?" in str(refused.exception)
    assert not (shell.runs / "tracking").exists()


def test_status_of_what_was_submitted_from_another_shell(shell: Shell) -> None:
    assert "-> new" in shell.submit()
    found = json.loads(shell.run("status", "--json"))
    assert found["counts"] == {"waiting": 6}
    assert found["question"] == "How warm, and how much?"
    assert "6 runs: 6 waiting" in shell.run("status")


def test_failed_runs_are_an_exit_code_and_a_group_of_triage(shell: Shell) -> None:
    shell.submit()
    for path in sorted(shell.runs.glob("retinanet-r50-icod-*")):
        RunFolder(path).write_status("failed", attempt=1, failure_class="nan", reason="loss is nan (from loss_cls)")
    for number, facts in shell.slurm.jobs.items():
        if len(facts["states"]) == 4:  # the four that a teacher has to come before
            shell.slurm.change(number, state="FAILED")
    assert "failed" in shell.run("status", code=1)
    out = shell.run("triage")
    assert "nan: 4 runs\n" in out
    assert "lower learning rate" in out
    assert json.loads(shell.run("triage", "--json"))
    assert "nothing to retry" in shell.run("retry")


def test_cancel_asks_for_confirmation(shell: Shell, tmp_path: Path) -> None:
    shell.submit()
    given = ["cancel", str(shell.definition), "--runs", str(shell.runs)]
    result = CliRunner().invoke(app, given, input="n\n")
    assert result.exit_code == 130
    assert "stop these 6 runs?" in result.output
    assert "cancelled" not in result.output
    (tmp_path / "other.yaml").write_text(GRID.replace("T: [1, 2]", "T: [1]"))
    other = ["submit", str(tmp_path / "other.yaml"), "--where", "slurm", "--no-forward", "--runs", str(shell.runs)]
    assert CliRunner().invoke(app, [*other, "--data", str(shell.data)]).exit_code == 0
    out = shell.run("cancel", "--yes")
    assert "cancelled 6 jobs" in out
    assert out.count("also in sweep other") == 4  # teacher, baseline and two students


def test_gc_lists_by_default_and_removes_with_the_option(shell: Shell) -> None:
    shell.submit()
    assert "would be removed; --yes removes them" in shell.run("gc")


def test_a_sweep_that_was_never_submitted(shell: Shell) -> None:
    result = CliRunner().invoke(app, ["status", "grd", "--runs", str(shell.runs)])
    assert isinstance(result.exception, InputError)
    assert "unknown sweep in" in str(result.exception)


def test_planning_loads_neither_torch_nor_mmdet(shell: Shell) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from sweeps.cli import app\n"
        f"done = CliRunner().invoke(app, ['submit', {str(shell.definition)!r}, '--where', 'dry', '--no-forward', "
        f"'--runs', {str(shell.runs)!r}, '--data', {str(shell.data)!r}])\n"
        "assert done.exit_code == 0, done.output\n"
        "print(sorted({'torch', 'mmdet', 'mmengine', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_submit_and_wait_ends_with_0_when_all_is_done_and_with_130_when_interrupted(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        assert seconds == 7
        raise KeyboardInterrupt

    with_sleep = partial(submit_and_wait, sleep=interrupt)
    monkeypatch.setattr("sweeps.actions.feeder.submit_and_wait", with_sleep)
    words = ("submit", "--where", "slurm", "--no-forward", "--wait", "--interval", "7")
    out = shell.run(*words, data=True, code=130)
    assert out.count("-> new") == 6
    assert out.endswith("interrupted: submitted runs continue, and the same command submits the others\n")
    count = len(shell.slurm.jobs)
    for number in shell.slurm.jobs:
        shell.slurm.change(number, state="COMPLETED")
    for path in shell.runs.glob("*-s0"):
        RunFolder(path).result.write_text("{}")
        RunFolder(path).write_status("done")
    out = shell.run(*words, data=True)
    assert "6 runs: 6 done" in out
    assert len(shell.slurm.jobs) == count

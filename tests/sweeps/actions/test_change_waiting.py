"""hold, release, nice and cap: which jobs are changed, how they are addressed, and what SLURM refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.launchers import submission
from sweeps.launchers.arrays import throttles
from sweeps.scheduler import array_file, change_jobs
from tests.sweeps.actions.test_run_logs import submitted
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.state.test_store_sweeps import write_sweep

CELLS = tuple(f"c{number}" for number in range(8))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def runs(tmp_path: Path, fake: FakeSlurm) -> Path:
    """Eight cells in one array, of which the first one runs; and a plain job of another sweep."""
    runs = tmp_path / "runs"
    write_sweep(runs, "s", *CELLS)
    submitted(runs, "7", *CELLS)
    queued(fake, "7", 8)
    fake.change("7", states=["RUNNING", *["PENDING"] * 7])
    return runs


def queued(fake: FakeSlurm, number: str, count: int) -> None:
    job = {"name": f"j{number}", "array": count > 1, "throttle": 1, "states": ["PENDING"] * count,
           "exit": ["0:0"] * count, "dependency": "", "script": "", "flags": [], "purged": False}  # fmt: skip
    (fake.state / "jobs.json").write_text(json.dumps({**fake.jobs, number: job}))


def call(runs: Path, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--runs", str(runs)])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def test_only_waiting_jobs_are_held_and_only_held_ones_released(fake: FakeSlurm, runs: Path) -> None:
    cells = ("--filter", "method=c1", "--filter", "method=c4", "--filter", "method=c5", "--filter", "method=c0")
    assert call(runs, "hold", "s", *cells) == "held: 3 jobs (7_[1,4-5])\n"
    assert fake.jobs["7"]["held"] == [1, 4, 5]
    assert [words[1:] for words in fake.calls("scontrol")] == [["uhold", "7_[1,4-5]"]]
    assert "nothing to change" in call(runs, "hold", "s", *cells)
    assert "JobHeldUser" in call(runs, "status", "s")
    assert call(runs, "release", "s", "--filter", "method=c4") == "released: 1 job (7_4)\n"
    assert call(runs, "release", "s") == "released: 2 jobs (7_[1,5])\n"
    assert fake.jobs["7"]["held"] == []
    assert call(runs, "hold", "s") == "held: 7 jobs (7_[1-7])\n"


def test_nice_leaves_held_jobs_alone(fake: FakeSlurm, runs: Path) -> None:
    call(runs, "hold", "s", "--filter", "method=c3")
    said = call(runs, "nice", "s", "100").splitlines()
    assert said == ["set to nice 100: 6 jobs (7_[1-2,4-7])", "not changed: 1 job (7_3): held; release it first"]
    assert fake.jobs["7"]["nices"] == dict.fromkeys("124567", "100")
    assert "nothing to change" in call(runs, "nice", "s", "100")
    assert "set to nice -5: 6 jobs" in call(runs, "nice", "s", "-5")


def test_what_slurm_refuses_is_a_line_with_its_reason(fake: FakeSlurm, runs: Path) -> None:
    fake.behave(refused={"uhold": "Access/permission denied", "ArrayTaskThrottle": "Invalid user id"})
    said = call(runs, "hold", "s", code=1)
    assert said == "not held: 7 jobs (7_[1-7]): SLURM says: Access/permission denied\n"
    assert "not changed: job 7: SLURM says: Invalid user id" in call(runs, "cap", "s", "4", code=1)
    assert array_file.read_array(runs / "sweeps" / "s" / "j7") == {
        "format": 1, "name": "j7", "job": "7", "tasks": 8, "throttle": 1,
    }  # fmt: skip
    fake.behave(silent=["squeue", "scontrol"])
    assert "SLURM does not answer" in str(CliRunner().invoke(app, ["hold", "s", "--runs", str(runs)]).exception)


def test_a_refusal_of_some_tasks_names_them() -> None:
    error = "14_15-16: No error\n14_40,42: Invalid job id specified\n"
    jobs = ["14_15", "14_16", "14_40", "14_42"]
    assert change_jobs._reasons(error, jobs) == dict.fromkeys(jobs[2:], "Invalid job id specified")
    plain = "Invalid job id specified for job 99\nslurm_suspend error: Invalid job id specified"
    assert change_jobs._reasons(plain, ["99"]) == {"99": "Invalid job id specified"}
    assert change_jobs._reasons("", ["99"]) == {"99": "scontrol gave no reason"}


def test_a_cap_holds_for_all_arrays_together_and_for_later_submissions(fake: FakeSlurm, runs: Path) -> None:
    assert call(runs, "cap", "s", "5") == "job 7: 8 runs, 5 at once (was 1)\n"
    assert fake.jobs["7"]["throttle"] == 5
    assert submission.active_arrays(runs, "s") == [("7", 5)]
    fake.change("7", state="COMPLETED")
    assert "nothing to change" in call(runs, "cap", "s", "5")


@pytest.mark.parametrize(
    ("left", "waits", "cap", "shares"),
    [
        ({"1": 10, "2": 10}, {}, 6, {"1": 3, "2": 3}),
        ({"1": 2, "2": 10}, {}, 6, {"1": 2, "2": 4}),
        ({"1": 10, "2": 10}, {"2": "afterany:1"}, 6, {"1": 6, "2": 6}),  # one after the other
        ({"1": 10, "2": 10}, {"2": "afterok:9,afterany:8:1"}, 6, {"1": 6, "2": 6}),
        ({"1": 10, "2": 10, "3": 5}, {}, 2, {"1": 1, "2": 1, "3": 1}),  # 0 is "no limit" for SLURM
    ],
)
def test_slots_are_shared_by_arrays_that_run_at_the_same_time(left, waits, cap, shares) -> None:
    assert throttles(left, waits, cap) == shares

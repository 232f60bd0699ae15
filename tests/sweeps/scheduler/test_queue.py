"""What squeue and sacct print, read; and what is done where they are missing, slow or silent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d.core.errors import RunError
from sweeps.scheduler import queue, slurm_command
from sweeps.scheduler.cancel_jobs import cancel_jobs
from sweeps.scheduler.slurm_output import count_of, expand, parse_sacct, parse_squeue
from tests.sweeps.fake_slurm.control import FakeSlurm

# As SLURM 22.05 prints them.
SQUEUE = """\
1|COMPLETED|n1|0:01|2026-11-20T22:18:23|2026-11-20T22:18:24|None|main|normal|vision|wrap
2_7|RUNNING|n1|1-02:03:04|2026-11-20T22:18:23|2026-11-20T22:18:26|None|main|normal|vision|a|b
13_[0-2,5%2]|PENDING||0:00|2026-11-20T22:18:26|N/A|Dependency|short|(null)|(null)|wrap
"""
SACCT = """\
2_7|CANCELLED by 1000|n1|61|2026-11-20T22:18:23|2026-11-20T22:18:26|0:15|None|wrap
2_7.batch|CANCELLED|n1|61|2026-11-20T22:18:26|2026-11-20T22:18:26|0:15||batch
3|FAILED|n2|7|2026-11-20T22:18:23|2026-11-20T22:18:26|137:0|None|wrap
3.batch|FAILED|n2|7|2026-11-20T22:18:23|2026-11-20T22:18:26|137:0||batch
3.0|OUT_OF_MEMORY|n2|7|2026-11-20T22:18:23|2026-11-20T22:18:26|0:125||python
"""


def submit(slurm: FakeSlurm, folder: Path, name: str = "c2d-demo-1", array: str = "--array=0-3%4") -> str:
    from sweeps.scheduler.sbatch import sbatch

    script = folder / f"{name}.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH --job-name={name}\n#SBATCH {array}\n")
    return sbatch(script, name, print)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


def test_squeue_rows() -> None:
    one, two, three = parse_squeue(SQUEUE)
    assert (one.job, one.state, one.node, one.elapsed_s) == ("1", "COMPLETED", "n1", 1.0)
    assert (two.name, two.elapsed_s, two.started) == ("a|b", 93784.0, "2026-11-20T22:18:26")
    assert (three.job, three.reason, three.node, three.started) == ("13_[0-2,5%2]", "Dependency", "", "")
    assert (three.partition, three.qos, two.account) == ("short", "", "vision")
    assert expand(three.job, ["13_1", "13_5", "13_3", "1_1", "13"]) == ["13_1", "13_5"]
    assert [count_of(tasks) for tasks in ("[0-2,5%2]", "4", "")] == [4, 1, 1]


def test_sacct_rows_and_the_step_that_ran_out_of_memory() -> None:
    two, three = parse_sacct(SACCT)
    assert (two.state, two.exit_code, two.signal, two.elapsed_s) == ("CANCELLED", 0, 15, 61.0)
    assert (three.job, three.state, three.exit_code, three.signal) == ("3", "OUT_OF_MEMORY", 137, None)


def test_the_newest_row_of_a_requeued_job_counts(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        "5|NODE_FAIL|n1|9|2026-11-20T22:00:00|x|0:0|None|a",
        "5|COMPLETED|n2|9|2026-11-20T23:00:00|x|0:0|None|a",
        "5|REQUEUED|n1|9|2026-11-20T22:30:00|x|0:0|None|a",
    ]
    monkeypatch.setattr(queue, "_sacct", lambda *_: "\n".join(rows))
    assert queue.look_up(["5"])["5"].state == "COMPLETED"


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    for rows in (parse_squeue(text), parse_sacct(text)):
        assert all(facts.job for facts in rows)
    assert expand(text, ["1_2"]) in ([], ["1_2"])
    assert count_of(text) >= 0


CELL = st.text(alphabet="0123456789_[]-,%:. +|ABCxyz\u0663\x00", max_size=12)


@given(st.lists(st.lists(CELL, min_size=6, max_size=11), max_size=5))
def test_no_table_breaks_the_parsers(table: list[list[str]]) -> None:
    text = "\n".join("|".join(row) for row in table)
    for facts in [*parse_squeue(text), *parse_sacct(text)]:
        assert facts.state == facts.state.upper()
        assert facts.elapsed_s is None or facts.elapsed_s >= 0


@given(st.text(alphabet="ABCDEFGHIJ_", min_size=1))
def test_an_unknown_state_is_kept(state: str) -> None:
    assert parse_squeue(f"1|{state}|n|0:00|x|x|r|main|normal|root|name")[0].state == state
    assert parse_sacct(f"1|{state.lower()} by 7|n|1|x|x|0:0|r|name")[0].state == state


def test_squeue_first_then_sacct_in_one_call_each(slurm: FakeSlurm, tmp_path: Path) -> None:
    first, second = submit(slurm, tmp_path), submit(slurm, tmp_path, "other", "--time=1")
    slurm.change(first, states=["RUNNING", "PENDING", "FAILED", "COMPLETED"], exit=["0:0", "0:0", "1:0", "0:0"])
    slurm.change(second, state="CANCELLED by 1000", exit=["0:9"], purged=True)
    found = queue.look_up([*(f"{first}_{task}" for task in range(4)), second, "777", "nonsense; rm"])
    states = {job: facts.state for job, facts in found.items()}
    assert states == {
        f"{first}_0": "RUNNING", f"{first}_1": "PENDING", f"{first}_2": "FAILED", f"{first}_3": "COMPLETED",
        second: "CANCELLED",
    }  # fmt: skip
    assert found[f"{first}_2"].exit_code == 1
    assert found[second].signal == 9
    assert [len(slurm.calls(name)) for name in ("squeue", "sacct")] == [1, 1]
    assert not any("time" in argument for call in slurm.calls("sacct") for argument in call)


def test_what_squeue_calls_finished_is_not_running_for_accounting_that_lags(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(slurm, tmp_path, array="--time=1")
    slurm.change(job, state="FAILED")
    monkeypatch.setattr(queue, "_sacct", lambda *_: f"{job}|RUNNING|n1|9|x|x|0:0|None|a")
    assert queue.look_up([job])[job].state == "FAILED"


def test_without_accounting_squeue_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = FakeSlurm(tmp_path / "slurm", monkeypatch, ("sbatch", "squeue"))
    job = submit(slurm, tmp_path)
    slurm.change(job, states=["RUNNING", "FAILED", "PENDING", "PENDING"])
    assert {facts.state for facts in queue.look_up([f"{job}_{i}" for i in range(4)]).values()} == {
        "RUNNING", "FAILED", "PENDING",
    }  # fmt: skip


def test_without_slurm_commands_no_state_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm(tmp_path / "slurm", monkeypatch, ())
    assert not slurm_command.available()
    assert queue.look_up(["1", "2_3"]) == {}
    assert queue.unfinished(["1"]) == {}
    assert queue.find_by_name("c2d-demo-1") is None
    assert queue.max_array_size() == 1001
    with pytest.raises(RunError, match="missing: scancel"):
        cancel_jobs(["1"])


def test_without_the_controller_accounting_is_used(slurm: FakeSlurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, array="--time=1")
    slurm.change(job, state="COMPLETED")
    slurm.behave(silent=["squeue"])
    assert queue.look_up([job])[job].state == "COMPLETED"
    with pytest.raises(slurm_command.Unreachable, match="Unable to contact"):
        queue.find_by_name("c2d-demo-1")
    slurm.behave(silent=["squeue", "sacct"])
    with pytest.raises(slurm_command.Unreachable, match="SLURM does not answer"):
        queue.look_up([job])


def test_a_slow_controller_is_unreachable_not_waited_for(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_command, "TIMEOUT_S", 0.3)
    slurm.behave(slow={"squeue": 5, "sacct": 5})
    with pytest.raises(slurm_command.Unreachable, match=r"no answer in"):
        queue.look_up(["1"])


def test_a_job_is_found_by_its_name_in_the_queue_and_later_in_accounting(slurm: FakeSlurm, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path)
    assert queue.find_by_name("c2d-demo-1") == job
    assert slurm.calls("sacct") == []
    slurm.change(job, purged=True)
    assert queue.find_by_name("c2d-demo-1") == job
    assert queue.find_by_name("c2d-demo") is None


def test_unfinished_counts_what_waits_or_runs(slurm: FakeSlurm, tmp_path: Path) -> None:
    first, second = submit(slurm, tmp_path), submit(slurm, tmp_path, "other")
    slurm.change(first, states=["COMPLETED", "RUNNING", "PENDING", "FAILED"])
    slurm.change(second, state="COMPLETED")
    assert queue.unfinished([first, second, "777"]) == {first: 2}


def test_output_formats_of_the_user_are_ignored(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    original = slurm_command.subprocess.run

    def spy(command, **options):
        seen.update(options["env"])
        return original(command, **options)

    monkeypatch.setattr(slurm_command.subprocess, "run", spy)
    monkeypatch.setenv("SQUEUE_FORMAT", "%j")
    monkeypatch.setenv("SACCT_FORMAT", "jobid")
    queue.look_up(["1"])
    assert not [name for name in seen if name.startswith(("SQUEUE_", "SACCT_"))]


def test_cancel_calls_scancel_with_the_ids(slurm: FakeSlurm) -> None:
    cancel_jobs(["12_3", "14"])
    assert slurm.calls("scancel") == [["scancel", "12_3", "14"]]

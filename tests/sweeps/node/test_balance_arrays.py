"""Slots that change hands on the stand-in SLURM: calls of scontrol that follow from the queue, and the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2d.core.store_folder import RunStore
from sweeps.launchers import LAUNCHERS
from sweeps.node import balance_arrays
from sweeps.scheduler.array_file import read_array
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.launchers.test_slurm import request, tasks

pytest.importorskip("submitit")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


def submitted(fake: FakeSlurm, runs: Path) -> list[Path]:
    """Submit two teachers, 3 students of the first and 9 of the second with a cap of 6; return their folders."""
    teachers = tasks(runs, 2, name="teacher")
    students = [*tasks(runs, 3, "teacher0"), *tasks(runs, 9, "teacher1", name="other")]
    LAUNCHERS["slurm"](request(runs, *teachers, *students, array_cap=6), print)
    folders = sorted(RunStore(runs).sweeps.glob("demo/*/"), key=lambda place: read_array(place)["job"])  # type: ignore[index]
    for array in ("101", "102"):
        fake.change(array, reason="Dependency")
    return folders


def updates(fake: FakeSlurm) -> list[tuple[str, str]]:
    return [(call[2], call[3]) for call in fake.calls("scontrol") if call[1] == "update"]


def recorded(folders: list[Path]) -> list[int]:
    return [facts["throttle"] for facts in map(read_array, folders) if facts is not None]


def test_slots_go_to_the_students_when_their_teachers_have_ended(fake: FakeSlurm, tmp_path: Path) -> None:
    folders = submitted(fake, tmp_path / "runs")
    assert recorded(folders) == [2, 2, 2]
    fake.change("100", state="RUNNING")
    assert balance_arrays.balance_arrays(folders[0]) == {"101": 1, "102": 1}, "their slots are in reserve"
    fake.change("100", state="COMPLETED")
    fake.change("101", states=["RUNNING", "PENDING", "PENDING"], reason="JobArrayTaskLimit")
    fake.change("102", states=["RUNNING", *["PENDING"] * 8], reason="JobArrayTaskLimit")
    assert balance_arrays.balance_arrays(folders[2]) == {"101": 3, "102": 3}
    assert updates(fake) == [
        ("JobId=101", "ArrayTaskThrottle=1"), ("JobId=102", "ArrayTaskThrottle=1"),
        ("JobId=101", "ArrayTaskThrottle=3"), ("JobId=102", "ArrayTaskThrottle=3"),
    ]  # fmt: skip
    assert recorded(folders) == [2, 3, 3]
    fake.change("101", states=["COMPLETED", "COMPLETED", "RUNNING"])
    fake.change("102", states=["RUNNING"] * 3 + ["PENDING"] * 6)
    assert balance_arrays.balance_arrays(folders[1], ending="101_2") == {"102": 6}, "the last one is about to end"
    assert not (folders[0].parent / balance_arrays.LOCK_FILE).exists()


def test_a_silent_slurm_and_a_refusal_are_no_failure_of_the_job(
    fake: FakeSlurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = submitted(fake, tmp_path / "runs")
    fake.behave(silent=["squeue", "scontrol"])
    assert balance_arrays.main([str(folders[0])]) == 0
    assert "were not changed: SLURM does not answer" in capsys.readouterr().out
    assert balance_arrays.main([str(tmp_path / "nothing")]) == 0
    assert recorded(folders) == [2, 2, 2]


def test_only_jobs_that_share_a_cap_with_others_call_it(fake: FakeSlurm, tmp_path: Path) -> None:
    folders = submitted(fake, tmp_path / "runs")
    for folder in folders:
        script = (folder / "submission.sh").read_text()
        assert script.count("-m sweeps.node.balance_arrays") == 2
        assert script.rstrip().endswith('ended || true\nexit "$rc"')
    LAUNCHERS["slurm"](request(tmp_path / "alone", *tasks(tmp_path / "alone", 9), array_cap=4), print)
    LAUNCHERS["slurm"](
        request(tmp_path / "few", *tasks(tmp_path / "few", 2), *tasks(tmp_path / "few", 2, "run0", name="other")), print
    )
    for store in ("alone", "few"):
        for script_file in (tmp_path / store).rglob("submission.sh"):
            assert "balance_arrays" not in script_file.read_text()

"""One message when a sweep has ended: once for the same launches, also from many processes; again after a later one."""

from __future__ import annotations

import os
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.job_file import read_job, write_job
from c2d.core.run_folder import RunFolder
from sweeps.definition.profile import Profile, load_profile, store_profile
from sweeps.notification.end_job import NO_PLACE, end_script, ensure_end_job
from sweeps.notification.end_of_sweep import claim_message, send_after_local, send_message, wait_and_send
from sweeps.notification.watch_mark import WATCHED_S, is_watched, watched
from sweeps.scheduler import sbatch
from tests.sweeps.actions.test_run_logs import submitted
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.state.test_store_sweeps import run_id, write_run, write_sweep

EVIL = "$(touch HERE) `touch HERE` \"; touch HERE #' \\"
NOTIFY = 'echo "$C2D_SUMMARY|$C2D_DONE|$C2D_FAILED|$C2D_OTHER|$C2D_QUESTION" >> "$OUT"'


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    monkeypatch.setattr(sbatch, "sleep", lambda _: None)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def runs(tmp_path: Path, fake: FakeSlurm) -> Path:
    """Two finished runs of one submission, and a third one that failed."""
    runs = tmp_path / "runs"
    write_sweep(runs, "s", "a", "b", "c", question=EVIL)
    submitted(runs, "7", "a", "b", "c")
    for name, state in (("a", "done"), ("b", "done"), ("c", "failed")):
        write_run(runs, name, state, heartbeat="2030-01-01T00:00:00+00:00")
        run = RunFolder(runs / run_id(name))
        job = read_job(run)
        assert job is not None
        write_job(run, job.model_copy(update={"profile": "p", "data": "/d", "snapshot": "abc"}))
    return runs


def relaunched(runs: Path, name: str = "c") -> None:
    run = RunFolder(runs / run_id(name))
    job = read_job(run)
    assert job is not None
    write_job(run, job.model_copy(update={"submissions": job.submissions + 1}))


def test_the_command_gets_names_and_counts_as_variables_and_no_text_becomes_code(tmp_path: Path, runs: Path) -> None:
    assert send_message(runs, "s", NOTIFY, None, print)
    assert (tmp_path / "out").read_text() == f"s: 2 done, 1 failed|2|1|0|{EVIL}\n"
    assert not (tmp_path / "HERE").exists()


def test_once_for_the_same_launches_and_again_after_a_later_one(tmp_path: Path, runs: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: claim_message(runs, "s") is not None, range(24)))
    assert sum(sent) == 1
    assert not send_message(runs, "s", NOTIFY, None, print)
    relaunched(runs)
    assert send_message(runs, "s", NOTIFY, None, print)
    assert not send_message(runs, "s", NOTIFY, None, print)
    assert len((tmp_path / "out").read_text().splitlines()) == 1


def test_a_command_that_fails_is_a_line_and_not_repeated(runs: Path) -> None:
    printed: list[str] = []
    assert send_message(runs, "s", "exit 3", None, printed.append)
    assert printed == ["warning: the profile's command `notify` ended with exit code 3"]
    assert not send_message(runs, "s", "exit 3", None, printed.append)


def test_the_end_job_waits_for_running_runs_and_for_a_process_that_watches(runs: Path) -> None:
    printed: list[str] = []
    RunFolder(runs / run_id("a")).write_status("running")
    slept: list[float] = []

    def end_then_unwatch(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            RunFolder(runs / run_id("a")).write_status("done")
            mark = next((runs / "sweeps" / "s" / "end").glob("watched-*"))
            os.utime(mark, (time.time() - WATCHED_S - 1,) * 2)  # its process was killed

    with watched(runs, "s"):
        assert wait_and_send(runs, "s", "true", None, printed.append, sleep=end_then_unwatch)
        assert len(slept) == 2
    relaunched(runs)
    with watched(runs, "s"):
        assert is_watched(runs, "s", time.time())
        assert not wait_and_send(runs, "s", "true", None, printed.append, sleep=lambda _: None)
    assert not is_watched(runs, "s", time.time())
    assert "is watched: no message from this job" in printed[-1]


def test_one_end_job_for_several_submissions(fake: FakeSlurm, runs: Path) -> None:
    printed: list[str] = []
    store_profile(runs, "s", Profile(name="p", notify=NOTIFY, mail="ada@example.org"))
    with watched(runs, "s"):
        assert ensure_end_job(runs, "s", printed.append)
        assert fake.jobs == {}  # the process that watches submits it at the end
    fake.behave(max_submit=0)
    assert not ensure_end_job(runs, "s", printed.append)
    fake.behave()
    assert ensure_end_job(runs, "s", printed.append)
    assert ensure_end_job(runs, "s", printed.append)
    assert len(fake.jobs) == 1
    assert "sends one message when the sweep has ended" in printed[-1]
    for number in fake.jobs:
        fake.change(number, state="COMPLETED")
    assert claim_message(runs, "s")
    count = len(fake.jobs)
    assert ensure_end_job(runs, "s", printed.append)
    assert len(fake.jobs) == count  # the message about these launches was sent
    relaunched(runs)
    assert ensure_end_job(runs, "s", printed.append)
    assert len(fake.jobs) == count + 1
    assert NO_PLACE.startswith("warning: no message")


def test_a_refused_end_job_is_a_line(fake: FakeSlurm, runs: Path) -> None:
    printed: list[str] = []
    store_profile(runs, "s", Profile(name="p", notify="true"))
    fake.behave(sbatch=["partition"])
    assert ensure_end_job(runs, "s", printed.append)
    assert printed[-1].startswith("warning: no message when the sweep ends: sbatch: ")
    assert fake.jobs == {}


def test_the_script_has_the_command_as_one_word(tmp_path: Path) -> None:
    profile = Profile(name="p", notify=f"echo {EVIL}", mail="ada@example.org", partition="gpu", setup=["module load x"])
    text = end_script(tmp_path / "50%a", Path("/d"), "s", profile, "abc", "afterany:7", "s-end-1")
    assert f"#SBATCH --output='{tmp_path}/50%%a/sweeps/s/end/%j.out'" in text or f"{tmp_path}/50%%a/" in text
    assert "#SBATCH --dependency=afterany:7\n" in text
    assert "module load x\n" in text
    *_, check, command, program = text.splitlines()
    assert "/end/verify_snapshot.py" in check
    assert check.endswith("/snapshots/abc abc - || exit")
    assert shlex.split(command) == ["export", f"C2D_NOTIFY=echo {EVIL}"]
    assert shlex.split(program)[-3:] == [str(tmp_path / "50%a"), "s", "--mail=ada@example.org"]


@pytest.mark.parametrize("mail", ["a b@c", "a@b\n#SBATCH --wrap=x", "a@b --wrap", "a,b@c"])
def test_an_address_is_one_word(tmp_path: Path, mail: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"mail: {mail!r}\n".replace("'", '"'))
    with pytest.raises(InputError, match="mail"):
        load_profile(str(path))


def test_a_local_sweep_runs_the_command_when_nothing_waits_any_more(tmp_path: Path, runs: Path) -> None:
    profile = Profile(name="cpu", notify=NOTIFY, mail="ada@example.org")
    RunFolder(runs / run_id("a")).write_status("running")
    send_after_local(runs, "s", profile, print)
    assert not (tmp_path / "out").exists()
    RunFolder(runs / run_id("a")).write_status("done")
    for _ in range(2):
        send_after_local(runs, "s", profile, print)
    assert len((tmp_path / "out").read_text().splitlines()) == 1
    relaunched(runs)
    send_after_local(runs, "s", Profile(name="cpu"), print)
    assert len((tmp_path / "out").read_text().splitlines()) == 1

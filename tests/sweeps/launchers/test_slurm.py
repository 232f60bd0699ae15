"""Submitting to a fake SLURM what a real one will not do on demand: busy, silent, late, limited, forgetful."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from c2d.core import run_state
from c2d.core.errors import InputError, RunError
from c2d.core.job_file import Job, read_job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import RunStore
from sweeps.definition.profile import Profile
from sweeps.launchers import LAUNCHERS, slurm, submission
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.recover_submission import recover_submission
from sweeps.scheduler import array_file, queue, sbatch, slurm_command
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def waited_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the back-off would have waited; the tests do not sleep."""
    seconds: list[float] = []
    monkeypatch.setattr(sbatch, "sleep", seconds.append)
    return seconds


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def tasks(store: Path, count: int, *after: str, name: str = "run") -> list[Task]:
    return [Task(RunFolder(store / f"{name}{i}"), after) for i in range(count)]


def request(store: Path, *given: Task, **profile) -> LaunchRequest:
    return LaunchRequest(
        "demo", store, store.parent / "data", list(given), Profile(name="p", gpus=2, **profile), "abc123"
    )


def launch(asked: LaunchRequest) -> tuple[int, list[str]]:
    messages: list[str] = []
    return LAUNCHERS["slurm"](asked, messages.append), messages


def flag(job: dict, name: str) -> list[str]:
    return [value.split("=", 1)[1] for value in job["flags"] if value.startswith(f"{name}=")]


def test_25_cells_and_a_max_array_size_of_10_are_three_arrays(fake: FakeSlurm, store: Path) -> None:
    fake.behave(max_array_size=10)
    code, messages = launch(request(store, *tasks(store, 25), array_cap=8))
    assert code == 0
    assert [len(job["states"]) for job in fake.jobs.values()] == [9, 8, 8]
    assert [flag(job, "array") for job in fake.jobs.values()] == [["0-8%3"], ["0-7%2"], ["0-7%3"]]
    assert messages[-1].startswith("submitted: 25 runs in 3 jobs")
    assert fake.calls("scancel") == []


def test_records_of_runs_and_submission(fake: FakeSlurm, store: Path) -> None:
    launch(request(store, *tasks(store, 3), array_cap=2, track=["wandb:papers"]))
    job = read_job(RunFolder(store / "run2"))
    assert job is not None
    assert (job.where, job.state, job.job, job.task) == ("slurm", "submitted", "100_2", 2)
    assert (job.profile, job.gpus, job.snapshot, job.data) == ("p", 2, "abc123", str(store.parent / "data"))
    assert (job.submissions, job.pid, job.depends) == (1, os.getpid(), [])
    folder = RunStore(store).submission("demo", job.name)
    assert job.folder == str(folder)
    assert [run.path for run in submission.read_folders(folder)] == [store / f"run{i}" for i in range(3)]
    facts = array_file.read_array(folder)
    assert facts is not None
    assert (facts["job"], facts["tasks"], facts["throttle"]) == ("100", 3, 2)
    delayed = pickle.loads((folder / "task_1.pkl").read_bytes())
    assert (delayed.function.run, delayed.function.data) == (str(store / "run1"), str(store.parent / "data"))
    assert delayed.function.track == ("wandb:papers",)
    assert (delayed._timeout_min, delayed._timeout_countdown) == (240, 10**6)
    assert submission.active_arrays(store, "demo") == [("100", 2)]


def test_teachers_first_with_exactly_one_dependency_flag(fake: FakeSlurm, store: Path) -> None:
    teachers = tasks(store, 2, name="teacher")
    students = [*tasks(store, 4, "teacher0", "teacher1"), *tasks(store, 2, "teacher1", name="other")]
    launch(request(store, *teachers, *students))
    first, second, third = fake.jobs.values()
    assert flag(first, "dependency") == []
    assert flag(second, "dependency") == ["afterok:100_0:100_1"]
    assert flag(third, "dependency") == ["afterok:100_1"]
    job = read_job(RunFolder(store / "run0"))
    assert job is not None
    assert job.depends == ["teacher0", "teacher1"]


def test_a_cap_smaller_than_the_arrays_makes_them_wait_in_the_same_flag(fake: FakeSlurm, store: Path) -> None:
    fake.behave(max_array_size=2)
    launch(request(store, *tasks(store, 1, name="teacher"), *tasks(store, 4, "teacher0"), array_cap=1))
    assert [flag(job, "dependency") for job in fake.jobs.values()] == [
        [], ["afterok:100"], ["afterok:100,afterany:101"],
    ]  # fmt: skip


def test_a_finished_teacher_is_no_dependency(fake: FakeSlurm, store: Path) -> None:
    RunFolder(store / "teacher0").write_status("done")
    launch(request(store, *tasks(store, 2, "teacher0")))
    [job] = fake.jobs.values()
    assert flag(job, "dependency") == []


def test_a_teacher_of_an_earlier_submission_is_waited_for(fake: FakeSlurm, store: Path) -> None:
    launch(request(store, *tasks(store, 2, name="teacher")))
    launch(request(store, *tasks(store, 2, "teacher1")))
    assert flag(fake.jobs["101"], "dependency") == ["afterok:100_1"]
    fake.change("100", state="COMPLETED")  # its status.json is still on its way
    launch(request(store, *tasks(store, 2, "teacher1", name="more")))
    assert flag(fake.jobs["102"], "dependency") == []


@pytest.mark.parametrize(
    ("facts", "message"), [({"state": "FAILED"}, "FAILED"), ({"state": "X", "purged": True}, "unknown to SLURM")]
)
def test_a_teacher_whose_job_is_over_and_not_done_stops_it(
    fake: FakeSlurm, store: Path, facts: dict, message: str
) -> None:
    """SLURM takes a dependency on a job it has forgotten as fulfilled, so it must not come so far."""
    launch(request(store, *tasks(store, 1, name="teacher")))
    fake.change("100", **facts)
    if facts.get("purged"):
        (fake.state.parent / "bin" / "sacct").unlink()
    with pytest.raises(RunError, match=rf"teacher0 is not done and its job 100 has ended \(.*{message}"):
        launch(request(store, *tasks(store, 2, "teacher0")))
    assert len(fake.jobs) == 1
    assert read_job(RunFolder(store / "run0")) is None


def test_a_teacher_that_was_never_launched_or_runs_elsewhere_stops_it(fake: FakeSlurm, store: Path) -> None:
    with pytest.raises(InputError, match="run0 waits for teacher0, which is not done and has no SLURM job"):
        launch(request(store, *tasks(store, 1, "teacher0")))
    write_job(RunFolder(store / "teacher0"), Job(sweep="x", where="local", state="submitted", name="x", host="lab7"))
    with pytest.raises(InputError, match=r"launched local on lab7"):
        launch(request(store, *tasks(store, 1, "teacher0")))
    assert fake.calls("sbatch") == []


def test_a_dependency_refused_because_the_parent_has_just_left(fake: FakeSlurm, store: Path) -> None:
    launch(request(store, *tasks(store, 1, name="teacher")))
    fake.behave(sbatch=["dependency"])
    launch(request(store, *tasks(store, 2, "teacher0")))  # still there: the same dependency is sent again
    assert [flag(job, "dependency") for job in fake.jobs.values()] == [[], ["afterok:100"]]
    assert len(fake.calls("sbatch")) == 3


def test_busy_twice_is_one_submission(fake: FakeSlurm, store: Path, waited_s: list[float]) -> None:
    fake.behave(sbatch=["busy", "busy"])
    code, messages = launch(request(store, *tasks(store, 3)))
    assert code == 0
    assert len(fake.jobs) == 1
    assert len(fake.calls("sbatch")) == 3
    assert waited_s == [1, 2]
    assert sum("SLURM is busy" in line for line in messages) == 2


def test_a_call_that_timed_out_after_submitting_is_recovered(
    fake: FakeSlurm, store: Path, waited_s: list[float]
) -> None:
    fake.behave(sbatch=["timeout"])
    code, messages = launch(request(store, *tasks(store, 3)))
    assert code == 0
    assert len(fake.calls("sbatch")) == len(fake.jobs) == 1
    assert any("was submitted by the call that failed, as job 100" in line for line in messages)
    job = read_job(RunFolder(store / "run1"))
    assert job is not None
    assert job.job == "100_1"


def test_a_lost_call_is_repeated_after_the_queue_was_checked(
    fake: FakeSlurm, store: Path, waited_s: list[float]
) -> None:
    fake.behave(sbatch=["lost"])
    assert launch(request(store, *tasks(store, 3)))[0] == 0
    assert (len(fake.calls("sbatch")), len(fake.jobs)) == (2, 1)
    assert sum(waited_s) >= sbatch.DOUBT_S
    assert len(fake.calls("squeue")) >= 2


def test_a_late_duplicate_submission_is_reported_and_harmless(
    fake: FakeSlurm, store: Path, waited_s: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.behave(sbatch=["timeout"])
    monkeypatch.setattr(queue, "find_by_name", lambda name: None)  # the controller has not got round to it
    code, messages = launch(request(store, *tasks(store, 3)))
    assert code == 0
    assert len(fake.jobs) == 2
    assert any("SLURM has accepted it 2 times (100, 101); only one of them runs" in line for line in messages)
    assert fake.calls("scancel") == []


def test_a_busy_controller_leaves_no_submission(fake: FakeSlurm, store: Path, waited_s: list[float]) -> None:
    fake.behave(sbatch=["busy"] * 99)
    with pytest.raises(RunError, match=r"temporarily unavailable; the same after 1\d\d s"):
        launch(request(store, *tasks(store, 3)))
    assert max(waited_s) <= 32
    assert 120 <= sum(waited_s) <= 160
    assert read_job(RunFolder(store / "run0")) is None
    assert list((store / "sweeps" / "demo").iterdir()) == []


def test_an_unanswered_submission_is_resolved_later(fake: FakeSlurm, store: Path, waited_s: list[float]) -> None:
    fake.behave(sbatch=["timeout"], silent=["squeue", "sacct"])
    with pytest.raises(slurm_command.Unreachable):
        launch(request(store, *tasks(store, 3)))
    assert len(fake.calls("sbatch")) == 1
    job = read_job(RunFolder(store / "run1"))
    assert job is not None
    assert job.state == "submitting"
    assert recover_submission(job) == job  # still no answer: the state is unknown
    fake.behave()
    done = recover_submission(job)
    assert done is not None
    assert (done.state, done.job) == ("submitted", "100_1")
    other = read_job(RunFolder(store / "run0"))
    assert other is not None
    assert other.job == "100_0"


def draft(store: Path, fake: FakeSlurm, name: str, **facts) -> Job:
    folder = RunStore(store).submission("demo", name)
    submission.write_folders(folder, [RunFolder(store / "run0"), RunFolder(store / "run1")])
    job = Job(
        sweep="demo", where="slurm", state="submitting", name=name, folder=str(folder), task=1,
        submitted="2026-01-01T00:00:00+00:00", host="lab7", pid=1,
    )  # fmt: skip
    job = job.model_copy(update=facts)
    for task in range(2):
        write_job(RunFolder(store / f"run{task}"), job.model_copy(update={"task": task}))
    return job


def test_the_submission_of_a_launcher_killed_before_sbatch_is_removed(fake: FakeSlurm, store: Path) -> None:
    job = draft(store, fake, "c2d-demo-1")
    assert recover_submission(job) is None
    assert read_job(RunFolder(store / "run0")) is None
    assert read_job(RunFolder(store / "run1")) is None


def test_the_submission_of_a_launcher_killed_after_sbatch_needs_one_query(fake: FakeSlurm, store: Path) -> None:
    launch(request(store, *tasks(store, 2)))
    job = read_job(RunFolder(store / "run1"))
    assert job is not None
    for name, task in (("run0", 0), ("run1", 1)):
        write_job(
            RunFolder(store / name),
            job.model_copy(update={"state": "submitting", "job": None, "task": task, "host": "lab7"}),
        )
    (Path(job.folder) / "array.json").unlink()
    before = len(fake.calls("squeue"))
    for name in ("run0", "run1"):
        unknown = read_job(RunFolder(store / name))
        assert unknown is not None
        found = recover_submission(unknown)
        assert found is not None
        assert (found.state, found.job) == ("submitted", f"100_{unknown.task}")
    assert len(fake.calls("squeue")) == before + 1


def test_the_submission_of_a_running_launcher_is_unchanged(
    fake: FakeSlurm, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket
    from datetime import UTC, datetime

    here = socket.gethostname()
    assert (
        recover_submission(draft(store, fake, "c2d-demo-0", host=here, pid=os.getppid())) is None
    )  # its pid was used again
    monkeypatch.setattr(run_state, "process_start", lambda pid: 0.0)  # before its submission
    job = draft(store, fake, "c2d-demo-1", host=here, pid=os.getppid())
    assert recover_submission(job) == job
    # Dead, but a moment ago: what it sent may still arrive.
    job = draft(store, fake, "c2d-demo-2", host=here, pid=2**22 + 1, submitted=datetime.now(UTC).isoformat())
    assert recover_submission(job) == job
    assert read_job(RunFolder(store / "run0")) is not None


def test_a_limit_on_submitted_jobs_keeps_the_submitted_and_names_the_next_step(fake: FakeSlurm, store: Path) -> None:
    fake.behave(max_submit=12, max_array_size=10)  # 9, then 8 are too many, 4 too, 2 are not
    code, messages = launch(request(store, *tasks(store, 25)))
    assert code == 1
    assert [len(job["states"]) for job in fake.jobs.values()] == [9, 2]
    assert "submitted: 11 of 25 runs; the same command continues with the rest later" in messages[-1]
    assert "QOSMaxSubmitJobPerUserLimit" in "".join(messages)
    assert read_job(RunFolder(store / "run10")) is not None
    assert read_job(RunFolder(store / "run11")) is None
    folders = [folder for folder in (store / "sweeps" / "demo").iterdir() if folder.is_dir()]
    assert sorted(len(submission.read_folders(folder)) for folder in folders) == [2, 9]
    assert fake.calls("scancel") == []


def test_a_permanent_limit_is_a_refusal(fake: FakeSlurm, store: Path) -> None:
    fake.behave(sbatch=["wall"])
    with pytest.raises(InputError, match=r"QOSMaxWallDurationPerJobLimit.*fix the profile"):
        launch(request(store, *tasks(store, 3)))
    assert len(fake.calls("sbatch")) == 1


def test_a_refusal_restores_the_records_of_the_runs(fake: FakeSlurm, store: Path) -> None:
    before = Job(sweep="demo", where="slurm", state="submitted", name="c2d-demo-old", job="7_0", mem_gb=48.0)
    write_job(RunFolder(store / "run0"), before)
    fake.behave(sbatch=["partition"])
    kept = r"Kept in .*runs: sweeps/demo.json, . run folders, snapshots/abc123; then the same command continues"
    with pytest.raises(InputError, match=rf"Invalid partition name.*--where dry.*Nothing was submitted\. {kept}"):
        launch(request(store, *tasks(store, 2)))
    assert read_job(RunFolder(store / "run0")) == before
    assert read_job(RunFolder(store / "run1")) is None


def test_a_refusal_of_a_later_array_lists_the_submitted_ones(fake: FakeSlurm, store: Path) -> None:
    fake.behave(sbatch=["ok", "partition"])
    with pytest.raises(RunError, match="Runs that stay submitted: 1"):
        launch(request(store, *tasks(store, 1, name="teacher"), *tasks(store, 2, "teacher0")))
    assert read_job(RunFolder(store / "teacher0")) is not None


def test_a_second_submission_of_a_sweep_shares_the_cap(fake: FakeSlurm, store: Path) -> None:
    launch(request(store, *tasks(store, 20), array_cap=8))
    launch(request(store, *tasks(store, 4, name="more"), array_cap=8))
    assert flag(fake.jobs["101"], "dependency") == ["afterany:100"]
    fake.change("100", states=["COMPLETED"] * 17 + ["RUNNING"] * 3)
    fake.change("101", state="COMPLETED")
    launch(request(store, *tasks(store, 4, name="third"), array_cap=8))
    assert (flag(fake.jobs["102"], "dependency"), flag(fake.jobs["102"], "array")) == ([], ["0-3%4"])


def test_a_canary_and_the_rest(fake: FakeSlurm, store: Path) -> None:
    bird = Task(RunFolder(store / "run0"), stop_after=20)
    launch(request(store, bird, *tasks(store, 3, bird.id)))
    assert flag(fake.jobs["101"], "dependency") == ["afterok:100"]
    job = read_job(RunFolder(store / "run0"))
    assert job is not None
    assert (job.job, job.depends) == ("101_0", ["run0#canary"])
    name = fake.jobs["100"]["name"]
    assert (
        pickle.loads((RunStore(store).submission("demo", name) / "task_0.pkl").read_bytes()).function.stop_after == 20
    )


def test_what_cannot_be_submitted_from_here(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm(tmp_path / "none", monkeypatch, ())
    with pytest.raises(InputError, match="missing: sbatch and squeue"):
        launch(request(store, *tasks(store, 1)))
    FakeSlurm(tmp_path / "all", monkeypatch)
    with pytest.raises(InputError, match="use a store without backslash"):
        launch(request(tmp_path / "a\\b", *tasks(store, 1)))


def test_a_store_on_a_local_disk_gives_a_warning(fake: FakeSlurm, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm.tempfile, "gettempdir", lambda: str(store.parent))
    _, messages = launch(request(store, *tasks(store, 1)))
    assert messages[0].startswith(f"warning: {store} and {store.parent}/data may be on a disk of this machine only")


def test_variables_do_not_overrule_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SBATCH_PARTITION", "SBATCH_TIMELIMIT", "SBATCH_ACCOUNT", "SBATCH_WAIT", "SLURM_JOB_ID", "RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    kept = sbatch.environment("#!/bin/bash\n#SBATCH --partition=gpu\n#SBATCH --time=5\n")
    assert [name for name in sorted(kept) if name.startswith(("SBATCH_", "SLURM_")) or name == "RANK"] == [
        "SBATCH_ACCOUNT", "SLURM_CONF",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Batch job submission failed: Socket timed out on send/recv operation", "busy"),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", "busy"),
        ("Batch job submission failed: Resource temporarily unavailable", "busy"),
        ("AssocMaxSubmitJobLimit; Batch job submission failed: Job violates accounting/QOS policy", "limit"),
        ("Batch job submission failed: Job violates accounting/QOS policy (job submit limit)", "limit"),
        ("AssocGrpCPUMinutesLimit; Job violates accounting/QOS policy", "refused"),
        ("Batch job submission failed: Job dependency problem", "dependency"),
        ("Batch job submission failed: Invalid job array specification", "array"),
        ("Batch job submission failed: Invalid account or account/partition combination specified", "refused"),
    ],
)
def test_causes_of_sbatch_refusals(text: str, cause: str) -> None:
    assert sbatch.cause_of(text) == cause


def test_a_damaged_array_file_is_no_active_array(fake: FakeSlurm, store: Path) -> None:
    launch(request(store, *tasks(store, 2)))
    [folder] = [one for one in (store / "sweeps" / "demo").iterdir() if one.is_dir()]
    atomic_write_json(folder / "array.json", {"format": 1, "job": "rm -rf"})
    assert submission.active_arrays(store, "demo") == []

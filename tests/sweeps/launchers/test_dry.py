"""The dry launcher: everything that would be submitted, without SLURM and without data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.job_file import Job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.definition.profile import Hours, Profile
from sweeps.launchers import LAUNCHERS
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.script import batch_script
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")

PROFILE = Profile(
    name="lab", track=["tensorboard", "wandb:papers"], gpus=2, hours=Hours(small=3), mem_gb=20, array_cap=4
)


@pytest.fixture(autouse=True)
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm(tmp_path / "slurm", monkeypatch, ())


def request(store: Path, *tasks: Task, profile: Profile = PROFILE) -> LaunchRequest:
    return LaunchRequest("demo", store, store.parent / "data", list(tasks), profile, "")


def dry(asked: LaunchRequest) -> list[str]:
    messages: list[str] = []
    assert LAUNCHERS["dry"](asked, messages.append) == 0
    return messages


def run(store: Path, name: str) -> RunFolder:
    return RunFolder(store / name)


def spec(student: str | None = "retina", method: tuple[str, ...] = ("icod",), schedule: str = "1x", **more) -> dict:
    return {
        "kind": "detector", "dataset": {"name": "coco", "digest": "0"}, "network": None, "input": None,
        "student": student and {"name": student, "digest": "1"}, "method": [{name: {}} for name in method],
        "schedule": {"name": schedule, "values": {"iterations": 10}}, "seed": 0, **more,
    }  # fmt: skip


def finished(store: Path, name: str, hours: float, **facts) -> None:
    atomic_write_json(run(store, name).spec, spec(**facts))
    atomic_write_json(run(store, name).status, {"format": 1, "state": "done", "elapsed_s": hours * 3600})


def test_arrays_runs_dependencies_and_scripts_of_a_sweep(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    teacher = Task(run(store, "teacher-0-s0"))
    students = [Task(run(store, f"student-{i}-s0"), ("teacher-0-s0",)) for i in range(3)]
    messages = dry(request(store, teacher, *students))
    assert messages[0] == (
        "dry run, nothing is written or submitted: 4 runs of demo in 2 job arrays, at most 4 at once (profile lab)"
    )
    assert messages[1] == "tracked by tensorboard, wandb:papers"
    assert "JOB1  1 run, 1 at once, 3 h, 20 GB, 2 GPUs each" in messages
    assert "JOB2  3 runs, 3 at once, 3 h, 20 GB, 2 GPUs each, starts afterok:JOB1" in messages
    assert [line.split() for line in messages if line.startswith("  JOB")] == [
        ["JOB1", "teacher-0-s0"], ["JOB2_0", "student-0-s0"], ["JOB2_1", "student-1-s0"], ["JOB2_2", "student-2-s0"],
    ]  # fmt: skip
    assert not store.exists()


def test_the_scripts_printed_are_those_that_are_sent(tmp_path: Path) -> None:
    from dataclasses import replace

    from sweeps.launchers.dry import plan

    store = tmp_path / "runs"
    asked = replace(
        request(store, *(Task(run(store, f"r{i}"), mem_gb=[20.0, 40.0][i % 2]) for i in range(4))), snapshot="abc"
    )
    messages = dry(asked)
    first, second = plan(asked)
    start = messages.index("script of JOB1:") + 1
    text = batch_script(first, asked)
    assert [line.removeprefix("    ") for line in messages[start : start + len(text.splitlines())]] == text.splitlines()
    start = messages.index("script of JOB2: that of JOB1 with its own folder, and") + 1
    changes = [line.strip() for line in messages[start : start + 4]]
    assert changes == [
        "- #SBATCH --job-name=r0+r2-demo-1", "+ #SBATCH --job-name=r1+r3-demo-2", "- #SBATCH --mem=20480M",
        "+ #SBATCH --mem=40960M",
    ]  # fmt: skip
    # With these changes the second script can be written down from the first: nothing is hidden.
    rebuilt = text.replace(f"demo/{first.name}", f"demo/{second.name}")
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        rebuilt = rebuilt.replace(old[2:] + "\n", new[2:] + "\n")
    assert rebuilt == batch_script(second, asked)


def test_a_secret_of_the_profile_is_not_printed(tmp_path: Path) -> None:
    profile = Profile(name="lab", setup=["export HF_TOKEN=s3cretS"], environment={"PROXY": "http://me:s3cretE@host"})
    task = Task(run(tmp_path, "a"))
    lines = dry(request(tmp_path, task, profile=profile))
    assert not [line for line in lines if "s3cret" in line]
    assert any(line.strip() == "export HF_TOKEN=***" for line in lines)
    assert any("the submitted script has the value" in line for line in lines)


def test_a_store_that_slurm_cannot_log_to_is_refused_without_slurm(tmp_path: Path) -> None:
    for name in ("a\\b", "a\nb", "a\u2028b"):
        store = tmp_path / name
        with pytest.raises(InputError, match="use a store without backslash and line break"):
            dry(request(store, Task(run(store, "a"))))


def test_arrays_that_wait_for_each_other_are_named(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    profile = PROFILE.model_copy(update={"array_cap": 1})
    messages = dry(request(store, Task(run(store, "a")), Task(run(store, "b"), mem_gb=40.0), profile=profile))
    assert "JOB2  1 run, 1 at once, 3 h, 40 GB, 2 GPUs each, starts afterany:JOB1" in messages
    assert "    + #SBATCH --dependency=afterany:JOB1" in messages


def test_parents_of_an_earlier_launch(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    finished(store, "done-0-s0", 1)
    write_job(run(store, "queued-0-s0"), Job(sweep="x", where="slurm", state="submitted", name="x", job="71_2"))
    tasks = [
        Task(run(store, "a"), ("done-0-s0",)),
        Task(run(store, "b"), ("queued-0-s0",)),
        Task(run(store, "c"), ("new-0-s0",)),
    ]
    messages = [line for line in dry(request(store, *tasks)) if line.startswith("JOB")]
    assert "starts" not in messages[0]
    assert messages[1].endswith("starts afterok:71_2")
    assert messages[2].endswith("starts afterok:JOB-OF-new-0-s0")


def test_hours_at_most_and_by_what_was_measured(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    for seed, hours in enumerate((0.5, 1.0, 3.0)):
        finished(store, f"retina-icod-aaa-s{seed}", hours)
    finished(store, "retina-icod-bbb-s0", 50, schedule="12x")
    atomic_write_json(run(store, "retina-icod-ccc-s0").spec, spec(seed=9))
    atomic_write_json(run(store, "retina-icod-ddd-s0").spec, spec(schedule="12x"))
    tasks = [Task(run(store, name)) for name in ("retina-icod-ccc-s0", "retina-icod-ddd-s0", "fcos-icod-eee-s0")]
    messages = dry(request(store, *tasks))
    assert messages[-2] == "at most 18.0 GPU hours in one job each (limits of the profile)"
    # median 1 h, 50 h, and 3 h at the limit, with two GPUs each
    assert messages[-1] == "by similar finished runs 108.0 GPU hours (1 run without a similar one, at the limit)"


def test_a_run_that_is_not_planned_yet_is_compared_by_its_name(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    finished(store, "retina-icod-aaa-s0", 2)
    messages = dry(request(store, Task(run(store, "retina-icod-bbb-s0"))))
    assert messages[-1] == "by similar finished runs 4.0 GPU hours (1 run by name only: the schedule may differ)"


def test_without_a_gpu_cores_are_counted_and_an_empty_store_says_so(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    profile = Profile(name="cpu", gpus=0, cpus=4, hours=Hours(small=2))
    messages = dry(request(store, Task(run(store, "a-b-s0")), profile=profile))
    assert messages[-2:] == [
        "at most 8.0 core hours (the profile has no GPU) in one job each (limits of the profile)",
        "no similar finished run in this store, so no better estimate",
    ]


def test_damaged_runs_estimate_nothing(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    for name, text in (("a-a-s0", "{"), ("b-a-s0", "[]"), ("c-a-s0", json.dumps({"state": "done"}))):
        run(store, name).path.mkdir(parents=True)
        run(store, name).status.write_text(text)
        run(store, name).spec.write_text(json.dumps(spec()))
    assert dry(request(store, Task(run(store, "a-b-s0"))))[-1].startswith("no similar finished run")


def test_dry_imports_neither_torch_nor_the_other_launchers() -> None:
    code = (
        "import sys; import sweeps.launchers; before = set(sys.modules); import sweeps.launchers.dry;"
        "import sweeps.launchers.slurm, sweeps.scheduler.queue;"
        "heavy = {name.split('.')[0] for name in sys.modules} & {'torch', 'mmdet', 'mmengine', 'submitit'};"
        "print(sorted(heavy),"
        "'sweeps.launchers.slurm' in before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"

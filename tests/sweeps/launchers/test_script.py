"""The batch script: read by eye, by bash, and run under bash with a fake srun."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from sweeps.definition.profile import Hours, Profile, load_profile
from sweeps.launchers.arrays import JobArray
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.script import batch_script, node_quote
from sweeps.launchers.snapshot import take_snapshot
from sweeps.scheduler import array_file
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")

FULL = Profile(
    name="full", partition="gpu", account="vision", qos="high", constraint="a100|h100", gpus=2, gpu_type="a100",
    nodes=2, cpus=6, mem_gb=47.5, hours=Hours(small=1.5), signal_delay_s=90,
    setup=["module load cuda/12 && true", "set -e"],
    environment={"NCCL_DEBUG": "warn", "CACHE": "$TMPDIR/a b"}, python="apptainer exec img.sif python",
    sbatch={"reservation": "cvpr 27", "exclusive": True, "no-kill": False, "mail-type": "END"}, srun=["--mpi=none"],
)  # fmt: skip


def request(tmp_path: Path, profile: Profile, count: int = 3, **task) -> tuple[JobArray, LaunchRequest]:
    tasks = [Task(RunFolder(tmp_path / "runs" / f"run{i}"), **task) for i in range(count)]
    made = LaunchRequest("demo", tmp_path / "runs", tmp_path / "data", tasks, profile, "abc123")
    return JobArray("c2d-demo-0a1b2c3d", tuple(tasks), throttle=2), made


def flags(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


def test_all_sbatch_flags(tmp_path: Path) -> None:
    text = batch_script(*request(tmp_path, FULL, exclude=("n1", "n7")), dependency="afterok:12_3:14,afterany:15")
    folder = tmp_path / "runs/sweeps/demo/c2d-demo-0a1b2c3d"
    assert flags(text) == [
        "--account=vision",
        "--array=0-2%2",
        f"--chdir={tmp_path}/runs/snapshots/abc123",
        "--constraint='a100|h100'",
        "--cpus-per-task=6",
        "--dependency=afterok:12_3:14,afterany:15",
        "--exclude=n1,n7",
        "--exclusive",
        "--gres=gpu:a100:2",
        "--job-name=c2d-demo-0a1b2c3d",
        "--kill-on-invalid-dep=yes",
        "--mail-type=END",
        "--mem=48640M",
        "--nodes=2",
        "--ntasks-per-node=2",
        "--open-mode=append",
        f"--output={folder}/%A_%a_0_log.out",
        "--partition=gpu",
        "--qos=high",
        "--requeue",
        "--reservation='cvpr 27'",
        "--signal=USR2@90",
        "--time=90",
    ]
    lines = text.splitlines()
    assert "module load cuda/12 && true" in lines
    assert 'export CACHE="$TMPDIR/a b"' in lines
    assert f"export C2D_DATA={tmp_path}/data" in lines
    assert "export OMP_NUM_THREADS=6" in lines
    assert "export PYTHONSAFEPATH=1" in lines
    [step] = [line for line in lines if line.startswith("srun")]
    assert step == (
        f"srun --unbuffered --output {folder}/%A_%a_%t_log.out --kill-on-bad-exit=1 --wait=0 "
        "--open-mode=append --export=ALL "
        f"--cpus-per-task=6 --mpi=none apptainer exec img.sif python -u -m submitit.core._submit {folder} || rc=$?"
    )
    assert "scancel" not in text


def test_one_task_is_a_plain_job(tmp_path: Path) -> None:
    text = batch_script(*request(tmp_path, Profile(gpus=0), 1))
    assert not [flag for flag in flags(text) if flag.startswith(("--array", "--gres", "--dependency", "--partition"))]
    assert f"--output={tmp_path}/runs/sweeps/demo/c2d-demo-0a1b2c3d/%j_0_log.out" in flags(text)


def test_a_retry_with_more_of_something(tmp_path: Path) -> None:
    text = batch_script(*request(tmp_path, Profile(), mem_gb=48.0, hours=6.0, size="large"))
    assert {"--mem=49152M", "--time=360", "--gres=gpu:1"} <= set(flags(text))
    assert "--time=1440" in flags(batch_script(*request(tmp_path, Profile(), size="large")))
    assert "--gres=gpu:v100:4,nvme:1" in flags(batch_script(*request(tmp_path, Profile(gres="gpu:v100:4,nvme:1"))))


def test_a_flag_of_the_profile_replaces_ours(tmp_path: Path) -> None:
    text = batch_script(*request(tmp_path, Profile(sbatch={"mem": 0, "exclude": "n9"}), exclude=("n1",)))
    assert {"--mem=0", "--exclude=n9,n1"} <= set(flags(text))
    assert len([flag for flag in flags(text) if flag.startswith(("--mem", "--exclude"))]) == 2


@pytest.mark.parametrize(("flag", "words"), [("mem-per-cpu", "mem-per-cpu 4G"), ("mem_per_gpu", "mem-per-gpu 4G")])
def test_another_memory_flag_takes_the_place_of_mem(tmp_path: Path, flag: str, words: str) -> None:
    """Also where a retry raised the memory with an earlier profile."""
    file = tmp_path / "p.yaml"
    file.write_text(f"sbatch: {{{flag}: 4G}}")
    profile = load_profile(str(file))
    text = batch_script(*request(tmp_path, profile, mem_gb=48.0))
    assert [item for item in flags(text) if item.startswith("--mem")] == [f"--{flag.replace('_', '-')}=4G"]
    assert profile.memory_text(48.0) == words
    file.write_text("mem_gb: null")
    assert not [item for item in flags(batch_script(*request(tmp_path, load_profile(str(file))))) if "--mem" in item]


def test_a_percent_sign_in_the_path_of_a_log_is_doubled(tmp_path: Path) -> None:
    """SLURM replaces %a and the like in the path of a log, and in no other flag."""
    store = tmp_path / "50%a %j%%"
    text = batch_script(*request(store, Profile()))
    doubled = f"{tmp_path}/50%%a %%j%%%%/runs/sweeps/demo/c2d-demo-0a1b2c3d"
    assert f"--output='{doubled}/%A_%a_0_log.out'" in flags(text)
    assert f"--chdir='{store}/runs/snapshots/abc123'" in flags(text)
    assert f"srun --unbuffered --output '{doubled}/%A_%a_%t_log.out' " in text
    # submitit replaces %j and %a as well, and has no escape: it gets the folder in which the step starts.
    assert "submitit.core._submit /proc/self/cwd || rc" in text
    assert f"\ncd '{store}/runs/sweeps/demo/c2d-demo-0a1b2c3d'\n" in text
    plain = batch_script(*request(tmp_path / "50%", Profile()))
    assert f"submitit.core._submit {tmp_path}/50%/runs/sweeps/demo/c2d-demo-0a1b2c3d || rc" in plain
    assert "\ncd " not in plain


def test_a_variable_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'1 X' is not a variable name"):
        batch_script(*request(tmp_path, Profile(environment={"1 X": "y"})))


@given(st.text(alphabet=st.characters(blacklist_characters="\0\n\r", blacklist_categories=["Cs"])))
def test_text_without_a_reference_reaches_the_node_as_it_is(text: str) -> None:
    plain = text.replace("$", "")
    assert bash(f"printf %s {node_quote(plain)}") == plain


def test_references_expand_on_the_node_and_nothing_else_does() -> None:
    value = r"$WHERE/${WHERE}x/`echo no`/$(echo no)/\$WHERE/\n $1 ${WHERE:-no}"
    expected = r"/n d/${WHERE}x/`echo no`/$(echo no)/$WHERE/\n $1 ${WHERE:-no}".replace("${WHERE}x", "/n dx")
    assert bash(f"printf %s {node_quote(value)}", WHERE="/n d") == expected


@pytest.mark.parametrize("profile", [FULL, Profile(), Profile(gpus=0, setup=["source 'x y'"])])
def test_bash_and_shellcheck_accept_it(tmp_path: Path, profile: Profile) -> None:
    made, asked = request(tmp_path / "a 'quoted' $folder", profile)
    path = tmp_path / "script.sh"
    path.write_text(batch_script(made, asked, "afterok:1"))
    subprocess.run(["bash", "-n", str(path)], check=True)
    if shutil.which("shellcheck"):
        # SC1091: the file of a setup line is not here; SC2016: '$folder' of this test's path is meant as it stands.
        subprocess.run(["shellcheck", "-e", "SC1091,SC2016", str(path)], check=True)


def run_script(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    *,
    setup: tuple[str, ...] = (),
    ranks: int = 1,
    task: int = 1,
    result: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run an array's task under bash; its "python" notes what it is called with and leaves with `code`."""
    FakeSlurm(tmp_path / "slurm", monkeypatch)
    fake = tmp_path / "python.sh"
    fake.write_text(
        f'#!/bin/bash\necho "$PYTHONPATH|$SLURM_PROCID|$*" >> {tmp_path}/calls\n'
        'case "$*" in *sweeps.node.on_exit*) exit 7;; *verify_snapshot*) exit 0;; esac\necho "rank $SLURM_PROCID"\n'
        + (
            'echo > "${@: -1}/${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_${SLURM_PROCID}_result.pkl"\n'
            if result
            else ""
        )
        + f"exit {code}\n"
    )
    fake.chmod(0o755)
    made, asked = request(tmp_path / "st ore", Profile(python=str(fake), setup=list(setup)))
    folder = RunStore(asked.runs).submission(asked.sweep, made.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"task_{task}.pkl").write_text("pickle")
    (folder / "s.sh").write_text(batch_script(made, asked))
    environment = {
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_JOB_ID": "14",
        "FAKE_NTASKS": str(ranks),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return subprocess.run(["bash", str(folder / "s.sh")], capture_output=True, text=True, check=False, timeout=60)


def calls(tmp_path: Path) -> list[list[str]]:
    """Every call of python but the checks of the code."""
    found = [line.split("|") for line in (tmp_path / "calls").read_text().splitlines()]
    return [call for call in found if "verify_snapshot.py" not in call[2]]


def test_a_successful_run_needs_no_teardown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_script(tmp_path, monkeypatch, 0, ranks=2)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "st ore/runs/sweeps/demo/c2d-demo-0a1b2c3d"
    snapshot = str(tmp_path / "st ore/runs/snapshots/abc123")
    assert calls(tmp_path) == [[snapshot, rank, f"-u -m submitit.core._submit {folder}"] for rank in "01"]
    assert (folder / "12_1_submitted.pkl").read_text() == "pickle"
    assert not (folder / "task_1.pkl").exists()
    assert (folder / "12_1_1_log.out").read_text() == "rank 1\n"


@pytest.mark.parametrize("code", [1, 2, 130, 137])
@pytest.mark.parametrize("setup", [(), ("set -euo pipefail",)])
def test_a_failure_reaches_the_teardown_and_keeps_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, setup: tuple[str, ...]
) -> None:
    done = run_script(tmp_path, monkeypatch, code, setup=setup)
    assert done.returncode == code, done.stderr
    folder = tmp_path / "st ore/runs/sweeps/demo/c2d-demo-0a1b2c3d"
    assert calls(tmp_path)[-1][2] == f"-m sweeps.node.on_exit {folder}/folders.txt {code}"
    assert len(calls(tmp_path)) == 2


def test_a_step_that_ends_with_0_without_a_result_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What srun does when its node fails."""
    done = run_script(tmp_path, monkeypatch, 0, result=False)
    assert done.returncode == 143, done.stderr
    assert calls(tmp_path)[-1][2].endswith("folders.txt 143")


def test_the_script_survives_the_signal_of_a_preemption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The step ends by itself, as it does when it has saved; bash got the same TERM meanwhile.
    done = run_script(tmp_path, monkeypatch, 130, setup=("(sleep 0.2; kill -TERM $$) & sleep 0.4",))
    assert done.returncode == 130, done.stderr
    assert "sweeps.node.on_exit" in calls(tmp_path)[-1][2]


def test_a_second_job_of_the_same_submission_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_script(tmp_path, monkeypatch, 0).returncode == 0
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "13")
    script_file = tmp_path / "st ore/runs/sweeps/demo/c2d-demo-0a1b2c3d/s.sh"
    twin = subprocess.run(["bash", str(script_file)], capture_output=True, text=True, check=False, timeout=60)
    assert (twin.returncode, twin.stdout) == (0, "another job of this submission has taken task 1; nothing to do\n")
    assert len(calls(tmp_path)) == 1
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")  # the first one, requeued
    assert subprocess.run(["bash", str(script_file)], check=False, timeout=60).returncode == 0
    assert len(calls(tmp_path)) == 2


def test_the_runner_finds_its_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit's own runner, from pickle to result, without SLURM."""
    import functools
    import operator
    import pickle

    from sweeps.launchers.slurm import submit_array

    FakeSlurm(tmp_path / "slurm", monkeypatch)
    made, asked = request(tmp_path, Profile(gpus=0, cpus=1, python=sys.executable))
    asked = replace(asked, snapshot=take_snapshot(asked.runs))
    functions = [functools.partial(operator.mul, task, 7) for task in range(3)]
    number = submit_array(functions, made, asked, "", print)
    folder = RunStore(asked.runs).submission(asked.sweep, made.name)
    for name, value in {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "999"}.items():
        monkeypatch.setenv(name, value)
    subprocess.run(["bash", str(folder / "submission.sh")], check=True, timeout=120)
    assert pickle.loads((folder / f"{number}_2_0_result.pkl").read_bytes()) == ("success", 14)


def test_a_task_takes_its_own_name_once_the_launcher_has_recorded_the_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps.launchers.slurm import submit_array

    fake = FakeSlurm(tmp_path / "slurm", monkeypatch)
    made, asked = request(tmp_path, Profile(gpus=0, cpus=1, python="true #"), method="ic od", cell="a=1, b='$x'")
    number = submit_array([print] * 3, made, asked, "", print)
    folder = RunStore(asked.runs).submission(asked.sweep, made.name)
    assert "--comment='3 cells, first a=1, b=??x?'" in flags((folder / "submission.sh").read_text())
    recorded = (folder / array_file.ARRAY).rename(tmp_path / "array.json")
    for name, value in {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": "2", "SLURM_JOB_ID": "999"}.items():
        monkeypatch.setenv(name, value)
    job = subprocess.Popen(
        ["bash", str(folder / "submission.sh")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    job.wait(60)
    assert fake.calls("scontrol") == []  # until then, the launcher may have to find the array by its first name
    recorded.rename(folder / array_file.ARRAY)
    begun = time.monotonic()
    while "names" not in fake.jobs[number] and time.monotonic() - begun < 30:
        time.sleep(0.1)
    assert fake.jobs[number]["names"] == {"2": "ic-od-demo"}
    assert fake.jobs[number]["comments"] == {"2": "a=1, b=??x?"}


def test_a_comment_of_the_profile_stays(tmp_path: Path) -> None:
    text = batch_script(*request(tmp_path, Profile(sbatch={"comment": "grant 7"}), cell="a=1"))
    assert [flag for flag in flags(text) if flag.startswith("--comment")] == ["--comment='grant 7'"]
    assert 'Name="$name"' in text
    assert " Comment=" not in text


def bash(command: str, **variables: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, env={"LC_ALL": "C.UTF-8", **variables}, check=True
    )
    return done.stdout.decode()

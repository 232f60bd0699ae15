"""The steps of a job on its node. The training is replaced by a function; `test_closed_network.py` trains."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import SoftFileLock

from c2d.core.attempt import Interrupted
from c2d.core.errors import Busy, InputError, RunError
from c2d.core.job_file import read_attempts
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from sweeps.node import attempt_record, job
from sweeps.node.job import TrainingJob
from sweeps.node.node_environment import FIRST_PORT, PORTS, first_host, job_tmp, rank_variables

ROOT = Path(__file__).parents[3]
FINISHED = ROOT / "tests/fixtures/runs/tiny-retinanet-baseline-10e2263c0d72-s0"
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "70"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


@pytest.fixture(autouse=True)
def outside_of_jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name)
    yield
    os.environ.clear()
    os.environ.update(before)


def training(monkeypatch: pytest.MonkeyPatch, act: Callable[..., Any]) -> list[dict[str, Any]]:
    """Puts `act(folder, options)` in the place of c2d.training.train.train; returns what it was called with."""
    calls: list[dict[str, Any]] = []

    def train(folder: RunFolder, options: dict[str, Any]) -> Any:
        calls.append(options)
        return act(folder, options)

    module = types.ModuleType("c2d.training.train")
    module.RunOptions, module.train = dict, train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "c2d.training.train", module)
    return calls


def run(folder: RunFolder, **options: Any) -> str:
    return TrainingJob(run=str(folder.path), data="/data", **options)()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n[1-3,5]", "n1"),
        ("n[5,1-3]", "n5"),
        ("n[001-064]", "n001"),
        ("a,b[01-02]", "a"),
        ("gpu-a100-[07-09,12],cpu[1-2]", "gpu-a100-07"),
        ("rack[02-03]n[7,9],x", "rack02n7"),
        ("n[1-3]-ib,n9", "n1-ib"),
    ],
)
def test_first_host_of_a_node_list(nodes: str, first: str) -> None:
    from submitit.slurm.slurm import _parse_node_list

    assert first_host(nodes) == first
    if nodes.count("[") < 2 or "," in nodes.replace("],", ""):
        assert _parse_node_list(nodes)[0] == first


def test_ranks_come_from_slurm() -> None:
    found = rank_variables({**SLURM, "SLURM_JOB_NODELIST": "n[2-3]"})
    assert found == {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "n2", "MASTER_PORT": str(FIRST_PORT + 70)
    }  # fmt: skip
    assert rank_variables({**SLURM, "SLURM_NTASKS": "1"}) == {}
    assert rank_variables({}) == {}


def test_every_job_and_every_start_has_its_own_port() -> None:
    def port(job: int, restarts: int = 0) -> int:
        facts = {"SLURM_JOB_ID": str(job), "SLURM_RESTART_COUNT": str(restarts), "SLURM_JOB_NODELIST": "n1"}
        return int(rank_variables({**SLURM, **facts})["MASTER_PORT"])

    ports = [port(job) for job in range(4_000_000, 4_000_000 + PORTS)]
    assert len(set(ports)) == PORTS
    assert (min(ports), max(ports)) == (FIRST_PORT, FIRST_PORT + PORTS - 1)
    assert max(ports) < 32768  # Linux lends those above to anybody
    assert len({port(7, restarts) for restarts in range(50)}) == 50


def test_a_finished_run_exits_without_loading_torch() -> None:
    code = (
        "import sys; from sweeps.node.job import TrainingJob\n"
        f"print(TrainingJob({str(FINISHED)!r}, '/nowhere')(), end=' ')\n"
        "print([name for name in ('torch', 'pydantic', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == f"{FINISHED.name} []\n"
    assert done.stderr == ""


def test_a_job_is_pickled_by_reference(folder: RunFolder) -> None:
    given = TrainingJob(str(folder.path), "/data", workers=3, stop_after=5)
    raw = pickle.dumps(given)
    assert pickle.loads(raw) == given
    assert b"sweeps.node.job" in raw
    assert given.checkpoint("ignored").function == given


def test_the_training_gets_the_options_of_the_job(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = training(monkeypatch, lambda *_: {})
    assert run(folder, workers=3, download=True, stop_after=7, track=("wandb:papers",)) == "run"
    given = {"data": Path("/data"), "workers": 3, "download": True, "quiet": True, "stop_after": 7}
    given["track"] = ("wandb:papers",)
    assert calls == [{**given, "checkpoint_every": None}]


def test_a_stop_signal_exits_with_130(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def stop(*_: Any) -> None:
        raise Interrupted("interrupted by SIGUSR2", by="SIGUSR2")

    training(monkeypatch, stop)
    with pytest.raises(SystemExit) as caught:
        run(folder)
    assert caught.value.code == 130
    assert "asked to stop by SIGUSR2; it continues" in capfd.readouterr().err


def test_a_canary_that_reaches_its_iteration_succeeds(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def stop(*_: Any) -> None:
        raise Interrupted("stopped after iteration 5 of 9 as asked; call again to continue", planned=True)

    training(monkeypatch, stop)
    assert run(folder, stop_after=5) == "run"
    assert capfd.readouterr().out == "run: stopped after iteration 5 of 9 as asked; call again to continue\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_before_the_training_is_130_too(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def build(*_: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    training(monkeypatch, build)
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        run(folder)
    assert caught.value.code == 130
    assert signal.getsignal(number) == before


def raising(error: Exception) -> Callable[..., None]:
    def act(*_: Any) -> None:
        raise error

    return act


def data_error() -> InputError:
    error = InputError("data set scenes has digest a, the run asks for b")
    error.failure_class = "data"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (InputError("spec.json: seed is no number"), "config", "spec.json: seed is no number"),
        (data_error(), "data", "data set scenes has digest a, the run asks for b"),
        (RunError("the loss is not finite", "nan"), "nan", "the loss is not finite"),
        (ModuleNotFoundError("No module named 'mmdet'"), "import", "ModuleNotFoundError: No module named 'mmdet'"),
        (MemoryError(), "host-oom", "MemoryError: MemoryError"),
        (ZeroDivisionError("division by zero"), "user-code", "ZeroDivisionError: division by zero"),
        (RuntimeError("[/x/gloo/transport/tcp/pair.cc:5] Connection closed by peer"), "hang", None),
    ],
)
def test_an_unrecorded_exit_is_recorded(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: Any, error: Exception, kind: str, line: str | None
) -> None:
    training(monkeypatch, raising(error))
    with pytest.raises(SystemExit) as caught:
        run(folder)
    assert caught.value.code == 1
    status = folder.read_status()
    assert (status["state"], status["failure_class"]) == ("failed", kind)
    assert line is None or status["reason"] == line
    rank = read_json(folder.path / "ranks" / "0.json")
    assert (rank["rank"], rank["class"], rank["host"]) == (0, kind, socket.gethostname())
    assert f"run failed ({kind}): {status['reason']}" in capfd.readouterr().err


def test_the_record_of_the_training_is_kept(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(folder: RunFolder, _: Any) -> None:
        folder.write_status("failed", reason="in its own words", failure_class="nan", iteration=8)
        raise RunError("in other words", "nan")

    training(monkeypatch, act)
    with pytest.raises(SystemExit):
        run(folder)
    assert folder.read_status()["reason"] == "in its own words"


def test_other_ranks_write_their_own_record(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_status("running", attempt=2)
    for key, value in {**SLURM, "SLURM_JOB_NODELIST": "n1"}.items():
        monkeypatch.setenv(key, value)
    training(monkeypatch, raising(RunError("out of memory on this one", "cuda-oom")))
    with pytest.raises(SystemExit):
        run(folder)
    assert os.listdir(folder.ranks) == ["3.json"]
    rank = read_json(folder.path / "ranks" / "3.json")
    assert (rank["class"], rank["line"], rank["attempt"]) == ("cuda-oom", "out of memory on this one", 2)
    assert folder.read_status()["state"] == "running"


def test_notes_of_earlier_starts_are_removed_by_the_first_rank(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {**SLURM, "SLURM_PROCID": "0", "SLURM_RESTART_COUNT": "1", "SLURM_JOB_NODELIST": "n1"}.items():
        monkeypatch.setenv(key, value)
    atomic_write_json(folder.path / "ranks" / "1.json", {"start": "70-0"})
    atomic_write_json(folder.path / "ranks" / "2.json", {"start": "70-1"})  # faster than the first rank
    training(monkeypatch, lambda *_: {})
    run(folder)
    assert os.listdir(folder.ranks) == ["2.json"]


def test_a_busy_run_is_waited_for(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(attempt_record, "POLL_S", 0.05)
    calls = training(monkeypatch, lambda *_: {})
    folder.write_status("running", host="another", attempt=1)
    lock = SoftFileLock(folder.lock, thread_local=False)
    lock.acquire()
    threading.Timer(0.5, lock.release).start()
    begun = time.monotonic()
    assert run(folder) == "run"
    assert 0.4 < time.monotonic() - begun < 30
    assert len(calls) == 1
    assert capfd.readouterr().err.count("is being written by pid") == 1


def test_a_run_locked_at_the_start_is_retried(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[Any] = iter([Busy("somebody was faster"), {}])

    def act(*_: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, Busy):
            raise answer
        return answer

    calls = training(monkeypatch, act)
    assert run(folder) == "run"
    assert len(calls) == 2


def test_a_run_that_stays_locked_is_not_started(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_record, "POLL_S", 0.02)
    monkeypatch.setattr(job, "WAIT_MARGIN_S", 0.2 - job.HEARTBEAT_LIMIT_S)
    training(monkeypatch, raising(Busy("run is being written by pid 1 on another")))
    folder.write_status("running", host="another", attempt=4)
    before = folder.status.read_bytes()
    with SoftFileLock(folder.lock), pytest.raises(SystemExit) as caught:
        run(folder)
    assert caught.value.code == 1
    assert folder.status.read_bytes() == before
    assert not folder.ranks.exists()


def test_an_unrecorded_failure_is_recorded_at_the_next_start(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    folder.write_status("running", attempt=3, begun=now - 500, elapsed_before_s=0.0, iteration=40, pid=2**22 + 1)
    folder.checkpoints.mkdir()
    for iteration, age in ((20, 300), (30, 100)):
        folder.checkpoint(iteration).touch()
        os.utime(folder.checkpoint(iteration), (now - age, now - age))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    training(monkeypatch, lambda *_: {})
    run(folder)
    (death,) = read_attempts(folder)
    assert (death["class"], death["attempt"], death["iteration"], death["by"]) == ("node-failure", 3, 40, "job")
    assert death["lost_s"] == pytest.approx(100, abs=3)
    assert death["seconds"] == pytest.approx(500, abs=3)
    run(folder)
    assert len(read_attempts(folder)) == 1  # noted once


@pytest.mark.parametrize(
    ("job", "reason", "noted"),
    [
        ("12", "interrupted by SIGTERM; call again to continue", 1),
        ("12", "stopped after iteration 40 of 90 as asked; call again to continue", 0),  # a canary
        ("9", "interrupted by SIGINT; call again to continue", 0),  # of another job, before this one continued the run
    ],
)
def test_a_run_that_saved_while_its_node_failed_has_failed_too(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, job: str, reason: str, noted: int
) -> None:
    """No process recorded it: the batch script fails together with its node."""
    folder.write_status("waiting", attempt=3, begun=time.time() - 50, iteration=40, reason=reason)
    atomic_write_json(folder.env, {"format": 1, "attempts": [{"attempt": 3, "slurm": {"SLURM_JOB_ID": job}}]})
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    training(monkeypatch, lambda *_: {})
    run(folder)
    run(folder)
    deaths = read_attempts(folder)
    assert [(death["class"], death["attempt"], death["lost_s"]) for death in deaths] == [
        ("node-failure", 3, 0.0)
    ] * noted


def test_temporary_files_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_DISK", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    left, alive = tmp_path / "scratch" / f"c2d-77-0-{2**22 + 1}-x", tmp_path / "scratch" / f"c2d-77-0-{os.getppid()}-x"
    other = tmp_path / "scratch" / f"c2d-78-0-{2**22 + 1}-x"
    for path in (left, alive, other):
        path.mkdir(parents=True)
    before = os.environ.get("TMPDIR")

    def fail() -> None:
        with job_tmp("$NODE_DISK/scratch") as place:
            assert place.parent == tmp_path / "scratch"
            assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(place)
            assert place.stat().st_mode & 0o077 == 0
            (place / "cache").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert sorted((tmp_path / "scratch").iterdir()) == sorted([alive, other])
    assert os.environ.get("TMPDIR") == before


def test_without_the_configured_folder_temporary_files_are_in_tmp(tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "file").touch()
    with job_tmp(str(tmp_path / "file" / "x")) as place:
        assert place.parent == Path("/tmp")
    assert "warning: temporary files go to" in capfd.readouterr().err


def test_a_synthesis_reads_the_shared_data_set(tmp_path: Path) -> None:
    """Its card names the evaluation images by their path, which has to hold on other nodes, too."""
    folder = RunFolder(tmp_path / "moi-impressions-0123456789ab-s0")
    atomic_write_json(folder.spec, {"kind": "impressions", "dataset": {"name": "scenes", "digest": "a"}})
    job = TrainingJob(str(folder.path), str(tmp_path / "data"), stage_data=str(tmp_path / "disk"))
    assert job._staged(folder) == tmp_path / "data"
    assert not (tmp_path / "disk").exists()

"""One run, end to end on the CPU: every file, exact resume, polite and rude ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import RunStore
from c2d.training import checkpoint
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TinyStore
from tests.forked_python import ForkedPython, run_forked

ICOD = [{"icod": {"max_positives": 8}}]


# What `torchrun --standalone --nproc-per-node 2 -m c2d WORDS` does, with forks as its processes.
TORCHRUN = """
import sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from c2d.cli.main import main

def rank():
    try:
        main(sys.argv[1:])
    except SystemExit as ended:
        assert not ended.code, ended

place = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "two"}
elastic_launch(LaunchConfig(1, 1, 2, **place, max_restarts=0, start_method="fork"), rank)()
"""


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return safe_load.load(folder.student)


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert not different


def test_a_distilled_run_writes_every_file(tiny_store: TinyStore, teacher: RunFolder) -> None:
    folder = tiny_store.create_run(method=ICOD, teachers={"classifier": teacher.id}, seed=1)
    result = train(folder, tiny_store.options())
    for path in (
        folder.spec,
        folder.config,
        folder.train_config,
        folder.env,
        folder.status,
        folder.metrics,
        folder.result,
    ):
        assert path.stat().st_size > 0, path
    assert folder.detections.exists()
    assert folder.student.exists()
    assert folder.log.exists()
    assert not folder.lock.exists()
    assert folder.read_status()["state"] == "done"
    assert result == read_json(folder.result)
    assert result["teachers"]["classifier"]["run"] == teacher.id
    assert result["teachers"]["classifier"]["audit"]["missing"] == []
    assert 0 <= result["AP"] <= 1
    status = read_json(folder.status)
    assert 0 < result["seconds"]["train_cpu"] < status["cpu_s"]
    assert 0 < result["seconds"]["train"] < status["elapsed_s"]
    events = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert result["memory_mib"] >= events[-1]["memory_mib"] > 100
    assert [event["iteration"] for event in events] == [1, 2, 3, 4, 5, 6]
    for event in events:
        for term in ("cls", "crop", "feat"):
            raw, weighted = event[f"kd_icod_{term}_raw"], event[f"loss_kd_icod_{term}"]
            assert weighted == pytest.approx(raw * {"cls": 0.4}.get(term, 0.15), rel=1e-5)
        assert event["loss"] == pytest.approx(sum(v for k, v in event.items() if k.startswith("loss_")), rel=1e-5)
        assert 0 < event["kd_icod_positives_used"] <= 8
        assert event["lr"] == 1e-3
    (attempt,) = read_json(folder.env)["attempts"]
    assert attempt["packages"]["torch"] == torch.__version__.split("+")[0]
    assert read_json(RunStore(folder.path.parent).targets(read_json(folder.spec)["dataset"]["digest"]))["categories"]
    folder.write_status("waiting")  # an attempt that only exports and evaluates keeps the peak of the one that trained
    folder.metrics.write_text("".join(json.dumps(event | {"memory_mib": 1e6}) + "\n" for event in events))
    assert train(folder, tiny_store.options())["memory_mib"] == 1e6


def test_a_finished_run_is_not_run_again(tiny_store: TinyStore, teacher: RunFolder) -> None:
    folder = tiny_store.create_run(method=ICOD, teachers={"classifier": teacher.id}, seed=1)
    train(folder, tiny_store.options())
    before = folder.status.stat().st_mtime_ns
    assert train(folder, tiny_store.options()) == read_json(folder.result)
    assert folder.status.stat().st_mtime_ns == before


@pytest.mark.parametrize("died_after", [1, 3, 4])
def test_killed_and_resumed_equals_uninterrupted(
    tiny_store: TinyStore, teacher: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_after: int
) -> None:
    question: dict[str, Any] = {"method": ICOD, "teachers": {"classifier": teacher.id}, "seed": 2}
    question["schedule"] = {
        "name": "smoke",
        "values": {"iterations": 6, "batch": 4, "ema": 0.5, "warmup": {"iterations": 4}},
    }
    whole = tiny_store.create_run(**question)
    train(whole, tiny_store.options())
    other = tiny_store.with_empty_store(tmp_path)
    os.symlink(teacher.path, _made(other.runs) / teacher.id)
    broken = other.create_run(**question)

    from c2d.training.metrics_logger import MetricsLogger

    def die(self: Any, iteration: int, *_: Any) -> None:
        if iteration > died_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLogger, "log_step", die)
        with pytest.raises(KeyboardInterrupt):
            train(broken, other.options(checkpoint_every=2))
    assert broken.read_status()["state"] == "waiting"
    saved = [int(path.stem.split("_")[1]) for path in checkpoint.list_checkpoints(broken)]
    assert saved == [2 * n for n in range(1, died_after // 2 + 1)]
    train(broken, other.options(checkpoint_every=2, workers=2))
    assert_equal(weights(whole), weights(broken))
    assert read_json(whole.detections) == read_json(broken.detections)
    assert broken.read_status()["attempt"] == 2
    lines = [json.loads(line)["iteration"] for line in broken.metrics.read_text().splitlines()]
    assert lines == sorted(set(lines))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_run_killed_by_sigkill_is_continued(tiny_store: TinyStore, tmp_path: Path) -> None:
    other = tiny_store.with_empty_store(tmp_path)
    broken = other.create_run(iterations=60, seed=3)
    command = [
        sys.executable,
        "-m",
        "c2d",
        "train",
        str(broken.path),
        "--runs",
        str(other.runs),
        "--data",
        str(other.data),
        "--checkpoint-every",
        "5",
        "--threads",
        str(torch.get_num_threads()),  # sums of floats depend on the number of threads
        "--quiet",
    ]
    process = ForkedPython(command)
    deadline = time.monotonic() + 120
    while len(checkpoint.list_checkpoints(broken)) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert broken.read_status()["state"] == "running"
    reached = read_json(broken.status).get("iteration", 0)
    assert reached < 60
    process = ForkedPython(command)  # takes over the lock of the killed process, and then gets a stop signal
    begun = checkpoint.list_checkpoints(broken)[-1]
    while checkpoint.list_checkpoints(broken)[-1] == begun and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert broken.read_status()["state"] == "waiting"
    train(broken, other.options())
    whole = tiny_store.create_run(iterations=60, seed=3)
    train(whole, tiny_store.options())
    assert_equal(weights(whole), weights(broken))


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tiny_store: TinyStore) -> None:
    folder = tiny_store.create_run(
        seed=4,
        schedule={
            "name": "smoke",
            "values": {"iterations": 40, "batch": 4, "clip_grad_norm": None, "optimizer": {"type": "SGD", "lr": 1e9}},
        },
    )
    with pytest.raises(RunError, match=r"not finite|loss is") as caught:
        train(folder, tiny_store.options(checkpoint_every=1))
    assert caught.value.failure_class == "nan"
    status = folder.read_status()
    assert (status["state"], status["failure_class"]) == ("failed", "nan")
    for path in checkpoint.list_checkpoints(folder):
        assert all(value.isfinite().all() for value in safe_load.load(path)["model"].values())


def test_a_corrupt_newest_checkpoint_falls_back(tiny_store: TinyStore, tmp_path: Path) -> None:
    other = tiny_store.with_empty_store(tmp_path)
    folder = other.create_run(seed=5)
    train(folder, other.options(checkpoint_every=2))
    first = weights(folder)
    newest = checkpoint.list_checkpoints(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    folder.result.unlink()
    folder.write_status("failed")
    train(folder, other.options(checkpoint_every=2))
    assert "falling back" in folder.log.read_text()
    assert_equal(first, weights(folder))


CHANGES_OF_A_CHECKPOINT: list[tuple[dict[str, Any], str]] = [
    ({"iteration": 10**9}, "iteration is not as the training wrote it; remove the file"),
    ({"optimizer": None, "schedulers": 3}, "optimizer, schedulers are not as the training wrote it"),
    ({"run": "another"}, "belongs to run 'another'"),
    ({"optimizer": {}}, "does not fit this run"),
    ({"model": {}}, "does not fit this run"),
]


def test_a_checkpoint_of_another_shape_is_named(tiny_store: TinyStore, tmp_path: Path) -> None:
    """An iteration beyond the last one exported half-trained weights as finished ones."""
    from c2d.core.attempt import Interrupted

    other = tiny_store.with_empty_store(tmp_path)
    folder = other.create_run(seed=5)
    with pytest.raises(Interrupted):
        train(folder, other.options(stop_after=2))
    state = safe_load.load(folder.checkpoint(2))
    for change, message in CHANGES_OF_A_CHECKPOINT:
        torch.save({**state, **change}, folder.checkpoint(2))
        with pytest.raises(InputError, match=message):
            train(folder, other.options())
        assert not folder.result.exists()


def test_a_damaged_curve_is_no_reason_to_stop(tmp_path: Path) -> None:
    from c2d.core.curves.event_file import drop_events_after

    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"iteration": 1}\n\xff\xfe\n[]\n3\n{"iteration": 2}\n{"iteration": 3}\n{"iter')
    drop_events_after(path, 2)
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is not a file; move it away"):
        drop_events_after(path, 2)


def test_one_writer_at_a_time(tiny_store: TinyStore, tmp_path: Path) -> None:
    from filelock import SoftFileLock

    folder = tiny_store.with_empty_store(tmp_path).create_run(seed=6)
    folder.write_status("running")
    with SoftFileLock(folder.lock), pytest.raises(InputError, match="is being written by pid"):
        train(folder, tiny_store.options())


def test_a_teacher_below_its_min_top1_blocks_the_student(
    tiny_store: TinyStore, teacher: RunFolder, tmp_path: Path
) -> None:
    other = tiny_store.with_empty_store(tmp_path)
    weak = _made(other.runs / teacher.id)
    for path in (teacher.status, teacher.classifier, teacher.result):
        (weak / path.name).write_bytes(path.read_bytes())
    spec = read_json(teacher.spec)
    spec["schedule"]["values"]["min_top1"] = 0.99
    (weak / "spec.json").write_text(json.dumps(spec))
    folder = other.create_run(method=ICOD, teachers={"classifier": teacher.id})
    with pytest.raises(InputError, match=r"min_top1"):
        train(folder, other.options())
    assert not folder.log.exists()


def test_students_start_equal_under_every_method(tiny_store: TinyStore, teacher: RunFolder) -> None:
    from c2d.data.card_lookup import load_card
    from c2d.specs.spec import parse_spec
    from c2d.training.build import build
    from c2d.training.sources import Sources

    card = load_card("scenes", tiny_store.data)
    states = []
    for method in ([], ICOD):
        folder = tiny_store.create_run(method=method, teachers={"classifier": teacher.id}, seed=7)
        spec = parse_spec(read_json(folder.spec), "test")
        run = build(Sources(spec, folder, "cpu", card))
        states.append(run.model.student.state_dict())
        assert not any("teacher" in key or "network" in key for key in run.model.state_dict())
    assert_equal(states[0], states[1])


def test_two_processes_train_and_evaluate_one_run(tiny_store: TinyStore, teacher: RunFolder) -> None:
    """The detections of two ranks are those of one process, although each rank has its own batch statistics."""
    from mmengine import Config

    from c2d.data.card_lookup import load_card
    from c2d.evaluation.evaluate_detector import evaluate_detector, load_ground_truth

    schedule = {"name": "smoke", "values": {"iterations": 6, "batch": 4, "val_interval": 3}}
    folder = tiny_store.create_run(method=ICOD, teachers={"classifier": teacher.id}, seed=8, schedule=schedule)
    words = ["train", str(folder.path), "--runs", str(tiny_store.runs), "--data", str(tiny_store.data), "--quiet"]
    words += ["--track", "tensorboard"]
    done = run_forked([sys.executable, "-c", TORCHRUN, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert folder.read_status()["state"] == "done"
    assert done.stdout.count("TIDE dAP") == 1  # rank 0 alone prints, and tracks
    assert len(list((tiny_store.runs / "tracking" / "tensorboard" / folder.id).iterdir())) == 1
    card = load_card("scenes", tiny_store.data)
    truth = load_ground_truth(card, folder)
    result, detections = evaluate_detector(Config.fromfile(folder.config), folder.student, card, truth, "cpu")
    assert detections
    assert read_json(folder.detections) == detections
    assert read_json(folder.result)["AP"] == result["AP"]
    events = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [event["iteration"] for event in events if event["event"] == "val"] == [3]


def test_stopped_after_an_iteration_and_continued_equals_uninterrupted(tiny_store: TinyStore, tmp_path: Path) -> None:
    from c2d.core.attempt import Interrupted

    whole = tiny_store.create_run(seed=9, iterations=5)
    train(whole, tiny_store.options())
    other = tiny_store.with_empty_store(tmp_path)
    folder = other.create_run(seed=9, iterations=5)
    for _ in range(2):  # the second call finds that nothing is to be done, and does nothing
        with pytest.raises(Interrupted) as caught:
            train(folder, other.options(stop_after=3))
        assert caught.value.planned
        assert [path.name for path in checkpoint.list_checkpoints(folder)][-1] == folder.checkpoint(3).name
        status = folder.read_status()
        assert (status["state"], status["iteration"]) == ("waiting", 3)
        assert status["reason"] == "stopped after iteration 3 of 5 as asked; call again to continue"
    train(folder, other.options(stop_after=5))  # as long as the run: the run
    assert_equal(weights(whole), weights(folder))
    assert read_json(whole.detections) == read_json(folder.detections)


def test_a_data_set_that_is_missing_or_changed_is_of_class_data(tiny_store: TinyStore, tmp_path: Path) -> None:
    from c2d.training.train import RunOptions

    folder = tiny_store.with_empty_store(tmp_path).create_run(seed=9)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="unknown data set 'scenes'") as caught:
        train(folder, RunOptions(data=tmp_path / "nothing", quiet=True))
    assert caught.value.failure_class == "data"
    shutil.copytree(tiny_store.data / "scenes", tmp_path / "data" / "scenes")
    annotations = next((tmp_path / "data" / "scenes").rglob("*train*.json"))
    annotations.write_text(annotations.read_text().replace('"area": ', '"area": 1', 1))
    with pytest.raises(InputError, match="has changed since its card was made") as caught:
        train(folder, RunOptions(data=tmp_path / "data", quiet=True))
    assert caught.value.failure_class == "data"
    assert not folder.status.exists()


def test_ranks_that_cannot_connect_name_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from c2d.evaluation import distributed

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for key, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(key, value)
        with pytest.raises(RunError, match=f"rank 0 of 2 could not join the others at 127.0.0.1:{port}") as caught:
            distributed.join_process_group()
    assert caught.value.failure_class == "hang"

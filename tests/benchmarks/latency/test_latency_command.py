"""`c2d bench latency` from end to end, on a tiny run with images of its own."""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path

import pytest
import torch

from analysis.loading.latency_file import Measurement, latency_files
from benchmarks.latency import measure, student_memory
from c2d.cli.main import main
from c2d.data.scenes.make_scenes import make_scenes
from tests.forked_python import SUBPROCESS

RUN = "tiny-retinanet-baseline-10e2263c0d72-s0"
FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "runs" / RUN
SHORT = ["--seconds", "0", "--count", "3", "--threads", "1"]
NO_MEMORY = "--no-memory"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the run: runs/, and data/scenes with its images."""
    folder = tmp_path_factory.mktemp("latency")
    shutil.copytree(FIXTURE, folder / "runs" / RUN)
    make_scenes(folder / "data" / "scenes", train=1, val=4, size=96, seed=0)
    for name in ("analysis.py", "benchmarks.py", "c2d.py"):  # the measuring processes must not import these
        (folder / name).write_text('raise SystemExit("foreign")\n')
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.delenv("C2D_RUNS", raising=False)


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measuring processes are forks; without this fixture they are interpreters of their own."""
    for module in (measure, student_memory):
        monkeypatch.setattr(module, "subprocess", SUBPROCESS)


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "latency", *words, *SHORT])
    return int(ended.value.code or 0)


def is_model(one: Measurement) -> bool:
    """Whether the student was at work in it."""
    return one.conditions["stage"] in ("model", "end to end")


def digests(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.mark.usefixtures("forks")
def test_timing_a_run_adds_only_latency_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = place / "runs" / RUN
    before = digests(run)
    assert bench(RUN, "--launches", "1", "--batch", "1", "--batch", "2", "--device", "cpu") == 0
    after = digests(run)
    assert {name: digest for name, digest in after.items() if not name.startswith("latency/")} == before
    found = latency_files(place / "runs", RUN, problems := [])
    assert not problems
    told = {(one.conditions["batch"], one.conditions["stage"]) for one in found}
    stages = ("read and decode", "preprocess", "model", "post-process", "end to end")
    assert told == {(batch, stage) for batch in "12" for stage in stages}
    assert {one.conditions["input"] for one in found} == {"64x64"}
    assert {len(one.launches) for one in found} == {1}
    peaks = [one.memory for one in found if is_model(one)]
    assert len(peaks) == 4
    assert all(0 < one["inference_mib"] < 200 and 0 < one["training_mib"] < 200 for one in peaks)
    assert all(math.isnan(one.memory["inference_mib"]) for one in found if not is_model(one))
    text = capsys.readouterr().out
    assert "peak memory of a training step (its own losses, SGD, eager fp32): batch 1: " in text
    assert "10 files in" in text
    assert "GMACs" in text


def test_random_images_only_by_name_and_another_size(place: Path, tmp_path: Path) -> None:
    words = [RUN, "--launches", "1", "--stage", "model", "--images", "random", "--input", "96", "--device", "cpu"]
    assert bench(*words, NO_MEMORY, "--out", str(tmp_path / "x" / "latency")) == 0
    (found,) = latency_files(tmp_path, "x", [])
    assert (found.conditions["images"], found.conditions["input"]) == ("random", "96x96")


@pytest.mark.usefixtures("forks")
def test_a_checkpoint_that_does_not_fit_is_bad_input(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(place / "runs" / RUN / "student.pth", weights_only=True)
    name, weight = state.popitem()
    torch.save({**state, name + "_else": weight}, tmp_path / "bad.pth")
    config = str(place / "runs" / RUN / "config.py")
    words = ["--config", config, "--checkpoint", str(tmp_path / "bad.pth"), "--out", str(tmp_path / "out")]
    assert bench(*words, "--device", "cpu") == 2
    messages = capsys.readouterr().err
    assert (
        f"the checkpoint does not fit the model of {config}: student weights {tmp_path / 'bad.pth'}: 1 of " in messages
    )
    assert f" keys are missing: {name}; 1 keys are unexpected: {name}_else; give " in messages
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none"], "unknown run in runs/ 'none'"),
        ([RUN, "--backend", "eger"], "unknown backend 'eger'; did you mean 'eager'?"),
        ([RUN, "--stage", "nms"], "unknown stage 'nms'"),
        ([RUN, "--images", "noise"], "unknown kind of images 'noise'; known: random, real"),
        ([RUN, "--device", "tpu"], "unknown device 'tpu'"),
        ([RUN, "--input", "10"], "is no size"),
        (["--config", "c.py"], "--checkpoint K, --out DIR missing"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(*words) == 2
    assert message in capsys.readouterr().err

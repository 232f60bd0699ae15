"""The loader benchmark: its table by hand, a real measurement, and batches that do not depend on their reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.training.loader_speed import markdown, measure_loader, predicted_workers, sufficient_workers
from c2d.core.errors import InputError
from c2d.data.scenes.make_scenes import make_scenes
from c2d.training.build import build_from_name
from c2d.training.loop import Trainer, training_loader

SPEC = """
dataset: scenes
student: retinanet-qr18
init: none
input: 96
schedule: {name: smoke, values: {iterations: 2, batch: 4}}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec beside its data set of five images."""
    root = tmp_path_factory.mktemp("loader")
    make_scenes(root / "data" / "scenes", train=5, val=1, size=96)
    (root / "spec.yaml").write_text(SPEC)
    return root / "spec.yaml"


def _record(*waits: float) -> dict[str, Any]:
    """10 batches of 4 images: a step of 0.5 s, and loaders of 20 s (in the model's process) and 10 s with two more."""
    workers = [
        {"workers": count, "loader_s": seconds, "loop_s": 100.0, "wait_s": wait}
        for count, seconds, wait in zip((0, 2, 4), (20.0, 10.0, 5.0), waits, strict=True)
    ]
    facts = {"student": "s", "data": "d", "batch": 4, "image": "96x96", "device": "cpu", "threads": 1, "batches": 10}
    return facts | {"step_s": [0.5] * 10, "workers": workers}


def test_the_table_has_the_three_rates_and_the_wait() -> None:
    record = _record(50.0, 10.0, 1.0)
    table = markdown(record).splitlines()
    assert table[0] == "s on d, batches of 4 images of 96x96 px, cpu, 1 threads. The step alone: 8.0 samples/s."
    assert table[4] == "| 0 | 2.0 | 0.25 | 0.4 | 50.0% of the time |"
    assert table[6] == "| 4 | 8.0 | 1.00 | 0.4 | 1.0% of the time |"
    # The step takes 5 s where one process takes 20 s.
    assert (sufficient_workers(record), predicted_workers(record)) == (4, 4)
    assert table[-1] == (
        "With 4 loader processes the step does not wait; 4 on cores of their own are as fast as the step."
    )
    assert markdown(_record(50.0, 10.0, 9.0)).splitlines()[-1].startswith("With none of these numbers")


def test_a_training_is_measured(spec: Path) -> None:
    record = measure_loader(str(spec), spec.parent / "runs", spec.parent / "data", [0, 1], batches=3, threads=1)
    assert [row["workers"] for row in record["workers"]] == [0, 1]
    assert len(record["step_s"]) == record["batches"] == 3
    for row in record["workers"]:
        assert 0 < row["wait_s"] < row["loop_s"]
        assert row["loader_s"] > 0
    assert not list((spec.parent / "runs").glob("*/checkpoint*"))


def test_batches_do_not_depend_on_how_they_are_read(spec: Path) -> None:
    run = build_from_name(str(spec), spec.parent / "runs", spec.parent / "data")
    config = run.resolved.train
    Trainer(run.model, config, None, 1)
    assert run.model.data_preprocessor._non_blocking == torch.cuda.is_available()
    kinds = [training_loader(run.dataset, config, workers, 0, endless=endless)
             for workers, endless in ((0, False), (0, True), (1, True))]  # fmt: skip
    seen = list(zip(*(iter(kind) for kind in kinds), strict=False))
    assert len(seen) == 2  # as many as the training has; the other two go on
    for batches in seen:
        first, *others = ([image.tolist() for image in batch["inputs"]] for batch in batches)
        assert all(other == first for other in others)


def test_a_wrong_number_of_processes_is_refused() -> None:
    result = CliRunner().invoke(app, ["loader", "spec.yaml", "--workers", "0,two"])
    assert isinstance(result.exception, InputError)
    assert "give numbers of loader processes with commas" in str(result.exception)

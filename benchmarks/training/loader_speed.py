"""Measure the loader of a training beside its step: samples per second of each alone, and of both together.

The loader alone reads, transforms and collates the images of the data set in the order of the training; nothing uses
them. The step alone is the training's own (losses, backward, optimizer) on one batch that is on the device already. The
loop is both, as a training has them, with the time that the step waits for its batch. Where the loader has the larger
rate alone, and the wait is small, the GPU waits for nothing. On a machine whose model runs on the same cores as the
loader the loop is slower than both: the rates alone say what separate cores would do.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.training.step_process import prepare_process, time_ms

WAIT_SHARE = 0.03
"""Largest share of the loop's time for which the step may wait and still count as not waiting."""
WARM_UP = 2
"""Batches of each loader process that are not counted: they are read while nothing is waited for."""


def measure_loader(
    spec: str, runs: Path | None, data: Path | None, workers: Sequence[int], batches: int, threads: int | None
) -> dict[str, Any]:
    """Measure the loader with each number of processes, the step, and the loop.

    Args:
        spec: a SPEC.yaml file, or a run of the store; its teachers are finished, its data set is here.
        runs, data: the store and the root of the data cards.
        workers: numbers of loader processes.
        batches: counted batches of each measurement.
        threads: CPU threads of the model; None: torch's choice.

    Returns:
        {question: as given, student, data, batch, image: px of the batch, device, threads, step_s: list; workers:
        [{workers, loader_s: of the counted batches, loop_s, wait_s}], batches}.
    """
    from mmengine.dist import get_dist_info

    from c2d.core.store_folder import runs_folder
    from c2d.evaluation.loader_processes import loader_errors
    from c2d.training.build import build_from_name

    device = prepare_process(threads)
    run = build_from_name(spec, runs_folder(runs), data)
    config = run.resolved.train
    world = get_dist_info()[1]
    share = config["train_dataloader"]["batch_size"] // world
    records = []
    with loader_errors():
        trainer = _trainer(run)
        step, image = _resident_step(run, trainer, share)
        step()
        step_s = [time_ms(step, device) / 1000 for _ in range(batches)]
        for count in workers:
            loader_s = _seconds_of_loader(run, count, batches)
            loop_s, wait_s = _seconds_of_loop(run, trainer, count, batches, device)
            records.append({"workers": count, "loader_s": loader_s, "loop_s": loop_s, "wait_s": wait_s})
    return {
        "question": spec,
        "student": run.spec.student.name if run.spec.student else run.spec.network,
        "data": run.spec.dataset.name,
        "batch": share,
        "image": image,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batches": batches,
        "step_s": step_s,
        "workers": records,
    }


def sufficient_workers(record: dict[str, Any]) -> int | None:
    """Return the smallest measured number of loader processes with which the step does not wait; None: none of them."""
    enough = [row["workers"] for row in record["workers"] if row["wait_s"] <= WAIT_SHARE * row["loop_s"]]
    return min(enough, default=None)


def predicted_workers(record: dict[str, Any]) -> int | None:
    """Return the number of loader processes, each with a core of its own, that are as fast as the step.

    It follows from the rate of the fewest processes measured; 0 processes read in the process of the model, at the rate
    of one.
    """
    fewest = min(record["workers"], key=lambda row: int(row["workers"]), default=None)
    if fewest is None:
        return None
    each = record["batches"] / fewest["loader_s"] / max(1, fewest["workers"])
    return math.ceil(record["batches"] / sum(record["step_s"]) / each)


def markdown(record: dict[str, Any]) -> str:
    """Write the rates as a table, and how many loader processes are enough."""
    samples = record["batch"] * record["batches"]
    step = samples / sum(record["step_s"])
    lines = [
        f"{record['student']} on {record['data']}, batches of {record['batch']} images of {record['image']} px, "
        f"{record['device']}, {record['threads']} threads. The step alone: {step:.1f} samples/s.",
        "",
        "| loader processes | loader alone, samples/s | loader / step | loop, samples/s | the step waits |",
        "|---|---|---|---|---|",
    ]
    for row in record["workers"]:
        loader = samples / row["loader_s"]
        lines.append(
            f"| {row['workers']} | {loader:.1f} | {loader / step:.2f} | {samples / row['loop_s']:.1f} "
            f"| {row['wait_s'] / row['loop_s']:.1%} of the time |"
        )
    enough, predicted = sufficient_workers(record), predicted_workers(record)
    found = f"with {enough} loader processes the step does not wait" if enough is not None else (
        "with none of these numbers of loader processes does the step run without waiting"
    )  # fmt: skip
    cores = "1 on a core of its own is" if predicted == 1 else f"{predicted} on cores of their own are"
    return "\n".join([*lines, "", f"{found[0].upper()}{found[1:]}; {cores} as fast as the step."])


def _trainer(run: Any) -> Any:
    from c2d.detectors.mmdet_scope import mmdet_scope
    from c2d.training.loop import Trainer

    config = run.resolved.train
    with mmdet_scope():
        return Trainer(run.model, config, None, math.ceil(len(run.dataset) / config["train_dataloader"]["batch_size"]))


def _resident_step(run: Any, trainer: Any, share: int) -> tuple[Callable[[], None], str]:
    """Return the training's step on the first batch, which is on the device, and the size of its images."""
    loader = iter(_loader(run, 0))
    batch = run.model.data_preprocessor.cast_data(next(loader))
    padded = run.model.data_preprocessor(copy.deepcopy(batch), True)["inputs"]

    def step() -> None:
        trainer.step(copy.deepcopy(batch))  # a step writes into the samples

    return step, "x".join(map(str, padded.shape[-2:]))


def _loader(run: Any, workers: int) -> Any:
    from c2d.training.loop import training_loader

    return training_loader(run.dataset, run.resolved.train, workers, start=0, endless=True)


def _seconds_of_loader(run: Any, workers: int, batches: int) -> float:
    stream = iter(_loader(run, workers))
    for _ in range(1 + WARM_UP * workers):
        next(stream)
    begin = time.perf_counter()
    for _ in range(batches):
        next(stream)
    return time.perf_counter() - begin


def _seconds_of_loop(run: Any, trainer: Any, workers: int, batches: int, device: str) -> tuple[float, float]:
    """Seconds of the loop, and those of them in which the step waited for its batch."""
    stream, waited = iter(_loader(run, workers)), 0.0
    for _ in range(1 + WARM_UP * workers):
        trainer.step(next(stream))
    begin = time.perf_counter()
    for _ in range(batches):
        # The step before has ended on the device: what follows is time in which the device has nothing to do.
        if device == "cuda":
            torch.cuda.synchronize()
        asked = time.perf_counter()
        batch = next(stream)
        waited += time.perf_counter() - asked
        trainer.step(batch)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, waited

"""mmengine hook -> metrics.jsonl, status.json's heartbeat, log.txt and the terminal. One event a line."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from c2d.core.run_folder import RunFolder, atomic_write_text, disk_error

HEARTBEAT_S = 10.0


def memory_mib() -> float:
    """Peak memory of this process so far: of the GPU where there is one, else resident. MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def rewind(path: Path, iteration: int) -> None:
    """Drop events after `iteration`: they belong to an attempt whose last steps were lost and are done again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["iteration"] <= iteration:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # a line cut in half when the process was killed
    atomic_write_text(path, "".join(kept))


class Recorder(Hook):
    """Writes a `train` event every `interval` iterations and a `val` event every `val_interval`.

    Args:
        validate: returns the current AP in 0-1 (null where undefined); None: no validation during training.
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        folder: RunFolder,
        log: logging.Logger,
        interval: int,
        val_interval: int | None = None,
        validate: Callable[[Any], dict[str, float | None]] | None = None,
    ) -> None:
        self.folder, self.log, self.interval = folder, log, interval
        self.val_interval, self.validate = val_interval, validate
        self.started = self.beat = time.monotonic()
        self.first = 0
        self.progress: Any = None

    def before_train(self, runner: Any) -> None:
        self.first, self.started = runner.iter, time.monotonic()
        on_screen = any(type(handler) is logging.StreamHandler for handler in self.log.handlers)  # not --quiet
        if runner.rank == 0 and on_screen and sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("loss {task.fields[loss]}"),
            )
            self.progress.start()
            self.task = self.progress.add_task(self.folder.id, total=runner.max_iters, completed=runner.iter, loss="-")

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.rank != 0:
            return
        done, total = batch_idx + 1, runner.max_iters
        if self.progress is not None:
            self.progress.update(self.task, completed=done, loss=f"{float(outputs['loss'].detach()):.3f}")
        if done % self.interval == 0 or done in (1, total):
            self._train_event(runner, done, outputs)
        if self.validate is not None and self.val_interval and done % self.val_interval == 0 and done < total:
            self._append({"event": "val", "iteration": done, **self.validate(runner.model)})
        if time.monotonic() - self.beat > HEARTBEAT_S or done == total:
            self.beat = time.monotonic()
            self.folder.write_status("running", stage="fit", iteration=done, iterations=total)

    def after_train(self, runner: Any) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def _train_event(self, runner: Any, done: int, outputs: dict[str, Any]) -> None:
        values = {key: float(value.detach()) for key, value in outputs.items()}
        step_s = (time.monotonic() - self.started) / max(1, done - self.first)
        rate = runner.optim_wrapper.get_lr()
        self._append(
            {
                "event": "train",
                "iteration": done,
                "time": round(time.time(), 3),
                "step_s": round(step_s, 5),
                "lr": next(iter(rate.values()))[0],
                "memory_mib": round(memory_mib(), 1),
                **values,
            }
        )
        terms = "  ".join(f"{key} {value:.4g}" for key, value in values.items() if "loss" in key)
        left_min = (runner.max_iters - done) * step_s / 60
        self.log.info(f"iter {done}/{runner.max_iters}  {terms}  {step_s:.3f} s/iter  {left_min:.1f} min left")

    def _append(self, event: dict[str, Any]) -> None:
        try:
            with self.folder.metrics.open("a") as stream:
                stream.write(json.dumps(event) + "\n")
        except OSError as error:
            raise disk_error(self.folder.metrics, error) from error

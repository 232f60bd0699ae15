"""Log of a training: metrics.jsonl (one event a line), the heartbeat of status.json, log.txt and the terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank
from mmengine.optim import OptimWrapper
from torch import Tensor

from c2d.core.curves.event_file import append_event
from c2d.core.run_folder import RunFolder
from c2d.ops.process_memory import memory_mib
from c2d.tracking.tracking import Tracking

HEARTBEAT_S = 10.0
"""Time between two heartbeats of status.json."""
Validate = Callable[[Any], dict[str, float | None]]
"""Model in training -> AP values in 0-1 of its current weights, None where undefined; nothing on ranks other than 0."""


class MetricsLogger:
    """Log of the steps: `train` and `val` events, status.json's heartbeat, log lines, and a progress bar on a terminal.

    Only rank 0 writes; every rank validates.

    Args:
        folder: run folder.
        log: logger of the run.
        total: iterations of the run.
        interval: iterations between two `train` events.
        val_interval: iterations between two `val` events, or None.
        validate: returns the AP values of the current weights in 0-1 (None where undefined); None: no `val` events.
        tracking: is sent each event; None: nothing.
    """

    def __init__(
        self,
        folder: RunFolder,
        log: logging.Logger,
        total: int,
        interval: int,
        val_interval: int | None = None,
        validate: Validate | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.folder, self.log, self.total, self.interval = folder, log, total, interval
        self.val_interval, self.validate = val_interval, validate
        self.tracking = tracking or Tracking(folder)
        self.started = self.heartbeat = time.monotonic()
        self.first = 0
        self.bar: Any = None

    @contextmanager
    def progress(self, iteration: int) -> Iterator[None]:
        """Time the steps after `iteration`; show a progress bar where rank 0 logs to a terminal."""
        self.first, self.started = iteration, time.monotonic()
        on_screen = any(type(handler) is logging.StreamHandler for handler in self.log.handlers)  # not --quiet
        if not (get_rank() == 0 and on_screen and sys.stdout.isatty()):
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("loss {task.fields[loss]}")) as self.bar:
            self.bar.add_task(self.folder.id, total=self.total, completed=iteration, loss="-")
            yield
        self.bar = None

    def log_step(self, iteration: int, losses: dict[str, Tensor], optimizer: OptimWrapper, model: Any) -> None:
        """Log one step where an event is due.

        Args:
            iteration: number of steps that are done.
            losses: losses and observations by name, each of shape ().
            optimizer: still with the learning rate of this step.
            model: for `validate`.
        """
        is_main = get_rank() == 0
        if self.bar is not None:
            loss = f"{float(losses['loss'].detach()):.3f}"
            self.bar.update(self.bar.task_ids[0], completed=iteration, loss=loss)
        if is_main and (iteration % self.interval == 0 or iteration in (1, self.total)):
            self._train_event(iteration, losses, next(iter(optimizer.get_lr().values()))[0])
        # The last iteration is evaluated from the exported file instead.
        is_due = self.val_interval and iteration % self.val_interval == 0 and iteration < self.total
        if self.validate is not None and is_due:
            scores = self.validate(model)  # on every rank: each detects a share of the images
            if is_main:
                self._append({"event": "val", "iteration": iteration, **scores})
        if is_main and (time.monotonic() - self.heartbeat > HEARTBEAT_S or iteration == self.total):
            self.heartbeat = time.monotonic()
            self.folder.write_status("running", stage="fit", iteration=iteration, iterations=self.total)

    def _train_event(self, iteration: int, losses: dict[str, Tensor], lr: float) -> None:
        values = {key: float(value.detach()) for key, value in losses.items()}
        step_s = (time.monotonic() - self.started) / max(1, iteration - self.first)
        self._append(
            {
                "event": "train",
                "iteration": iteration,
                "time": round(time.time(), 3),
                "step_s": round(step_s, 5),
                "lr": lr,
                "memory_mib": round(memory_mib(), 1),
                **values,
            }
        )
        terms = "  ".join(f"{key} {value:.4g}" for key, value in values.items() if "loss" in key)
        left_min = (self.total - iteration) * step_s / 60
        self.log.info(f"iter {iteration}/{self.total}  {terms}  {step_s:.3f} s/iter  {left_min:.1f} min left")

    def _append(self, event: dict[str, Any]) -> None:
        append_event(self.folder.metrics, event)
        self.tracking.send(event)

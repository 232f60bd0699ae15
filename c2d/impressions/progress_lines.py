"""Progress of a synthesis: lines with the time that is left, and the heartbeat of status.json."""

from __future__ import annotations

import logging
import time

from torch import Tensor

from c2d.core.run_folder import RunFolder

REPORT_S = 10.0
"""Time between two lines of progress, and between two heartbeats."""


class Progress:
    """Lines of progress with the time that is left, and the heartbeat of status.json.

    Attributes:
        total: steps of all batches.
    """

    def __init__(self, folder: RunFolder, log: logging.Logger, images_per_step: float, begun: int, total: int) -> None:
        self.folder, self.log, self.images_per_step = folder, log, images_per_step
        self.begun, self.reached, self.total = begun, begun, total
        self.started = self.reported = time.monotonic()

    def step(self, reached: int) -> None:
        """Note that so many steps are done."""
        self.reached = reached

    def report(self, batch: int, stage: str, terms: dict[str, Tensor], force: bool = False) -> None:
        """Write a line and a heartbeat where they are due.

        Args:
            batch: number of the batch.
            stage: draft or final.
            terms: {name: loss of shape ()}, shown in the line.
            force: write them in any case.
        """
        now = time.monotonic()
        if not force and now - self.reported < REPORT_S:
            return
        self.reported = now
        self.folder.write_status("running", stage="fit", iteration=self.reached, iterations=self.total)
        each_s = (now - self.started) / max(1, self.reached - self.begun)
        shown = "  ".join(f"{name} {float(value):.4g}" for name, value in terms.items())
        per_minute = 60 * self.images_per_step / each_s if each_s else 0.0
        self.log.info(
            f"step {self.reached}/{self.total}  batch {batch} {stage}  {shown}  {per_minute:.1f} images/min  "
            f"{(self.total - self.reached) * each_s / 60:.1f} min left"
        )

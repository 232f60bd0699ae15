"""Runs that end in a moment: their jobs take SLURM's whole road, and write a result instead of training."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.failures.log_patterns import ATTEMPT_START


@dataclass(frozen=True)
class QuickJob:
    """Stands for `sweeps.node.job.TrainingJob`. It is pickled, so its module has to be on the jobs' PYTHONPATH.

    Args:
        run: the run folder.
        seconds: that its first start takes; a requeued one ends at once.
    """

    run: str
    seconds: float = 0.0

    def __call__(self) -> str:
        folder, start = RunFolder(Path(self.run)), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        print(f"{ATTEMPT_START}: start {start} of {folder.id}", flush=True)
        if not start:
            time.sleep(self.seconds)
        atomic_write_json(folder.result, {"format": 1})
        folder.write_status("done", attempt=1)
        return folder.id

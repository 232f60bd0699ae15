"""Runs that end in a moment: their jobs take SLURM's whole road, and write a result instead of training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from c2d.core.run_folder import RunFolder, atomic_write_json


@dataclass(frozen=True)
class QuickJob:
    """Stands for `sweeps.node.job.TrainingJob`. It is pickled, so its module has to be on the jobs' PYTHONPATH.

    Args:
        run: the run folder.
        seconds: that it takes.
    """

    run: str
    seconds: float = 0.0

    def __call__(self) -> str:
        folder = RunFolder(Path(self.run))
        print(f"quick job of {folder.id}", flush=True)
        time.sleep(self.seconds)
        atomic_write_json(folder.result, {"format": 1})
        folder.write_status("done", attempt=1)
        return folder.id

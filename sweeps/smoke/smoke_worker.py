"""A process that trains smoke runs one after another with the job code of a node, so that mmdet is imported once.

    python -m sweeps.smoke.smoke_worker --data ROOT --threads N

A line on stdin is {"run": run folder, "init": that of the real run}. For each, a JSON object a line goes to stdout:
run, seconds, memory_mib (peak of the process), reason. How the training ended is in the run's status.json.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.process.process_cost import resident_peak_mib
from c2d.core.run_folder import RunFolder
from sweeps.node.job import TrainingJob
from sweeps.smoke.smoke_spec import STEPS


def main() -> None:
    """Train every run folder that stdin names; what they print goes to stderr."""
    parser = argparse.ArgumentParser(prog="python -m sweeps.smoke.smoke_worker", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            asked = json.loads(line)
            answer = train_smoke(RunFolder(Path(asked["run"])), asked["init"], options.data, options.threads)
            print(json.dumps(answer), file=answers, flush=True)
            if not gc.get_freeze_count():  # mmengine collects garbage for every data set: skip the imported packages
                gc.collect()
                gc.freeze()


def train_smoke(run: RunFolder, init: str, data: str, threads: int) -> dict[str, Any]:
    """Train one run, and compare its pixels with those of the real run's first weights.

    Args:
        run: its folder.
        init: of the real run; "" where it has none.
        data: root of the data cards.
        threads: of torch.

    Returns:
        The answer of the process.
    """
    begun = time.monotonic()
    # A failed run ends its job with SystemExit, after the failure is in status.json.
    with contextlib.suppress(SystemExit):
        TrainingJob(str(run.path), data, threads=threads, checkpoint_every=STEPS)()
    reason = _problem_of_pixels(run, init) if init and run.is_done else ""
    seconds = round(time.monotonic() - begun, 2)
    return {"run": run.id, "seconds": seconds, "memory_mib": round(resident_peak_mib()), "reason": reason}


def _problem_of_pixels(run: RunFolder, init: str) -> str:
    """Return why the weights of the real run do not belong to the pixels of this one; "" where they do."""
    from c2d.training.sources import check_pixels_of_run

    try:
        check_pixels_of_run(run, init)
    except InputError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()

"""The job on a node: prepare the node, train one run folder, and record how it ended.

`TrainingJob` is pickled by reference: the code is the snapshot's, the spec is the run folder's. Importing this module,
and running a job whose run is done, loads the standard library only.

Exit codes: 0 the run is done (or its canary is), 1 failed and recorded, 130 stopped by a signal, state saved.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.printable import log_text, printable_streams
from c2d.core.process.stop_signals import STOP_SIGNALS
from c2d.core.run_folder import RunFolder, node_name, read_json
from c2d.core.run_state import HEARTBEAT_LIMIT_S
from sweeps.node.attempt_record import (
    print_error,
    rank,
    record_error,
    record_unseen_failure,
    remove_rank_reports,
    wait_for_writer,
    world_size,
)
from sweeps.node.node_environment import job_tmp, offline_variables, rank_variables
from sweeps.node.verify_snapshot import FAILURE_CLASS, failure_reason

WAIT_MARGIN_S = 60.0
"""A job waits for another writer of its run until that one's heartbeat is stale, and this much longer."""


@dataclass(frozen=True)
class TrainingJob:
    """Train one run on this node, from its newest checkpoint if there is one. Call it in every process of the job.

    Args:
        run: the run folder, absolute.
        data: root of the data cards, absolute.
        workers: loader processes of this process.
        threads: of torch in this process; None: OMP_NUM_THREADS.
        download: pretrained weights may be downloaded.
        stage_data: node-local folder for a copy of the data set; environment variables in it are the node's.
        tmp: folder for temporary files; environment variables in it are the node's.
        stop_after: a canary saves and exits with success after this iteration.
        checkpoint_every: iterations between two checkpoints; None: the training chooses.
        track: trackers with their destinations.
    """

    run: str
    data: str
    workers: int = 0
    threads: int | None = None
    download: bool = False
    stage_data: str | None = None
    tmp: str | None = None
    stop_after: int | None = None
    checkpoint_every: int | None = None
    track: tuple[str, ...] = ()

    @printable_streams(log_text)  # the output of a job is kept in a file
    def __call__(self) -> str:
        """Train, and return the run id when the run, or its canary, is done.

        Raises:
            SystemExit: 1 failed and recorded, 130 stopped by a signal.
        """
        folder = RunFolder(Path(self.run))
        if folder.is_done:
            return folder.id
        from sweeps.failures.log_patterns import ATTEMPT_START

        print_error(f"{ATTEMPT_START}: {folder.id} on {node_name()}, pid {os.getpid()}")
        os.environ.update(rank_variables(os.environ))
        os.environ.update(offline_variables(os.environ, self.download))
        try:
            with _signals_as_interrupts(), job_tmp(self.tmp):
                self._train(folder)
        # Interrupted of c2d.core.attempt is a KeyboardInterrupt.
        except KeyboardInterrupt as stop:
            if not getattr(stop, "planned", False):
                by = getattr(stop, "by", "") or str(stop)
                print_error(
                    f"{folder.id}: asked to stop{f' by {by}' * bool(by)}; it continues from its newest checkpoint"
                )
                raise SystemExit(130) from None
            print(f"{folder.id}: {stop}", flush=True)
        except Exception as error:
            raise SystemExit(record_error(folder, error)) from None
        return folder.id

    def checkpoint(self, *_: Any) -> Any:
        """Return what submitit requeues when USR2 arrives before `__call__`: the same job."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _train(self, folder: RunFolder) -> None:
        check_own_code()
        deadline = time.monotonic() + HEARTBEAT_LIMIT_S + WAIT_MARGIN_S
        if rank() == 0:
            wait_for_writer(folder, deadline)
            remove_rank_reports(folder)
            record_unseen_failure(folder)
        data = self._staged(folder)
        if self.threads:
            # Before torch is imported: OpenMP reads the variable once.
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
            import torch

            torch.set_num_threads(self.threads)
        from c2d.core.errors import Busy
        from c2d.training.train import RunOptions, train

        options = RunOptions(
            data=data,
            workers=self.workers,
            checkpoint_every=self.checkpoint_every,
            download=self.download,
            quiet=True,
            stop_after=self.stop_after,
            track=tuple(self.track),
        )
        while True:
            try:
                train(folder, options)
            except Busy:
                if world_size() > 1 or time.monotonic() > deadline:  # other ranks are joining the process group
                    raise
                wait_for_writer(folder, deadline)
            else:
                return

    def _staged(self, folder: RunFolder) -> Path:
        if not self.stage_data:
            return Path(self.data)
        from c2d.core.errors import InputError
        from sweeps.node.staging import stage

        spec = read_json(folder.spec)
        if spec["kind"] == "impressions":  # its card names the evaluation images by their path, which others use too
            return Path(self.data)
        dataset = spec["dataset"]
        try:
            return stage(
                dataset["name"], dataset["digest"], Path(self.data), self.stage_data, print_error, folder.path.parent
            )
        except InputError as error:
            error.failure_class = "data"
            raise


def check_own_code() -> None:
    """Check that this process runs the code of the snapshot that its job names.

    Raises:
        RunError: python has found another c2d, because the snapshot is not visible on this node.
    """
    from c2d.core.errors import RunError

    digest, root = os.environ.get("C2D_SNAPSHOT"), Path(__file__).parents[2]
    if digest and root.name != digest:
        raise RunError(failure_reason(f"snapshot {digest} is not on this node, python has found {root}"), FAILURE_CLASS)


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on TERM and USR2 until the training installs its own handlers (c2d.training.signals).

    This replaces submitit's handlers, which would requeue the job themselves, and on the first rank only.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    # Python accepts signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def main() -> None:
    """Run `python -m sweeps.node.job RUN_FOLDER --data ROOT`: one run in this process, for the local launcher."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m sweeps.node.job", description=TrainingJob.__doc__)
    parser.add_argument("run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--download", action="store_true")
    parser.add_argument("--stage-data")
    parser.add_argument("--tmp")
    parser.add_argument("--stop-after", type=int)
    parser.add_argument("--track", action="append", default=[])
    TrainingJob(**vars(parser.parse_args()))()


if __name__ == "__main__":
    main()

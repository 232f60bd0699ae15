"""What runs on a node: prepare it, train one run folder, and leave a trace of however it ended.

A job is this object, pickled by reference: the code is the snapshot's, the question is the run folder's. Importing this
module, and running a job whose run is finished, loads the standard library only.

Exit codes: 0 the run is done (or its canary is), 1 failed and recorded, 130 asked to stop, state saved.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.run_state import HEARTBEAT_LIMIT_S
from sweeps.node.node_environment import job_tmp, rank_variables

POLL_S = 5.0
PATIENCE_S = 60.0
"""A run that another process writes is waited for until its heartbeat is stale, and so much longer."""


@dataclass(frozen=True)
class TrainingJob:
    """Train one run on this node, from its newest checkpoint if there is one. Call it in every process of the job.

    Args:
        run: the run folder, absolute.
        data: root of the data cards, absolute.
        workers: loader processes; threads: of torch in this process (None: OMP_NUM_THREADS).
        download: pretrained weights may be fetched.
        stage_data: node-local folder for a copy of the data set; tmp: folder for temporary files. Variables of the
            environment in both are the node's.
        stop_after: a canary: save and end well after this iteration.
    """

    run: str
    data: str
    workers: int = 0
    threads: int | None = None
    download: bool = False
    stage_data: str | None = None
    tmp: str | None = None
    stop_after: int | None = None

    def __call__(self) -> str:
        """Returns the run id when the run is done, or its canary.

        Raises:
            SystemExit: 1 failed and recorded, 130 asked to stop.
        """
        folder = RunFolder(Path(self.run))
        if folder.is_done:
            return folder.id
        from sweeps.failures.log_patterns import BEGINS

        _print_error(f"{BEGINS}: {folder.id} on {socket.gethostname()}, pid {os.getpid()}")
        os.environ.update(rank_variables(os.environ))
        try:
            with _polite(), job_tmp(self.tmp):
                self._train(folder)
        except KeyboardInterrupt as stop:  # Interrupted is one
            if not getattr(stop, "planned", False):
                by = getattr(stop, "by", "") or str(stop)
                _print_error(
                    f"{folder.id}: asked to stop{f' by {by}' * bool(by)}; it continues from its newest checkpoint"
                )
                raise SystemExit(130) from None
            print(f"{folder.id}: {stop}", flush=True)
        except Exception as error:
            raise SystemExit(_failed(folder, error)) from None
        return folder.id

    def checkpoint(self, *_: Any) -> Any:
        """submitit asks for this when USR2 arrives before `__call__` does: start again as you are."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _train(self, folder: RunFolder) -> None:
        deadline = time.monotonic() + HEARTBEAT_LIMIT_S + PATIENCE_S
        first, alone = _rank() == 0, _world() == 1
        if first:
            _wait_until_free(folder, deadline)
            _forget_ranks(folder)
            _note_unseen_death(folder)
        data = self._staged(folder)
        if self.threads:
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
            import torch

            torch.set_num_threads(self.threads)
        from c2d.core.errors import Busy
        from c2d.training.train import RunOptions, train

        options = RunOptions(
            data=data, workers=self.workers, download=self.download, quiet=True, stop_after=self.stop_after
        )
        while True:
            try:
                train(folder, options)
            except Busy:
                if not alone or time.monotonic() > deadline:  # other ranks are in the middle of joining us
                    raise
                _wait_until_free(folder, deadline)
            else:
                return

    def _staged(self, folder: RunFolder) -> Path:
        if not self.stage_data:
            return Path(self.data)
        from c2d.core.errors import InputError
        from sweeps.node.staging import stage

        dataset = read_json(folder.spec)["dataset"]
        try:
            return stage(dataset["name"], dataset["digest"], Path(self.data), self.stage_data, print_line=_print_error)
        except InputError as error:
            error.failure_class = "data"
            raise


@contextmanager
def _polite() -> Iterator[None]:
    """TERM and USR2 end what comes before the training as Ctrl-C does; in the training, c2d.training.signals is in charge.

    submitit's own handlers are replaced: it would requeue the job itself, in its own way, on the first rank only.
    """

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_free(folder: RunFolder, deadline: float) -> None:
    """Wait while another process writes the run, until `deadline`; whoever comes next finds out what is the case then.

    An old attempt on a node that was declared down may still be at work there.
    """
    from c2d.core.run_state import lock_owner

    told = False
    while (who := lock_owner(folder)) is not None and time.monotonic() < deadline:
        if not told:
            _print_error(f"{folder.id} is being written by {who}; waiting for it")
        told = True
        time.sleep(min(POLL_S, max(0.1, deadline - time.monotonic())))


def _forget_ranks(folder: RunFolder) -> None:
    """Remove what ranks of earlier starts of this run have said; a rank of this start may already be gone again."""
    for path in folder.ranks.glob("*.json"):
        with suppress(Exception):
            if read_json(path).get("start") == _start():
                continue
        path.unlink(missing_ok=True)


def _note_unseen_death(folder: RunFolder) -> None:
    """The last attempt's end was not noted: what could have done so was killed as well, since its node went down.

    The process itself may still have saved and left, and its run is `waiting` then. It is noted only as an attempt of
    this job: somebody's Ctrl-C is no death.
    """
    status = folder.read_status()
    again = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
    left = again and str(status.get("reason")).startswith("interrupted") and _of_this_job(folder)
    if status["state"] != "running" and not (status["state"] == "waiting" and left):
        return
    from c2d.core.job_file import read_attempts
    from sweeps.node.on_exit import record_failure

    number = status.get("attempt")
    if any(death.get("attempt") == number for death in read_attempts(folder)):
        return
    kind, reason = ("node-failure", "the node went away") if again else ("killed", "killed from outside")
    record_failure(folder, status, kind, f"{reason}; nobody was left to say more", requeued=True, by="job")


def _of_this_job(folder: RunFolder) -> bool:
    """Whether the newest attempt was one of this job, in one of its earlier starts."""
    with suppress(Exception):
        return bool(read_json(folder.env)["attempts"][-1]["slurm"]["SLURM_JOB_ID"] == os.environ["SLURM_JOB_ID"])
    return False


def _failed(folder: RunFolder, error: Exception) -> int:
    """Record a failure that the training has not recorded itself, say it in one line; returns the exit code."""
    from c2d.core.errors import Busy, InputError, RunError, first_line
    from c2d.core.failure_classes import classify_error
    from c2d.core.run_state import lock_owner

    known = isinstance(error, (RunError, InputError))
    kind, line = classify_error(error), first_line(error)
    if not known:
        line = f"{type(error).__name__}: {line}"
        traceback.print_exception(error)
    print(f"{folder.id} failed ({kind}): {line}", file=sys.stderr)
    if isinstance(error, Busy):
        return 1
    status = folder.read_status()
    with suppress(RunError, OSError):  # a full disk
        facts = {"rank": _rank(), "host": socket.gethostname(), "class": kind, "line": line}
        when = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "attempt": status.get("attempt", 0)}
        atomic_write_json(folder.ranks / f"{_rank()}.json", {**when, **facts, "start": _start()})
        here = status.get("pid") == os.getpid() and status.get("host") == socket.gethostname()
        if _rank() == 0 and not (here and status["state"] == "failed") and lock_owner(folder) is None:
            folder.write_status("failed", reason=line, failure_class=kind, error=line)
    return 1


def _start() -> str:
    """One start of the job: equal on all of its ranks, different after a requeue."""
    job, restarts = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT") or 0
    return f"{job}-{restarts}" if job else f"pid {os.getpid()}"


def _rank() -> int:
    return int(os.environ.get("RANK") or 0)


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE") or 1)


def _print_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """`python -m sweeps.node.job RUN_FOLDER --data ROOT`: one run in this process, for the local launcher."""
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
    TrainingJob(**vars(parser.parse_args()))()


if __name__ == "__main__":
    main()

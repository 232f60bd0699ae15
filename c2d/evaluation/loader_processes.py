"""Processes that read and transform images beside the model: their number, their start, and their errors.

Training, validation and evaluation start them here. Results do not depend on their number. They are forked, because a
spawned process would import mmdet again; they end with the process that started them.
"""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.util  # registers its own function of the exit before ours, which so runs first
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader, Dataset

from c2d.core.errors import RunError, first_line
from c2d.core.process.stop_signals import STOP_SIGNALS
from c2d.core.process.usable_cores import usable_cores

MAX_WORKERS = 16
"""Most loader processes that are started unless a number is given; each holds a copy of the data set's list."""
OPEN_FILES = 4096
"""Files that a process may have open: loader processes pass each tensor as an open file."""
IMAGES_A_WORKER = 32
"""Images for which starting one more process pays: it takes 55 ms of CPU to start and end one, and 2 ms to read a COCO
image for a small input (measured on two cores)."""
_FROM_WORKER = "in DataLoader worker process"


def available_workers() -> int:
    """Return the number of loader processes for this machine: its cores, shared by its ranks, but one for the model."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return max(0, min(usable_cores() // ranks - 1, MAX_WORKERS))


def worthwhile_workers(workers: int, images: int) -> int:
    """Return the number of loader processes to start for a small number of images: at most `workers`."""
    return min(workers, images // IMAGES_A_WORKER)


def image_loader(dataset: Dataset[Any], batches: Iterable[list[Any]], workers: int) -> DataLoader[Any]:
    """Return a loader of batches, in the given order. Read it inside `loader_errors`.

    Args:
        dataset: map-style; its items follow from their keys alone.
        batches: lists of keys.
        workers: loader processes; 0: this process reads the images.
    """
    if workers:
        _without_opencv_threads()
        _allow_open_files()
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=pseudo_collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_prepare_worker if workers else None,
        multiprocessing_context="fork" if workers else None,
        generator=torch.Generator(),  # its first number seeds the workers; the global generator is not advanced
    )


@contextmanager
def loader_errors() -> Iterator[None]:
    """Raise the error of a loader process as one line: without the traceback of that process, or with a fix.

    Raises:
        RunError: an image cannot be read; or, of class `host-oom` or `killed`, a loader process ended.
    """
    try:
        yield
    except RunError as error:
        text = str(error).strip()
        if _FROM_WORKER not in text:
            raise
        raise RunError(text.splitlines()[-1].removeprefix("c2d.core.errors.RunError: "), "data") from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or _FROM_WORKER in str(error):
            raise
        # The cause has the signal, where torch saw it.
        text = f"{error} {error.__cause__ or ''}"
        out_of_memory = "Killed" in text or "Bus error" in text
        raise RunError(
            f"a loader process ended: {first_line(error)}; if memory or /dev/shm is full, use fewer workers; "
            "with 0 workers the reason is shown",
            "host-oom" if out_of_memory else "killed",
        ) from error


def _kill_workers() -> None:
    """Kill loader processes that are left at the exit: they ignore the signal that Python sends before it waits."""
    left = [process for process in multiprocessing.active_children() if process.daemon]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises for a killed worker
    for process in left:
        process.kill()


atexit.register(_kill_workers)


def _allow_open_files() -> None:
    import resource  # not on Windows, where this module has to be imported as well

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _prepare_worker(_: int) -> None:
    # Ctrl-C, SLURM and torchrun signal the whole process group. A worker that dies of it would fail its parent, which
    # saves its state first and then ends the workers.
    for number in (signal.SIGINT, *STOP_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    _without_opencv_threads()


def _without_opencv_threads() -> None:
    """Stop OpenCV's threads: a fork does not copy them, and a worker would wait for them."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)

"""Ranks of a gloo process group, forked from the test's process: mmdet is imported once for all of them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def run_ranks(world: int, call: Callable[[int], Any], folder: Path, timeout_s: float = 60) -> list[Any]:
    """Return what `call(rank)` returned or raised on every rank; None for a rank that ended without either."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run_rank, args=(rank, world, call, folder)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout_s)
        hangs = process.is_alive()
        process.kill()
        assert not hangs, "a rank hangs"
    files = [folder / f"{rank}.pkl" for rank in range(world)]
    return [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]


def _run_rank(rank: int, world: int, call: Callable[[int], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    try:
        value = call(rank)
    except Exception as error:
        value = error
    (folder / f"{rank}.pkl").write_bytes(pickle.dumps(value))
    os._exit(0)  # without the exit handlers of pytest's process

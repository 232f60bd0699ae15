"""An evaluation on all ranks of a process group: equal weights, a share of the images each, the values on rank 0.

A value does not depend on the number of ranks: every rank uses the weights and buffers of rank 0, and an image is
computed alone, in the same way on each of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from mmengine.dist import get_dist_info
from torch import Tensor

from c2d.core.errors import InputError, RunError, first_line
from c2d.core.failure_classes import classify_error

Heartbeat = Callable[[], None]
"""Called after every image, so that a long evaluation is not taken for a dead run."""
POLL_S = 0.02
"""Time between two looks at whether the other ranks are ready."""
T = TypeVar("T")


@contextmanager
def main_rank_weights(model: torch.nn.Module) -> Iterator[None]:
    """Give the model of every rank the weights and buffers of rank 0 in the block, and its own ones after it.

    DDP keeps weights equal, but each rank has its own statistics of batch norm, and those of rank 0 are exported.

    Args:
        model: of the same architecture on all ranks.

    Raises:
        RunError: of class `hang`: another rank ended.
    """
    rank, world = get_dist_info()
    if world == 1:
        yield
        return
    own = _bytes_of(model)
    main = own.clone()
    with _rank_errors():
        torch.distributed.broadcast(main, 0)
    if rank != 0:
        _write_bytes(model, main)
    try:
        yield
    finally:
        if rank != 0:
            _write_bytes(model, own)


def run_on_ranks(share: Callable[[int, int], T], heartbeat: Heartbeat = lambda: None) -> list[T]:
    """Run `share(rank, number of ranks)` on every rank.

    Args:
        share: computes the share of a rank.
        heartbeat: called while this rank waits for the others.

    Returns:
        On rank 0 the values of all ranks, in the order of the ranks; on others an empty list.

    Raises:
        RunError: of class `hang`: another rank ended; or that rank's error, on all ranks.
    """
    rank, world = get_dist_info()
    if world == 1:
        return [share(0, 1)]
    value, own_error = None, None
    try:
        value = share(rank, world)
    except Exception as error:  # the other ranks have to know, or they would wait
        own_error = error
    reports: list[Any] = [None] * world
    report = None if own_error is None else (f"rank {rank}: {first_line(own_error)}", classify_error(own_error))
    with _rank_errors():
        _wait_for_ranks(heartbeat)
        torch.distributed.all_gather_object(reports, report)
    if own_error is not None:
        raise own_error
    for failed in filter(None, reports):
        raise RunError(*failed)
    values: list[Any] | None = [None] * world if rank == 0 else None
    with _rank_errors():
        torch.distributed.gather_object(value, values, 0)
    return values or []


def _wait_for_ranks(heartbeat: Heartbeat) -> None:
    work = torch.distributed.barrier(async_op=True)
    assert work is not None
    while not work.is_completed():
        heartbeat()
        time.sleep(POLL_S)
    work.wait()


@contextmanager
def _rank_errors() -> Iterator[None]:
    """Raise the backend's error about a lost rank as one line."""
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        if classify_error(error) != "hang":
            raise
        raise RunError(
            f"another rank ended during the evaluation, its output has the reason ({first_line(error)})", "hang"
        ) from error


def _tensors_of(model: torch.nn.Module) -> list[Tensor]:
    return [value.detach() for value in model.state_dict().values() if value.numel()]


def _bytes_of(model: torch.nn.Module) -> Tensor:
    """All weights and buffers as one tensor: (number of bytes,) uint8, on the device of the first one."""
    tensors = _tensors_of(model)
    device = tensors[0].device
    return torch.cat([value.contiguous().view(-1).view(torch.uint8).to(device) for value in tensors])


def _write_bytes(model: torch.nn.Module, content: Tensor) -> None:
    """Write what `_bytes_of` returned back."""
    start = 0
    for value in _tensors_of(model):
        size = value.numel() * value.element_size()
        # A copy, because the view of another type needs an aligned start.
        value.copy_(content[start : start + size].clone().view(value.dtype).view(value.shape))
        start += size

"""The interface of a backend: what `prepare` gets, what it returns, and how it reports that it cannot run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from benchmarks.backends.network import Batch, Call, Network


class Unavailable(Exception):
    """The backend cannot run this student on this machine; the message is the reason of its row, in one line."""


@dataclass(frozen=True)
class BackendContext:
    """What a backend may use to prepare a network.

    Attributes:
        network: the stock network in eval mode on `device`. A backend converts a copy, never this one.
        device: where inputs and outputs are.
        size: (height, width) in px that images are scaled to; batches may be smaller or padded.
        workspace: folder for exported files. A backend that finds its file there uses it again, so that all launches
            of one measurement time the same bytes.
        model_config: the model of the mmdet config as text, for digests.
        example_batches: takes a number n and returns at most n batches of one image of the data set each, on
            `device`. Raises InputError where the data set is missing.
    """

    network: Network
    device: torch.device
    size: tuple[int, int]
    workspace: Path
    model_config: str
    example_batches: Callable[[int], Iterator[Batch]]


@dataclass(frozen=True)
class PreparedBackend:
    """What `prepare` returns.

    Attributes:
        run: one batch of images -> what the network returns for it: the same number, order and shapes of tensors,
            float32, on the same device. H and W may differ from call to call. Conversions to another precision or
            library are inside the call, so they are timed.
        sha256: of the artefact where it is a file; None: the checkpoint is the artefact.
        note: called after the measurement, for what is known only then (graph breaks, recompiles); "" for none.
        conditions: further conditions of the latency file.
    """

    run: Call
    sha256: str | None = None
    # str() is "", hence no note.
    note: Callable[[], str] = field(default=str)
    conditions: Mapping[str, str | float | bool | None] = field(default_factory=dict)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Run one batch (B, 3, H, W)."""
        return self.run(inputs)

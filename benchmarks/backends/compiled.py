"""torch.compile: the network through dynamo and inductor, with its graph breaks and recompiles counted.

A graph break sends a part of the network back to eager Python; a recompile is another graph for another shape or state.
Both are counted over the life of the call, by dynamo's own counters, and are in the row's note.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext, PreparedBackend, Unavailable
from benchmarks.backends.network import Call
from c2d.core.errors import InputError, first_line

_SHOWN_REASONS = 3
_REASON_LENGTH = 100  # characters


def prepare(context: BackendContext) -> PreparedBackend:
    """Compile for one image of the data set (zeros where it is missing); other shapes compile at their first call.

    Raises:
        Unavailable: dynamo or inductor fails; on a CPU inductor needs a C++ compiler.
    """
    if context.device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        raise Unavailable("torch.compile needs a C++ compiler on a CPU: apt-get install g++")
    torch._dynamo.reset()  # graphs of other networks count against the limit of recompilations
    counter = CompilationCounter()
    compiled = torch.compile(context.network)

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return compiled(inputs)

    try:
        _run_example(context, run)
    except Exception as error:  # dynamo, inductor, the C++ compiler and triton each have their own
        raise Unavailable(f"torch.compile failed: {type(error).__name__}: {first_line(error)}") from error
    counter.end_first_call()
    return PreparedBackend(run, note=counter.summary)


class CompilationCounter:
    """Count the graphs and graph breaks of dynamo since this object was created."""

    def __init__(self) -> None:
        self._before, self._breaks_before = self._graphs_now(), self._breaks_now()
        self._first = 0
        self._limits = _RecompileLimit()
        logging.getLogger("torch._dynamo.convert_frame").addFilter(self._limits)

    @staticmethod
    def _graphs_now() -> int:
        from torch._dynamo.utils import counters

        return int(counters["stats"]["unique_graphs"])

    @staticmethod
    def _breaks_now() -> Counter[str]:
        from torch._dynamo.utils import counters

        return Counter(counters["graph_break"])

    def end_first_call(self) -> None:
        """Count every later graph as a recompilation."""
        self._first = self.graphs

    @property
    def graphs(self) -> int:
        """Number of graphs compiled so far."""
        return self._graphs_now() - self._before

    @property
    def breaks(self) -> Counter[str]:
        """{reason: number of graph breaks}."""
        return self._breaks_now() - self._breaks_before

    @property
    def recompiles(self) -> int:
        """Number of graphs compiled after the first call."""
        return self.graphs - self._first

    def summary(self) -> str:
        """Return one line: graphs of the first call, graph breaks with the most common reasons, recompiles."""
        breaks = self.breaks
        why = "; ".join(" ".join(reason.split())[:_REASON_LENGTH] for reason, _ in breaks.most_common(_SHOWN_REASONS))
        graphs = f"{self._first} graph{'s' * (self._first != 1)}"
        line = f"{graphs}, graph breaks: {breaks.total()}{f' ({why})' if why else ''}, recompiles: {self.recompiles}"
        if self._limits.hit:
            limit = torch._dynamo.config.recompile_limit
            line += f"; gave up at the limit of {limit} graphs for one function: what came later ran eagerly"
        return line


class _RecompileLimit(logging.Filter):
    """Detect dynamo's warning that it stops compiling. There is no other sign: the network then runs eagerly."""

    hit = False

    def filter(self, record: logging.LogRecord) -> bool:
        self.hit |= "torch._dynamo hit config" in str(record.msg)
        # The record is kept: this filter only reads it.
        return True


def _run_example(context: BackendContext, run: Call) -> None:
    try:
        batch = next(context.example_batches(1))
    except InputError:  # no data set on this machine: random images are timed
        run(torch.zeros(1, 3, *context.size, device=context.device))
        return
    context.network.run(run, batch)

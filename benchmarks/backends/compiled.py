"""torch.compile: the network through dynamo and inductor, with what it did not swallow counted.

A graph break sends a part of the network back to eager Python; a recompile is another graph for another shape or state.
Both are counted over the life of the call, by dynamo's own counters, and are in the row's note.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.backends import Prepared, Unavailable
from c2d.core.errors import InputError, first_line

if TYPE_CHECKING:
    from benchmarks.backends import Call
    from benchmarks.latency.student import Subject

_SHOWN = 3  # reasons of graph breaks in a note
_LENGTH = 100  # characters of one


def prepare(subject: Subject) -> Prepared:
    """Compiled for one image of the data set (zeros where it is not here); other shapes compile when they come.

    Raises:
        Unavailable: dynamo or inductor fails; on a CPU inductor needs a C++ compiler.
    """
    if subject.device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        raise Unavailable("torch.compile needs a C++ compiler on a CPU: apt-get install g++")
    torch._dynamo.reset()  # graphs of other subjects count against the limit of recompilations
    count = Compilations()
    compiled = torch.compile(subject.network)

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return compiled(inputs)

    try:
        _first(subject, run)
    except Exception as error:  # dynamo, inductor, the C++ compiler and triton each have their own
        raise Unavailable(f"torch.compile failed: {type(error).__name__}: {first_line(error)}") from error
    count.begun()
    return Prepared(run, note=count.told)


class Compilations:
    """What dynamo has compiled and given up since this was made."""

    def __init__(self) -> None:
        self._before, self._breaks_before = self._graphs_now(), self._breaks_now()
        self._first = 0
        self._limits = _Limits()
        logging.getLogger("torch._dynamo.convert_frame").addFilter(self._limits)

    @staticmethod
    def _graphs_now() -> int:
        from torch._dynamo.utils import counters

        return int(counters["stats"]["unique_graphs"])

    @staticmethod
    def _breaks_now() -> Counter[str]:
        from torch._dynamo.utils import counters

        return Counter(counters["graph_break"])

    def begun(self) -> None:
        """The first call is over: graphs that follow are recompilations."""
        self._first = self.graphs

    @property
    def graphs(self) -> int:
        return self._graphs_now() - self._before

    @property
    def breaks(self) -> Counter[str]:
        """{reason: times}"""
        return self._breaks_now() - self._breaks_before

    @property
    def recompiles(self) -> int:
        return self.graphs - self._first

    def told(self) -> str:
        """In a line: graphs of the first call, graph breaks with the commonest reasons, recompiles."""
        breaks = self.breaks
        why = "; ".join(" ".join(reason.split())[:_LENGTH] for reason, _ in breaks.most_common(_SHOWN))
        graphs = f"{self._first} graph{'s' * (self._first != 1)}"
        line = f"{graphs}, graph breaks: {breaks.total()}{f' ({why})' if why else ''}, recompiles: {self.recompiles}"
        if self._limits.hit:
            limit = torch._dynamo.config.recompile_limit
            line += f"; gave up at the limit of {limit} graphs for one function: what came later ran eagerly"
        return line


class _Limits(logging.Filter):
    """Hears dynamo say that it compiles no more. Nothing else tells: it goes on eagerly."""

    hit = False

    def filter(self, record: logging.LogRecord) -> bool:
        self.hit |= "torch._dynamo hit config" in str(record.msg)
        return True


def _first(subject: Subject, run: Call) -> None:
    try:
        paths = subject.images(1)
    except InputError:  # no data set here: random images are timed
        run(torch.zeros(1, 3, *subject.size, device=subject.device))
        return
    batch = subject.to_device(subject.preprocess(subject.read(paths)))
    subject.run(run, batch)

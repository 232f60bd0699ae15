"""torch.compile: counts on functions with a known number of graph breaks, and one real compilation."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.backends import compiled
from benchmarks.backends.base import Unavailable
from benchmarks.backends.compiled import CompilationCounter
from benchmarks.backends.registry import prepare_backend
from c2d.core.errors import InputError


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()


def test_graphs_breaks_and_recompiles_are_counted() -> None:
    def broken(x: Tensor) -> Tensor:
        x = x + 1
        torch._dynamo.graph_break()
        return x * 2

    count = CompilationCounter()
    call = torch.compile(broken, backend="eager", dynamic=False)
    call(torch.zeros(2))
    count.end_first_call()
    call(torch.zeros(2))
    assert (count.graphs, count.breaks.total(), count.recompiles) == (2, 1, 0)
    assert count.summary().startswith("2 graphs, graph breaks: 1 (")
    assert count.summary().endswith("recompiles: 0")
    call(torch.zeros(3))  # both halves again
    assert count.recompiles == 2
    assert CompilationCounter().summary() == "0 graphs, graph breaks: 0, recompiles: 0"


def test_a_graph_without_breaks() -> None:
    count = CompilationCounter()
    call = torch.compile(lambda x: x + 1, backend="eager")
    call(torch.zeros(2))
    count.end_first_call()
    assert count.summary() == "1 graph, graph breaks: 0, recompiles: 0"


def test_the_recompile_limit_is_reported() -> None:
    with torch._dynamo.config.patch(recompile_limit=2):
        count = CompilationCounter()
        call = torch.compile(lambda x: x + 1, backend="eager", dynamic=False)
        for size in (2, 3, 4):
            call(torch.zeros(size))
        assert count.summary().endswith(
            "; gave up at the limit of 2 graphs for one function: what came later ran eagerly"
        )


class Small:
    """A convolution as the context of a backend, without a data set."""

    device, size = torch.device("cpu"), (32, 32)

    def __init__(self) -> None:
        self.network: Any = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), _Tuple()).eval()

    def example_batches(self, count: int) -> Any:
        raise InputError("no annotations")


class _Tuple(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)


def test_a_network_is_compiled_and_equal() -> None:
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor needs a C++ compiler")
    context: Any = Small()
    call = prepare_backend("compile", context)
    assert call.note() == "1 graph, graph breaks: 0, recompiles: 0"
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(call(images), context.network(images))
    call(torch.rand(1, 3, 40, 40))
    assert call.note() == "1 graph, graph breaks: 0, recompiles: 1"


def test_without_a_compiler_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "shutil", SimpleNamespace(which=lambda _: None))
    with pytest.raises(Unavailable, match=r"needs a C\+\+ compiler on a CPU: apt-get install g\+\+"):
        prepare_backend("compile", Small())  # type: ignore[arg-type]


def test_a_failed_compilation_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("inductor is out of order\ntrace")

    monkeypatch.setattr(torch, "compile", lambda _: fails)
    with pytest.raises(Unavailable, match=r"torch.compile failed: RuntimeError: inductor is out of order$"):
        prepare_backend("compile", Small())  # type: ignore[arg-type]

"""Reading module outputs without leaving anything behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.hooks import extract_outputs, record_outputs, replace_method


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2)
        self.ran: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in ("first", "second", "third"):
            self.ran.append(name)
            x = getattr(self, name)(x).tanh()
        return x


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_recorded_outputs_are_those_of_the_modules_with_their_graph() -> None:
    net, x = Net(), torch.rand(2, 3)
    with record_outputs(net, ["first", "third"]) as seen:
        out = net(x)
    assert torch.equal(seen["first"], net.first(x))
    assert torch.equal(seen["third"].tanh(), out)
    assert seen["first"].requires_grad
    assert hooks(net) == 0


def test_extract_outputs_stops_after_the_deepest_module() -> None:
    net, x = Net(), torch.rand(2, 3)
    got = extract_outputs(net, ["second", "first"], x)
    assert list(got) == ["second", "first"]
    assert net.ran == ["first", "second"]
    assert torch.equal(got["second"], net.second(net.first(x).tanh()))
    net.ran.clear()
    extract_outputs(net, ["first"], x, stop=False)
    assert net.ran == ["first", "second", "third"]
    assert hooks(net) == 0


def test_no_names_run_no_forward_pass() -> None:
    net = Net()
    assert extract_outputs(net, [], torch.rand(2, 3)) == {}
    assert net.ran == []


def test_hooks_are_removed_after_an_error_in_the_model() -> None:
    net = Net()
    with pytest.raises(RuntimeError), record_outputs(net, ["first"]):
        net(torch.rand(2, 7))
    assert hooks(net) == 0


def test_unknown_module_is_named_with_the_closest_one() -> None:
    with pytest.raises(InputError, match="unknown module 'secnd'; did you mean 'second'"):
        extract_outputs(Net(), ["secnd"], torch.rand(2, 3))


def test_a_replaced_method_is_restored_after_an_error() -> None:
    net = Net()
    with pytest.raises(ZeroDivisionError), replace_method(net, "forward", lambda x: 1 / 0):
        net(torch.rand(2, 3))
    assert "forward" not in vars(net)
    net.__dict__["forward"] = own = lambda x: x
    with replace_method(net, "forward", lambda x: x + 1):
        assert net.forward(torch.tensor(1)) == 2
    assert net.forward is own

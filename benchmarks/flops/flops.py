"""Parameters, MACs and FLOPs of one call of a model, and the operators that nobody counted.

One multiply-add (MAC) is two FLOPs. Papers on detectors that write "GFLOPs" nearly always mean GMACs, so both are named
here. The count is torch's `FlopCounterMode`, checked against our own look at every operator, and what the dispatcher
cannot see (mmcv's compiled RoIAlign and deformable convolution) by formula (`mmcvops`). Operators with no formula that
are not on the stated list of free ones (`opkinds`) are listed with their calls: never a silent 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import mmcv_ops, op_formulas

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject

REST = "rest"
"""The part of work that no child of the model did."""


def count(model: Subject | Callable[..., Any], *inputs: Any, module: nn.Module | None = None) -> dict[str, Any]:
    """Count one call `model(*inputs)`, without gradients; its training mode stays.

    Args:
        model: a module, or any callable that uses one; or a `Subject`, without inputs: what its model stage and its
            post-processing do with the first validation image.
        module: whose parameters count and whose children are the parts; by default `model`, of a `Subject` its
            detector.

    Returns:
        {flops, macs: whole numbers; params, trainable: parameters; input: shape of the first input; uncounted, free:
        {operator: calls}; by_part: {child, or `rest`: {flops, macs}}; by_operator: {operator: {flops, calls}}}.

    Raises:
        TypeError: a callable that is no module, without `module`.
        RuntimeError: torch's counter and our own look at the same call differ.
    """
    if hasattr(model, "end_to_end"):
        subject: Any = model
        batch = subject.to_device(subject.preprocess(subject.read(subject.images(1))))
        return count(
            lambda _: subject.post(subject.run(subject.model, batch), batch), batch.inputs, module=subject.detector
        )
    module = module if module is not None else model if isinstance(model, nn.Module) else None
    if module is None:
        raise TypeError("count() got a callable that is no nn.Module; give module=..., whose parameters count")
    theirs = FlopCounterMode(display=False, custom_mapping=op_formulas.formulas())
    place = [REST]
    seen = _Seen(theirs.flop_registry, place)
    with ExitStack() as stack:
        stack.enter_context(_parts(module, place))
        seen.inside = stack.enter_context(mmcv_ops.watching(seen.note))
        stack.enter_context(torch.no_grad())
        stack.enter_context(theirs)
        stack.enter_context(seen)
        model(*inputs)
    dispatched = sum(seen.flops.values())
    if dispatched != theirs.get_total_flops() - seen.hidden:
        raise RuntimeError(
            f"torch's counter finds {theirs.get_total_flops() - seen.hidden} FLOPs and our own look {dispatched}; "
            "an operator was seen by one of them only: count on the eager model, not on a compiled one"
        )
    total = dispatched + sum(seen.beside.values())
    by_operator = {
        name: {"flops": flops, "calls": seen.calls[name]} for name, flops in (seen.flops + seen.beside).items()
    }
    weights = list(module.parameters())
    return {
        "flops": total,
        "macs": total // 2,
        "input": list(getattr(inputs[0], "shape", ())) if inputs else [],
        "params": sum(weight.numel() for weight in weights),
        "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
        "uncounted": dict(sorted(seen.uncounted.items())),
        "free": dict(sorted(seen.free.items())),
        "by_part": {part: {"flops": flops, "macs": flops // 2} for part, flops in seen.by_part.items()},
        "by_operator": by_operator,
    }


class _Seen(TorchDispatchMode):
    """Every operator of a call, by kind. `place[-1]` is the part that is running."""

    def __init__(self, registry: Any, place: list[str]) -> None:
        super().__init__()
        self.registry, self.place = registry, place
        self.inside = [0]
        self.flops, self.beside, self.calls = Counter[str](), Counter[str](), Counter[str]()
        self.free, self.uncounted, self.by_part = Counter[str](), Counter[str](), Counter[str]()
        self.hidden = 0
        """FLOPs that torch's counter saw inside of an operator of mmcv's, which has its own formula."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        kind = op_formulas.kind(packet, self.registry)
        if kind != "counted" and not self.inside[0]:
            with self:  # an operator made of others is what it is made of
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        out = func(*args, **kwargs)
        name = str(packet)
        flops = int(self.registry[packet](*args, **kwargs, out_val=out)) if kind == "counted" else 0
        if self.inside[0]:
            self.hidden += flops
            return out
        self.calls[name] += 1
        if kind == "counted":
            self.flops[name] += flops
            self.by_part[self.place[-1]] += flops
        else:
            (self.free if kind == "free" else self.uncounted)[name] += 1
        return out

    def note(self, name: str, flops: int | None) -> None:
        """A call that the dispatcher does not see."""
        if flops is None:
            self.uncounted[name] += 1
            return
        self.calls[name] += 1
        self.beside[name] += flops
        self.by_part[self.place[-1]] += flops


@contextmanager
def _parts(module: nn.Module, place: list[str]) -> Iterator[None]:
    """While it lasts, the last entry of `place` is the child of `module` that runs, by its first name."""
    hooks = []
    for name, child in module.named_modules():
        if name:
            part = name.split(".")[0]
            hooks.append(child.register_forward_pre_hook(lambda *_, part=part: place.append(part)))
            hooks.append(child.register_forward_hook(lambda *_: place.pop() and None, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

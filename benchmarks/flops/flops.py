"""Count parameters, MACs and FLOPs of one call of a model, and list the operators that were not counted.

One multiply-add (MAC) is two FLOPs. Papers on detectors that write "GFLOPs" nearly always mean GMACs, so both are
reported. The count is that of torch's `FlopCounterMode`, checked against our own dispatch mode. The dispatcher cannot
see mmcv's compiled operators (RoIAlign, deformable convolution): `mmcv_ops` counts them by formula. Operators that have
no formula and are not free by `op_formulas` are listed with their calls, so nothing is 0 without a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import mmcv_ops, op_formulas

REST = "rest"
"""The part of the work outside the model's children."""


def count(model: Callable[..., Any], *inputs: Any, module: nn.Module | None = None) -> dict[str, Any]:
    """Count one call `model(*inputs)`, without gradients; the model's training mode is not changed.

    Args:
        model: a module, or any callable that uses one.
        inputs: of the call.
        module: the module whose parameters are counted and whose children are the parts; None: `model`.

    Returns:
        {flops, macs: whole numbers; params, trainable: parameters; input: shape of the first input; uncounted, free:
        {operator: calls}; by_part: {child, or `rest`: {flops, macs}}; by_operator: {operator: {flops, calls}}}.

    Raises:
        TypeError: a callable that is no module, without `module`.
        RuntimeError: torch's counter and our dispatch mode disagree.
    """
    module = module if module is not None else model if isinstance(model, nn.Module) else None
    if module is None:
        raise TypeError(
            "count() got a callable that is no nn.Module; give module=..., the module whose parameters are counted"
        )
    torch_counter = FlopCounterMode(display=False, custom_mapping=op_formulas.formulas())
    part_stack = [REST]
    own = _OperatorCounter(torch_counter.flop_registry, part_stack)
    with ExitStack() as stack:
        stack.enter_context(_track_parts(module, part_stack))
        own.mmcv_depth = stack.enter_context(mmcv_ops.record_mmcv_calls(own.add_mmcv_call))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch_counter)
        stack.enter_context(own)
        model(*inputs)
    dispatched = sum(own.flops.values())
    # Two counters with the same formulas: a difference shows an operator that one of them did not see.
    if dispatched != (expected := torch_counter.get_total_flops() - own.inside_mmcv):
        raise RuntimeError(
            f"torch's counter finds {expected} FLOPs and our dispatch mode {dispatched}; one of them has missed an "
            "operator: count on the eager model, not on a compiled one"
        )
    total = dispatched + sum(own.mmcv_flops.values())
    by_operator = {
        name: {"flops": flops, "calls": own.calls[name]} for name, flops in (own.flops + own.mmcv_flops).items()
    }
    weights = list(module.parameters())
    return {
        "flops": total,
        "macs": total // 2,
        "input": list(getattr(inputs[0], "shape", ())) if inputs else [],
        "params": sum(weight.numel() for weight in weights),
        "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
        "uncounted": dict(sorted(own.uncounted.items())),
        "free": dict(sorted(own.free.items())),
        "by_part": {part: {"flops": flops, "macs": flops // 2} for part, flops in own.by_part.items()},
        "by_operator": by_operator,
    }


class _OperatorCounter(TorchDispatchMode):
    """Count every operator of a call, by kind.

    Attributes:
        registry: operator -> formula.
        part_stack: its last entry is the part that runs.
        mmcv_depth: one entry: the number of mmcv's operators that run at the moment.
        flops, mmcv_flops: by operator, of the dispatcher and of mmcv.
        inside_mmcv: FLOPs that torch's counter finds inside operators of mmcv, which have their own formulas.
    """

    def __init__(self, registry: Any, part_stack: list[str]) -> None:
        super().__init__()
        self.registry, self.part_stack = registry, part_stack
        self.mmcv_depth = [0]
        self.flops, self.mmcv_flops, self.calls = Counter[str](), Counter[str](), Counter[str]()
        self.free, self.uncounted, self.by_part = Counter[str](), Counter[str](), Counter[str]()
        self.inside_mmcv = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        kind = op_formulas.operator_kind(packet, self.registry)
        if kind != "counted" and not self.mmcv_depth[0]:
            with self:  # a composite operator is counted by its parts
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs)
        name = str(packet)
        flops = int(self.registry[packet](*args, **kwargs, out_val=out)) if kind == "counted" else 0
        # mmcv's pure-Python operators are made of torch's, which their own formula includes.
        if self.mmcv_depth[0]:
            self.inside_mmcv += flops
            return out
        self.calls[name] += 1
        if kind == "counted":
            self.flops[name] += flops
            self.by_part[self.part_stack[-1]] += flops
        else:
            (self.free if kind == "free" else self.uncounted)[name] += 1
        return out

    def add_mmcv_call(self, name: str, flops: int | None) -> None:
        """Add a call that the dispatcher cannot see; None: it has no formula."""
        if flops is None:
            self.uncounted[name] += 1
            return
        self.calls[name] += 1
        self.mmcv_flops[name] += flops
        self.by_part[self.part_stack[-1]] += flops


@contextmanager
def _track_parts(module: nn.Module, part_stack: list[str]) -> Iterator[None]:
    """Inside the context the last entry of `part_stack` is the direct child of `module` that runs."""
    hooks = []
    for name, child in module.named_modules():
        if name:
            part = name.split(".")[0]
            hooks.append(child.register_forward_pre_hook(lambda *_, part=part: part_stack.append(part)))
            # always_call: the entry is removed although the child raises.
            hooks.append(child.register_forward_hook(lambda *_: part_stack.pop() and None, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

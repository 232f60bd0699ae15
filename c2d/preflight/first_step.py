"""The first step of a model, on stand-in images: finite losses, weights that are reached, teachers left alone.

What mmdet and torch raise is answered with the layer that was running.
"""

from __future__ import annotations

import traceback
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from c2d.core.errors import InputError, RunError, first_line
from c2d.distillation.wrapper import TeacherSet
from c2d.preflight import synthetic


def first_step(model: Any, teachers: TeacherSet, sides: list[int], num_classes: int) -> list[str]:
    """One step at the smallest side that works; only a side of the student's own can show that none does."""
    roots = {"": model, "teacher": nn.ModuleList(teachers.modules())}
    for side in sides:
        try:
            return _step(model, teachers, side, num_classes)
        except (InputError, RunError):
            raise
        except Exception as error:
            if side == sides[-1]:
                line = f"{_place(error, roots)}{type(error).__name__}: {first_line(error)} (images of {side} px)"
                raise RunError(
                    line, "user-code" if isinstance(error, NameError | AttributeError) else "config"
                ) from error
    raise ValueError("no side to try")


def _step(model: Any, teachers: TeacherSet, side: int, num_classes: int) -> list[str]:
    """Losses and one backward pass; notes on terms that were dead and on weights without a part in them.

    Raises:
        RunError: a loss is not finite, or a teacher was changed by the step.
    """
    before = _fingerprint(teachers)
    model.train().zero_grad()
    data = model.data_preprocessor(synthetic.batch(side, num_classes), True)
    with _Pooling() as pooling:
        losses = model.loss(data["inputs"], data["data_samples"])
    for name, value in losses.items():
        if not all(torch.isfinite(part).all() for part in ([value] if isinstance(value, Tensor) else value)):
            raise RunError(
                f"{name} is not finite on images of {side} px with random weights; look at its weight", "nan"
            )
    total, _ = model.parse_losses(losses)
    total.backward()
    if _fingerprint(teachers) != before or any(w.grad is not None for t in teachers.modules() for w in t.parameters()):
        raise RunError("a teacher was changed by the step; teachers are frozen", "user-code")
    notes = [f"{size[0]} x {size[1]} cells are pooled to {to[0]} x {to[1]}: cells repeat" for size, to in pooling.up]
    liveness = getattr(model, "liveness", None)
    notes += [f"{name} was 0 or gave no gradient in the one step" for name in (liveness.seen if liveness else ())]
    if liveness and getattr(model, "distillers", None) and not liveness.seen and not liveness.alive:
        notes.append("no positives in the one step, so no term of a method was computed")
    idle = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    if idle:
        notes.append(
            f"{len(idle)} weights have no part in the losses, first {idle[0]}; "
            "several processes need the override find_unused_parameters: true"
        )
    return notes


class _Pooling(TorchFunctionMode):
    """Notices maps that are average-pooled to more cells than they have."""

    def __init__(self) -> None:
        super().__init__()
        self.up: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is F.adaptive_avg_pool2d:
            sizes = tuple(args[0].shape[-2:]), tuple(found.shape[-2:])
            if (sizes[1][0] > sizes[0][0] or sizes[1][1] > sizes[0][1]) and sizes not in self.up:
                self.up.append(sizes)
        return found


def _fingerprint(teachers: TeacherSet) -> list[float]:
    return [float(value.double().sum()) for module in teachers.modules() for value in module.state_dict().values()]


def _place(error: Exception, roots: dict[str, nn.Module]) -> str:
    """`student.neck.fpn_convs.0 (ConvModule): ` of the innermost module that was running, or nothing."""
    names: dict[int, str] = {}
    for root, module in roots.items():
        names |= {id(part): f"{root}.{name}".strip(".") for name, part in module.named_modules()}
    place = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and names.get(id(owner)):
            place = f"{names[id(owner)]} ({type(owner).__name__}): "
    return place

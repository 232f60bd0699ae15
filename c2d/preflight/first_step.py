"""One step of a model on synthetic images: finite losses, gradients for the weights, unchanged teachers.

An exception of mmdet or torch is reported with the layer that was running.
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
    """Take one step at the smallest side that works.

    Only a failure at the largest side, which is the student's own, is an error: a small image can be too small.

    Args:
        model: on the CPU.
        teachers: must not change.
        sides: of the square images in px, smallest first.
        num_classes: foreground classes.

    Returns:
        Notes on terms and weights without a gradient.

    Raises:
        RunError: the step failed, a loss is not finite, or a teacher was changed.
    """
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
    """Losses and one backward pass; notes on terms and weights without a gradient."""
    before = _fingerprint(teachers)
    model.train().zero_grad()
    data = model.data_preprocessor(synthetic.batch(side, num_classes), True)
    with _PoolingMonitor() as pooling:
        losses = model.loss(data["inputs"], data["data_samples"])
    for name, value in losses.items():
        if not all(torch.isfinite(part).all() for part in ([value] if isinstance(value, Tensor) else value)):
            raise RunError(f"{name} is not finite on images of {side} px with random weights; check its weight", "nan")
    total, _ = model.parse_losses(losses)
    total.backward()  # weights without a gradient are listed below: DDP would wait for them
    if _fingerprint(teachers) != before or any(w.grad is not None for t in teachers.modules() for w in t.parameters()):
        raise RunError("a teacher was changed by the step; teachers are frozen", "user-code")
    notes = [f"{size[0]} x {size[1]} cells are pooled to {to[0]} x {to[1]}: cells repeat" for size, to in pooling.up]
    check = getattr(model, "gradient_check", None)
    notes += [f"{name} was 0 or gave no gradient in the one step" for name in (check.failed_steps if check else ())]
    if check and getattr(model, "distillers", None) and not check.failed_steps and not check.passed:
        notes.append("no positives in the one step, so no term of a method was computed")
    idle = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    if idle:
        notes.append(
            f"{len(idle)} weights have no part in the losses, first {idle[0]}; "
            "several processes need the override find_unused_parameters: true"
        )
    return notes


class _PoolingMonitor(TorchFunctionMode):
    """Record feature maps that are average-pooled to more cells than they have."""

    def __init__(self) -> None:
        super().__init__()
        self.up: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.adaptive_avg_pool2d:
            sizes = tuple(args[0].shape[-2:]), tuple(result.shape[-2:])
            if (sizes[1][0] > sizes[0][0] or sizes[1][1] > sizes[0][1]) and sizes not in self.up:
                self.up.append(sizes)
        return result


def _fingerprint(teachers: TeacherSet) -> list[float]:
    return [float(value.double().sum()) for module in teachers.modules() for value in module.state_dict().values()]


def _place(error: Exception, roots: dict[str, nn.Module]) -> str:
    """`student.neck.fpn_convs.0 (ConvModule): ` of the innermost module that was running, or nothing."""
    names: dict[int, str] = {}
    for root, module in roots.items():
        names |= {id(part): f"{root}.{name}".strip(".") for name, part in module.named_modules()}
    place = ""
    # From the outermost call inwards, so the last module that is set here is the innermost.
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and names.get(id(owner)):
            place = f"{names[id(owner)]} ({type(owner).__name__}): "
    return place

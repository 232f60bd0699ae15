"""How loud each distillation term is beside the task: gradient norms and cosines, every so many steps.

It looks at gradients without leaving any: training with and without it takes the same steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Monitor:
    """Looks every `every` iterations.

    Observations per term of a method, all of the student's trainable weights taken as one vector:
    `kd_<method>_<term>_grad` (norm of the raw term's gradient), `..._grad_weighted` (with its weight), `..._cosine` (to
    the gradient of the task's own losses); and `kd_task_grad` (norm of that gradient).
    """

    #: Gradients of a half-precision graph underflow; a power of two keeps every digit and is divided out again.
    SCALE = 2.0**10

    def __init__(self, every: int) -> None:
        self.every = every

    def due(self, iteration: int) -> bool:
        """Whether this iteration (from 0) is looked at."""
        return iteration % self.every == 0

    def look(self, model: Any, task: dict[str, Any], terms: dict[str, tuple[Tensor, float]]) -> dict[str, Tensor]:
        """Observations of one step.

        Args:
            model: has `student` (its trainable weights are looked at).
            task: losses of the student itself, as mmdet names them.
            terms: `kd_<method>_<term>` -> raw value with its graph, and its weight.
        """
        return gradients(model.student, _total(task), terms, self.SCALE)


def gradients(
    student: nn.Module, task: Tensor, terms: dict[str, tuple[Tensor, float]], scale: float = 1.0
) -> dict[str, Tensor]:
    """Norms and cosines of the terms' gradients beside the task's, see `Monitor`."""
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    own = _gradient(task, weights, scale)
    norm = own.norm()
    found = {"kd_task_grad": norm}
    for name, (value, weight) in terms.items():
        gradient = _gradient(value, weights, scale)
        length = gradient.norm()
        found[f"{name}_grad"] = length
        found[f"{name}_grad_weighted"] = length * weight
        found[f"{name}_cosine"] = (gradient @ own) / (length * norm).clamp(min=1e-20)
    return found


def _gradient(value: Tensor, weights: list[nn.Parameter], scale: float) -> Tensor:
    """The gradient of a scalar with respect to all weights, as one vector; zeros where it does not reach."""
    if not value.requires_grad:
        return torch.zeros(sum(w.numel() for w in weights), device=value.device)
    found = torch.autograd.grad(value * scale, weights, retain_graph=True, allow_unused=True)
    pairs = zip(found, weights, strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).reshape(-1).float() for g, w in pairs]) / scale


def _total(losses: dict[str, Any]) -> Tensor:
    """The sum that mmengine trains: of every key that contains `loss`, lists summed and tensors averaged."""
    parts = []
    for name, value in losses.items():
        if "loss" in name:
            parts += [v.mean() for v in value] if isinstance(value, list | tuple) else [value.mean()]
    return torch.stack(parts).sum()

"""Gradient of each distillation term beside the task's: norms and cosines, at intervals.

The gradients are computed apart and not accumulated: a training takes the same steps with and without the monitor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class GradientMonitor:
    """Observe the gradients every `every` iterations.

    All trainable weights of the student are taken as one vector. Observations per term of a method:
    `kd_<method>_<term>_grad` (norm of the raw term's gradient), `..._grad_weighted` (with its weight), `..._cosine` (to
    the gradient of the task's own losses); and `kd_task_grad` (norm of that gradient).
    """

    #: Gradients of a half-precision graph underflow; a power of two changes no digit and is divided out again.
    SCALE = 2.0**10

    def __init__(self, every: int) -> None:
        self.every = every

    def due(self, iteration: int) -> bool:
        """Return whether this iteration (from 0) is observed."""
        return iteration % self.every == 0

    def observe(self, model: Any, task: dict[str, Any], terms: dict[str, tuple[Tensor, float]]) -> dict[str, Tensor]:
        """Compute the observations of one step.

        Args:
            model: has `student`, whose trainable weights are used.
            task: losses of the student itself, under mmdet's names.
            terms: `kd_<method>_<term>` -> (raw scalar with its graph, weight).

        Returns:
            Scalars by name.
        """
        return gradients(model.student, _total(task), terms, self.SCALE)


def gradients(
    student: nn.Module, task: Tensor, terms: dict[str, tuple[Tensor, float]], scale: float = 1.0
) -> dict[str, Tensor]:
    """Compute norms and cosines of the terms' gradients, see `GradientMonitor`.

    Args:
        student: its trainable weights are used.
        task: scalar, the sum of the task's losses, with its graph.
        terms: name -> (raw scalar with its graph, weight).
        scale: factor on the losses against underflow; the observations do not depend on it.

    Returns:
        Scalars by name.
    """
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    task_gradient = _gradient(task, weights, scale)
    task_norm = task_gradient.norm()
    observations = {"kd_task_grad": task_norm}
    for name, (value, weight) in terms.items():
        gradient = _gradient(value, weights, scale)
        norm = gradient.norm()
        observations[f"{name}_grad"] = norm
        observations[f"{name}_grad_weighted"] = norm * weight
        observations[f"{name}_cosine"] = (gradient @ task_gradient) / (norm * task_norm).clamp(min=1e-20)
    return observations


def _gradient(value: Tensor, weights: list[nn.Parameter], scale: float) -> Tensor:
    """Gradient of a scalar with respect to all weights, (W,) fp32; zeros where the scalar does not depend on one."""
    if not value.requires_grad:
        return torch.zeros(sum(w.numel() for w in weights), device=value.device)
    # `grad` and not `backward`: nothing is accumulated, and DDP's hooks do not run.
    grads = torch.autograd.grad(value * scale, weights, retain_graph=True, allow_unused=True)
    pairs = zip(grads, weights, strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).reshape(-1).float() for g, w in pairs]) / scale


def _total(losses: dict[str, Any]) -> Tensor:
    """The sum that mmengine trains: of every key that contains `loss`, lists summed and tensors averaged."""
    parts = []
    for name, value in losses.items():
        if "loss" in name:
            parts += [v.mean() for v in value] if isinstance(value, list | tuple) else [value.mean()]
    return torch.stack(parts).sum()

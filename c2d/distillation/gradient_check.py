"""Check in the first steps that every distillation loss is finite, is not zero, and reaches the student's weights.

A teacher whose weights were not loaded, a hook that never ran and a detached graph leave the same log: the loss is
zero or constant, and the result equals the baseline. The check finds them before the run has cost anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c2d.core.errors import RunError

PATIENCE = 5
"""Steps with positives in which a term has to have a gradient once."""


class GradientCheck:
    """Test each term until it has had a gradient once; after that the check costs nothing.

    Attributes:
        rank: of this process, for messages.
        failed_steps: term -> steps in which it was zero or had no gradient.
        passed: terms that had a gradient.
    """

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.failed_steps: dict[str, int] = {}
        self.passed: set[str] = set()

    def check(
        self, terms: dict[str, Tensor], student: nn.Module, teachers: list[nn.Module], layers: dict[str, str]
    ) -> None:
        """Test the terms that have not passed yet, in one step.

        Args:
            terms: loss name -> scalar with its graph, from a step that has positives.
            student: its trainable parameters must receive a gradient.
            teachers: none of their parameters may require a gradient or have one.
            layers: loss name -> where the term reads, for the message; terms without an entry are not tested.

        Raises:
            RunError: a term is not finite; or was zero or without gradient for `PATIENCE` steps; or a teacher is not
                frozen. The message names the loss, the layer and the rank.
        """
        weights = [weight for weight in student.parameters() if weight.requires_grad]
        for name, value in terms.items():
            if name in self.passed or name not in layers:
                continue
            place = f"{name} ({layers[name]}, rank {self.rank})"
            if not torch.isfinite(value):
                raise RunError(
                    f"{place} is {float(value.detach())} in its first step; check its inputs, or use fp32", "nan"
                )
            fault = _fault(value, weights)
            if fault is None:
                self.passed.add(name)
                continue
            self.failed_steps[name] = self.failed_steps.get(name, 0) + 1
            if self.failed_steps[name] >= PATIENCE:
                raise RunError(
                    f"{place} {fault} in its first {PATIENCE} steps with positives, so it would teach nothing; "
                    "check the teacher's weights and the layer, or set its weight to 0 to leave it out",
                    "config",
                )
        for teacher in teachers:
            for name, weight in teacher.named_parameters():
                if weight.requires_grad or weight.grad is not None:
                    raise RunError(
                        f"teacher weight {name} receives a gradient (rank {self.rank}); teachers are frozen", "config"
                    )


def _fault(value: Tensor, weights: list[nn.Parameter]) -> str | None:
    """Why a term trains nothing, or None where it does."""
    # Terms that may be 0 for good reason are not tested (`layers` of `check`).
    if float(value.detach()) == 0.0:
        return "is exactly 0"
    if not value.requires_grad:
        return "has no graph"
    # The step's own backward pass comes later and needs the graph. A term need not reach every weight.
    grads = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    norm = sum(float(grad.detach().float().norm()) for grad in grads if grad is not None)
    return None if norm > 0 else "gives the student no gradient"

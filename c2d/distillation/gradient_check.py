"""Is every distillation loss alive? Checked in the first steps, before a week is spent on a loss of exactly zero.

Teachers whose weights were never loaded, hooks that never matched and detached graphs all look the same in a log: the
loss is zero or constant and the result equals the baseline. So each term has to be finite, non-zero and felt by the
student's weights, while the teacher's weights feel nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from c2d.core.errors import RunError

PATIENCE = 5
"""Steps with positives in which a term has to show life once."""


class Liveness:
    """Watches terms until each has been alive once; then it costs nothing."""

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.seen: dict[str, int] = {}
        self.alive: set[str] = set()

    def check(
        self, terms: dict[str, Tensor], student: nn.Module, teachers: list[nn.Module], layers: dict[str, str]
    ) -> None:
        """Test the terms that have not been alive yet.

        Args:
            terms: loss name -> scalar with its graph, from a step that has positives.
            student: its trainable parameters must receive a gradient.
            teachers: none of their parameters may require one or have one.
            layers: loss name -> where the term reads, for the message; terms that are not in it may be dead.
        Raises:
            RunError: a term is not finite; or stayed zero or without gradient for `PATIENCE` steps; or a teacher is
                not frozen. It names the loss, the layer and the rank.
        """
        weights = [weight for weight in student.parameters() if weight.requires_grad]
        for name, value in terms.items():
            if name in self.alive or name not in layers:
                continue
            place = f"{name} ({layers[name]}, rank {self.rank})"
            if not torch.isfinite(value):
                raise RunError(
                    f"{place} is {float(value.detach())} in its first step; look at its inputs, or use fp32", "nan"
                )
            fault = _fault(value, weights)
            if fault is None:
                self.alive.add(name)
                continue
            self.seen[name] = self.seen.get(name, 0) + 1
            if self.seen[name] >= PATIENCE:
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
    """What is dead about a term, or None."""
    if float(value.detach()) == 0.0:
        return "is exactly 0"
    if not value.requires_grad:
        return "has no graph"
    grads = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    norm = sum(float(grad.detach().float().norm()) for grad in grads if grad is not None)
    return None if norm > 0 else "gives the student no gradient"

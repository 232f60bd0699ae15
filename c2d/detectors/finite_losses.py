"""A base model that stops the run at a loss that is NaN or infinite."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModel
from torch import Tensor

from c2d.core.errors import RunError


class FiniteLosses(BaseModel):
    """A model whose `parse_losses` raises on a loss that is NaN or infinite, before the optimizer step."""

    def parse_losses(self, losses: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses.

        Args:
            losses: name -> tensor of any shape, or a list of them.

        Returns:
            The total, a scalar, and name -> scalar for the log.

        Raises:
            RunError: the total is not finite, on this rank or on another one.
        """
        total, log = super().parse_losses(losses)
        broken = (~torch.isfinite(total.detach())).float()
        if get_world_size() > 1:  # one decision for all ranks, so that each of them reports why it stops
            torch.distributed.all_reduce(broken, op=torch.distributed.ReduceOp.MAX)
        if broken > 0:
            if torch.isfinite(total):
                raise RunError(
                    f"the loss of another rank is not finite (this is rank {get_rank()}); see its message", "nan"
                )
            bad = [name for name, value in log.items() if not torch.isfinite(value).all() and name != "loss"]
            raise RunError(
                f"loss is {float(total.detach())} (from {', '.join(bad) or 'the sum'}, rank {get_rank()}); the last "
                "good checkpoint is kept: lower the learning rate or a loss weight, or train in fp32",
                "nan",
            )
        return total, log

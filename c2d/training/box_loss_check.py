"""Stop a run whose boxes are not learned: a box loss of exactly 0 in its first steps, or batches without any box.

Filters and assigners drop boxes without a message: boxes in other units, boxes to which no anchor or point is assigned,
a transform that removes them. The classification loss falls all the same, on background.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn

from c2d.core.errors import RunError
from c2d.detectors.batch import box_sides

PATIENCE = 50
"""Steps whose images have boxes in which the box loss has to be above 0 once."""
# mmdet's heads: loss_bbox, s0.loss_bbox, loss_rpn_bbox, d0.loss_iou, enc_loss_iou, loss_xy, loss_wh, loss_dfl,
# loss_offset, loss_pts_init, loss_rpn_reg, tl_off_loss. The loss of masks' IoU is none of boxes.
_BOX_TERM = re.compile(r"(?:^|[._])(?:bbox|g?iou|xy|wh|dfl|off|offset|pts|reg)(?:[._]|$)")


class BoxLossCheck:
    """Check the steps of a run until the first box loss above 0; after that it costs nothing.

    A head without a box loss, or whose box loss has the weight 0, is checked for boxes alone.

    Args:
        model: Distillation or CropClassifier.
        steps_of_a_pass: steps in which each training image is seen once.

    Attributes:
        passed: whether a box loss was above 0, or there is none to check and a batch had boxes.
        zero_steps: steps whose images have boxes and whose box loss was 0.
        empty_steps: steps without a box.
    """

    def __init__(self, model: nn.Module, steps_of_a_pass: int) -> None:
        self.most_empty = max(PATIENCE, steps_of_a_pass)
        self.passed, self.zero_steps, self.empty_steps = False, 0, 0
        self._without_weight = {
            name.rpartition(".")[2] for name, module in model.named_modules() if getattr(module, "loss_weight", 1) == 0
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds, so that a resumed run counts on."""
        return {"passed": self.passed, "zero_steps": self.zero_steps, "empty_steps": self.empty_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; one from before this check existed has an empty state."""
        self.passed = bool(state.get("passed", False))
        self.zero_steps, self.empty_steps = state.get("zero_steps", 0), state.get("empty_steps", 0)

    def check(self, losses: Mapping[str, Tensor], data_samples: Any) -> None:
        """Check one step, on all ranks together.

        Args:
            losses: of the step, name -> scalar.
            data_samples: mmdet data samples of this rank, after the pipeline.

        Raises:
            RunError: of class `data`: the run learns no box; the message has the likely causes.
        """
        if self.passed:
            return
        terms = self._terms(losses)
        sides = box_sides(data_samples)
        values = [losses[name].detach().abs().double().sum().cpu() for name in terms]
        total = torch.stack(values).sum() if values else torch.zeros((), dtype=torch.float64)
        found = torch.stack([total, torch.tensor(float(len(sides)), dtype=torch.float64)])
        if get_world_size() > 1:  # every rank counts the same, so all of them stop or go on
            found = found.to(next(iter(losses.values())).device)
            torch.distributed.all_reduce(found)
        loss, boxes = found.tolist()
        if loss > 0 or (not terms and boxes > 0):
            self.passed = True
        elif boxes > 0:
            self.zero_steps += 1
        else:
            self.empty_steps += 1
        if self.zero_steps >= PATIENCE:
            raise RunError(
                f"the box loss ({', '.join(terms)}) was exactly 0 in the first {PATIENCE} steps with boxes: no box is "
                f"learned, as none is assigned to a prediction (sides in the last batch {_range(sides)} of the input); "
                "causes: boxes in other units or of another image size (run `c2d data check`), an input too small for "
                "them, an override of anchors, points or assigner",
                "data",
            )
        if self.empty_steps >= self.most_empty and not self.zero_steps:
            raise RunError(
                f"no image had a box in the first {self.empty_steps} steps, so nothing is learned; the annotations "
                "have boxes: a transform of the training pipeline or an override drops them all",
                "data",
            )

    def warning(self) -> str | None:
        """Return a line for the log of a run that ended before the check could decide, or None."""
        if self.passed or not self.zero_steps:
            return None
        return f"warning: the box loss was exactly 0 in all {self.zero_steps} steps with boxes: no box was learned"

    def _terms(self, losses: Mapping[str, Tensor]) -> list[str]:
        named = [name for name in losses if "loss" in name and not name.startswith("loss_kd_") and "mask" not in name]
        terms = [name for name in named if _BOX_TERM.search(name.replace("loss", ""))]
        return [name for name in terms if name.rpartition(".")[2].replace("rpn_", "") not in self._without_weight]


def _range(sides: Tensor) -> str:
    """The smallest and largest side of boxes in px."""
    return f"{float(sides.min()):.3g} to {float(sides.max()):.3g} px" if len(sides) else "unknown"

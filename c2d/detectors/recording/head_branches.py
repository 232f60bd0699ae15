"""The two branches of a dense head: record their maps, and run the rest of a branch on maps of another detector.

    with record_head_features(student.bbox_head) as recorder:
        losses = student.loss(inputs, data_samples)
    predict_from(teacher.bbox_head, recorder.features().cls[3], recorder.features().reg[3], 3)

Heads with `cls_convs` and `reg_convs`, each a list of convolutions that all levels share (RetinaNet, ATSS, GFL, FCOS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.hooks import replace_method
from c2d.detectors.outputs import HeadFeatures

BRANCHES = ("cls_convs", "reg_convs")
"""Attributes of the stacked convolutions: classes, boxes."""


def stacked_convs(head: Any) -> tuple[list[Any], list[Any]]:
    """Return the stacked convolutions of both branches of a dense head, of equal number.

    Raises:
        InputError: the head has no such branches, or no convolution in them.
    """
    cls, reg = (list(getattr(head, name, None) or []) for name in BRANCHES)
    if not cls or len(cls) != len(reg) or not all(hasattr(conv, "out_channels") for conv in cls + reg):
        raise InputError(
            f"head {type(head).__name__} has no branches of stacked convolutions that all levels share; choose a "
            "detector such as RetinaNet, ATSS, GFL or FCOS, with stacked_convs of 1 or more"
        )
    return cls, reg


def channels(head: Any, position: int) -> tuple[int, int]:
    """Return the channels of f_i, i = `position`, in the branches for classes and boxes."""
    cls, reg = ((c[0].in_channels if position == 0 else c[position - 1].out_channels) for c in stacked_convs(head))
    return cls, reg


class HeadFeatureRecorder:
    """Maps of one forward pass; created by `record_head_features`.

    Attributes:
        maps: per branch f_0 to f_n, each a list with one map per level.
    """

    def __init__(self, depth: int) -> None:
        self.maps: tuple[list[list[Tensor]], ...] = tuple([[] for _ in range(depth + 1)] for _ in BRANCHES)

    def features(self) -> HeadFeatures:
        """Return the maps in fp32, with their graph."""
        cls, reg = (tuple(tuple(m.float() for m in levels) for levels in branch) for branch in self.maps)
        return HeadFeatures(cls, reg)


@contextmanager
def record_head_features(head: Any) -> Iterator[HeadFeatureRecorder]:
    """Record the maps of both branches while the block runs; the head has to run once.

    Args:
        head: an mmdet dense head.

    Raises:
        InputError: see `stacked_convs`.
    """
    branches = stacked_convs(head)
    recorder = HeadFeatureRecorder(len(branches[0]))

    def hook_of(levels: list[list[Tensor]], place: int) -> Callable[..., None]:
        def hook(_conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if place == 0:
                levels[0].append(inputs[0])
            levels[place + 1].append(output)

        return hook

    with ExitStack() as stack:
        for branch, levels in zip(branches, recorder.maps, strict=True):
            for place, conv in enumerate(branch):
                stack.callback(conv.register_forward_hook(hook_of(levels, place)).remove)
        yield recorder


def predict_from(head: Any, cls: Sequence[Tensor], reg: Sequence[Tensor], position: int) -> Any:
    """Run the rest of a dense head, its convolutions after f_i, on maps that take the place of f_i.

    The head's own `forward` runs; inside it, convolutions up to the i-th are replaced on the instance.

    Args:
        head: an mmdet dense head.
        cls, reg: per level the map (B, M, h, w) for each branch.
        position: i, from 0 to the number of stacked convolutions.

    Returns:
        What the head returns: class logits and box numbers per level first.
    """
    with ExitStack() as stack:
        for branch, maps in zip(stacked_convs(head), (cls, reg), strict=True):
            for conv in branch[: max(position - 1, 0)]:
                stack.enter_context(replace_method(conv, "forward", lambda x: x))
            entry = branch[max(position - 1, 0)]
            own = entry.forward if position == 0 else None
            stack.enter_context(replace_method(entry, "forward", _next_of(maps, own)))
        return head(tuple(cls))


def _next_of(maps: Sequence[Tensor], then: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
    """A `forward` that returns the map of the next level, through `then`, whatever it is given."""
    # The head calls a shared convolution once per level, finest first.
    levels = iter(maps)

    def forward(_x: Tensor) -> Tensor:
        given = next(levels)
        return given if then is None else then(given)

    return forward

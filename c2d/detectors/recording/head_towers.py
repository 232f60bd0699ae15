"""The two towers of a dense head: record the maps in them, and run the rest of a tower on maps of another detector.

    with record_towers(student.bbox_head) as recorder:
        losses = student.loss(inputs, data_samples)
    towers = recorder.outputs()
    predict_from(teacher.bbox_head, towers.classification[3], towers.regression[3], 3)

A tower is a stack of n convolutions for classes or boxes, before the one that predicts. mmdet calls them level by
level, finest first: the same ones (RetinaNet, ATSS, GFL, FCOS, PAA, VFNet), or each level's own (RTMDet, YOLOX).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.hooks import replace_method
from c2d.detectors.outputs import HeadTowers

TOWERS = (("cls_convs", "reg_convs"), ("multi_level_cls_convs", "multi_level_reg_convs"))
"""Attributes of the towers for classes and boxes: of most heads, of YOLOX."""
Tower = list[list[Any]]
"""Per place in the stack its convolutions: one for all levels, or one for each."""


def head_towers(head: Any) -> tuple[Tower, Tower]:
    """Return the towers for classes and boxes of a dense head, of equal depth.

    Raises:
        InputError: the head has no such towers, or no convolution in them.
    """
    for names in TOWERS:
        classification, regression = (_tower(getattr(head, name, None)) for name in names)
        if classification and len(classification) == len(regression):
            return classification, regression
    raise InputError(
        f"head {type(head).__name__} has no two towers of stacked convolutions; choose a detector such as RetinaNet, "
        "ATSS, GFL, FCOS, RTMDet or YOLOX, with stacked_convs of 1 or more"
    )


def depth(head: Any) -> int:
    """Return n, the number of stacked convolutions of each tower.

    Raises:
        InputError: see `head_towers`.
    """
    return len(head_towers(head)[0])


def tower_channels(head: Any, position: int) -> tuple[int, int]:
    """Return the channels of f_i, i = `position`, in the towers for classes and boxes."""
    classification, regression = (_channels(tower, position) for tower in head_towers(head))
    return classification, regression


class TowerRecorder:
    """Maps of one forward pass; created by `record_towers`.

    Attributes:
        maps: per tower f_0 to f_n, each a list with one map per level.
    """

    def __init__(self, depth: int) -> None:
        self.maps: tuple[list[list[Tensor]], ...] = tuple([[] for _ in range(depth + 1)] for _ in range(2))

    def outputs(self) -> HeadTowers:
        """Return the recorded maps in fp32, with their graph."""
        return HeadTowers(*(tuple(tuple(m.float() for m in f) for f in tower if f) for tower in self.maps))


@contextmanager
def record_towers(head: Any, last: bool = False) -> Iterator[TowerRecorder]:
    """Record the maps of both towers while the block runs; the head has to run once.

    Args:
        head: an mmdet dense head.
        last: keep f_n alone, so that the others are freed.

    Raises:
        InputError: see `head_towers`.
    """
    towers = head_towers(head)
    recorder = TowerRecorder(len(towers[0]))
    with ExitStack() as stack:
        for tower, maps in zip(towers, recorder.maps, strict=True):
            for place, convs in enumerate(tower):
                for conv in convs if not last or place + 1 == len(tower) else []:
                    first = maps[0] if place == 0 and not last else None
                    stack.callback(conv.register_forward_hook(_appends(first, maps[place + 1])).remove)
        yield recorder


def predict_from(head: Any, classification: Sequence[Tensor], regression: Sequence[Tensor], position: int) -> Any:
    """Run the rest of a dense head, its convolutions after f_i, on maps that take the place of f_i.

    The head's own `forward` runs; inside it, convolutions up to the i-th are replaced on the instance.

    Args:
        head: an mmdet dense head.
        classification, regression: per level the map (B, M, h, w) of each tower.
        position: i, from 0 to n.

    Returns:
        What the head returns: class scores and boxes per level first.
    """
    place = max(position - 1, 0)
    with ExitStack() as stack:
        for tower, maps in zip(head_towers(head), (classification, regression), strict=True):
            for convs in tower[:place]:
                for conv in convs:
                    stack.enter_context(replace_method(conv, "forward", lambda x: x))
            # The head calls them level by level, finest first.
            levels = iter(maps)
            for conv in tower[place]:
                own = conv.forward if position == 0 else None
                stack.enter_context(replace_method(conv, "forward", _next_of(levels, own)))
        return head(tuple(classification))


def _tower(stack: Any) -> Tower:
    """The convolutions of an attribute of a head; empty where these are no blocks of a stack (SSD's predict)."""
    from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule

    entries = list(stack) if isinstance(stack, nn.ModuleList) else []
    if entries and all(isinstance(one, (nn.ModuleList, nn.Sequential)) for one in entries):
        tower = [list(convs) for convs in zip(*entries, strict=True)]
    else:
        tower = [[one] for one in entries]
    known = all(isinstance(conv, (ConvModule, DepthwiseSeparableConvModule)) for convs in tower for conv in convs)
    return tower if known else []


def _channels(tower: Tower, position: int) -> int:
    conv: Any = tower[max(position - 1, 0)][0]
    # A depthwise block has its widths in its two convolutions.
    part, side = ("depthwise_conv", "in_channels") if position == 0 else ("pointwise_conv", "out_channels")
    return int(getattr(getattr(conv, part, conv), side))


def _appends(before: list[Tensor] | None, after: list[Tensor]) -> Callable[..., None]:
    """A hook that appends the input of a convolution to `before`, and its output to `after`."""

    def hook(_conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if before is not None:
            before.append(inputs[0])
        after.append(output)

    return hook


def _next_of(levels: Iterator[Tensor], then: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
    """A `forward` that returns the next map, through `then`, whatever it is given."""

    def forward(_x: Tensor) -> Tensor:
        given = next(levels)
        return given if then is None else then(given)

    return forward

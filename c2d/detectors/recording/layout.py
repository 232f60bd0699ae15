"""Layout of a detector: levels with stride and channels, its dense head. Measured with one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import families, heads, hooks
from c2d.detectors.heads import LogitKind
from c2d.detectors.recording.record_forward import feature_layers, split_maps

PROBE = 256
"""Side of the probe image in px, for detectors without a fixed input size."""
SSD_PROBE = 512
"""For SSD where the sizes of its anchors are given, as for another `input`: PROBE would leave its last map empty."""

STOCK_PX = 14.0
"""P1's finest scale over the finest stride: 56 px at stride 4, as in the released code and mmdet's RoI extractor."""

STOCK_ANCHOR = {"retinanet": 4, "atss": 8, "gfl": 8, "paa": 8, "tood": 8, "vfnet": 8}
"""`octave_base_scale` of mmdet's stock heads, for which `STOCK_PX` is meant."""

STOCK_RANGE = {"fcos": 8, "centernet-update": 10}
"""End of the finest regression range of mmdet's stock heads, in strides: 64 px and 80 px at stride 8."""


@dataclass(frozen=True)
class Level:
    """One feature map of a detector.

    Attributes:
        layer: the output it is, e.g. `neck[0]`.
        stride: px per cell.
        channels: M.
        size: (height, width) in cells for the probe image.
    """

    layer: str
    stride: int
    channels: int
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.layer} ({self.channels} channels, stride {self.stride}, {self.size[0]}x{self.size[1]})"


@dataclass(frozen=True)
class HeadLayout:
    """Layout of a dense head.

    Attributes:
        layer: `bbox_head` or `rpn_head`.
        classes: logits per prior.
        kind: their activation.
        priors: per level, priors per cell.
        box_channels: per level, channels that encode one box.
        strides: per level, px per cell.
    """

    layer: str
    classes: int
    kind: LogitKind
    priors: tuple[int, ...]
    box_channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __str__(self) -> str:
        def shown(values: tuple[int, ...]) -> str:
            return "/".join(map(str, values if len(set(values)) > 1 else values[:1]))

        return (
            f"{self.layer} ({self.classes} {self.kind} logits, {shown(self.priors)} priors a cell, boxes in "
            f"{shown(self.box_channels)} numbers, strides {shown(self.strides)})"
        )


@dataclass(frozen=True)
class DetectorLayout:
    """Layout of a detector.

    Attributes:
        detector: the family, see `families`; for a detector of none, its title.
        neck, backbone: their maps, in the order of the modules (finest first, or as in YOLOv3 coarsest first).
        dense: the dense head (of two-stage detectors the RPN); None where it cannot be read.
        scale: object size that it is configured for, relative to mmdet's stock detector of this kind: the finest scale
            of its RoI extractor, its anchors or its regression ranges over the stock ones; 1 where it has none of them.
        two_stage: whether it refines proposals of an RPN.
    """

    detector: str
    neck: tuple[Level, ...]
    backbone: tuple[Level, ...]
    dense: HeadLayout | None
    scale: float = 1.0
    two_stage: bool = False

    def base_px(self, stride: int) -> float:
        """Return the base scale in px of level assignment (P1) for a pyramid whose finest stride is `stride` px.

        Ours, except for stock detectors from stride 4.
        """
        return STOCK_PX * stride * self.scale

    @property
    def stages(self) -> str:
        """`two-stage` or `one-stage`."""
        return "two-stage" if self.two_stage or self.detector in families.ROI_FAMILIES else "one-stage"


@torch.no_grad()
def probe_layout(detector: Any) -> DetectorLayout:
    """Measure the layout of a detector with one small image through backbone, neck and dense head.

    It runs in eval mode; afterwards every module has its mode back.
    """
    side = _side(detector)
    weight = next(detector.parameters())
    images = torch.zeros(1, 3, side, side, device=weight.device)
    # Per module, because parts of a detector in training mode may be in eval mode (frozen stages, norm_eval).
    modes = {module: module.training for module in detector.modules()}
    detector.eval()
    try:
        with hooks.record_outputs(detector, feature_layers(detector)) as maps:
            detector.extract_feat(images)
        neck, backbone = split_maps(maps)
        head = _dense(detector)
        layout = _layout(detector, head, neck) if head is not None else None
    finally:
        for module, training in modes.items():
            module.training = training
    # The head's strides are exact; those of maps can only be estimated.
    strides = layout.strides if layout is not None and len(layout.strides) == len(neck) else None
    name = "neck" if len(feature_layers(detector)) == 2 else "backbone"
    levels = _levels(name, neck, side, strides), _levels("backbone", backbone, side, None)
    return DetectorLayout(_name(detector), *levels, layout, _scale(detector), families.is_two_stage(detector))


def _levels(layer: str, maps: tuple[Tensor, ...], side: int, strides: tuple[int, ...] | None) -> tuple[Level, ...]:
    levels = []
    for index, level in enumerate(maps):
        _, channels, height, width = level.shape
        # Maps of strided layers are rounded up, so the stride is the power of two nearest to the quotient.
        stride = strides[index] if strides is not None else 2 ** round(torch.tensor(side / height).log2().item())
        levels.append(Level(f"{layer}[{index}]", stride, channels, (height, width)))
    return tuple(levels)


def _layout(detector: Any, head: Any, neck: tuple[Tensor, ...]) -> HeadLayout:
    scores, deltas = head(neck)[:2]
    classes = head.cls_out_channels
    priors = tuple(s.shape[1] // classes for s in scores)
    box_channels = tuple(d.shape[1] // n for d, n in zip(deltas, priors, strict=True))
    layer = "rpn_head" if getattr(detector, "rpn_head", None) is head else "bbox_head"
    return HeadLayout(layer, classes, heads.logit_kind(head), priors, box_channels, heads.strides(head))


def _dense(detector: Any) -> Any:
    try:
        return heads.dense_head(detector)
    except InputError:
        return None


def _name(detector: Any) -> str:
    return families.detector_family(detector) or families.detector_title(detector)


def _scale(detector: Any) -> float:
    roi_head = getattr(detector, "roi_head", None)
    if roi_head is not None:
        extractor: Any = roi_head.bbox_roi_extractor
        extractor = extractor[-1] if isinstance(extractor, nn.ModuleList) else extractor
        finest = getattr(extractor, "finest_scale", None)
        return 1.0 if finest is None else finest / (STOCK_PX * extractor.featmap_strides[0])
    head = getattr(detector, "bbox_head", None)
    generator = getattr(head, "atss_prior_generator", getattr(head, "prior_generator", None))  # the first of VFNet
    anchor = getattr(generator, "octave_base_scale", None)
    ranges = getattr(head, "regress_ranges", None)
    if anchor is not None:
        return float(anchor) / STOCK_ANCHOR.get(_name(detector), anchor)
    if ranges is not None:
        return float(ranges[0][1]) / (STOCK_RANGE.get(_name(detector), 8) * heads.strides(head)[0])
    return 1.0


def _side(detector: Any) -> int:
    generator = getattr(getattr(detector, "bbox_head", None), "prior_generator", None)
    own = getattr(generator, "input_size", None)  # SSD's maps allow no other
    if isinstance(own, int):
        return own
    # Where the sizes of SSD's anchors are given, for an input of another size, its generator has no input size.
    return SSD_PROBE if type(generator).__name__ == "SSDAnchorGenerator" else PROBE

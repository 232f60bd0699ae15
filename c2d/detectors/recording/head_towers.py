"""Record what a dense head predicts from: the inputs of its last two convolutions, level by level.

    with record_towers(detector) as towers:
        detector.loss(inputs, data_samples)      # or: detector.bbox_head(maps)
    towers.outputs()

mmdet calls the same convolutions once a level, finest first. Their inputs are recorded by hooks, which are removed at
the end of the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import families
from c2d.detectors.outputs import HeadTowers

LAYERS = {
    "retinanet": ("retina_cls", "retina_reg"),
    "atss": ("atss_cls", "atss_reg"),
    "gfl": ("gfl_cls", "gfl_reg"),
    "fcos": ("conv_cls", "conv_reg"),
}
"""Family -> attributes with the convolutions that predict classes and boxes."""


class TowerRecorder:
    """Inputs of the two convolutions in the order of their calls; created by `record_towers`."""

    def __init__(self) -> None:
        self.classification: list[Tensor] = []
        self.regression: list[Tensor] = []

    def outputs(self) -> HeadTowers:
        """Return the maps in fp32, with their graph."""
        return HeadTowers(*(tuple(m.float() for m in maps) for maps in (self.classification, self.regression)))


def final_convolutions(detector: Any) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Return the convolutions of a single-stage detector that predict classes and boxes.

    Raises:
        InputError: its head is of another family.
    """
    family = families.detector_family(detector)
    if family not in LAYERS:
        raise InputError(
            f"the towers of {family or families.detector_title(detector)} cannot be read; choose a detector of "
            f"{', '.join(LAYERS)}"
        )
    classes, boxes = (getattr(detector.bbox_head, name) for name in LAYERS[family])
    return classes, boxes


@contextmanager
def record_towers(detector: Any) -> Iterator[TowerRecorder]:
    """Record the maps that the dense head predicts from while the block runs.

    Args:
        detector: single-stage, see `final_convolutions`.
    """
    recorder, handles = TowerRecorder(), []
    places = zip(final_convolutions(detector), (recorder.classification, recorder.regression), strict=True)
    try:
        for layer, found in places:
            handles.append(layer.register_forward_pre_hook(_appends(found)))
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def _appends(found: list[Tensor]) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])

    return hook

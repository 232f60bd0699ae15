"""The block `protocols` of result.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from c2d.core.errors import unknown_name
from c2d.metrics.coco_data import CocoData
from c2d.metrics.protocols import kitti, voc

EVALUATE = {"voc": voc.evaluate, "kitti": kitti.evaluate}
"""{protocol of a data card: function that computes its numbers}."""


def evaluate_protocol(protocol: str, annotations: Sequence[Mapping[str, Any]], data: CocoData) -> dict[str, Any]:
    """Return {protocol: its numbers}, see `c2d.metrics.protocols.voc` and `c2d.metrics.protocols.kitti`.

    Args:
        protocol: of the data card.
        annotations: those that `data` was made from, in the same order.
        data: ground truth and detections.

    Raises:
        InputError: an unknown protocol, or an annotation without what it reads.
    """
    if protocol not in EVALUATE:
        raise unknown_name("evaluation protocol", protocol, EVALUATE)
    return {protocol: EVALUATE[protocol](annotations, data)}

"""The columns a table or plot can ask for: where the number stands in the frame, how it is shown, what is better.

A number is shown as `scale` times what is stored; AP and TIDE are stored in 0-1 and shown in percent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analysis.load.schema import COCO, IOUS, TIDE
from c2d.core.errors_analysis import unknown

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Quantity:
    """One kind of number.

    key: name in a report spec. frame: column of the frame ("" for those of `analysis.load.latency`). label: header.
    unit: of the shown number, "" for counts and ratios. scale: shown = scale x stored. digits: after the decimal point.
    better: direction in which a row is ahead; "" is never bold.
    """

    key: str
    frame: str
    label: str
    unit: str
    scale: float
    digits: int
    better: Better

    @property
    def under_conditions(self) -> bool:
        """Whether it depends on the device, the backend and so on that it was measured on."""
        return self.key.startswith(("latency", "memory"))


def _percent(key: str, frame: str, label: str, better: Better) -> Quantity:
    return Quantity(key, frame, label, "%", 100.0, 1, better)


_ALL = (
    *(_percent(name, name, name, "higher") for name in COCO),
    *(_percent(f"iou.{iou}", f"iou.{iou}", f"AP@{iou}", "higher") for iou in IOUS),
    *(_percent(f"tide.{error}", f"tide.{error}", f"TIDE {error}", "lower") for error in TIDE),
    _percent("teacher_top1", "teacher_top1", "teacher top-1", ""),
    _percent("teacher_AP", "teacher_AP", "teacher AP", ""),
    _percent("top1", "top1", "top-1", "higher"),
    _percent("top5", "top5", "top-5", "higher"),
    _percent("ece", "ece", "ECE", "lower"),
    Quantity("params", "params", "params", "M", 1e-6, 2, ""),
    Quantity("train_hours", "train_s", "training", "h", 1 / 3600, 2, ""),
    Quantity("train_minutes", "train_s", "training", "min", 1 / 60, 1, ""),
    Quantity("elapsed_hours", "elapsed_s", "elapsed", "h", 1 / 3600, 2, ""),
    Quantity("gflops", "", "FLOPs", "G", 1e-9, 1, ""),
    Quantity("gmacs", "", "MACs", "G", 1e-9, 1, ""),
    Quantity("latency_p50", "", "p50", "ms", 1.0, 1, "lower"),
    Quantity("latency_p90", "", "p90", "ms", 1.0, 1, "lower"),
    Quantity("latency_p99", "", "p99", "ms", 1.0, 1, "lower"),
    Quantity("memory_inference", "", "peak memory", "MiB", 1.0, 0, "lower"),
    Quantity("memory_training", "", "peak memory, training", "MiB", 1.0, 0, "lower"),
)
QUANTITIES: dict[str, Quantity] = {quantity.key: quantity for quantity in _ALL}


def quantity(key: str) -> Quantity:
    """The quantity of that name; an `InputError` that lists the known ones and suggests the nearest."""
    if key not in QUANTITIES:
        raise unknown("column", key, QUANTITIES)
    return QUANTITIES[key]

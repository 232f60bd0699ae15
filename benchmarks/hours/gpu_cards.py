"""Cards: peak FLOP/s by their data sheets, and the share of it that trainings achieve.

The shares follow from `published_speeds` (a test derives them again):

- V100, fp32: geometric mean of nine published speeds.
- A100: the V100's times the mean ratio of the two cards for a ResNet-50 and an SSD300 on one GPU. torch's default
  computes fp32 convolutions in TF32 there; fp32 matrix products (second stages, transformers) are slower than this.
- mixed precision: the V100's fp32 times the mean ratio for the same two networks.
- H100: twice an A100. That is assumed, not published for such a training: between the ratio of memory bandwidths (1.6)
  and the largest of NVIDIA's MLPerf figures (2.6, "up to", mixed precision).

The factor of the V100 covers every one of the nine speeds: that of SSD300 is furthest from their mean (1.7). The A100's
has the spread of the two ratios as well (1.2), the H100's what a ratio of 2.6 instead of 2 would be (1.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "amp"]


@dataclass(frozen=True)
class GpuCard:
    """A class of cards.

    Attributes:
        title: for tables.
        peak_tflops: {precision: dense TFLOP/s}; fp32 on cards with TF32 is that of TF32.
        share: {precision: part of it that is achieved}.
        factor: an estimate is right to this factor, up and down.
        basis: what the share rests on.
    """

    title: str
    peak_tflops: dict[Precision, float]
    share: dict[Precision, float]
    factor: float
    basis: str

    def step_seconds(self, flops: float, operators: int, precision: Precision) -> float:
        """Return the seconds of a step on one card: its kernels, or their start by the host, whichever takes longer.

        Args:
            flops: of the step.
            operators: that the host starts.
            precision: of the forward pass.
        """
        return max(flops / (self.peak_tflops[precision] * 1e12 * self.share[precision]), operators * OPERATOR_S)


OPERATOR_S = 10e-6
"""Seconds that the host takes to start an operator, autograd and the detector's Python included."""

CARDS = {
    "v100": GpuCard(
        "V100", {"fp32": 15.7, "amp": 125.0}, {"fp32": 0.62, "amp": 0.245}, 1.7, "published detector trainings"
    ),
    "a100": GpuCard(
        "A100", {"fp32": 156.0, "amp": 312.0}, {"fp32": 0.187, "amp": 0.21}, 2.0, "the V100's, by published ratios"
    ),
    "h100": GpuCard(
        "H100", {"fp32": 494.7, "amp": 989.4}, {"fp32": 0.118, "amp": 0.132}, 2.6, "twice an A100, assumed"
    ),
}


def precision_of(precision: str) -> Precision:
    """Return the key of a schedule's precision: fp16 and bf16 have the same peak."""
    return "fp32" if precision == "fp32" else "amp"

"""Normalization of image tensors (mean, standard deviation, channel order), and conversion between two of them.

Every network is trained with its own normalization; images of the student are converted here before a teacher sees
them (rule 6 of the methods' common rules).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalization:
    """`x = (value - mean) / std`, with values in 0-255.

    Attributes:
        mean, std: per channel, listed in the channel order `order`.
        order: channel order of the tensor.
    """

    mean: Triple
    std: Triple
    order: Literal["rgb", "bgr"]

    @classmethod
    def from_preprocessor(cls, preprocessor: Any) -> Normalization:
        """Read the normalization of an mmdet `DetDataPreprocessor`; without a mean it is the identity.

        mmdet reads images as BGR, so the output of a preprocessor that swaps channels is RGB, whether the option is
        called bgr_to_rgb or rgb_to_bgr. Mean and std are applied after the swap, so they are in the output order.
        """
        order: Literal["rgb", "bgr"] = "rgb" if getattr(preprocessor, "_channel_conversion", False) else "bgr"
        if not getattr(preprocessor, "_enable_normalize", False):
            return cls((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), order)
        return cls(_triple(preprocessor.mean), _triple(preprocessor.std), order)

    def reversed_channels(self) -> Normalization:
        """Return the same normalization in the other channel order."""
        mean, std = self.mean[::-1], self.std[::-1]
        return Normalization(mean, std, "bgr" if self.order == "rgb" else "rgb")


IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "rgb")
"""torchvision's ImageNet statistics on the 0-255 scale."""


def renormalize(images: Tensor, src: Normalization, dst: Normalization) -> Tensor:
    """Convert images from one normalization to another; differentiable, the identity where both are equal.

    Args:
        images: (..., 3, H, W), normalized as `src`.
        src: normalization of `images`.
        dst: normalization of the result.

    Returns:
        (..., 3, H, W) of the same dtype: `(images * sd_src + mu_src - mu_dst) / sd_dst` after a channel flip where the
        orders differ. Padding that is zero in `src` is the mean colour of `src`, and keeps that colour.
    """
    if src.order != dst.order:
        images, src = images.flip(-3), src.reversed_channels()
    if src == dst:
        return images
    scale = images.new_tensor([s / d for s, d in zip(src.std, dst.std, strict=True)])
    shift = images.new_tensor([(m - n) / d for m, n, d in zip(src.mean, dst.mean, dst.std, strict=True)])
    return images * scale[:, None, None] + shift[:, None, None]


def _triple(values: Tensor) -> Triple:
    # The preprocessor keeps fp32 buffers; seven digits restore the number of the config.
    numbers = [float(f"{v:.7g}") for v in values.reshape(-1).tolist()]
    if len(numbers) == 1:
        numbers = numbers * 3
    return (numbers[0], numbers[1], numbers[2])

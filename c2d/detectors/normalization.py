"""What a pixel value means: the normalisation of a tensor, and the way from one normalisation to another.

A detector and a classifier are trained with their own mean, standard deviation and channel order; whoever shows the
pixels of one to the other converts them here (rule 6 of the methods' common rules).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalization:
    """`x = (value - mean) / std` with values in 0-255; mean and std are listed in the channel order `order`."""

    mean: Triple
    std: Triple
    order: Literal["rgb", "bgr"]

    @classmethod
    def from_preprocessor(cls, preprocessor: Any) -> Normalization:
        """The normalisation of an mmdet `DetDataPreprocessor`; without a mean, pixels stay as they are.

        mmdet reads images as BGR, so a preprocessor that swaps channels (in either name) hands out RGB; its mean and
        std are applied after the swap, hence they are in the order handed out.
        """
        order: Literal["rgb", "bgr"] = "rgb" if getattr(preprocessor, "_channel_conversion", False) else "bgr"
        if not getattr(preprocessor, "_enable_normalize", False):
            return cls((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), order)
        return cls(_triple(preprocessor.mean), _triple(preprocessor.std), order)

    def reversed_channels(self) -> Normalization:
        """The same normalisation, listed in the other channel order."""
        mean, std = self.mean[::-1], self.std[::-1]
        return Normalization(mean, std, "bgr" if self.order == "rgb" else "rgb")


#: torchvision's ImageNet statistics on the 0-255 scale.
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "rgb")


def renormalize(images: Tensor, src: Normalization, dst: Normalization) -> Tensor:
    """Pixels normalised as `src`, normalised as `dst` instead; differentiable, the identity when both are equal.

    Args:
        images: (..., 3, H, W), normalised as `src`.
        src: what the values mean now.
        dst: what they shall mean.

    Returns:
        (..., 3, H, W) of the same dtype: `(images * sd_src + mu_src - mu_dst) / sd_dst` after a channel flip where the
        orders differ. Padding that was zero in `src` is the mean colour of `src`, and keeps that colour.
    """
    if src.order != dst.order:
        images, src = images.flip(-3), src.reversed_channels()
    if src == dst:
        return images
    scale = images.new_tensor([s / d for s, d in zip(src.std, dst.std, strict=True)])
    shift = images.new_tensor([(m - n) / d for m, n, d in zip(src.mean, dst.mean, dst.std, strict=True)])
    return images * scale[:, None, None] + shift[:, None, None]


def _triple(values: Tensor) -> Triple:
    # The preprocessor keeps fp32 buffers; seven digits give back the number that the config wrote down.
    numbers = [float(f"{v:.7g}") for v in values.reshape(-1).tolist()]
    if len(numbers) == 1:
        numbers = numbers * 3
    return (numbers[0], numbers[1], numbers[2])

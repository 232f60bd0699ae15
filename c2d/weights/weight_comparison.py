"""Compare two state dicts key by key: equal, equal after a flip of the input channels, equal up to a scale, or not.

The same network is published with other pixels in two ways that change its first layer alone: for BGR images its input
channels are flipped, and for images of 0-1 or divided by a standard deviation they are scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from c2d.weights.backbone_keys import HEADS, mobilenet_key

Relation = Literal["equal", "flipped", "scaled", "flipped and scaled", "different", "another shape", "not finite"]
TOLERANCE = 1e-5
"""Largest difference that counts as equal, relative to the largest value: rounding of a conversion."""
_MODULE = "module."
_BACKBONE = "backbone."


@dataclass(frozen=True)
class KeyComparison:
    """One tensor that both files have.

    Attributes:
        key: its name without prefixes, after the renaming of torchvision's MobileNetV2 to mmdet's.
        relation: of the second tensor to the first.
        scale: what multiplies the first to give the second: one number, or one for each input channel; else empty.
        correlation: of their values, as they are; nan where one is constant.
        difference: largest absolute difference, as they are.
    """

    key: str
    relation: Relation
    scale: tuple[float, ...] = ()
    correlation: float = float("nan")
    difference: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """Two files of weights.

    Attributes:
        keys: of what both have, in the order of the first.
        only_first, only_second: keys that the other lacks; those of classifier heads are left out.
    """

    keys: tuple[KeyComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    @property
    def are_equal(self) -> bool:
        """Whether both have the same keys and equal values."""
        same = bool(self.keys) and all(key.relation == "equal" for key in self.keys)
        return same and not self.only_first and not self.only_second


def compare_weights(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Comparison:
    """Compare two state dicts.

    Args:
        first: {key: tensor of any shape}, keys of torchvision, timm or mmdet. Of two detectors everything is compared,
            of a detector and a classifier the backbone.
        second: the same.
    """
    a, b = (_without(_MODULE, _tensors(state)) for state in (first, second))
    if not all(any(key.startswith(_BACKBONE) for key in state) for state in (a, b)):
        a, b = _without(_BACKBONE, a), _without(_BACKBONE, b)
    if "features.0.0.weight" in a and "features.0.0.weight" not in b:
        a = _renamed(a)
    elif "features.0.0.weight" in b and "features.0.0.weight" not in a:
        b = _renamed(b)
    only = [
        tuple(key for key in one if key not in other and not key.startswith(HEADS)) for one, other in ((a, b), (b, a))
    ]
    keys = tuple(compare_tensors(key, value, b[key]) for key, value in a.items() if key in b)
    return Comparison(keys, *only)


def compare_tensors(key: str, first: Tensor, second: Tensor) -> KeyComparison:
    """Compare two tensors, of any shape and dtype, of one name.

    Args:
        key: their name.
        first: (M, 3, k, k) if it reads pixels: then the input channels may be flipped, and scaled one by one.
        second: of any shape.
    """
    if first.shape != second.shape:
        return KeyComparison(key, "another shape")
    a, b = first.double(), second.double()
    if not (a.isfinite().all() and b.isfinite().all()):
        return KeyComparison(key, "not finite")
    difference = float((a - b).abs().max()) if a.numel() else 0.0
    found = KeyComparison(key, "different", (), _correlation(a, b), difference)
    if _is_same(a, b):
        return replace(found, relation="equal")
    reads_pixels = a.dim() == 4 and a.shape[1] == 3
    if reads_pixels and _is_same(a.flip(1), b):
        return replace(found, relation="flipped")
    scale = _scale(a, b, reads_pixels)
    if scale and _is_same(_scaled(a, scale), b):
        return replace(found, relation="scaled", scale=scale)
    if reads_pixels and (scale := _scale(a.flip(1), b, True)) and _is_same(_scaled(a.flip(1), scale), b):
        return replace(found, relation="flipped and scaled", scale=scale)
    return found


def _tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that are no counters."""
    return {key: value for key, value in state.items() if isinstance(value, Tensor) and value.is_floating_point()}


def _without(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, without it; all of them where none is under it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)} or state


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key if key.startswith(HEADS) else mobilenet_key(key): value for key, value in state.items()}


def _is_same(a: Tensor, b: Tensor) -> bool:
    largest = max(float(a.abs().max()), float(b.abs().max())) if a.numel() else 0.0
    return bool(((a - b).abs() <= TOLERANCE * largest).all())


def _correlation(a: Tensor, b: Tensor) -> float:
    if a.numel() < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def _scale(a: Tensor, b: Tensor, by_channel: bool) -> tuple[float, ...]:
    """Least-squares factors from a to b: one, or one for each input channel of (M, 3, k, k)."""
    parts = zip(a.unbind(1), b.unbind(1), strict=True) if by_channel else [(a, b)]
    pairs = [(float((x * y).sum()), float((x * x).sum())) for x, y in parts]
    return tuple(product / square for product, square in pairs) if all(square for _, square in pairs) else ()


def _scaled(a: Tensor, scale: tuple[float, ...]) -> Tensor:
    factors = a.new_tensor(scale)
    return a * (factors.view(1, -1, 1, 1) if len(scale) > 1 else factors)

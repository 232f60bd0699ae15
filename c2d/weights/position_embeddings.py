"""Weights of a transformer for another input size: position embeddings resampled to the network's own grid.

The resampling is that of the network's own library: timm's `checkpoint_filter_fn` (bicubic with antialiasing; it also
knows relative position tables, and the names that other programs gave to the same weights), torchvision's
`interpolate_embeddings` (bicubic).
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, nn


def resize_position_embeddings(
    state: Mapping[str, Tensor], network: nn.Module, head: Collection[str] = ()
) -> Mapping[str, Tensor]:
    """Fit the weights of a transformer to the input size that `network` was built for.

    Args:
        state: {key: tensor of any shape}, with the keys of the network or of the program that trained them.
        network: a classifier of timm or torchvision, built for its size of crops.
        head: keys of the network's head, which may differ.

    Returns:
        `state` itself where nothing else differs, and where the library has no resampling for this network.
    """
    own = {key: value for key, value in network.state_dict().items() if key not in head}
    if all(key in state and state[key].shape == value.shape for key, value in own.items()):
        return state
    resample = _resampling(network)
    if resample is None:
        return state
    try:
        found = resample(dict(state), network)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, ValueError):
        return state  # weights of another network: the audit of `safe_load` says which keys do not fit
    return {key: value for key, value in found.items() if isinstance(value, Tensor)}


def _resampling(network: nn.Module) -> Callable[[dict[str, Tensor], Any], Mapping[str, Any]] | None:
    """The function of the network's library that converts a state dict for it; None if there is none."""
    for kind in type(network).__mro__:
        if kind.__module__.startswith("timm.models."):
            found = getattr(sys.modules[kind.__module__], "checkpoint_filter_fn", None)
            if found is not None:
                return found
        if kind.__module__ == "torchvision.models.vision_transformer":
            return _torchvision
    return None


def _torchvision(state: dict[str, Tensor], network: Any) -> Mapping[str, Any]:
    from torchvision.models.vision_transformer import interpolate_embeddings

    resized: Mapping[str, Any] = interpolate_embeddings(network.image_size, network.patch_size, OrderedDict(state))
    return resized

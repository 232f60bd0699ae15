"""Feature layers of a classifier network: which modules they are, and their outputs as maps (B, M, h, w).

Layers are named l0, l1, ... ResNets of torchvision, timm and mmdet: l0 is the stem after its max-pool and l1..l4 the
four stages, as in the ICOD paper. Networks of several resolutions: the last map at each, finest first. Transformers and
mixers of one resolution: the blocks at a quarter, half, three quarters and the whole of the depth.

Tokens (B, N, M) become maps of the side sqrt(N) without the class, distillation and register tokens, which come first.
Maps with the channels last (B, h, w, M), as in Swin, are permuted.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Side in px of the image that orders the layers by resolution: 3 cells at stride 32.
PROBE = 96
# Where torchvision keeps the convolutional part of families that have no layer1..layer4.
TRUNKS = ("features", "trunk_output", "layers")
# Of the blocks of a network of one resolution.
DEPTHS = (1 / 4, 1 / 2, 3 / 4, 1)
RUN_ERRORS = (AssertionError, RuntimeError, ValueError, TypeError, IndexError)
"""What networks raise for an image of a size that they cannot process."""


class _Seen(NamedTuple):
    """A module's output for the probe image: the side of its map, and whether it is a plain one (B, M, h, w)."""

    side: int
    plain: bool


def as_map(output: Any, prefix_tokens: int = 0, channels_last: bool = False) -> Tensor | None:
    """Return a module's output as a square map.

    Args:
        output: (B, M, h, w), (B, h, w, M) or tokens (B, N, M), with the prefix tokens first; or a tuple that begins
            with one (MViT's stages return their size as well).
        prefix_tokens: of the network; a module that runs before they are added has none.
        channels_last: decides where h, w and M are equal.

    Returns:
        (B, M, h, h) with the graph; None for anything else.
    """
    output = _first(output)
    if not isinstance(output, Tensor):
        return None
    if output.dim() == 4:
        _, first, second, third = output.shape
        if first == second and (channels_last or second != third):
            return output.permute(0, 3, 1, 2)
        return output if second == third else None
    if output.dim() != 3 or output.shape[2] == 1:
        return None
    # Class tokens that a network does not count (CoaT) are tried last.
    for prefix in (prefix_tokens, 0, 1):
        count = output.shape[1] - prefix
        side = math.isqrt(max(count, 0))
        if side > 0 and side * side == count:
            batch, _, channels = output.shape
            return output[:, prefix:].transpose(1, 2).reshape(batch, channels, side, side)
    return None


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) and output else output


def prefix_tokens(network: nn.Module) -> int:
    """Return the number of class, distillation and register tokens that come before those of the patches."""
    if type(network).__module__ == "torchvision.models.vision_transformer":
        return 1
    count = getattr(network, "num_prefix_tokens", 0)
    return count if isinstance(count, int) else 0


def has_channels_last(network: nn.Module) -> bool:
    """Return whether the network says that its maps are (B, h, w, M)."""
    return str(getattr(network, "output_fmt", "")) == "NHWC"


def layer_modules(network: nn.Module, size: int) -> dict[str, str]:
    """Map layer names to module names, finest first.

    Args:
        network: any classifier.
        size: side of its crops in px.

    Returns:
        {l0, l1, ...: name in `named_modules`}; empty for a network without maps.
    """
    trunk = getattr(network, "trunk", None)  # of a classifier on the backbone of a student: a name
    prefix, part = (f"{trunk}.", network.get_submodule(trunk)) if isinstance(trunk, str) else ("", network)
    modules = dict(part.named_modules())
    if all(stage in modules for stage in ("maxpool", "layer1", "layer2", "layer3", "layer4")):
        return {"l0": f"{prefix}maxpool", **{f"l{n}": f"{prefix}layer{n}" for n in range(1, 5)}}
    listed = [str(info.get("module")) for info in getattr(part, "feature_info", None) or () if isinstance(info, dict)]
    names = [prefix + name for name in [name for name in listed if name in modules] or _children(part)]
    # At one size for all crops, so that the layers of convolutional networks do not depend on the size.
    seen = _probe(network, names, PROBE) or _probe(network, names, size)
    return {f"l{index}": name for index, name in enumerate(_chosen(seen))}


def _chosen(seen: dict[str, _Seen]) -> list[str]:
    """Of the modules with maps, in the order in which they ran: one at each resolution, or four of a single one."""
    last = {found.side: name for name, found in seen.items()}
    blocks = [name for name, found in seen.items() if not found.plain]
    if len(last) > 1 or not blocks:
        return [last[side] for side in sorted(last, reverse=True)]
    # ceil: of two blocks around a quarter the deeper one; 12 blocks give the third, sixth, ninth and last.
    return list(dict.fromkeys(blocks[math.ceil(depth * len(blocks)) - 1] for depth in DEPTHS))


def _children(network: nn.Module) -> list[str]:
    """The children of the network, with the trunk replaced by its children."""
    names: list[str] = []
    for child, module in network.named_children():
        inside = [f"{child}.{part}" for part, _ in module.named_children()]
        blocks = getattr(module, "layers", None)
        if child == "encoder" and isinstance(blocks, nn.Sequential):
            names += [f"encoder.layers.{part}" for part, _ in blocks.named_children()]
        else:
            names += inside if child in TRUNKS and isinstance(module, nn.Sequential) else [child]
    return names


def _probe(network: nn.Module, names: list[str], size: int) -> dict[str, _Seen]:
    """Run an image of `size` px; of the modules `names`, those that return maps of more than one cell."""
    outputs: dict[str, tuple[Tensor, int]] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(found := _first(output), Tensor):
                outputs[name] = (found, found._version)

        return hook

    training = network.training  # restored below; eval(), because batch norm would average the probe image in
    parameter = next(network.parameters())
    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size, dtype=parameter.dtype, device=parameter.device))
    except RUN_ERRORS:
        return {}  # a network of one fixed input size
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    prefix, channels_last = prefix_tokens(network), has_channels_last(network)
    seen: dict[str, _Seen] = {}
    for name, (output, version) in outputs.items():
        found = as_map(output, prefix, channels_last)
        # A batch of another size is that of the parts of patches (TNT). A later in-place operation raises the version:
        # the map is then not what the module returned.
        if found is not None and len(found) == 1 and found.shape[-1] > 1 and output._version == version:
            seen[name] = _Seen(found.shape[-1], plain=found is output)
    return seen

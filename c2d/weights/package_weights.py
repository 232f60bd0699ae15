"""`package:NAME`: the keys of EfficientNet-Lite's published files as timm's, its normalization, and its network."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.normalization import Normalization
from c2d.weights.weight_packages import WeightPackage, weight_package

# Parts of the network that are no blocks: the file's name -> timm's.
PARTS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Steps of a block. The first block of all does not expand its channels: it has two convolutions instead of three.
STEPS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST_STEPS = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
TF_EPSILON = 1e-3


def pixels(init: str) -> Normalization:
    """Return the normalization of the images that the weights were trained on."""
    package = weight_package(init)
    return Normalization(package.mean, package.std, "rgb")


def timm_keys(package: WeightPackage) -> Callable[[str], str]:
    """Return a function: key of the package's file -> key of timm's network.

    The file numbers all blocks through (`_blocks.4`), timm by stage and block (`blocks.2.1`).
    """
    places = [f"blocks.{stage}.{block}" for stage, depth in enumerate(package.depths) for block in range(depth)]

    def rename(key: str) -> str:
        part, _, rest = key.partition(".")
        if part in PARTS:
            return f"{PARTS[part]}.{rest}"
        number, _, tail = rest.partition(".")
        step, _, leaf = tail.partition(".")
        steps = FIRST_STEPS if number == "0" else STEPS
        if part != "_blocks" or not number.isdecimal() or int(number) >= len(places) or step not in steps:
            return key  # no key of such a file: it is reported as unexpected
        return f"{places[int(number)]}.{steps[step]}.{leaf}"

    return rename


def check_network(init: str, network: nn.Module) -> None:
    """Check that a network computes what the weights were trained in: padding and batch norm as in TensorFlow.

    timm's `efficientnet_lite0` has the same keys and shapes, and computes other values.

    Raises:
        InputError: it does not.
    """
    wanted = weight_package(init).network
    parts = dict(network.named_modules())
    stem, norm = parts.get("conv_stem"), parts.get("bn1")
    same_padding = type(stem).__name__ == "Conv2dSame"
    if not same_padding or getattr(norm, "eps", None) != TF_EPSILON:
        raise InputError(
            f"weights {init} belong to timm's {wanted}, and this network is another one; take timm:{wanted} as network "
            f"of a classifier, or as backbone dict(type='timm.create_model', model_name='{wanted}', ...) of a student"
        )

"""Keys of published classifiers as keys of a detector's backbone, of mmdet or of timm (`features_only`)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn

# Classifier heads of torchvision's families; a detector has no place for them.
HEADS = ("fc.", "classifier.", "head.", "heads.")
# Blocks in each of mmdet's MobileNetV2 layers; torchvision numbers the same blocks through, from features.1.
MOBILENET_BLOCKS = (1, 2, 3, 4, 3, 3, 1)


def backbone_keys(given: Collection[str], backbone: nn.Module) -> Callable[[str], str | None]:
    """Return a function: key of a published network -> key of a backbone, None for what a backbone does not have.

    Args:
        given: keys of the published network; of a whole detector, or of a classifier on the backbone of a student, the
            backbone is taken.
        backbone: of an mmdet detector; also one of timm.
    """
    own = set(backbone.state_dict())
    of_detector = any(key.startswith("backbone.") for key in given)
    if type(backbone).__module__.startswith("timm.") and not of_detector:
        return lambda key: _timm_key(key, own)
    mobilenet = type(backbone).__name__ == "MobileNetV2" and "features.0.0.weight" in given

    def rename(key: str) -> str | None:
        if of_detector:
            return key.removeprefix("backbone.") if key.startswith("backbone.") else None
        if key not in own and key.startswith(HEADS):
            return None
        return mobilenet_key(key) if mobilenet else key

    return rename


def optional_keys(backbone: nn.Module) -> tuple[str, ...]:
    """Return keys no published classifier has: SSD's fc6 and fc7, which torchvision's VGG keeps as linear layers."""
    if type(backbone).__name__ != "SSDVGG":
        return ()
    return tuple(key for key in backbone.state_dict() if key.startswith(("features.31.", "features.33.")))


def _timm_key(key: str, own: Collection[str]) -> str | None:
    """Key of timm's classifier -> of the same network as a list of features; None for what follows its last map.

    Such a list has the same modules, or one (`stages_0`) for each part that the classifier nests (`stages.0`), or the
    whole network under `model`. A key of the backbone that no key gives is an error later, one of the file is not.
    """
    parts = key.split(".")
    merged = ("_".join(parts[:count]) + "." + ".".join(parts[count:]) for count in range(2, len(parts)))
    return next((name for name in (key, f"model.{key}", *merged) if name in own), None)


def mobilenet_key(key: str) -> str:
    """Return mmdet's key for one of torchvision: `features.2.conv.0.0.weight` -> `layer2.0.expand_conv.conv.weight`."""
    _, number, rest = key.split(".", 2)
    block = int(number)
    part = {"0": "conv", "1": "bn"}
    if block in (0, 18):
        index, tail = rest.split(".", 1)
        return f"conv{1 if block == 0 else 2}.{part[index]}.{tail}"
    layer, within = 1, block - 1
    while within >= MOBILENET_BLOCKS[layer - 1]:
        within -= MOBILENET_BLOCKS[layer - 1]
        layer += 1
    # conv.N: N-th step of the block. The first block (expansion 1) has no expanding convolution.
    step, tail = rest.removeprefix("conv.").split(".", 1)
    steps = ["depthwise_conv", "linear"] if block == 1 else ["expand_conv", "depthwise_conv", "linear"]
    name = steps[int(step)] if int(step) < len(steps) else "norm"
    if name in ("linear", "norm"):
        return f"layer{layer}.{within}.linear_conv.{'conv' if name == 'linear' else 'bn'}.{tail}"
    index, tail = tail.split(".", 1)
    return f"layer{layer}.{within}.{name}.{part[index]}.{tail}"

"""timm's networks as backbones of mmdet's detectors: `backbone=dict(type='timm.create_model', ...)`.

mmengine resolves the dotted name by import, so stock mmdet builds such a config as soon as timm is installed. Here a
config may come from a stranger, and `timm.create_model` also downloads, reads pickles and takes classes as arguments:
the function below has its place and its result, and accepts what describes a network alone.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from c2d.core.errors import InputError, unknown_name

TYPE = "timm.create_model"
EXAMPLE = (
    "dict(type='timm.create_model', model_name='tf_efficientnet_lite0', features_only=True, out_indices=(1, 2, 3, 4), "
    "pretrained=False)"
)
OPTIONS = ("model_name", "features_only", "out_indices", "output_stride", "pretrained", "drop_rate", "drop_path_rate")
"""Arguments that describe the network; all others of timm's function are refused."""


def create_model(**options: Any) -> nn.Module:
    """Build a network of timm that returns its feature maps, with random weights.

    Args:
        options: see OPTIONS; `pretrained` may only be false: first weights come from `init` of the spec.

    Returns:
        A module (N, 3, H, W) -> a list of maps, finest first.

    Raises:
        InputError: timm is not installed, the network does not exist or has no maps, or another argument is given.
    """
    for key, value in options.items():
        if key not in OPTIONS:
            raise unknown_name(f"argument of {TYPE}:", key, OPTIONS, f"such as {EXAMPLE}")
        if not _is_plain(value):
            raise InputError(f"{TYPE}: {key} is a {type(value).__name__}; give text or numbers, such as {EXAMPLE}")
    name = options.pop("model_name", None)
    if options.pop("pretrained", False):
        raise InputError(f"{TYPE}: pretrained is true; weights come from `init` of the spec: write pretrained=False")
    if options.pop("features_only", False) is not True:
        raise InputError(f"{TYPE}: a backbone returns feature maps; write features_only=True, such as {EXAMPLE}")
    try:
        import timm
    except ImportError:
        raise InputError(
            f"the backbone {name!r} needs timm, which is not installed; pip install timm (part of the extra `weights`)"
        ) from None
    if not isinstance(name, str) or name.partition(".")[0] not in timm.list_models():
        known = timm.list_models(f"{str(name)[:4]}*")
        raise unknown_name("timm network", name, known, "timm.list_models() has all names")
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, features_only=True, **options)
    except Exception as error:  # code of many networks, each with its own checks
        raise InputError(f"{TYPE}: {name} cannot be built with these arguments: {error}; such as {EXAMPLE}") from None
    return network


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, int) for item in value)
    return value is None or isinstance(value, str | int | float)

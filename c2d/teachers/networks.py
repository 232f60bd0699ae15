"""Classifier networks by name, and the modules of their feature layers.

`resnet50` is torchvision's, `timm:NAME` is timm's. A network's layers are named l0, l1, ... from the finest map to the
coarsest. ResNets in either library: l0 is the stem after its max-pool and l1..l4 the four stages, as in the ICOD
paper. Other families: the last map at each resolution, in order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError, unknown_name
from c2d.detectors.normalization import Normalization
from c2d.weights import pretrained

TIMM = "timm:"
# Side in px of the image that orders the layers by resolution: 3 cells at stride 32.
PROBE = 96
# Where torchvision keeps the convolutional part of families that have no layer1..layer4.
TRUNKS = ("features", "trunk_output", "layers")


def build_network(
    name: str,
    num_classes: int,
    weights: str = "none",
    *,
    normalization: Normalization | None = None,
    download: bool | None = None,
) -> nn.Module:
    """Build a C-way classifier, (N, 3, s, s) -> (N, C) logits.

    Args:
        name: a torchvision classification model, or `timm:NAME`.
        num_classes: C; the head is always new.
        weights: as `init` of a spec, or `none`; all but the head is loaded.
        normalization: of its images; checked against that of the weights.
        download: see `c2d.weights.pretrained.initialise`.

    Raises:
        InputError: the network is unknown, timm is not installed, or the weights do not fit.
    """
    network = _timm(name.removeprefix(TIMM), num_classes) if name.startswith(TIMM) else _torchvision(name, num_classes)
    if weights != "none":
        pretrained.initialise_network(network, weights, pixels=normalization, classifier=True, download=download)
    return network


def layer_modules(network: nn.Module) -> dict[str, str]:
    """Map layer names to module names, finest first; empty for a network of one resolution (a vision transformer)."""
    modules = dict(network.named_modules())
    if all(part in modules for part in ("maxpool", "layer1", "layer2", "layer3", "layer4")):
        return {"l0": "maxpool", **{f"l{n}": f"layer{n}" for n in range(1, 5)}}
    listed = [
        str(info.get("module")) for info in getattr(network, "feature_info", None) or () if isinstance(info, dict)
    ]
    names = _by_resolution(network, [name for name in listed if name in modules] or _children(network))
    return {f"l{index}": name for index, name in enumerate(names)}


def _children(network: nn.Module) -> list[str]:
    """The children of the network, with the trunk replaced by its children."""
    names: list[str] = []
    for child, module in network.named_children():
        inside = [f"{child}.{part}" for part, _ in module.named_children()]
        names += inside if child in TRUNKS and isinstance(module, nn.Sequential) else [child]
    return names


def _by_resolution(network: nn.Module, names: list[str]) -> list[str]:
    """Of the modules `names`, the last one at each map size, finest first."""
    seen: dict[str, tuple[Tensor, int]] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen[name] = (output, output._version)

        return hook

    training = network.training  # restored below; eval(), because batch norm would average the probe image in
    parameter = next(network.parameters())
    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, PROBE, PROBE, dtype=parameter.dtype, device=parameter.device))
    except (AssertionError, RuntimeError, ValueError):
        return []  # a network of one fixed input size, as vision transformers are
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    last: dict[int, str] = {}
    for name, (output, version) in seen.items():
        # A later in-place operation raises the version: the map is then not what the module returned.
        if output.dim() == 4 and 1 < output.shape[-1] == output.shape[-2] and output._version == version:
            last[output.shape[-1]] = name
    return [last[size] for size in sorted(last, reverse=True)]


def _torchvision(name: str, num_classes: int) -> nn.Module:
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise unknown_name("network", name, names, "or timm:NAME")
    # With auxiliary heads these two return three outputs in training mode; the losses here expect one.
    extra = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **extra)
    return network


def _timm(name: str, num_classes: int) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise InputError(f"network 'timm:{name}' needs timm: pip install timm, or take a torchvision network") from None
    if name not in timm.list_models():
        raise unknown_name("timm network", name, timm.list_models(f"{name[:4]}*"), "see timm.list_models()")
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    return network

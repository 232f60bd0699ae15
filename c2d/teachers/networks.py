"""Classifier networks by name, built for one size of crops: `resnet50` is torchvision's, `timm:NAME` is timm's,
`student:NAME` is the backbone of a student (`c2d.teachers.student_network`).

Transformers are built for the size of their crops where their library can (timm's `img_size` or `dynamic_img_size`,
torchvision's `image_size`); pretrained position embeddings are resampled to it when they are loaded
(`c2d.weights.position_embeddings`). Their layers: `c2d.teachers.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from c2d.core.errors import InputError, unknown_name
from c2d.detectors.normalization import Normalization
from c2d.specs.spec import STUDENT_NETWORK
from c2d.teachers.fitting.zero_shot import add_cosine_head
from c2d.teachers.layers import RUN_ERRORS
from c2d.teachers.student_network import student_builder
from c2d.weights import pretrained

TIMM = "timm:"
MIN_INPUT, MAX_INPUT = 32, 2048
"""Smallest and largest side of a crop in px: networks halve their maps five times; memory grows with the square."""
# Steps of the search for sizes that fit, where a network has no patches: the stride of its last map.
STRIDE, TRIES = 32, 12

Builder = Callable[[int], nn.Module]


def build_network(
    name: str,
    num_classes: int,
    size: int,
    weights: str = "none",
    *,
    normalization: Normalization | None = None,
    download: bool | None = None,
    backbone: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a C-way classifier, (N, 3, s, s) -> (N, C) logits.

    Args:
        name: a torchvision classification model, `timm:NAME`, or `student:NAME`.
        num_classes: C; the head is always new.
        size: s, side of the crops in px.
        weights: as `init` of a spec, or `none`; all but the head is loaded.
        normalization: of its images; checked against that of the weights.
        download: see `c2d.weights.pretrained.initialise`.
        backbone: config of the backbone of `student:NAME`, see `student_builder`.

    Raises:
        InputError: the network is unknown or cannot process crops of this size, timm is not installed, or the weights
            do not fit.
    """
    network = _built_for(name, _builder(name, num_classes, backbone), size)
    if weights != "none":
        pretrained.initialise_network(network, weights, pixels=normalization, classifier=True, download=download)
    return network


def check_input(size: int | None) -> None:
    """Check the side of the crops before a network is built for it.

    Raises:
        InputError: there is none, or it is too small or too large.
    """
    if size is None or not MIN_INPUT <= size <= MAX_INPUT:
        raise InputError(f"classifier input {size} px; give `input`, {MIN_INPUT} to {MAX_INPUT} (the paper uses 112)")


def build_fitted_network(
    name: str, num_classes: int, size: int, text_length: int | None = None, backbone: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a C-way classifier as its run fits it.

    Args:
        name: see `build_network`.
        num_classes: C.
        size: side of the crops in px.
        text_length: of zero-shot classifiers the numbers E of a text embedding: the network projects to E numbers, and
            its logits are cosines with C embeddings.
        backbone: see `build_network`.

    Raises:
        InputError: as `build_network`; a zero-shot network has to end in a linear layer.
    """
    if text_length is None:
        return build_network(name, num_classes, size, backbone=backbone)
    network = build_network(name, text_length, size, backbone=backbone)
    add_cosine_head(network, size, num_classes)
    return network


def _builder(name: str, num_classes: int, backbone: Mapping[str, Any] | None) -> Builder:
    if name.startswith(STUDENT_NETWORK):
        return student_builder(name, backbone, num_classes)
    return _timm(name.removeprefix(TIMM), num_classes) if name.startswith(TIMM) else _torchvision(name, num_classes)


def _built_for(name: str, build: Builder, size: int) -> nn.Module:
    """Build a network for crops of `size` px and check that it processes them."""
    if size > MAX_INPUT:
        check_input(size)
    network: nn.Module | None = None
    try:
        network = build(size)
        reason = _misfit(network, size)
    except RUN_ERRORS as error:
        reason = str(error).split("\n")[0] or "the network cannot be built for it"
    if network is not None and not reason:
        return network
    trained: Any = (getattr(network, "default_cfg", None) or {}).get("input_size")
    patch = _patch(network) if network is not None else None
    fitting = _fitting_sizes(build, size, patch, int(trained[-1]) if trained else None)
    sizes = " or ".join(map(str, fitting)) or "another size"
    raise InputError(f"{name} cannot process crops of {size} px: {reason}; set `input` to {sizes}")


def _misfit(network: nn.Module, size: int, device: str = "cpu") -> str:
    """Why a network cannot process crops of `size` px; empty if it can."""
    patch = _patch(network)
    if patch and size % patch:
        return f"the side is no multiple of its patches of {patch} px"
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size, device=device))
    except RUN_ERRORS as error:
        return str(error).split("\n")[0].rstrip(".") or type(error).__name__
    finally:
        network.train(training)
    return ""


def _patch(network: nn.Module) -> int | None:
    """Side in px of the patches that a transformer cuts its image into without padding; None for other networks."""
    embed: Any = getattr(network, "patch_embed", None)
    if embed is None or getattr(embed, "dynamic_img_pad", False):
        return None
    convolution, patch = getattr(embed, "proj", None), getattr(embed, "patch_size", None)
    if not isinstance(convolution, nn.Conv2d) or convolution.kernel_size != convolution.stride or patch is None:
        return None
    side = max(patch) if isinstance(patch, tuple | list) else int(patch)
    return side if side == convolution.stride[0] else None


def _fitting_sizes(build: Builder, size: int, patch: int | None, trained: int | None) -> list[int]:
    """The nearest smaller and larger size that the network can process, from shapes alone.

    Multiples of the patch or of the stride are tried, and the size that the network's weights were trained at.
    """
    step = patch or STRIDE
    tried = {place * step for place in range(1, size // step + TRIES)} | ({trained} if trained else set())
    below = sorted((side for side in tried if MIN_INPUT <= side < size), reverse=True)
    above = sorted(side for side in tried if size < side <= MAX_INPUT)
    found = (next(_that_fit(build, sizes), None) for sizes in (below[:TRIES], above))
    return [side for side in found if side is not None]


def _that_fit(build: Builder, sizes: Iterable[int]) -> Iterator[int]:
    for side in sizes:
        try:
            with torch.device("meta"):
                network = build(side)
            if not _misfit(network, side, "meta"):
                yield side
        except (NotImplementedError, *RUN_ERRORS):
            continue


def _torchvision(name: str, num_classes: int) -> Builder:
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise unknown_name("network", name, names, "or timm:NAME, or student:NAME")
    # With auxiliary heads these two return three outputs in training mode; the losses here expect one.
    extra = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    sized = name.startswith("vit_")

    def build(size: int) -> nn.Module:
        options = {**extra, "image_size": size} if sized else extra
        network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
        return network

    return build


def _timm(name: str, num_classes: int) -> Builder:
    try:
        import timm
    except ImportError:
        raise InputError(f"network 'timm:{name}' needs timm: pip install timm, or take a torchvision network") from None
    if name not in timm.list_models():
        near = [other for other in timm.list_models() if other[:4] == name[:4].lower()]
        raise unknown_name("timm network", name, near, "see timm.list_models()")

    def build(size: int) -> nn.Module:
        for options in ({"img_size": size}, {"dynamic_img_size": True}, {}):
            try:
                network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, **options)
            except TypeError as error:  # raised before a weight is drawn
                if not any(key in str(error) for key in options):
                    raise
            else:
                return network
        raise AssertionError(name)

    return build

"""Load the initial weights of a network: from a file, or from `torchvision:MODEL.WEIGHTS`.

Weights and pixels belong together: torchvision states how the images of each of its weights were normalised, and a
detector or classifier that normalises otherwise is refused. torchvision's files are taken from torch's own cache, and
downloaded only on request. Every file is read by `safe_load`. Keys are renamed from torchvision's to mmdet's, network
by network; heads of classifiers are dropped.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.detectors.normalization import Normalization
from c2d.weights import safe_load
from c2d.weights.audit import Audit
from c2d.weights.position_embeddings import resize_position_embeddings

PREFIX, KEPT = "torchvision:", "sha256:"
# In grey levels: mmdet's configs have ImageNet's means (123.675), some weights were trained with whole numbers (123.0).
MEAN_TOLERANCE = 2.0
STD_TOLERANCE = 0.02
# Classifier heads of torchvision's families; a detector has no place for them.
HEADS = ("fc.", "classifier.", "head.", "heads.")
# Auxiliary classifiers of the Inception family; networks are built without them.
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
# Blocks in each of mmdet's MobileNetV2 layers; torchvision numbers the same blocks through, from features.1.
MOBILENET_BLOCKS = (1, 2, 3, 4, 3, 3, 1)


def initialise(model: nn.Module, init: str, folder: RunFolder | None = None, *, download: bool | None = None) -> Audit:
    """Put the weights that `init` names into a detector's backbone, or into a classifier's network.

    Args:
        model: an mmdet detector (`.backbone`) or a CropClassifier (`.network`), initialised by its own rules, with the
            data preprocessor that normalises its images.
        init: `torchvision:MODEL.WEIGHTS`, the path of a file with torchvision's or mmdet's keys (of a whole detector
            the backbone is taken), or `sha256:HEX` of a file in the store.
        folder: any run of that store; needed for `sha256:` only.
        download: fetch a torchvision file that is not in the cache; None to do so if C2D_DOWNLOAD is 1.

    Raises:
        InputError: unknown or absent weights, pixels that do not belong to them, or another architecture.
    """
    target = getattr(model, "network", None) or model.backbone
    assert isinstance(target, nn.Module)
    check_pixels(init, Normalization.from_preprocessor(model.data_preprocessor))
    return load(target, find_weights(init, folder, download=download), classifier=hasattr(model, "network"))


def load(target: nn.Module, path: Path, *, classifier: bool) -> Audit:
    """Load a weight file.

    Args:
        target: an mmdet backbone, or a classifier's network.
        path: the file.
        classifier: `target` is a classifier, which keeps its own head if the number of classes differs.
    """
    # `safe_load` strips this prefix itself; here keys are only compared with those of the target.
    state: Mapping[str, Tensor] = {key.removeprefix("module."): value for key, value in _state(path).items()}
    resized = resize_position_embeddings(state, target, head_keys(target)) if classifier else state
    source = path if resized is state else resized
    state = resized
    if classifier:
        own = target.state_dict()
        head = {key for key in head_keys(target) if key not in state or state[key].shape != own[key].shape}

        def rename(key: str) -> str | None:
            return None if key in head or (key not in own and key.startswith(AUXILIARY)) else key

        missing: tuple[str, ...] = tuple(sorted(head))
    else:
        missing = _may_be_missing(target)
    translate = rename if classifier else _renaming(state, target)
    return safe_load.load_into(
        target, source, who="backbone", strict=True, rename=translate, allow_missing=missing, source_name=str(path)
    )


def head_keys(network: nn.Module) -> set[str]:
    """Return the state keys of a classifier's last layer, whose shape depends on the number of classes.

    timm names its own: distilled transformers have two, some convolutional networks a 1x1 convolution.
    """
    get_classifier: Any = getattr(network, "get_classifier", None)
    named = get_classifier() if get_classifier else None
    heads = named if isinstance(named, tuple | list) else [named]
    last = [name for name, module in network.named_modules() if any(module is head for head in heads)]
    if not last:
        last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1:]
    return {f"{name}.{part}" for name in last for part in ("weight", "bias")} & set(network.state_dict())


def _state(path: Path) -> Mapping[str, Tensor]:
    weights, _ = safe_load.weights_of(safe_load.load(path), str(path))
    return {key: value for key, value in weights.items() if isinstance(value, Tensor)}


def find_weights(init: str, folder: RunFolder | None = None, *, download: bool | None = None) -> Path:
    """Return the file that `init` names; for torchvision's weights the one in torch's cache.

    Args:
        init: as in `initialise`.
        folder: any run of the store; needed for `sha256:` alone.
        download: fetch a torchvision file that is not in the cache; None to do so if C2D_DOWNLOAD is 1.

    Raises:
        InputError: there is no such file; the download failed or is damaged; a kept file was changed.
    """
    if init.startswith(KEPT):
        kept = RunStore(folder.path.parent).weights(init.removeprefix(KEPT)) if folder is not None else None
        if kept is None or not kept.is_file():
            raise InputError(
                f"no weight file {kept or init} in the store; give the file itself as `init`, so that it is kept"
            )
        with kept.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != init.removeprefix(KEPT):
                raise InputError(
                    f"{kept} is not the file that was given as init: its sha256 differs from its name; remove it and "
                    "give the file itself as `init`, so that it is kept again"
                )
        return kept
    if not init.startswith(PREFIX):
        path = Path(init)
        if not path.is_file():
            raise InputError(f"no weight file {path}; give a file, torchvision:MODEL.WEIGHTS, or none")
        return path
    url = str(_weights(init).url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        if not (os.environ.get("C2D_DOWNLOAD") == "1" if download is None else download):
            raise InputError(
                f"weights {init} are not here: there is no {path}; call again with --download (or C2D_DOWNLOAD=1), "
                f"or put {path.name} there yourself (torch's cache, moved by TORCH_HOME)"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=_hash_prefix(path), progress=False)
        except (OSError, RuntimeError) as error:
            raise InputError(f"cannot download {init}: {error}; put {path.name} into {path.parent} yourself") from None
    wanted = _hash_prefix(path)
    if wanted and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(wanted):
        raise InputError(
            f"{path} is broken: its sha256 does not begin with {wanted}; remove it and call again with --download"
        )
    return path


def pretrained_pixels(init: str) -> Normalization | None:
    """Return the normalisation that weights were trained with, on the 0-255 scale; None for files, which have none."""
    if not init.startswith(PREFIX):
        return None
    preset = _weights(init).transforms()
    mean, std = ([round(255 * value, 3) for value in values] for values in (preset.mean, preset.std))
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), "rgb")


def check_pixels(init: str, normalization: Normalization) -> None:
    """Refuse torchvision weights whose images were normalised differently than `normalization`.

    Means may differ by two grey levels and standard deviations by 2 %, which covers the roundings in use; channel order
    and scale may not differ.
    """
    trained = pretrained_pixels(init)
    if trained is None:
        return
    fits = trained.order == normalization.order
    fits &= all(abs(a - b) <= MEAN_TOLERANCE for a, b in zip(trained.mean, normalization.mean, strict=True))
    fits &= all(abs(a / b - 1) <= STD_TOLERANCE for a, b in zip(trained.std, normalization.std, strict=True))
    if not fits:
        raise InputError(
            f"weights {init} were trained on {_spell(trained)}, but this network sees {_spell(normalization)}; "
            "take weights that fit the normalisation, or none"
        )


def _renaming(state: Mapping[str, Tensor], backbone: nn.Module) -> Callable[[str], str | None]:
    """Return a function: file key -> key of an mmdet backbone, None for a head or another part of a detector."""
    own = set(backbone.state_dict())
    of_detector = any(key.startswith("backbone.") for key in state)
    mobilenet = type(backbone).__name__ == "MobileNetV2" and "features.0.0.weight" in state

    def rename(key: str) -> str | None:
        if of_detector:
            return key.removeprefix("backbone.") if key.startswith("backbone.") else None
        if key not in own and key.startswith(HEADS):
            return None
        return _mobilenet_key(key) if mobilenet else key

    return rename


def _mobilenet_key(key: str) -> str:
    """torchvision's MobileNetV2 key -> mmdet's: `features.2.conv.0.0.weight` -> `layer2.0.expand_conv.conv.weight`."""
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


def _may_be_missing(backbone: nn.Module) -> tuple[str, ...]:
    """Keys no published classifier has: SSD's fc6 and fc7, which torchvision's VGG keeps as linear layers."""
    if type(backbone).__name__ != "SSDVGG":
        return ()
    return tuple(key for key in backbone.state_dict() if key.startswith(("features.31.", "features.33.")))


def _weights(init: str) -> Any:
    """Return torchvision's entry for `torchvision:MODEL.WEIGHTS`."""
    import torchvision

    model, _, weights = init.removeprefix(PREFIX).partition(".")
    models = torchvision.models.list_models(module=torchvision.models)
    if model not in models:
        raise unknown_name(
            "torchvision model",
            model,
            models,
            "write torchvision:MODEL.WEIGHTS, e.g. torchvision:resnet50.IMAGENET1K_V1",
        )
    entries = {entry.name: entry for entry in torchvision.models.get_model_weights(model)}
    if weights not in entries:
        raise unknown_name(f"weights of {model}", weights, entries, f"write torchvision:{model}.WEIGHTS")
    return entries[weights]


def _hash_prefix(path: Path) -> str | None:
    # torch.hub's file names end with the first digits of the file's SHA-256.
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else None


def _spell(normalization: Normalization) -> str:
    numbers = [" ".join(f"{value:g}" for value in values) for values in (normalization.mean, normalization.std)]
    return f"{normalization.order} pixels of 0-255 with mean ({numbers[0]}) and std ({numbers[1]})"

"""Load the first weights of a network: from a file, torchvision's or timm's name, or an installed package.

Weights and pixels belong together: a source that states how its images were normalized refuses a network that
normalizes otherwise. Nothing is downloaded but on request. Every file is read by `safe_load`. Keys are renamed to those
of the network; heads of classifiers are dropped where the network has another one. Each source has a file beside this.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.detectors.normalization import Normalization
from c2d.weights import package_weights, safe_load, stored_weights, timm_weights, torchvision_weights, weight_packages
from c2d.weights.audit import Audit
from c2d.weights.backbone_keys import backbone_keys, optional_keys
from c2d.weights.position_embeddings import resize_position_embeddings
from c2d.weights.weight_file import WeightFile, file_sha256, same_key

# In grey levels: mmdet's configs have ImageNet's means (123.675), some weights were trained with whole numbers (123.0).
MEAN_TOLERANCE = 2.0
STD_TOLERANCE = 0.02
# Auxiliary classifiers of the Inception family; networks are built without them.
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")


def initialise(model: nn.Module, init: str, folder: RunFolder | None = None, *, download: bool | None = None) -> Audit:
    """Put the weights that `init` names into a detector's backbone, or into a classifier's network.

    Args:
        model: an mmdet detector (`.backbone`) or a CropClassifier (`.network`), initialised by its own rules, with the
            data preprocessor that normalises its images.
        init: `torchvision:MODEL.WEIGHTS`, `package:NAME`, `timm:NAME`, the path of a file with torchvision's, timm's or
            mmdet's keys (of a whole detector the backbone is taken), or `sha256:HEX` of a file in the store.
        folder: any run of that store; needed for `sha256:` only.
        download: fetch a file that is not in its cache; None to do so if C2D_DOWNLOAD is 1.

    Raises:
        InputError: unknown or absent weights, pixels that do not belong to them, or another architecture.
    """
    target = getattr(model, "network", None) or model.backbone
    assert isinstance(target, nn.Module)
    pixels = Normalization.from_preprocessor(model.data_preprocessor)
    is_classifier = hasattr(model, "network")
    return initialise_network(target, init, folder, pixels=pixels, classifier=is_classifier, download=download)


def initialise_from_run(student: nn.Module, run: RunFolder, trained: Normalization) -> Audit:
    """Put the weights of a finished classifier run into a detector's backbone.

    Args:
        student: an mmdet detector with the data preprocessor that normalises its images.
        run: folder of the classifier, whose network has the keys of the backbone, of torchvision or of timm.
        trained: normalisation of the run's crops.

    Raises:
        InputError: other pixels, or another architecture.
    """
    name = f"of run {run.id}"
    check_same_pixels(name, trained, Normalization.from_preprocessor(student.data_preprocessor))
    backbone = student.backbone
    assert isinstance(backbone, nn.Module)
    return load(backbone, _read(run.classifier, f"run {run.id}"), classifier=False)


def initialise_network(
    target: nn.Module,
    init: str,
    folder: RunFolder | None = None,
    *,
    pixels: Normalization | None,
    classifier: bool,
    download: bool | None = None,
) -> Audit:
    """Put the weights that `init` names into a network; see `initialise`.

    Args:
        target: an mmdet backbone, or a classifier's network.
        init: as in `initialise`.
        folder: as in `initialise`.
        pixels: normalization of the network's images; None: it is not compared.
        classifier: `target` is a classifier, which keeps its own head if the number of classes differs.
        download: as in `initialise`.

    Raises:
        InputError: see `initialise`.
    """
    if pixels is not None:
        check_pixels(init, pixels)
    if init.startswith(weight_packages.PREFIX):
        package_weights.check_network(init, target)
    if init.startswith(timm_weights.PREFIX):
        timm_weights.check_network(init, target)
    return load(target, read_weights(init, folder, download=download), classifier=classifier)


def read_weights(init: str, folder: RunFolder | None = None, *, download: bool | None = None) -> WeightFile:
    """Read the file that `init` names.

    Args:
        init: as in `initialise`.
        folder: as in `initialise`.
        download: as in `initialise`.

    Raises:
        InputError: there is no such file, or it cannot be read safely.
    """
    if init.startswith(weight_packages.PREFIX):
        package = weight_packages.weight_package(init)
        path = weight_packages.installed_file(init)
        source = f"{init} ({package.distribution} {package.version})"
        return WeightFile(source, safe_load.load(path), package_weights.timm_keys(package), package.sha256)
    if init.startswith(torchvision_weights.PREFIX):
        return _read(torchvision_weights.find_file(init, download=download))
    if init.startswith(timm_weights.PREFIX):
        return _read(timm_weights.find_file(init, download=download), init)
    return _read(stored_weights.find_file(init, folder))


def _read(path: Path, source: str = "") -> WeightFile:
    return WeightFile(source or str(path), safe_load.load(path), sha256=file_sha256(path))


def load(target: nn.Module, weights: WeightFile, *, classifier: bool) -> Audit:
    """Copy weights that were read into a network.

    Args:
        target: an mmdet backbone, or a classifier's network.
        weights: of the same architecture.
        classifier: `target` is a classifier, which keeps its own head if the number of classes differs.

    Raises:
        InputError: they do not fit.
    """
    found, _ = safe_load.weights_of(weights.loaded, weights.source)
    # `safe_load` strips this prefix itself; here keys are only compared with those of the target.
    named = {
        weights.rename(key.removeprefix("module.")): value for key, value in found.items() if isinstance(value, Tensor)
    }
    state = resize_position_embeddings(named, target, head_keys(target)) if classifier else named
    loaded, file_key = (weights.loaded, weights.rename) if state is named else (state, same_key)
    own = target.state_dict()
    if classifier:
        head = {key for key in head_keys(target) if key not in state or state[key].shape != own[key].shape}
        missing: tuple[str, ...] = tuple(sorted(head))

        def rename(key: str) -> str | None:
            key = file_key(key)
            return None if key in head or (key not in own and key.startswith(AUXILIARY)) else key

    else:
        of_backbone = backbone_keys(state, target)
        missing = optional_keys(target)

        def rename(key: str) -> str | None:
            return of_backbone(file_key(key))

    audit = safe_load.load_into(
        target,
        loaded,
        who="backbone",
        strict=True,
        rename=rename,
        allow_missing=missing,
        source_name=weights.source,
    )
    resized = () if state is named else ("converted to this network's input size by its own library",)
    return replace(audit, sha256=weights.sha256, notes=(*audit.notes, *resized))


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
    return {key for key in network.state_dict() if key.rpartition(".")[0] in last}


def pretrained_pixels(init: str) -> Normalization | None:
    """Return the normalisation that weights were trained with, on the 0-255 scale; None for files, which have none."""
    if init.startswith(weight_packages.PREFIX):
        return package_weights.pixels(init)
    if init.startswith(timm_weights.PREFIX):
        return timm_weights.pixels(init)
    return torchvision_weights.pixels(init) if init.startswith(torchvision_weights.PREFIX) else None


def check_pixels(init: str, normalization: Normalization) -> None:
    """Refuse weights whose images were normalised differently than `normalization`.

    Means may differ by two grey levels and standard deviations by 2 %, which covers the roundings in use; channel order
    and scale may not differ.

    Raises:
        InputError: they were.
    """
    if (trained := pretrained_pixels(init)) is not None:
        check_same_pixels(init, trained, normalization)


def check_same_pixels(name: str, trained: Normalization, normalization: Normalization) -> None:
    """Refuse weights that were trained on pixels normalised as `trained`, see `check_pixels`.

    Args:
        name: of the weights, for the message.
        trained: on the 0-255 scale.
        normalization: of the network that gets them.

    Raises:
        InputError: they differ.
    """
    fits = trained.order == normalization.order
    fits &= all(abs(a - b) <= MEAN_TOLERANCE for a, b in zip(trained.mean, normalization.mean, strict=True))
    fits &= all(abs(a / b - 1) <= STD_TOLERANCE for a, b in zip(trained.std, normalization.std, strict=True))
    if not fits:
        values = f"mean: {list(trained.mean)}, std: {list(trained.std)}, order: {trained.order}"
        raise InputError(
            f"weights {name} were trained on {_spell(trained)}, but this network sees {_spell(normalization)}; take "
            f"weights that fit the normalisation, or none, or give a classifier the one of its weights: schedule: "
            f"{{name: ..., values: {{normalisation: {{{values}}}}}}}"
        )


def _spell(normalization: Normalization) -> str:
    numbers = [" ".join(f"{value:g}" for value in values) for values in (normalization.mean, normalization.std)]
    return f"{normalization.order} pixels of 0-255 with mean ({numbers[0]}) and std ({numbers[1]})"

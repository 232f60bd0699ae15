"""`torchvision:MODEL.WEIGHTS`: the file in torch's own cache, downloaded only on request, and its normalization."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from c2d.core.disk import DiskError
from c2d.core.download import http_download
from c2d.core.download.remote_file import RemoteFile
from c2d.core.errors import InputError, RunError, unknown_name
from c2d.detectors.normalization import Normalization
from c2d.weights.weight_file import file_sha256

PREFIX = "torchvision:"
MOVE = "name another cache with TORCH_HOME"


def find_file(init: str, *, download: bool | None = None) -> Path:
    """Return the file in torch's cache.

    Args:
        init: `torchvision:MODEL.WEIGHTS`.
        download: fetch a file that is not in the cache; None to do so if C2D_DOWNLOAD is 1.

    Raises:
        InputError: an unknown name; there is no such file; the download failed or is damaged.
    """
    return cached_file(init, str(_weights(init).url), download=download)


def planned_download(init: str) -> tuple[Path, int | None]:
    """Return (where the file lies after a download, its bytes, about); None where torchvision does not tell the size.

    Raises:
        InputError: an unknown name.
    """
    listed = _weights(init)
    size_mib = listed.meta.get("_file_size")
    return cache_place(str(listed.url)), round(size_mib * 2**20) if size_mib else None


def cached_file(init: str, url: str, *, download: bool | None = None) -> Path:
    """Return the file of an address in torch's cache, whose name ends with the first digits of its sha256.

    Args:
        init: whose file it is, for messages.
        url: its address.
        download: as in `find_file`.

    Raises:
        InputError: there is no such file; the download failed or is damaged.
        DiskError: the cache cannot be written.
    """
    path = cache_place(url)
    wanted = _hash_prefix(path) or ""
    if not path.is_file():
        if not may_download(download):
            raise InputError(
                f"weights {init} are not here: there is no {path}; call again with --download (or C2D_DOWNLOAD=1), get "
                f"those of a sweep with `c2d prefetch`, or put {path.name} there yourself (torch's cache, moved by "
                "TORCH_HOME)"
            )
        try:
            http_download.download(RemoteFile(url, path.name, sha256=wanted), path.parent, print, MOVE)
        except DiskError:
            raise
        except RunError as error:
            raise InputError(
                f"cannot download {init}: {error}; or put {path.name} into {path.parent} yourself"
            ) from None
    if wanted and not file_sha256(path).startswith(wanted):
        raise InputError(
            f"{path} is broken: its sha256 does not begin with {wanted}; remove it and call again with --download"
        )
    return path


def cache_place(url: str) -> Path:
    """Return where torch's cache has, or will have, the file of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def may_download(download: bool | None) -> bool:
    """Return the caller's choice; without one, whether C2D_DOWNLOAD is 1."""
    return os.environ.get("C2D_DOWNLOAD") == "1" if download is None else download


def pixels(init: str) -> Normalization:
    """Return the normalization of the images that the weights were trained on."""
    preset = _weights(init).transforms()
    mean, std = ([round(255 * value, 3) for value in values] for values in (preset.mean, preset.std))
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), "rgb")


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

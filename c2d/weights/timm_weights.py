"""`timm:NAME`: weights of timm's own list, with the tag that names them (`timm:resnet18.a1_in1k`), and their pixels.

The file is taken from the cache of the library that timm itself asks (Hugging Face's, or torch's for plain addresses),
and downloaded only on request. It is read by `safe_load`; timm's own reader is not called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from c2d.core.errors import InputError, first_line, unknown_name
from c2d.detectors.normalization import Normalization
from c2d.weights.torchvision_weights import cached_file, may_download

PREFIX = "timm:"
FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of the weight file in a repository, where timm's list has none; the first that exists."""


def find_file(init: str, *, download: bool | None = None) -> Path:
    """Return the weight file in the cache.

    Args:
        init: `timm:NAME` or `timm:NAME.TAG`.
        download: fetch a file that is not in the cache; None to do so if C2D_DOWNLOAD is 1.

    Raises:
        InputError: an unknown name, no file in the cache, a failed download, or a format that only its own code reads.
    """
    listed = _listed(init)
    if listed.hf_hub_id:
        return _from_hub(init, listed, may_download(download))
    if not listed.url or listed.custom_load:
        raise InputError(
            f"timm has no file of weights for {init} in torch's format; take other weights, or give a file"
        )
    return cached_file(init, str(listed.url), download=download)


def is_cached(init: str) -> bool:
    """Return whether the file is here, without a download.

    Raises:
        InputError: an unknown name.
    """
    _listed(init)
    try:
        return find_file(init, download=False).is_file()
    except InputError:
        return False


def pixels(init: str) -> Normalization:
    """Return the normalization of the images that the weights were trained on."""
    listed = _listed(init)
    mean, std = ([round(255 * value, 3) for value in values] for values in (listed.mean, listed.std))
    return Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), "rgb")


def check_network(init: str, network: nn.Module) -> None:
    """Check that weights are for this network: others may have equal keys and shapes, and compute other values.

    Args:
        init: as in `find_file`.
        network: a classifier, or a backbone.

    Raises:
        InputError: they are not.
    """
    wanted = _listed(init).architecture
    found = (getattr(network, "pretrained_cfg", None) or {}).get("architecture")
    if found != wanted:
        raise InputError(
            f"weights {init} belong to timm:{wanted}, and this network is "
            f"{f'timm:{found}' if found else 'not one of timm'}; take this network, or other weights"
        )


def _listed(init: str) -> Any:
    """timm's entry for a name: where its file is, how its images were normalized."""
    try:
        import timm
    except ImportError:
        raise InputError(f"init {init} needs timm, which is not installed; pip install timm") from None
    name = init.removeprefix(PREFIX)
    known = timm.list_pretrained()
    if name not in known and not any(other.startswith(f"{name}.") for other in known):
        near = [other for other in known if other.split(".")[0] == name.split(".")[0]]
        raise unknown_name(
            "weights of timm", name, near or timm.list_pretrained(f"{name[:4]}*")[:40], "see timm.list_pretrained()"
        )
    return timm.models.get_pretrained_cfg(name)


def _from_hub(init: str, listed: Any, allowed: bool) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise InputError(f"init {init} needs huggingface_hub, which is not installed; pip install timm") from None
    repository, _, revision = str(listed.hf_hub_id).partition("@")
    name = listed.hf_hub_filename
    files = FILES if not name else tuple(dict.fromkeys((name.rpartition(".")[0] + ".safetensors", name)))
    for file in files:
        try:
            found = hf_hub_download(repository, file, revision=revision or None, local_files_only=not allowed)
            return Path(found)
        except EntryNotFoundError:  # of the cache too
            continue
        except Exception as error:  # the network, the hub's answers, the disk
            raise InputError(f"cannot download {init} ({repository}): {first_line(error)}") from None
    if allowed:
        raise InputError(f"cannot download {init}: {repository} has none of {', '.join(files)}, or there is no network")
    raise InputError(
        f"weights {init} are not here: Hugging Face's cache has no {files[0]} of {repository}; call again with "
        "--download (or C2D_DOWNLOAD=1), or copy the cache of a machine that has it (HF_HOME)"
    )

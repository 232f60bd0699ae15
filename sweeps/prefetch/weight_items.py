"""First weights: files of torchvision, timm and the model zoo, installed packages, files that the store keeps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from c2d.core.download.remote_file import PrintLine
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder
from c2d.specs.first_weights import KEPT
from sweeps.prefetch.needs import Item

KIND = "weights"


def weight_item(source: str, download: bool, print_line: PrintLine) -> Item:
    """Find the file of an `init`, verify it, and download it where it is not in its cache.

    Args:
        source: as `network_source` returns it.
        download: whether to download.
        print_line: called with a line before a download.

    Returns:
        Its row: here, downloaded, or missing with the fix.

    Raises:
        InputError: torchvision or the model zoo has no such weights.
    """
    planned = _planned(source)
    try:
        return _found(source, _find(source, False))
    except (InputError, RunError) as error:
        if not download or source.startswith("package:"):
            return planned or Item(KIND, source, "missing", None, str(error))
    print_line(f"{source}: downloading")
    try:
        found = _found(source, _find(source, True))
    except (InputError, RunError) as error:
        return Item(KIND, source, "missing", None, str(error))
    return replace(found, state="downloaded") if found.state == "here" else found


def _planned(source: str) -> Item | None:
    """Return the row of weights that are not in torch's cache; None for those that are, and for other sources.

    Raises:
        InputError: torchvision or the model zoo has no such weights.
    """
    from c2d.weights import torchvision_weights
    from c2d.weights.zoo import zoo_table

    if source.startswith(torchvision_weights.PREFIX):
        path, size = torchvision_weights.planned_download(source)
    elif source.startswith(zoo_table.PREFIX):
        path, size = torchvision_weights.cache_place(zoo_table.zoo_file(source).url), None
    else:
        return None
    return None if path.exists() else Item(KIND, source, "missing", size, f"`c2d prefetch` downloads it to {path}")


def kept_item(source: str, runs: Path) -> Item:
    """Find a file that the store keeps, and verify it.

    Args:
        source: `sha256:HEX`.
        runs: the store.
    """
    from c2d.weights import stored_weights

    shown = source[: len(KEPT) + 12]
    try:
        path = stored_weights.find_file(source, RunFolder(runs / "any"))
    except InputError as error:
        return Item("file", shown, "missing", None, str(error))
    return Item("file", shown, "here", path.stat().st_size, str(path))


def _found(source: str, path: Path) -> Item:
    """Return the row of a file that is here. Hugging Face's cache names a file by its sha256, which is compared."""
    from c2d.weights.weight_file import file_sha256

    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and file_sha256(blob) != blob.name:
        return Item(
            KIND, source, "missing", None, f"{blob} is damaged: its sha256 is not its name; remove it and repeat"
        )
    return Item(KIND, source, "here", path.stat().st_size, str(path))


def _find(source: str, download: bool) -> Path:
    """Return the file of an `init`. Needs torch.

    Raises:
        InputError: it is not here, or cannot be downloaded.
        DiskError: its cache cannot be written.
    """
    from c2d.weights import timm_weights, torchvision_weights, weight_packages
    from c2d.weights.zoo import zoo_table, zoo_weights

    if source.startswith(zoo_table.PREFIX):
        return zoo_weights.find_file(source, download=download)
    if source.startswith(weight_packages.PREFIX):
        return weight_packages.installed_file(source)
    if source.startswith(timm_weights.PREFIX):
        return timm_weights.find_file(source, download=download)
    return torchvision_weights.find_file(source, download=download)

"""A weight file by its path, or `sha256:HEX`: the copy that the store keeps of a file that was given as `init`."""

from __future__ import annotations

from pathlib import Path

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.weights.weight_file import file_sha256

PREFIX = "sha256:"


def find_file(init: str, folder: RunFolder | None = None) -> Path:
    """Return the file.

    Args:
        init: a path, or `sha256:HEX`.
        folder: any run of the store; needed for `sha256:` alone.

    Raises:
        InputError: there is no such file, or a kept file was changed.
    """
    if not init.startswith(PREFIX):
        path = Path(init)
        if not path.is_file():
            raise InputError(
                f"no weight file {path}; give a file, torchvision:MODEL.WEIGHTS, package:NAME, timm:NAME, or none"
            )
        return path
    kept = RunStore(folder.path.parent).weights(init.removeprefix(PREFIX)) if folder is not None else None
    if kept is None or not kept.is_file():
        raise InputError(
            f"no weight file {kept or init} in the store; give the file itself as `init`, so that it is kept"
        )
    if file_sha256(kept) != init.removeprefix(PREFIX):
        raise InputError(
            f"{kept} is not the file that was given as init: its sha256 differs from its name; remove it and "
            "give the file itself as `init`, so that it is kept again"
        )
    return kept

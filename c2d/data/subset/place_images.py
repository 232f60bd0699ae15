"""Bring the images of a subset into its folder: hard links, or copies where a file system has none.

A hard link is a second name of the same file: it needs no space, points nowhere outside the folder, and stays when the
other data set is removed. Symbolic links of the other data set are followed first.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from c2d.core.errors import InputError

Placement = Literal["hardlink", "copy"]
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""Another file system; one without hard links; files of another user where the kernel protects them; too many links."""


def check_images(name: str, split: str, names: Sequence[str], folder: Path) -> None:
    """Check that all images exist, before anything is written.

    Args:
        name: of the data set.
        split: of the images.
        names: paths below the folder.
        folder: that they start at.

    Raises:
        InputError: some are missing.
    """
    missing = [image for image in names if not (folder / image).is_file()]
    if missing:
        raise InputError(
            f"data set '{name}', split {split}: {len(missing)} of {len(names)} images are missing, the first "
            f"{folder / missing[0]}; restore them, or write the card again with the folder where they are"
        )


def place_images(names: Iterable[str], source: Path, folder: Path, how: Placement) -> tuple[int, str]:
    """Link or copy images.

    Args:
        names: paths below both folders.
        source: folder that has them.
        folder: new folder.
        how: hard links where the file system allows them, or copies.

    Returns:
        (number of images that were copied although a link was wanted, the system's reason).

    Raises:
        OSError: an image cannot be read or written.
    """
    copied, reason = 0, ""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        real = (source / name).resolve()
        if how == "hardlink":
            try:
                os.link(real, target)
                continue
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                copied, reason = copied + 1, error.strerror or "no hard link"
        shutil.copyfile(real, target)
    return copied, reason

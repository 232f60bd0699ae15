"""Which images of KITTI are trained on and which are evaluated on: its own validation labels are not public."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.json_values import MAX_BYTES
from c2d.core.regular_file import error_text, read_bytes
from c2d.data.conversion.random_split import random_split
from c2d.data.conversion.source_images import IMAGE_SUFFIXES

# As the archives unpack into one folder, into a folder each, and from inside `training`.
_LAYOUTS = (
    ("training/image_2", "training/label_2"),
    ("data_object_image_2/training/image_2", "data_object_label_2/training/label_2"),
    ("image_2", "label_2"),
)


def find_folders(src: Path) -> tuple[Path, Path]:
    """Return (folder of the images, folder of the label files).

    Args:
        src: folder that KITTI's archives were unpacked in.

    Raises:
        InputError: it has not both of them.
    """
    for images, labels in _LAYOUTS:
        if (src / images).is_dir() and (src / labels).is_dir():
            return src / images, src / labels
    raise InputError(
        f"{src} has no training/image_2 and training/label_2; unpack data_object_image_2.zip and "
        "data_object_label_2.zip in it (the images of `testing` have no labels)"
    )


def find_image(folder: Path, name: str) -> Path:
    """Return the path of an image, which may not exist, by its id."""
    paths = [folder / f"{name}{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((path for path in paths if path.is_file()), folder / f"{name}.png")


def read_ids(path: Path) -> list[str]:
    """Return the image ids of a list, one on each line as 000007.

    Raises:
        InputError: no such file, no ids in it, or one twice.
    """
    if not path.is_file():
        raise InputError(f"no file {path}; wanted a list of image ids, one a line")
    try:
        ids = read_bytes(path, most=MAX_BYTES).decode("utf-8-sig").split()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the list {path}: {error_text(error)}; wanted an image id on each line") from None
    if not ids:
        raise InputError(f"the list {path} has no image id; wanted one on each line, as 000007")
    if len(set(ids)) < len(ids):
        repeated = sorted({name for name in ids if ids.count(name) > 1})
        raise InputError(f"the list {path} has {repeated[0]} twice ({len(repeated)} such ids); list every image once")
    return ids


def choose_split(
    ids: list[str], lists: dict[str, Path | None], val_share: float | None, seed: int
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Return {"train": ids, "val": ids}, and the split as the card records it.

    Args:
        ids: of all label files.
        lists: {"train": list of ids, "val": list of ids}; both, or none for a random split.
        val_share: share of the images to evaluate on, drawn at random; None with lists.
        seed: of the random split.

    Raises:
        InputError: neither lists nor a share, or both; an unknown id; an image is in both lists.
    """
    given = {split: path for split, path in lists.items() if path is not None}
    if len(given) == len(lists) and val_share is None:
        parts = {split: read_ids(path) for split, path in given.items()}
        known, trained = set(ids), set(parts["train"])
        for split, names in parts.items():
            if unknown := [name for name in names if name not in known]:
                raise InputError(
                    f"the list {given[split]} has {unknown[0]} ({len(unknown)} such ids) without label file"
                )
        if both := [name for name in parts["val"] if name in trained]:
            raise InputError(f"{both[0]} is in both lists ({len(both)} such ids): a leak; keep it in one")
        record = {
            split: {"images": len(names), "sha256": hashlib.sha256("\n".join(names).encode()).hexdigest()}
            for split, names in parts.items()
        }
        return parts, record
    if not given and val_share is not None:
        return random_split(ids, val_share, seed), {"val_share": val_share, "seed": seed}
    raise InputError(
        "KITTI has no public validation labels, so the split has to be stated: --train LIST --val LIST with the ids of "
        "the images (as those of Chen et al., 3,712 and 3,769 images), or a random one with --val-share 0.5 --seed 0"
    )

"""List the images of a tree with a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.errors import InputError
from c2d.data.conversion.source_images import IMAGE_SUFFIXES


@dataclass
class ListedSplit:
    """The images of one split.

    Attributes:
        folder: that the names start at.
        images: (name relative to the folder, class), sorted.
        others: names of files that are no images.
    """

    folder: Path
    images: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted; they are the classes.

    Raises:
        InputError: it does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; SRC has to hold train/CLASS/IMAGE and val/")
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def images_by_class(folder: Path, classes: Sequence[str]) -> ListedSplit:
    """List folder/CLASS/IMAGE.

    Raises:
        InputError: a class has no folder, or a folder no class.
    """
    found = class_folders(folder)
    for what, names in (("missing", set(classes) - set(found)), ("of no class", set(found) - set(classes))):
        if names:
            raise InputError(
                f"{folder}: {len(names)} folders are {what} (first: {min(names)}); those of train/ are the classes"
            )
    listed = ListedSplit(folder)
    for name in classes:
        images, others = image_files(folder / name)
        listed.images += [(f"{name}/{image}", name) for image in images]
        listed.others += [f"{name}/{other}" for other in others]
    return listed


def labelled_images(folder: Path, labels: Mapping[str, str]) -> ListedSplit:
    """List folder/IMAGE with labels of a list.

    Args:
        folder: of the images.
        labels: {name without its suffix: class}.

    Raises:
        InputError: an image has no label, or a label no image.
    """
    images, others = image_files(folder)
    stems = {Path(image).stem: image for image in images}
    for what, names in (
        ("images without a label", set(stems) - set(labels)),
        ("labels without an image", set(labels) - set(stems)),
    ):
        if names:
            raise InputError(f"{folder}: {len(names)} {what} (first: {min(names)}); give the list of these images")
    return ListedSplit(folder, [(image, labels[stem]) for stem, image in sorted(stems.items())], others)


def image_files(folder: Path) -> tuple[list[str], list[str]]:
    """Return (names of image files, names of other files) of a folder, sorted."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    return images, [name for name in names if not name.lower().endswith(IMAGE_SUFFIXES)]

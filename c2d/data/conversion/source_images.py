"""Decode the images of a layout as training does: what it cannot read or drops, and pictures that occur twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from c2d.data.decoding.image_facts import ImageFacts, facts_of_images
from c2d.data.decoding.image_format import png_command
from c2d.data.decoding.orientation import Size
from c2d.data.image_issues import content_issue, depth_issue, frame_issue, read_error
from c2d.data.images import ImageFile
from c2d.data.leaks import find_leaks

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

NAMED_MISSING = 3
"""Missing images that have a line each; more of them, as in a wrong folder, share one."""


@dataclass(frozen=True)
class SourceImage:
    """One image of a split.

    Attributes:
        split: its split.
        labels: what messages call its annotations: the name of their file.
        name: path below the image folder.
        path: of the image.
    """

    split: str
    labels: str
    name: str
    path: Path


def read_images(
    images: Sequence[SourceImage], folder: Path, issues: list[str], notes: list[str], *, published: bool = False
) -> list[ImageFacts | None]:
    """Decode the images of all splits.

    Args:
        images: of all splits.
        folder: that messages name the images in.
        issues: a line for everything that cannot be trusted is added.
        notes: a line for everything that may be wrong is added.
        published: the data set is a public one as it was published, so that a picture in two splits is a note.

    Returns:
        Of each image its facts, or None where it is an issue.
    """
    found: list[ImageFacts | None] = []
    missing: list[SourceImage] = []
    for image, facts in zip(images, facts_of_images([image.path for image in images]), strict=True):
        found.append(facts if isinstance(facts, ImageFacts) else None)
        if not isinstance(facts, ImageFacts):
            kind, message = read_error(facts, folder)
            if kind == "missing image":
                missing.append(image)
            else:
                issues.append(f"{image.labels}: its image {image.name} cannot be used: {message}")
        elif (issue := content_issue(facts, folder)) is not None:
            into = issues if issue.severity == "error" else notes
            into.append(f"{image.labels}: its image {image.name}: {issue.message}")
    issues += _missing_issues(missing, len(images), folder)
    read = [(facts, image) for facts, image in zip(found, images, strict=True) if facts is not None]
    if (deep := depth_issue([(facts, image.path) for facts, image in read], folder)) is not None:
        notes.append(deep.message)
    files = [
        ImageFile(image.split, number, image.name, str(image.path.resolve()), facts.pixels)
        for number, (facts, image) in enumerate(read, start=1)
    ]
    for leak in find_leaks(files):
        into = issues if leak.severity == "error" and not published else notes
        into.append(f"{leak.file}: {leak.where}: {leak.message}")
    return found


def _missing_issues(missing: Sequence[SourceImage], total: int, folder: Path) -> list[str]:
    """Return a line for each missing image, or one line for all of them where they are many."""
    if len(missing) <= NAMED_MISSING:
        return [f"{image.labels}: its image {image.name} does not exist in {folder}" for image in missing]
    first = missing[0]
    return [
        f"{len(missing)} of {total} images do not exist; the first, {first.name} of {first.labels}, is expected at "
        f"{first.path}"
    ]


def frame_error(facts: ImageFacts, stated: Size | None, path: Path) -> str:
    """Return why the frame of the boxes of an image is not the one of training, or not known; "" if it is.

    Args:
        facts: the image.
        stated: (width, height) in pixels in the annotations; None where they state none.
        path: of the image.
    """
    upright = png_command(path, upright=True)
    if stated is None:
        what = (
            f"the image has the orientation {facts.orientation} (EXIF or XMP), so the frame of its boxes is not known"
        )
        return f"{what}; if they are upright, {upright}" if facts.orientation != 1 else ""
    issue = frame_issue(facts, stated, path)
    if issue is None:
        return ""
    return f"{issue.message}; if they are upright, {upright}" if issue.severity == "warning" else issue.message


def common_folder(images: Sequence[Path]) -> Path:
    """Return the deepest folder that has all images, in it or in its subfolders."""
    return Path(os.path.commonpath([path.absolute().parent for path in images]))

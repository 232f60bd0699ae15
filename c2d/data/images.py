"""Check the image files of a COCO data set as training reads them: they exist, have the stated size and content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.data.decoding.image_facts import ImageFacts, facts_of_images
from c2d.data.image_issues import content_issue, depth_issue, frame_issue, read_error
from c2d.data.issues import Issue


@dataclass(frozen=True)
class ImageFile:
    """An image of one annotation file.

    Attributes:
        file: the annotation file.
        id: id of the image.
        name: its `file_name`.
        path: resolved path; None if the image was not opened.
        pixels: hash of its pixels; None if it was not decoded.
    """

    file: str
    id: int
    name: str
    path: str | None
    pixels: str | None


def check_images(
    file: str, rows: list[dict[str, Any]], folder: Path | None, issues: list[Issue], workers: int = 8
) -> list[ImageFile]:
    """Decode every image of an annotation file as training does.

    Args:
        file: name of the annotation file.
        rows: its list `images`.
        folder: the image folder; None to open nothing and return names alone.
        issues: issues are appended to this list, in the order of the file.
        workers: number of threads. Decoding releases the GIL.
    """
    usable = [
        row
        for row in rows
        if isinstance(row.get("id"), int) and isinstance(row.get("file_name"), str) and row["file_name"]
    ]
    if folder is None:
        return [ImageFile(file, row["id"], row["file_name"], None, None) for row in usable]
    if not folder.is_dir():
        issues.append(
            Issue("error", "missing folder", file, "", f"no folder {folder}; give the image folder with --images")
        )
        return []
    paths = [folder / row["file_name"] for row in usable]
    sizes = [_stated_size(row) for row in usable]
    images: list[ImageFile] = []
    read: list[tuple[ImageFacts, Path]] = []
    for row, path, facts in zip(usable, paths, facts_of_images(paths, workers, sizes), strict=True):
        where = f"image {row['id']} ({row['file_name']})"
        if isinstance(facts, Exception):
            kind, message = read_error(facts, folder)
            issues.append(Issue("error", kind, file, where, message))
            images.append(ImageFile(file, row["id"], row["file_name"], str(path), None))
            continue
        read.append((facts, path))
        problems = (frame_issue(facts, (row.get("width"), row.get("height")), path), content_issue(facts, folder))
        issues += [Issue(p.severity, p.kind, file, where, p.message) for p in problems if p is not None]
        images.append(ImageFile(file, row["id"], row["file_name"], str(path.resolve()), facts.pixels))
    if (deep := depth_issue(read, folder)) is not None:
        issues.append(Issue(deep.severity, deep.kind, file, "", deep.message))
    return images


def _stated_size(row: dict[str, Any]) -> tuple[int, int] | None:
    """Return the width and height of an entry; None where they are no whole numbers."""
    width, height = row.get("width"), row.get("height")
    return (width, height) if type(width) is int and type(height) is int else None

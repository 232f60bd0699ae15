"""Find images that are in two splits of a data set, or twice in one."""

from __future__ import annotations

from collections.abc import Sequence

from c2d.data.images import ImageFile
from c2d.data.issues import Issue


def find_leaks(images: Sequence[ImageFile]) -> list[Issue]:
    """Return images that are in two splits (errors) or twice in one (warnings), by file and by pixels."""
    issues: list[Issue] = []
    by_key: dict[tuple[str, str], ImageFile] = {}
    for image in images:
        where = f"image {image.id} ({image.name})"
        for kind, value in (("file", image.path), ("pixels", image.pixels), ("name", image.name)):
            if value is None:
                continue
            other = by_key.setdefault((kind, value), image)
            # Names that are listed twice in one file are reported by `check_image_rows`.
            if other is image or (kind != "pixels" and other.file == image.file):
                continue
            if other.file == image.file:
                message = f"has the same pixels as image {other.id} ({other.name})"
                issues.append(Issue("warning", "same pixels", image.file, where, message))
            elif kind == "name" and image.path is not None and other.path is not None:
                if image.pixels is None or other.pixels is None:  # nothing to compare; the file is reported
                    continue
                message = f"{other.file} has a file of the same name with other pixels"
                issues.append(Issue("warning", "same name", image.file, where, message))
            else:
                same = {
                    "file": "is the same file as",
                    "pixels": "has the same pixels as",
                    "name": "has the same name as",
                }[kind]
                message = (
                    f"{same} image {other.id} ({other.name}) of {other.file}: a leak between splits; keep it in one"
                )
                issues.append(Issue("error", "leak", image.file, where, message))
            break
    return issues

"""What has to hold between the annotation files of one data set: equal class lists, and no image in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from c2d.data.images import FoundImage
from c2d.data.issues import Problem


def compare_class_lists(read: dict[str, dict[str, Any]], into: list[Problem]) -> list[str]:
    """Compare the categories of COCO dicts by file; differences go to `into`. Returns the first file's class list."""
    lists = {file: [(row.get("id"), row.get("name")) for row in coco["categories"]] for file, coco in read.items()}
    first = next(iter(lists), None)
    for file, pairs in lists.items():
        if first is None or pairs == lists[first]:
            continue
        extra = [f"{i} {n}" for i, n in pairs if (i, n) not in lists[first]]
        missing = [f"{i} {n}" for i, n in lists[first] if (i, n) not in pairs]
        parts = [f"only here: {', '.join(extra[:8])}"] * bool(extra) + [f"only there: {', '.join(missing[:8])}"] * bool(
            missing
        )
        detail = "; ".join(parts) or "same classes in another order, which would renumber the labels"
        into.append(Problem("error", "class list", file, "", f"its class list differs from that of {first} ({detail})"))
    return [str(name) for _, name in lists[first]] if first is not None else []


def leaks(images: Sequence[FoundImage]) -> list[Problem]:
    """Images that are in two splits (errors) or twice in one (warnings), by file and by pixels."""
    problems: list[Problem] = []
    by_key: dict[tuple[str, str], FoundImage] = {}
    for image in images:
        where = f"image {image.id} ({image.name})"
        for kind, value in (("file", image.path), ("pixels", image.pixels), ("name", image.name)):
            if value is None:
                continue
            other = by_key.setdefault((kind, value), image)
            if other is image or (kind != "pixels" and other.file == image.file):
                continue
            if other.file == image.file:
                message = f"has the same pixels as image {other.id} ({other.name})"
                problems.append(Problem("warning", "same pixels", image.file, where, message))
            elif kind == "name" and image.pixels is not None and other.pixels is not None:
                message = f"{other.file} has a file of the same name with other pixels"
                problems.append(Problem("warning", "same name", image.file, where, message))
            else:
                same = {
                    "file": "is the same file as",
                    "pixels": "has the same pixels as",
                    "name": "has the same name as",
                }[kind]
                message = (
                    f"{same} image {other.id} ({other.name}) of {other.file}: a leak between splits; keep it in one"
                )
                problems.append(Problem("error", "leak", image.file, where, message))
            break
    return problems

"""Which images of CVAT files are trained on and which are evaluated on: files, subsets, or a random draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.data.conversion.random_split import random_split
from c2d.data.cvat.cvat_xml import CvatFile, CvatImage, read_cvat

FILE = "annotations.xml"
_SUBSETS = {"train": ("train", "training"), "val": ("val", "validation", "valid", "test")}


@dataclass(frozen=True)
class Part:
    """One split.

    Attributes:
        file: that its images are in.
        images: those of the split.
    """

    file: CvatFile
    images: list[CvatImage]


def choose_parts(
    src: Path, given: dict[str, str | None], val_share: float | None, seed: int
) -> tuple[dict[str, Part], dict[str, Any]]:
    """Return {"train": part, "val": part}, and the split as the card records it.

    Args:
        src: an XML file, or a folder with annotations.xml or the files of the splits.
        given: {"train": file in `src` or subset, "val": the same}; none for the subsets of those names, or for a draw.
        val_share: share of the images to evaluate on, drawn at random.
        seed: of that draw.

    Raises:
        InputError: a file or subset is missing; the split is not stated; the files have different labels.
    """
    folder, main = (src.parent, src) if src.is_file() else (src, src / FILE)
    names = {split: name for split, name in given.items() if name}
    if val_share is not None and not names:
        file = read_cvat(_existing(main))
        images = {image.key: image for image in file.images}
        chosen = random_split(list(images), val_share, seed)
        parts = {split: Part(file, [images[key] for key in keys]) for split, keys in chosen.items()}
        return parts, {"val_share": val_share, "seed": seed}
    if val_share is None and len(names) == len(given):
        files: dict[Path, CvatFile] = {}
        parts = {split: _part(folder, main, name, files) for split, name in names.items()}
        labels = {split: part.file.labels for split, part in parts.items()}
        if labels["train"] != labels["val"]:
            raise InputError(f"the files of the splits have different labels or another order of them: {labels}")
        return parts, dict(names)
    if val_share is None and not names:
        return _parts_by_name(read_cvat(_existing(main)))
    raise InputError("state the split once: --train and --val, or --val-share")


def _parts_by_name(file: CvatFile) -> tuple[dict[str, Part], dict[str, Any]]:
    """Return the parts whose subsets have the usual names of the splits.

    Raises:
        InputError: there are none.
    """
    lower = {subset.lower(): subset for subset in file.subsets}
    found = {split: next((lower[word] for word in words if word in lower), "") for split, words in _SUBSETS.items()}
    if all(found.values()):
        return {split: _subset(file, name) for split, name in found.items()}, dict(found)
    subsets = f"its subsets are {', '.join(file.subsets)}" if file.subsets else "its images are in no subset"
    raise InputError(
        f"{file.path}: {subsets}, so the split has to be stated: --train and --val with the XML files in "
        f"{file.path.parent} or subsets, or a random one with --val-share 0.2 --seed 0"
    )


def _subset(file: CvatFile, name: str) -> Part:
    return Part(file, [image for image in file.images if image.subset == name])


def _part(folder: Path, main: Path, name: str, files: dict[Path, CvatFile]) -> Part:
    for path in (folder / name, folder / f"{name}.xml", folder / name / FILE):
        if path.is_file():
            file = files.get(path) or files.setdefault(path, read_cvat(path))
            return Part(file, file.images)
    if main.is_file():
        file = files.get(main) or files.setdefault(main, read_cvat(main))
        if name in file.subsets:
            return _subset(file, name)
        raise unknown_name("file or subset", name, file.subsets, f"searched: {folder} and {main}")
    raise InputError(f"{name} is no file in {folder}; give the XML file of each split")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"no file {path}; give the folder with {FILE}, its path, or --train FILE --val FILE")
    return path

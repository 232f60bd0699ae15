"""Lists of images in ImageSets/Main, of one VOC folder or of several: `VOC2007/trainval+VOC2012/trainval`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import InputError, unknown_name
from c2d.core.json_values import MAX_BYTES
from c2d.core.regular_file import is_file, read_bytes

# A list of one class has a flag in a second column: absent, difficult, present.
_FLAGGED = re.compile(r"(?P<name>.*\S)\s+(?P<flag>-1|0|1)")

VOC_FOLDERS = ("Annotations", "ImageSets/Main", "JPEGImages")


@dataclass(frozen=True)
class ImageSet:
    """One list of images.

    Attributes:
        root: folder with Annotations, ImageSets/Main and JPEGImages.
        name: name of the list without suffix.
        year: name of `root` inside SRC where SRC holds several such folders; "" where SRC is `root`.
    """

    root: Path
    name: str
    year: str = ""

    def __str__(self) -> str:
        """Return the list as options name it."""
        return f"{self.year}/{self.name}" if self.year else self.name

    @property
    def prefix(self) -> str:
        """What comes before the names of its files, which other years may have too."""
        return f"{self.year}/" if self.year else ""


def find_image_sets(src: Path, lists: Mapping[str, str]) -> dict[str, list[ImageSet]]:
    """Return {split: its lists}.

    Args:
        src: a folder with Annotations, ImageSets/Main and JPEGImages, or one that holds several of them by year.
        lists: {split: name of a list of the one folder; YEAR/LIST+YEAR/LIST of several, where 2007 is VOC2007}.

    Raises:
        InputError: a folder is missing; a list does not name its year.
    """
    years = [path.name for path in sorted(src.glob("*")) if all((path / part).is_dir() for part in VOC_FOLDERS)]
    if any((src / part).is_dir() for part in VOC_FOLDERS) or not years:
        for folder in (src, *(src / part for part in VOC_FOLDERS)):
            if not folder.is_dir():
                raise InputError(
                    f"no folder {folder}; SRC has to hold Annotations, ImageSets/Main and JPEGImages (Pascal VOC), or "
                    "folders with them, as VOCdevkit holds VOC2007 and VOC2012"
                )
        return {split: [ImageSet(src, name)] for split, name in lists.items()}
    return {split: [_of_year(src, part.strip(), years) for part in text.split("+")] for split, text in lists.items()}


def _of_year(src: Path, text: str, years: list[str]) -> ImageSet:
    year, _, name = text.partition("/")
    if not name:
        raise InputError(
            f"the list '{text}' names no folder, and {src} holds {', '.join(years)}; give FOLDER/LIST, joined by +: "
            f"{'+'.join(f'{year}/trainval' for year in years)}"
        )
    found = year if year in years else f"VOC{year}"
    if found not in years:
        raise unknown_name("folder of a list", year, years, f"searched: {src}")
    return ImageSet(src / found, name, found)


def read_image_set(src: Path, name: str) -> list[str]:
    """Return the names of the images of a list, without suffix.

    A name may have blanks. The files in Annotations decide whether a line ends with the flag of a per-class list.

    Args:
        src: folder of the VOC data set.
        name: name of the list without suffix.

    Raises:
        InputError: no such list; it is no text, is empty, or has a name twice.
    """
    folder = src / "ImageSets" / "Main"
    path = folder / f"{name}.txt"
    if not is_file(path):
        raise unknown_name("split", name, [p.stem for p in folder.glob("*.txt")], f"searched: {folder}")
    try:
        text = read_bytes(path, most=MAX_BYTES).decode("utf-8-sig")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({error}); wanted a UTF-8 text with an image name on each line") from None
    stems = [_stem(line, src / "Annotations", path) for line in lines]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
    if repeated:
        raise InputError(f"{path} lists {repeated[0]} twice ({len(repeated)} such names); list every image once")
    if not stems:
        raise InputError(f"{path} lists no image; choose another split")
    return stems


def _stem(line: str, annotations: Path, path: Path) -> str:
    flagged = _FLAGGED.fullmatch(line)
    if flagged is None:
        return line
    name, flag = flagged["name"], flagged["flag"]
    whole, first = (annotations / f"{line}.xml").is_file(), (annotations / f"{name}.xml").is_file()
    if whole and first:
        raise InputError(
            f"{path}: the line '{line}' is either the image '{line}' or the image '{name}' with the flag {flag}, and "
            "both exist in Annotations; rename one"
        )
    return line if whole else name

"""Read the lists of images in ImageSets/Main."""

from __future__ import annotations

import re
from pathlib import Path

from c2d.core.errors import InputError, unknown_name
from c2d.core.json_values import MAX_BYTES
from c2d.core.regular_file import is_file, read_bytes

# A list of one class has a flag in a second column: absent, difficult, present.
_FLAGGED = re.compile(r"(?P<name>.*\S)\s+(?P<flag>-1|0|1)")


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

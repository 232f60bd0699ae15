"""Read the labels of validation images that lie in one folder: a list with names, or the devkit's ground truth.

ILSVRC2012_val_00000001.JPEG n01751748        name and class, by blanks or a comma; further columns are ignored
ILSVRC2012_val_00000001.JPEG 65               name and place of the class in the sorted list, from 0 (Caffe's val.txt)
490                                           ILSVRC2012_ID of the images in sorted order; meta.mat beside the file
                                              has the class of each (ILSVRC2012_devkit_t12/data)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.regular_file import FormatError, error_text, read_bytes

DEVKIT = Path("ILSVRC2012_devkit_t12") / "data" / "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
LEAVES = 1000
"""Of the devkit's entries the first 1000 are classes, the others groups of them."""
_COLUMNS = re.compile(r"[,\s]+")


def read_labels(path: Path, classes: Sequence[str], images: Sequence[str]) -> dict[str, str]:
    """Return {name of an image without its suffix: class}.

    Args:
        path: of the list.
        classes: sorted.
        images: names of the images, sorted.

    Raises:
        InputError: the list cannot be read, or a line has no class.
    """
    try:
        rows = [_COLUMNS.split(line.strip()) for line in read_bytes(path).decode().splitlines() if line.strip()]
    except (OSError, FormatError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the labels {path}: {error_text(error)}; give a text file") from None
    if rows and len(rows[0]) > 1 and rows[0][0].lower() == "imageid":  # the head of Kaggle's LOC_val_solution.csv
        rows = rows[1:]
    if not rows:
        raise InputError(f"the labels {path} are empty; give a list with a line for each image")
    if all(len(row) == 1 for row in rows):
        return _devkit_labels(path, [row[0] for row in rows], images)
    labels: dict[str, str] = {}
    for row in rows:
        name, label = Path(row[0]).stem, row[1] if len(row) > 1 else ""
        if label.isdecimal() and label not in classes and int(label) < len(classes):
            label = classes[int(label)]
        if label not in classes:
            raise InputError(f"labels {path}: the class {label!r} of {row[0]} is none of the {len(classes)} of train/")
        labels[name] = label
    return labels


def _devkit_labels(path: Path, numbers: Sequence[str], images: Sequence[str]) -> dict[str, str]:
    """Labels of a file with the ILSVRC2012_ID of each image alone."""
    if len(numbers) != len(images):
        raise InputError(f"the labels {path} have {len(numbers)} lines, and there are {len(images)} images")
    names = _devkit_classes(path.with_name(META))
    wrong = next((number for number in numbers if number not in names), None)
    if wrong is not None:
        raise InputError(f"labels {path}: {wrong!r} is no ILSVRC2012_ID of {META}; give the devkit's files")
    return {Path(image).stem: names[number] for image, number in zip(images, numbers, strict=True)}


def _devkit_classes(path: Path) -> dict[str, str]:
    """{ILSVRC2012_ID: WordNet id} of meta.mat."""
    if not path.is_file():
        raise InputError(f"no {path}, which has the class of each ILSVRC2012_ID; put the devkit's {META} there")
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(f"{path} needs scipy (pip install scipy), or give a list with names and classes") from None
    try:
        entries: Any = loadmat(str(path), squeeze_me=True)["synsets"]
        found = {str(int(entry["ILSVRC2012_ID"])): str(entry["WNID"]) for entry in entries}
    except Exception as error:  # scipy's readers raise many types on other files
        raise InputError(f"{path} is not the devkit's {META}: {type(error).__name__}; get it again") from None
    return {number: name for number, name in found.items() if int(number) <= LEAVES}

"""Where a YOLO data set has its classes, images and label files: data.yaml, or the .data file of darknet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.core.yaml.yaml_lines import read_mapping, read_text
from c2d.data.conversion.source_images import IMAGE_SUFFIXES

SPLIT_KEYS = ("train", "val", "valid", "test")


@dataclass(frozen=True)
class YoloLayout:
    """A YOLO data set.

    Attributes:
        file: data.yaml or the .data file.
        classes: class names in the order of the labels.
        root: folder that relative paths start at.
        splits: {key of the file: the folders, lists or images it names}.
        notes: a line for each path that was found in another place.
    """

    file: Path
    classes: list[str]
    root: Path
    splits: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)

    def images(self, key: str) -> list[Path]:
        """Return the images of a split in the order of the lists, sorted where a folder is named.

        Raises:
            InputError: no such key, path or image.
        """
        if key not in self.splits:
            raise unknown_name(f"split of {self.file}", key, self.splits)
        named = [image for entry in self.splits[key] for image in self._images_at(entry)]
        found = [Path(os.path.normpath(image.absolute())) for image in named]
        if not found:
            raise InputError(f"{self.file}: {key}: no image in {', '.join(self.splits[key])}; correct the path")
        if len(set(found)) < len(found):
            repeated = next(image for image, count in Counter(found).items() if count > 1)
            raise InputError(f"{self.file}: {key} names {repeated} twice; name every image once")
        return found

    def _images_at(self, entry: str) -> list[Path]:
        path = self._path(entry)
        if path.is_dir():
            files = (item for item in path.rglob("*") if item.suffix.lower() in IMAGE_SUFFIXES)
            return sorted(item for item in files if item.is_file())
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return [path]
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        # A line that begins with ./ starts at the list, any other at the root.
        return [(path.parent if line.startswith("./") else self.root) / line for line in lines]

    def _path(self, entry: str) -> Path:
        path = self.root / entry
        if path.exists():
            return path
        # Some exports write paths as seen from a folder that only their training program has.
        inside = Path(*[part for part in Path(entry).parts if part != ".."])
        if not inside.is_absolute() and (self.root / inside).exists():
            note = f"{self.file.name}: {entry} does not exist, {inside} was read"
            if note not in self.notes:
                self.notes.append(note)
            return self.root / inside
        raise InputError(f"{self.file}: {path} does not exist; correct the path in the file")


def label_file(image: Path) -> Path:
    """Return the label file of an image: in `labels` beside the last `images` of its path, else beside the image."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_layout(src: Path) -> YoloLayout:
    """Return the layout that `src` describes.

    Args:
        src: data.yaml, a .data file of darknet, or a folder with one of them.

    Raises:
        InputError: there is none, or several; it has no class list or no split.
    """
    file = _description(src)
    content = (
        _darknet(file) if file.suffix == ".data" else read_mapping(file, "names, train and val of a YOLO data set")
    )
    if "kpt_shape" in content:
        raise InputError(f"{file} has kpt_shape, so its lines are poses with key points; give labels of boxes")
    classes = _classes(content.get("names"), file)
    if content.get("nc", len(classes)) != len(classes):
        raise InputError(f"{file}: nc is {content['nc']}, and names has {len(classes)} classes; correct one")
    root, notes = file.parent, []
    if (given := content.get("path")) is not None:
        root = file.parent / str(given)
        if not root.is_dir():
            notes.append(f"{file.name}: path {given} does not exist, so paths start at {file.parent}")
            root = file.parent
    splits = {key: _entries(content[key], f"{file}: {key}") for key in SPLIT_KEYS if content.get(key)}
    if not splits:
        raise InputError(
            f"{file} names no images; wanted train and val, each a folder, a list (.txt) or several of them"
        )
    return YoloLayout(file, classes, root, splits, notes)


def _description(src: Path) -> Path:
    if src.is_file():
        return src
    if not src.is_dir():
        raise InputError(f"no folder {src}; give the folder of a YOLO data set, or its data.yaml")
    found = sorted(path for path in src.iterdir() if path.suffix in (".yaml", ".yml", ".data") and path.is_file())
    named = [path for path in found if path.name in ("data.yaml", "data.yml")]
    if len(named or found) != 1:
        what = f"{len(found)} of them: {', '.join(path.name for path in found)}" if found else "none"
        raise InputError(
            f"{src} has to hold data.yaml (or a .data file of darknet) and has {what}; give its path as SRC"
        )
    return (named or found)[0]


def _darknet(file: Path) -> dict[str, Any]:
    """The keys of a .data file, a `key = value` a line, with the names from the file that it names."""
    lines = [line.split("=", 1) for line in read_text(file).splitlines() if "=" in line and line.strip()[0] != "#"]
    content: dict[str, Any] = {key.strip(): value.strip() for key, value in lines}
    if "classes" in content:
        content["nc"] = int(content["classes"]) if content["classes"].isdigit() else content["classes"]
    if "names" in content:
        names = read_text(file.parent / content["names"])
        content["names"] = [line.strip() for line in names.splitlines() if line.strip()]
    return content


def _classes(names: Any, file: Path) -> list[str]:
    """The class names of a list, or of {number: name} with all numbers from 0.

    Raises:
        InputError: neither; a name is no text or there twice.
    """
    if isinstance(names, dict):
        numbers = [str(number) for number in range(len(names))]
        if set(names) != set(numbers):
            raise InputError(f"{file}: names has the numbers {', '.join(names)}; wanted all from 0 to {len(names) - 1}")
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or not names:
        raise InputError(f"{file} has no class list; wanted names: [ant, bee], or names: with 0: ant, 1: bee")
    texts = [str(name).strip() for name in names]
    if "" in texts or len(set(texts)) < len(texts):
        raise InputError(f"{file}: names {', '.join(texts)}; wanted a name for each class, each once")
    return texts


def _entries(value: Any, where: str) -> list[str]:
    entries: Sequence[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise InputError(f"{where} is {value!r}; wanted the path of a folder or list, or several of them")
    return list(entries)

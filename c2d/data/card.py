"""A data card: the name, class list, digest and files of one data set; `card.json` beside the annotations.

The digest says *which question* a run answers, so it covers what a detector learns from (classes, images, boxes) and
nothing about where the files lie: a data set moved to another disk keeps its digest, and so does an annotation file
whose keys come in another order or whose `info` block has a new date.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import atomic_write_json
from c2d.data.public import public_cards, refuse_false_name

CARD_FILE = "card.json"
CARD_FORMAT = 1
DATA_ROOT_VARIABLE = "C2D_DATA"
DEFAULT_DATA_ROOT = "data"

# What a detector reads of a COCO file. Segmentations, captions, licences and dates change no run and stay out.
_READ_KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
    "categories": ("id", "name"),
}


class Split(BaseModel):
    """One part of a data set. Paths are relative to the card's folder where the files lie inside it."""

    model_config = ConfigDict(extra="forbid")
    annotations: str
    images: str
    digest: str
    n_images: int
    n_boxes: int  # all annotations, crowd regions included


class Card(BaseModel):
    """A data set by name: its classes in the order of the labels, its digest, its files by split, how it was made."""

    model_config = ConfigDict(extra="forbid")
    format: int = CARD_FORMAT
    name: str
    classes: list[str]
    digest: str
    splits: dict[str, Split]
    source: str | dict[str, Any] = ""


@dataclass(frozen=True)
class LoadedCard:
    """A card and the folder it was read from, which its relative paths start at."""

    card: Card
    root: Path

    def split(self, split: str) -> Split:
        """The entry of one split; InputError names the splits there are."""
        if split not in self.card.splits:
            raise unknown_name(f"split of data set '{self.card.name}'", split, self.card.splits)
        return self.card.splits[split]

    def annotations(self, split: str) -> Path:
        """Path of the split's COCO JSON file."""
        return self.root / self.split(split).annotations

    def images(self, split: str) -> Path:
        """Folder that the split's `file_name`s start at."""
        return self.root / self.split(split).images


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _number(value: Any) -> Any:
    """2 and 2.0 are the same box side: whole numbers are written one way."""
    if isinstance(value, list):
        return [_number(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def annotation_digest(coco: Mapping[str, Any]) -> str:
    """sha256 (hex) of a COCO dict's images, boxes and categories in canonical JSON; list order counts."""
    content = {
        block: [{key: _number(row[key]) for key in keys if key in row} for row in coco.get(block) or []]
        for block, keys in _READ_KEYS.items()
    }
    return hashlib.sha256(_canonical(content)).hexdigest()


def card_digest(classes: Iterable[str], split_digests: Mapping[str, str]) -> str:
    """sha256 (hex) over the ordered class list and the digests of the splits; no path enters."""
    return hashlib.sha256(_canonical({"classes": list(classes), "splits": dict(split_digests)})).hexdigest()


def read_coco(path: Path) -> dict[str, Any]:
    """Read an annotation file; one-line InputError when it is missing, is not JSON or is not COCO's object form."""
    try:
        with open(path, encoding="utf-8") as stream:
            coco = json.load(stream)
    except OSError as error:
        raise InputError(
            f"cannot read annotation file {path}: {error.strerror}; give the path of a COCO JSON file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"annotation file {path} is not JSON ({error}); give a COCO JSON file") from None
    if not isinstance(coco, dict):
        raise InputError(
            f"annotation file {path} holds a {type(coco).__name__}; wanted an object with the lists images, "
            "annotations and categories (a list is what a results file looks like)"
        )
    for block in _READ_KEYS:
        rows = coco.get(block)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            found = "is missing" if block not in coco else "is not a list of objects"
            raise InputError(
                f"annotation file {path}: '{block}' {found}; wanted COCO's images, annotations, categories"
            )
    return coco


def _portable(path: Path, root: Path) -> str:
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def make_card(
    root: str | Path,
    name: str,
    classes: Iterable[str],
    splits: Mapping[str, tuple[str | Path, str | Path]],
    source: str | dict[str, Any] = "",
) -> Card:
    """Write `root`/card.json for `splits` = {split: (annotation file, image folder)} and return the card.

    The class list must be the file's categories in the file's order: that order is the order of the labels in mmdet.
    Raises InputError when a split says otherwise, or when the splits disagree on category ids.
    """
    root, classes = Path(root), list(classes)
    entries: dict[str, Split] = {}
    ids: dict[str, list[Any]] = {}
    for split, (file, images) in splits.items():
        coco = read_coco(Path(file))
        names = [category.get("name") for category in coco["categories"]]
        if names != classes:
            raise InputError(
                f"class list and {file} differ: given {classes}, the file has {names}; "
                "give the file's names in the file's order"
            )
        ids[split] = [category.get("id") for category in coco["categories"]]
        entries[split] = Split(
            annotations=_portable(Path(file), root),
            images=_portable(Path(images), root),
            digest=annotation_digest(coco),
            n_images=len(coco["images"]),
            n_boxes=len(coco["annotations"]),
        )
    if len({tuple(value) for value in ids.values()}) > 1:
        raise InputError(
            f"the splits of '{name}' number the same classes differently: {ids}; give them equal category ids"
        )
    digest = card_digest(classes, {split: entry.digest for split, entry in entries.items()})
    card = Card(name=name, classes=classes, digest=digest, splits=entries, source=source)
    refuse_false_name(card, str(root))
    atomic_write_json(root / CARD_FILE, card.model_dump())
    return card


def _root(data_root: str | Path | None) -> Path:
    return Path(data_root or os.environ.get(DATA_ROOT_VARIABLE) or DEFAULT_DATA_ROOT)


def find_file(name_or_path: str, data_root: str | Path | None = None) -> Path | None:
    """The card of that name or path, damaged or not; None where there is none."""
    given = Path(name_or_path)
    here = _root(data_root) / name_or_path / CARD_FILE
    places = (given if given.name == CARD_FILE else given / CARD_FILE, given / CARD_FILE, here)
    return next((path for path in places if path.is_file()), None)


def _absent(name: str, data_root: str | Path | None) -> InputError:
    """Why there is no data set of that name, and what to do about it."""
    root, public = _root(data_root), public_cards().get(name)
    if public is not None:
        return InputError(
            f"the files of data set {name} are not here: no card of that name in {root} (set {DATA_ROOT_VARIABLE} or "
            f"give --data). {public.wanted(str(root / name))}"
        )
    known = {path.parent.name for path in root.glob(f"*/{CARD_FILE}")} if root.is_dir() else set()
    hint = (
        f"looked in {root} (set {DATA_ROOT_VARIABLE} or give the path of a {CARD_FILE}); "
        "`c2d data scenes|voc|check --card` make one"
    )
    return unknown_name("data set", name, known | set(public_cards()), hint)


def load_card(name_or_path: str, data_root: str | Path | None = None) -> LoadedCard:
    """Load a card by name (`data_root`/NAME/card.json; default $C2D_DATA, else ./data), or by its path or folder.

    Raises InputError for an unknown name ("did you mean") and for a file that is not a card of this format.
    """
    path = find_file(name_or_path, data_root)
    if path is None:
        raise _absent(name_or_path, data_root)
    try:
        card = Card.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path} is not a data card: {where}: {first['msg']}; make it again with `c2d data`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read data card {path}: {error}; make it again with `c2d data`") from None
    if card.format != CARD_FORMAT:
        raise InputError(f"{path} has card format {card.format}; this version reads {CARD_FORMAT}; make it again")
    return LoadedCard(card=card, root=path.parent)


def data_reference(name_or_path: str, data_root: str | Path | None = None) -> tuple[str, str]:
    """(name, digest) that a question gets for a data set: for a public one the shipped digest, with or without files.

    Raises InputError for an unknown name, and when a local card of a public name is another data set.
    """
    if name_or_path in public_cards() and find_file(name_or_path, data_root) is None:
        return name_or_path, public_cards()[name_or_path].digest
    loaded = load_card(name_or_path, data_root)
    refuse_false_name(loaded.card, str(loaded.root))
    if name_or_path in public_cards() and loaded.card.name != name_or_path:
        raise InputError(
            f"{loaded.root} is named like the public data set {name_or_path} but its card says {loaded.card.name}; "
            "rename the folder, or ask for it by its path"
        )
    public = public_cards().get(loaded.card.name)
    return loaded.card.name, public.digest if public else loaded.card.digest


def find_card(name: str, digest: str, data_root: str | Path | None = None) -> LoadedCard:
    """The card a run asks for, by name and digest: `data_root`/NAME, any folder of the root, or the root itself.

    A public data set is known by its class list and counts.

    Raises InputError when there is none, or when the data of that name have changed.
    """
    root = _root(data_root)
    cards = [
        load_card(str(path)) for path in (*sorted(root.glob(f"*/{CARD_FILE}")), root / CARD_FILE) if path.is_file()
    ]
    same_name = [loaded for loaded in cards if loaded.card.name == name]
    public = public_cards().get(name)
    is_public = public is not None and public.digest == digest
    for loaded in same_name:
        if loaded.card.digest == digest or (public is not None and is_public and not public.differences(loaded.card)):
            return loaded
    if same_name and is_public:
        refuse_false_name(same_name[0].card, str(same_name[0].root))
    if same_name:
        raise InputError(
            f"data set {name} in {same_name[0].root} has digest {same_name[0].card.digest[:12]}, the run asks for "
            f"{digest[:12]}; restore the data, or ask the question anew on the data that are here"
        )
    if is_public:
        raise _absent(name, data_root)
    known = [loaded.card.name for loaded in cards]
    raise unknown_name("data set", name, known, f"looked in {root}; set {DATA_ROOT_VARIABLE} or give --data")


def verify(loaded: LoadedCard) -> None:
    """Raise InputError unless class list and annotation files are still those the card was made from."""
    card = loaded.card
    for split, entry in card.splits.items():
        coco = read_coco(loaded.annotations(split))
        names = [category.get("name") for category in coco["categories"]]
        if names != card.classes:
            raise InputError(
                f"data set '{card.name}': {loaded.annotations(split)} has classes {names}, its card {card.classes}; "
                "make the card again, or restore the file"
            )
        found = annotation_digest(coco)
        if found != entry.digest:
            raise InputError(
                f"data set '{card.name}': {loaded.annotations(split)} has changed since its card was made "
                f"(digest {found[:12]}, card {entry.digest[:12]}); make the card again, or restore the file"
            )
    if card_digest(card.classes, {split: entry.digest for split, entry in card.splits.items()}) != card.digest:
        raise InputError(f"data card '{card.name}': its digest does not belong to its splits; make the card again")

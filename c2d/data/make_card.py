"""Write the data card of a data set whose files exist, or of COCO files that `c2d data check` has checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import CARD_FILE, Card, Split, annotation_digest, card_digest, read_coco
from c2d.data.card_lookup import load_card
from c2d.data.public import check_public_name

_SPLIT_WORDS = re.compile(r"(train|val|test)", re.IGNORECASE)


def make_card(
    root: str | Path,
    name: str,
    classes: Iterable[str],
    splits: Mapping[str, tuple[str | Path, str | Path]],
    source: str | dict[str, Any] = "",
) -> Card:
    """Write `root`/card.json and return the card.

    Args:
        root: folder of the card.
        name: name of the data set.
        classes: class names; the categories of every file in the order of the file, which mmdet takes as the labels.
        splits: {split: (annotation file, image folder)}.
        source: how the data set was made.

    Raises:
        InputError: a file has other classes, or the splits give one class different ids.
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
            annotations=_card_path(Path(file), root),
            images=_card_path(Path(images), root),
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
    check_public_name(card, str(root))
    atomic_write_json(root / CARD_FILE, card.model_dump())
    return card


def _card_path(path: Path, root: Path) -> str:
    """Return `path` relative to the card's folder if it is inside, else absolute."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def pair_images(annotations: Sequence[Path], images: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Pair annotation files with image folders.

    Args:
        annotations: the files, each a split.
        images: no folder, one for all files, or one for each in order.

    Raises:
        InputError: a file is given twice; another number of folders.
    """
    if len({path.resolve() for path in annotations}) < len(annotations):
        raise InputError("an annotation file was given twice; give every split once")
    if not images:
        return [(path, None) for path in annotations]
    if len(images) == 1:
        return [(path, images[0]) for path in annotations]
    if len(images) != len(annotations):
        raise InputError(
            f"{len(annotations)} annotation files and {len(images)} --images; give --images once, "
            "or once for each file in order"
        )
    return list(zip(annotations, images, strict=True))


def split_names(annotations: Sequence[Path], given: Sequence[str]) -> list[str]:
    """Return the names of the splits.

    Args:
        annotations: the files.
        given: their names in order; none to take the word train, val or test from each file's name.

    Raises:
        InputError: a name is missing or given twice.
    """
    names = list(given)
    if not names:
        found = [_SPLIT_WORDS.findall(path.stem) for path in annotations]
        names = [words[-1].lower() if words else "" for words in found]
    if len(names) != len(annotations) or "" in names or len(set(names)) < len(names):
        raise InputError(
            f"splits {names} for the files {[path.name for path in annotations]}; "
            "name each once, in order: --split train --split val"
        )
    return names


def register_card(
    target: Path, name: str, pairs: Sequence[tuple[Path, Path | None]], splits: Sequence[str], classes: Sequence[str]
) -> Card:
    """Write a card for checked files.

    Args:
        target: a card.json, or the folder for it.
        name: name of the data set.
        pairs: (annotation file, image folder) of each split.
        splits: names of the splits; none to take them from the file names.
        classes: class names that the check found, in the order of the labels.

    Raises:
        InputError: the card of another data set exists; a name or a folder is missing.
    """
    root = target.parent if target.name == CARD_FILE else target
    if target.suffix == ".json" and target.name != CARD_FILE:
        raise InputError(
            f"--card {target}: a data card is called {CARD_FILE}; give a folder, or {target.parent / CARD_FILE}"
        )
    if not name:
        raise InputError("--card needs --name NAME, the name that runs will use for the data set")
    if any(folder is None for _, folder in pairs):
        raise InputError("--card needs --images DIR: a card has the path of the images")
    files = {
        s: (path, folder)
        for s, (path, folder) in zip(split_names([p for p, _ in pairs], splits), pairs, strict=True)
        if folder
    }
    digest = card_digest(classes, {s: annotation_digest(read_coco(path)) for s, (path, _) in files.items()})
    if (root / CARD_FILE).exists():
        old = load_card(str(root)).card
        if (old.name, old.digest) != (name, digest):
            raise InputError(
                f"{root / CARD_FILE} is the card of '{old.name}' (digest {old.digest[:12]}), "
                f"not of '{name}' ({digest[:12]}); remove it, or give another folder"
            )
        # the same data set may have moved: the card is written again with today's paths
    return make_card(root, name, classes, files, "c2d data check")

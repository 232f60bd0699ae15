"""Give a COCO data set that already exists its data card, where it lies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from c2d.core.errors import InputError
from c2d.data.card import CARD_FILE, Card, annotation_digest, card_digest, load_card, make_card, read_coco
from c2d.data.check_coco import Report

_SPLIT_WORDS = re.compile(r"(train|val|test)", re.IGNORECASE)


def pair(annotations: Sequence[Path], images: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Annotation files with their image folders: none, one for all, or one for each; InputError otherwise."""
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
    """Names of the splits: as given, else the word train, val or test in each file's name. InputError when unclear."""
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


def register(
    target: Path, name: str, pairs: Sequence[tuple[Path, Path | None]], splits: Sequence[str], report: Report
) -> Card:
    """Write the card `target` (a card.json, or the folder for it) for checked files.

    Paths outside its folder are absolute. InputError when another data set's card is there, or names are missing.
    """
    root = target.parent if target.name == CARD_FILE else target
    if target.suffix == ".json" and target.name != CARD_FILE:
        raise InputError(
            f"--card {target}: a data card is called {CARD_FILE}; give a folder, or {target.parent / CARD_FILE}"
        )
    if not name:
        raise InputError("--card needs --name NAME, the name that runs will use for the data set")
    if any(folder is None for _, folder in pairs):
        raise InputError("--card needs --images DIR: a card says where the images are")
    files = {
        s: (path, folder)
        for s, (path, folder) in zip(split_names([p for p, _ in pairs], splits), pairs, strict=True)
        if folder
    }
    digest = card_digest(report.classes, {s: annotation_digest(read_coco(path)) for s, (path, _) in files.items()})
    if (root / CARD_FILE).exists():
        old = load_card(str(root)).card
        if (old.name, old.digest) != (name, digest):
            raise InputError(
                f"{root / CARD_FILE} is the card of '{old.name}' (digest {old.digest[:12]}), "
                f"not of '{name}' ({digest[:12]}); remove it, or give another folder"
            )
        # the same data set may have moved: the card is written again with today's paths
    return make_card(root, name, report.classes, files, "c2d data check")

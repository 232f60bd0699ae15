"""Write the data card of COCO files that `c2d data check` has checked: pair them with folders, name their splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.data.card import CARD_FILE, DEFAULT_EVALUATION_SPLIT, Card, Protocol, annotation_digest, card_digest
from c2d.data.card_lookup import load_card
from c2d.data.coco_file import PROTOCOL, read_coco
from c2d.data.decoding.scaling_record import scaling_of
from c2d.data.make_card import make_card
from c2d.data.protocol_checks import protocol_of

MAKER = "c2d data check"
_SPLIT_WORDS = re.compile(r"(train|valid(?!ation)|val|test)", re.IGNORECASE)


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


def split_of_file(path: Path) -> str:
    """Return the word train, val, valid or test in the name of a file, or else of its folder; empty if there is none.

    >>> [split_of_file(Path(name)) for name in ("instances_val2017.json", "valid/_annotations.coco.json", "a.json")]
    ['val', 'valid', '']
    """
    for text in (path.stem, path.absolute().parent.name):
        if words := _SPLIT_WORDS.findall(text):
            return str(words[-1].lower())
    return ""


def split_names(annotations: Sequence[Path], given: Sequence[str], evaluate_on: str | None = None) -> list[str]:
    """Return the names of the splits, "" where the name of a file has none.

    Args:
        annotations: the files.
        given: their names in order; none to take them from the names of the files.
        evaluate_on: `valid` keeps that name; without it a file valid.json is the split `val`.

    Raises:
        InputError: another number of names than files.
    """
    if given and len(given) != len(annotations):
        raise InputError(
            f"splits {list(given)} for {len(annotations)} files; name each once, in order: --split train --split val"
        )
    words = [split_of_file(path) for path in annotations]
    return list(given) or [DEFAULT_EVALUATION_SPLIT if word == "valid" != evaluate_on else word for word in words]


def _check_names(names: Sequence[str], annotations: Sequence[Path]) -> None:
    if "" in names or len(set(names)) < len(names):
        raise InputError(
            f"splits {names} for the files {[str(path) for path in annotations]}; "
            "name each once, in order: --split train --split val"
        )


def register_card(
    target: Path,
    name: str,
    pairs: Sequence[tuple[Path, Path | None]],
    splits: Sequence[str],
    classes: Sequence[str],
    evaluate_on: str | None = None,
) -> Card:
    """Write a card for checked files.

    Args:
        target: a card.json, or the folder for it.
        name: name of the data set.
        pairs: (annotation file, image folder) of each split.
        splits: names of the splits; none to take them from the file names.
        classes: class names that the check found, in the order of the labels.
        evaluate_on: the split that results are measured on; None: `val`.

    Raises:
        InputError: the card of another data set exists; a name, a folder or the evaluation split is missing.
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
    paths = [path for path, _ in pairs]
    names = split_names(paths, splits, evaluate_on)
    _check_names(names, paths)
    files = {s: (path, folder) for s, (path, folder) in zip(names, pairs, strict=True) if folder}
    _check_evaluation_split(files, evaluate_on)
    contents = {s: read_coco(path) for s, (path, _) in files.items()}
    digests = {s: annotation_digest(coco) for s, coco in contents.items()}
    old = load_card(str(root)).card if (root / CARD_FILE).exists() else None
    synthesis = old.synthesis if old is not None else None
    protocol = _protocol({s: protocol_of(coco) for s, coco in contents.items()})
    digest = card_digest(classes, digests, evaluate_on, synthesis, protocol)
    if old is not None:
        # A card without a split to evaluate on has no runs, so that split may be chosen later.
        chosen = (old.evaluation_split or DEFAULT_EVALUATION_SPLIT) in old.splits
        without = [] if chosen else [card_digest(classes, digests, None, synthesis, protocol)]
        if old.name != name or old.digest not in (digest, *without):
            raise InputError(
                f"{root / CARD_FILE} is the card of '{old.name}' (digest {old.digest[:12]}), "
                f"not of '{name}' ({digest[:12]}); remove it, or give another folder"
            )
        # the same data set may have moved: the card is written again with today's paths
    source = old.source if old is not None and _converted(old) else _source(files)
    return make_card(root, name, classes, files, source, evaluate_on, synthesis, protocol)


def _converted(card: Card) -> bool:
    """Whether a card's files were made from another layout, which the files themselves do not tell."""
    return isinstance(card.source, dict) and card.source.get("maker") not in (None, MAKER)


def _protocol(found: Mapping[str, Protocol | None]) -> Protocol | None:
    """Return the evaluation protocol that the annotations of all splits are written for.

    Raises:
        InputError: of one split they are, of another they are not.
    """
    if len(set(found.values())) > 1:
        raise InputError(
            f"the annotations of the splits have the key '{PROTOCOL}' of different evaluation protocols: {found}; give "
            "it to all, or remove it from all"
        )
    return next(iter(found.values()), None)


def _check_evaluation_split(splits: Iterable[str], evaluate_on: str | None) -> None:
    names = list(splits)
    if evaluate_on is None and DEFAULT_EVALUATION_SPLIT not in names:
        raise InputError(
            f"the splits are {', '.join(names)}, and runs evaluate on '{DEFAULT_EVALUATION_SPLIT}'; add its file, or "
            "choose a split with --evaluate-on SPLIT, which the card records"
        )
    if evaluate_on is not None and evaluate_on not in names:
        raise unknown_name("split of --evaluate-on", evaluate_on, names)


def uses_of_splits(names: Sequence[str], evaluate_on: str | None = None) -> str:
    """Describe what a run does with the splits of a data set, and what it would miss.

    Args:
        names: of the splits.
        evaluate_on: the split that results are measured on; None: `val`.
    """
    evaluation = evaluate_on or DEFAULT_EVALUATION_SPLIT
    train = "runs train on 'train'" if "train" in names else "no split 'train', so for evaluation alone"
    if evaluation in names:
        return f"{train}; results are measured on '{evaluation}'"
    return f"{train}; no split '{evaluation}' to measure results on: a card needs one, or --evaluate-on SPLIT"


def _source(files: Mapping[str, tuple[Path, Path]]) -> str | dict[str, Any]:
    """Return how checked files came about: with the scaling of images that `c2d data to-8bit` wrote."""
    found = {split: scaling_of(folder) for split, (_, folder) in files.items()}
    scaled = {split: scaling for split, scaling in found.items() if scaling is not None}
    return {"maker": MAKER, "to_8bit": scaled} if scaled else MAKER

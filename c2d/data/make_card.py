"""Write the data card of a data set whose files exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import (
    CARD_FILE,
    Card,
    Protocol,
    Split,
    Synthesis,
    annotation_digest,
    card_digest,
)
from c2d.data.coco_file import read_coco
from c2d.data.public import check_public_name


def make_card(
    root: str | Path,
    name: str,
    classes: Iterable[str],
    splits: Mapping[str, tuple[str | Path, str | Path]],
    source: str | dict[str, Any] = "",
    evaluation_split: str | None = None,
    synthesis: Synthesis | None = None,
    protocol: Protocol | None = None,
) -> Card:
    """Write `root`/card.json and return the card.

    Args:
        root: folder of the card.
        name: name of the data set.
        classes: class names; the categories of every file in the order of the file, which mmdet takes as the labels.
        splits: {split: (annotation file, image folder)}.
        source: how the data set was made.
        evaluation_split: the split that results are measured on; None: `val`.
        synthesis: of the images of `train`; None: they are real and labelled.
        protocol: evaluation protocol of the data set beside COCO's, or None.

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
    digests = {split: entry.digest for split, entry in entries.items()}
    card = Card(
        name=name,
        classes=classes,
        digest=card_digest(classes, digests, evaluation_split, synthesis, protocol),
        splits=entries,
        evaluation_split=evaluation_split,
        source=source,
        synthesis=synthesis,
        protocol=protocol,
    )
    check_public_name(card, str(root))
    atomic_write_json(root / CARD_FILE, card.model_dump(exclude_none=True))
    return card


def _card_path(path: Path, root: Path) -> str:
    """Return `path` relative to the card's folder if it is inside, else absolute."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

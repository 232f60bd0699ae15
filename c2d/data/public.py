"""Cards of public data sets that come with the package: a question about them can be asked where the data are not.

A shipped card knows the class list and how many images and boxes each split has, and nothing of files. Its digest
covers name, classes and counts, and a run gets that digest whether or not the files are here: its id is the same on a
login node and beside the data. A local card of such a name has to agree with it.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from c2d.core.errors import InputError

if TYPE_CHECKING:
    from c2d.data.card import Card


class PublicSplit(BaseModel):
    """One part: how much it holds, and what its files are called where it is published."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    annotations: str
    images: str
    n_images: int
    n_boxes: int  # all annotations, crowd regions included


class PublicCard(BaseModel):
    """A public data set by name: its classes in the order of the labels, and its counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int
    name: str
    classes: list[str]
    digest: str
    splits: dict[str, PublicSplit]
    source: str

    def wanted(self, folder: str) -> str:
        """What its files are, and how its card is made in `folder`, for a person who has to bring them."""
        splits = self.splits.values()
        files = "; ".join(
            f"{split.annotations} with {split.n_images:,} images and {split.n_boxes:,} boxes, "
            f"{split.n_images:,} image files in {split.images}/"
            for split in splits
        )
        images = " ".join(f"--images {split.images}" for split in splits)
        command = f"c2d data check {' '.join(split.annotations for split in splits)} {images}"
        return f"Wanted: {files}. `{command} --card {folder} --name {self.name}` makes its card"

    def differences(self, card: Card) -> list[str]:
        """What a card of this name says otherwise; empty when it is this data set."""
        found = []
        if card.classes != self.classes:
            found.append(_class_difference(card.classes, self.classes))
        if set(card.splits) != set(self.splits):
            found.append(f"splits {', '.join(sorted(card.splits))} instead of {', '.join(sorted(self.splits))}")
        for name in sorted(set(card.splits) & set(self.splits)):
            here, wanted = card.splits[name], self.splits[name]
            for what, a, b in (("images", here.n_images, wanted.n_images), ("boxes", here.n_boxes, wanted.n_boxes)):
                if a != b:
                    found.append(f"{name} has {a:,} {what} instead of {b:,}")
        return found


def _class_difference(here: list[str], wanted: list[str]) -> str:
    if len(here) != len(wanted):
        return f"{len(here)} classes instead of {len(wanted)}"
    place = next(index for index, (a, b) in enumerate(zip(here, wanted, strict=True)) if a != b)
    return f"class {place} is '{here[place]}' instead of '{wanted[place]}'"


def public_digest(card: PublicCard) -> str:
    """sha256 (hex) over name, ordered class list and counts; what a spec holds in place of a local card's digest."""
    counts = {name: [split.n_images, split.n_boxes] for name, split in card.splits.items()}
    content: dict[str, Any] = {"name": card.name, "classes": card.classes, "counts": counts}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@cache
def public_cards() -> dict[str, PublicCard]:
    """{name: card} of every public data set that is shipped."""
    folder = resources.files("c2d") / "configs" / "datasets"
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".json")), key=lambda item: item.name)
    cards = [PublicCard.model_validate_json(item.read_text(encoding="utf-8")) for item in files]
    return {card.name: card for card in cards}


def refuse_false_name(card: Card, where: str) -> None:
    """InputError when a card bears the name of a public data set and is not that data set."""
    public = public_cards().get(card.name)
    if public is not None and (differ := public.differences(card)):
        raise InputError(
            f"data set {card.name} in {where} is not the public one of that name: {'; '.join(differ)}; "
            "give it another name, or restore the data"
        )

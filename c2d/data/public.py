"""Cards of public data sets that are shipped with the package, so that a spec can name them where no data exist.

A shipped card has the class list and the counts of images and boxes of each split, but no files. A run has its digest
whether or not the files exist, so the id of the run is the same on a login node and beside the data. A local card of
the same name has to agree with it.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict

from c2d.core.errors import InputError
from c2d.data.card import DEFAULT_EVALUATION_SPLIT, Card, Protocol

DOWNLOADS = ("coco2017", "kitti", "voc0712")
"""Data sets that `c2d data fetch` gets (c2d/data/fetch/public_archives.py)."""


class PublicSplit(BaseModel):
    """One split.

    Attributes:
        annotations: name of the published annotation file.
        images: name of the published image folder.
        n_images: number of images.
        n_boxes: number of annotations, crowd regions included; None where another layout is converted and the number of
            its objects is published.
        n_objects: that number; the `source` of a card has the number that was found (Pascal VOC: without difficult
            objects).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    annotations: str
    images: str
    n_images: int
    n_boxes: int | None = None
    n_objects: int | None = None


class PublicCard(BaseModel):
    """A public data set.

    Attributes:
        format: version of the file.
        name: name of the data set in specs.
        classes: class names in the order of the labels.
        digest: see `public_digest`.
        splits: {name: split}.
        source: where it is published.
        maker: command that makes the annotations and the card from the published layout; "" where the published files
            are COCO JSON already.
        options: {key of the `source` of a card: value that makes it this data set}.
        protocol: evaluation protocol of the data set beside COCO's, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int
    name: str
    classes: list[str]
    digest: str
    splits: dict[str, PublicSplit]
    source: str
    maker: str = ""
    options: dict[str, Any] = {}
    protocol: Protocol | None = None

    def files_text(self, folder: str) -> str:
        """Describe its files, and the command that makes its card in `folder`."""
        splits = self.splits.values()
        if self.maker:
            counts = "; ".join(f"{split.n_images:,} images in {split.images}/" for split in splits)
            return f"Needed: {counts}, as they are published. `{self.maker} {folder} --name {self.name}` makes its card"
        files = "; ".join(
            f"{split.annotations} with {split.n_images:,} images and {split.n_boxes or 0:,} boxes, "
            f"{split.n_images:,} image files in {split.images}/"
            for split in splits
        )
        images = " ".join(f"--images {split.images}" for split in splits)
        command = f"c2d data check {' '.join(split.annotations for split in splits)} {images}"
        return f"Needed: {files}. `{command} --card {folder} --name {self.name}` makes its card"

    def differences(self, card: Card) -> list[str]:
        """Return how a card differs from this data set; empty if it is the same."""
        found = []
        if card.classes != self.classes:
            found.append(_class_difference(card.classes, self.classes))
        if set(card.splits) != set(self.splits):
            found.append(f"splits {', '.join(sorted(card.splits))} instead of {', '.join(sorted(self.splits))}")
        if card.evaluation_split not in (None, DEFAULT_EVALUATION_SPLIT):
            found.append(f"results are measured on {card.evaluation_split} instead of {DEFAULT_EVALUATION_SPLIT}")
        for name in sorted(set(card.splits) & set(self.splits)):
            here, wanted = card.splits[name], self.splits[name]
            counts = [("images", here.n_images, wanted.n_images), ("boxes", here.n_boxes, wanted.n_boxes)]
            counts += [("objects", objects_of(card.source).get(name, 0), wanted.n_objects)]
            for what, a, b in counts:
                if b is not None and a != b:
                    found.append(f"{name} has {a:,} {what} instead of {b:,}")
        if card.protocol != self.protocol:
            found.append(f"the protocol is {card.protocol} instead of {self.protocol}")
        options = card.source if isinstance(card.source, dict) else {}
        for key, value in self.options.items():
            if options.get(key) != value:
                found.append(f"made with {key} {options.get(key)} instead of {value}")
        return found


def objects_of(source: object) -> dict[str, int]:
    """Return {split: number of objects in the files that were converted} of the `source` of a card; {} without them."""
    found = source.get("objects") if isinstance(source, dict) else None
    return found if isinstance(found, dict) else {}


def _class_difference(here: list[str], wanted: list[str]) -> str:
    if len(here) != len(wanted):
        return f"{len(here)} classes instead of {len(wanted)}"
    place = next(index for index, (a, b) in enumerate(zip(here, wanted, strict=True)) if a != b)
    return f"class {place} is '{here[place]}' instead of '{wanted[place]}'"


def public_digest(card: PublicCard) -> str:
    """Return the sha256 (hex) of name, ordered class list and counts: the digest of the data set in a spec."""
    counts = {
        name: [split.n_images, split.n_boxes if split.n_objects is None else split.n_objects]
        for name, split in card.splits.items()
    }
    content: dict[str, Any] = {"name": card.name, "classes": card.classes, "counts": counts}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@cache
def public_cards() -> dict[str, PublicCard]:
    """Return {name: card} of the shipped public data sets."""
    folder = resources.files("c2d") / "configs" / "datasets"
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".json")), key=lambda item: item.name)
    cards = [PublicCard.model_validate_json(item.read_text(encoding="utf-8")) for item in files]
    return {card.name: card for card in cards}


def check_public_name(card: Card, where: str) -> None:
    """Check that a card with the name of a public data set is that data set.

    Args:
        card: a local card.
        where: its folder, for the message.

    Raises:
        InputError: it is another data set.
    """
    public = public_cards().get(card.name)
    if public is not None and (differ := public.differences(card)):
        raise InputError(
            f"data set {card.name} in {where} is not the public one of that name: {'; '.join(differ)}; "
            "give it another name, or restore the data"
        )

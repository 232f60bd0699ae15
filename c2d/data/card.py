"""A data card: the name, class list, digest and files of one data set, in `card.json` beside the annotations.

The digest identifies what a detector learns from (classes, images, boxes). It does not depend on where the files are:
a data set that was moved to another disk keeps it, and so does an annotation file whose keys come in another order or
whose `info` block has a new date.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from c2d.core.errors import InputError, unknown_name
from c2d.data.coco_file import READ_KEYS

CARD_FILE = "card.json"
CARD_FORMAT = 1
DEFAULT_EVALUATION_SPLIT = "val"


class Split(BaseModel):
    """One split of a data set.

    Attributes:
        annotations: COCO JSON file; relative to the folder of the card if it is inside that folder.
        images: folder of the images; relative in the same way.
        digest: sha256 (hex) of the annotations, see `annotation_digest`.
        n_images: number of images.
        n_boxes: number of annotations, crowd regions included.
    """

    model_config = ConfigDict(extra="forbid")
    annotations: str
    images: str
    digest: str
    n_images: int
    n_boxes: int


class Synthesis(BaseModel):
    """Origin of training images that are synthesised, or whose labels are those of a detector.

    Attributes:
        images_from: `optimised`, `noise`, `procedural`, or `real`: real images with a teacher's detections as labels.
        run: id of the run that made them, in whatever folder; it has the hash of the whole spec, so it tells images of
            the same targets apart. "" where no run did.
        schedule: name of its preset.
        teacher: id of the teacher's run.
        teacher_sha256: of the teacher's weights (hex).
        soft_labels: whether every annotation has a `soft_label`.
    """

    model_config = ConfigDict(extra="forbid")
    images_from: Literal["optimised", "noise", "procedural", "real"]
    run: str
    schedule: str
    teacher: str
    teacher_sha256: str
    soft_labels: bool

    @property
    def is_data_free(self) -> bool:
        """Whether no real image is among them."""
        return self.images_from != "real"


Protocol = Literal["voc", "kitti"]
"""Evaluation protocols beside COCO's, whose numbers a result has as well (see `c2d.data.coco_file.PROTOCOL`)."""


class Card(BaseModel):
    """A data set.

    Attributes:
        format: version of the file.
        name: name of the data set in specs.
        classes: class names in the order of the labels.
        digest: sha256 (hex) of the classes and the digests of the splits.
        splits: {name: split}.
        evaluation_split: the split that results are measured on; None: `val`.
        source: how the data set was made.
        synthesis: of the images of `train`; None: they are real and labelled.
        protocol: evaluation protocol of the data set beside COCO's, or None.
    """

    model_config = ConfigDict(extra="forbid")
    format: int = CARD_FORMAT
    name: str
    classes: list[str]
    digest: str
    splits: dict[str, Split]
    evaluation_split: str | None = None
    source: str | dict[str, Any] = ""
    synthesis: Synthesis | None = None
    protocol: Protocol | None = None


@dataclass(frozen=True)
class LoadedCard:
    """A card that was read from a file.

    Attributes:
        card: its content.
        root: its folder, which relative paths start at.
    """

    card: Card
    root: Path

    def split(self, split: str) -> Split:
        """Return one split.

        Raises:
            InputError: there is no split of that name.
        """
        if split not in self.card.splits:
            raise unknown_name(f"split of data set '{self.card.name}'", split, self.card.splits)
        return self.card.splits[split]

    @property
    def evaluation_split(self) -> str:
        """Name of the split that results are measured on.

        Raises:
            InputError: the card has no such split.
        """
        name = self.card.evaluation_split or DEFAULT_EVALUATION_SPLIT
        if name not in self.card.splits:
            raise InputError(
                f"data set '{self.card.name}' in {self.root} has no split '{name}' to evaluate on; its splits: "
                f"{', '.join(self.card.splits)}; fix: make the card again with `c2d data check ... --card "
                f"{self.root} --evaluate-on SPLIT`, which records the choice"
            )
        return name

    def annotations(self, split: str) -> Path:
        """Return the path of the split's COCO JSON file."""
        return self.root / self.split(split).annotations

    def images(self, split: str) -> Path:
        """Return the folder that the split's `file_name`s start at."""
        return self.root / self.split(split).images


def card_digest(
    classes: Iterable[str],
    split_digests: Mapping[str, str],
    evaluation_split: str | None = None,
    synthesis: Synthesis | None = None,
    protocol: Protocol | None = None,
) -> str:
    """Return the sha256 (hex) of the ordered class list, the digests of the splits, and how results are measured.

    Args:
        classes: class names in the order of the labels.
        split_digests: {split: its digest}.
        evaluation_split: of the card. `val` is no part of the digest, whether it is written out or not.
        synthesis: of the card. Two syntheses may have the same targets and file names, so what tells their images apart
            is part of the digest: where they come from, the run, and the teacher's weights.
        protocol: of the card.
    """
    content: dict[str, Any] = {"classes": list(classes), "splits": dict(split_digests)}
    if evaluation_split not in (None, DEFAULT_EVALUATION_SPLIT):
        content["evaluation_split"] = evaluation_split
    if synthesis is not None:
        content["synthesis"] = synthesis.model_dump(include={"images_from", "run", "teacher_sha256"})
    if protocol is not None:
        content["protocol"] = protocol
    return hashlib.sha256(_canonical_json(content)).hexdigest()


def _canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys and without blanks: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def annotation_digest(coco: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of the images, boxes and categories of a COCO dict. The order of the lists counts."""
    content = {
        block: [{key: _canonical_number(row[key]) for key in keys if key in row} for row in coco.get(block) or []]
        for block, keys in READ_KEYS.items()
    }
    return hashlib.sha256(_canonical_json(content)).hexdigest()


def _canonical_number(value: Any) -> Any:
    """Return whole numbers as int, because 2 and 2.0 are the same side of a box."""
    if isinstance(value, list):
        return [_canonical_number(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

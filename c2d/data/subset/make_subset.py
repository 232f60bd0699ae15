"""Write a data set with a part of the training images of another one; its other splits stay as they are.

The annotations of the drawn images are kept whole: ids, boxes, crowd regions, ignored objects, keys of protocols and
soft labels, in their order, so that all images give the digest of the original. The other splits are copied byte for
byte and keep their digests: results of all shares are measured on the same images.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, abbreviate
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import LoadedCard, annotation_digest, card_digest
from c2d.data.card_lookup import load_card, verify_card
from c2d.data.coco_file import read_coco
from c2d.data.conversion.atomic_folder import staged_folder
from c2d.data.conversion.write_converted import Conversion, check_inside, unused_splits
from c2d.data.make_card import make_card
from c2d.data.subset.draw_order import DrawOrder, draw_order
from c2d.data.subset.place_images import Placement, check_images, place_images
from c2d.data.subset.subset_size import read_size
from c2d.data.usable_boxes import MIN_IMAGE_PX, drop_reason, image_sizes

MAKER = "c2d data subset"
TRAIN = "train"
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TERMS = re.compile(r"(licen[cs]e|copying|notice)([._-].*)?", re.IGNORECASE)
"""Names of files with terms of use."""


def make_subset(
    src: str, out: Path, *, train: str, seed: int = 0, name: str | None = None, images: Placement = "hardlink"
) -> Conversion:
    """Write `out`, or return its card if it is this data set already.

    Args:
        src: name or folder of a data set with a card.
        out: new folder; gets annotations/instances_<split>.json, images/<split> and card.json.
        train: share or number of its training images, see `read_size`.
        seed: of the draw; a smaller subset of the same seed lies inside a larger one.
        name: name of the new data set; NAME-train<number of images>-seed<seed> by default.
        images: hard links where the file system allows them, or copies.

    Raises:
        InputError: no such data set, size or split; images are missing; `out` holds something else.
    """
    size, loaded = read_size(train), load_card(src)
    card = loaded.card
    if TRAIN not in card.splits:
        raise InputError(
            f"data set '{card.name}' in {loaded.root} has no split '{TRAIN}' to draw from; its splits: "
            f"{', '.join(card.splits)}"
        )
    if strange := [split for split in card.splits if not _FOLDER.fullmatch(split)]:
        raise InputError(
            f"data set '{card.name}' has a split {strange[0][:100]!a}, which cannot be the name of a folder; make its "
            "card again with another --split"
        )
    verify_card(loaded)
    contents = {split: read_coco(loaded.annotations(split)) for split in card.splits}
    whole = contents[TRAIN]
    number = size.of(len(whole["images"]))
    order = _order(whole, seed)
    contents[TRAIN] = _restricted(whole, order.places[:number])
    files = {split: [row["file_name"] for row in coco["images"]] for split, coco in contents.items()}
    for split, names in files.items():
        check_inside(loaded.annotations(split), names)
        check_images(card.name, split, names, loaded.images(split))
    label = name or f"{card.name}-train{number}-seed{seed}"
    source = _source(loaded, label, number, len(whole["images"]), seed)
    notes = [*_lost_classes(whole, contents[TRAIN], order), *unused_splits({TRAIN: contents[TRAIN]}, "")]
    with staged_folder(out, source) as stage:
        if stage.existing is not None:
            digests = {split: annotation_digest(coco) for split, coco in contents.items()}
            if stage.existing.digest != card_digest(
                card.classes, digests, card.evaluation_split, card.synthesis, card.protocol
            ):
                raise InputError(f"{out} holds other images than this draw; give another folder, or remove {out}")
            return Conversion(stage.existing, notes)
        places: dict[str, tuple[Path, Path]] = {}
        for split, names in files.items():
            file, folder = stage.path / "annotations" / f"instances_{split}.json", stage.path / "images" / split
            file.parent.mkdir(exist_ok=True)
            folder.mkdir(parents=True)
            if split == TRAIN:
                atomic_write_json(file, contents[split])
            else:
                shutil.copyfile(loaded.annotations(split), file)
            copied, reason = place_images(names, loaded.images(split), folder, images)
            if copied:
                notes.append(f"{split}: {copied} of {len(names)} images are copies, not hard links ({reason})")
            places[split] = file, folder
        for terms in sorted(path for path in loaded.root.iterdir() if path.is_file() and _TERMS.fullmatch(path.name)):
            shutil.copyfile(terms, stage.path / terms.name)
        made = make_card(stage.path, label, card.classes, places, source, card.evaluation_split, card.synthesis,
                         card.protocol)  # fmt: skip
    return Conversion(made, notes)


def _order(coco: Mapping[str, Any], seed: int) -> DrawOrder:
    """The order of the images of a file, by the classes that training can learn from each."""
    classes = _classes_by_image(coco)
    rows = coco["images"]
    return draw_order([row["file_name"] for row in rows], [classes.get(row["id"], frozenset()) for row in rows], seed)


def _classes_by_image(coco: Mapping[str, Any]) -> dict[Any, frozenset[Any]]:
    """{id of the image: category ids of its usable boxes}; a crowd region teaches no class."""
    sizes = image_sizes(coco)
    found: dict[Any, set[Any]] = {}
    for row in coco["annotations"]:
        if drop_reason(row, sizes, MIN_IMAGE_PX) is None:
            found.setdefault(row["image_id"], set()).add(row["category_id"])
    return {image: frozenset(classes) for image, classes in found.items()}


def _restricted(coco: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """The file with these images alone; its licences, categories and other entries stay."""
    drawn = set(places)
    images = [row for place, row in enumerate(coco["images"]) if place in drawn]
    ids = {row["id"] for row in images}
    return {**coco, "images": images, "annotations": [row for row in coco["annotations"] if row["image_id"] in ids]}


def _source(loaded: LoadedCard, name: str, number: int, total: int, seed: int) -> dict[str, Any]:
    of = {"name": loaded.card.name, "digest": loaded.card.digest, "source": loaded.card.source}
    train = {"images": number, "of": total, "share": round(number / total, 6), "seed": seed}
    return {"maker": MAKER, "name": name, "of": of, TRAIN: train}


def _lost_classes(whole: Mapping[str, Any], subset: Mapping[str, Any], order: DrawOrder) -> list[str]:
    """A note on the classes that have boxes in the whole data set and none in the subset; none where all have."""
    before, after = (frozenset[Any]().union(*_classes_by_image(coco).values()) for coco in (whole, subset))
    lost = [row["name"] for row in whole["categories"] if row["id"] in before - after]
    if not lost:
        return []
    return [
        f"{len(lost)} of {len(before)} classes have no box to train on in these {len(subset['images'])} images: "
        f"{abbreviate(lost)}; with this seed all have one from --train {order.front} on"
    ]

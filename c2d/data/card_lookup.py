"""Find and load data cards by name or path, and check that their files have not changed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from c2d.core.errors import MAX_NAME, InputError, unknown_name
from c2d.core.regular_file import FormatError, is_file, read_bytes
from c2d.data.card import CARD_FILE, CARD_FORMAT, Card, LoadedCard, annotation_digest, card_digest
from c2d.data.card_places import keep_place, kept_place
from c2d.data.coco_file import read_coco
from c2d.data.protocol_checks import check_protocol
from c2d.data.public import DOWNLOADS, check_public_name, public_cards
from c2d.data.soft_label_checks import check_soft_labels
from c2d.data.usable_boxes import check_usable

DATA_ROOT_VARIABLE = "C2D_DATA"
DEFAULT_DATA_ROOT = "data"
MAX_CARD_BYTES = 64 * 2**20
"""A card has a few kB; its longest part are the names of the classes."""
VERIFIED_MB = 64
"""Size up to which `check_dataset` compares annotation files with their card; a run compares all when it starts."""


def find_card_file(name_or_path: str, data_root: str | Path | None = None) -> Path | None:
    """Return the path of a card, which may be damaged; None if there is no card.

    Args:
        name_or_path: name of a data set, a card.json, or its folder.
        data_root: folder of the data sets; $C2D_DATA by default, else ./data.
    """
    given = Path(name_or_path)
    here = data_folder(data_root) / name_or_path / CARD_FILE
    # A path comes before a data set of the same name in the data root.
    places = (given if given.name == CARD_FILE else given / CARD_FILE, given / CARD_FILE, here)
    return next((path for path in places if is_file(path)), None)


def load_card(name_or_path: str, data_root: str | Path | None = None) -> LoadedCard:
    """Load a card.

    Args:
        name_or_path: name of a data set (`data_root`/NAME/card.json), a card.json, or its folder.
        data_root: folder of the data sets; $C2D_DATA by default, else ./data.

    Raises:
        InputError: unknown name; the file is not a card of this format.
    """
    path = find_card_file(name_or_path, data_root)
    if path is None:
        raise _not_found_error(name_or_path, data_root)
    try:
        card = Card.model_validate_json(read_bytes(path, most=MAX_CARD_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:MAX_NAME] or "the file"
        raise InputError(f"{path} is not a data card: {where}: {first['msg']}; make it again with `c2d data`") from None
    except (OSError, FormatError) as error:
        raise InputError(f"cannot read data card {path}: {error}; make it again with `c2d data`") from None
    if card.format != CARD_FORMAT:
        raise InputError(f"{path} has card format {card.format}; this version reads {CARD_FORMAT}; make it again")
    return LoadedCard(card=card, root=path.parent)


def data_reference(
    name_or_path: str, data_root: str | Path | None = None, runs: str | Path | None = None
) -> tuple[str, str]:
    """Return (name, digest) of a data set for a spec. A public one has its shipped digest, with or without files.

    Args:
        name_or_path: name of a data set, a card.json, or its folder.
        data_root: folder of the data sets; $C2D_DATA by default, else ./data.
        runs: the store, where the place of a data set outside `data_root` is kept for the runs; None: it is not.

    Raises:
        InputError: unknown name; a local card with the name of a public data set is another data set.
    """
    if name_or_path in public_cards() and find_card_file(name_or_path, data_root) is None:
        return name_or_path, public_cards()[name_or_path].digest
    loaded = load_card(name_or_path, data_root)
    check_public_name(loaded.card, str(loaded.root))
    if name_or_path in public_cards() and loaded.card.name != name_or_path:
        raise InputError(
            f"{loaded.root} is named like the public data set {name_or_path} but its card names {loaded.card.name}; "
            "rename the folder, or give its path"
        )
    public = public_cards().get(loaded.card.name)
    if runs is not None and public is None:
        keep_place(loaded.root, loaded.card.digest, runs, data_folder(data_root))
    return loaded.card.name, public.digest if public else loaded.card.digest


def find_card(
    name: str, digest: str, data_root: str | Path | None = None, runs: str | Path | None = None
) -> LoadedCard:
    """Return the card of the data set that a run names, from any folder of `data_root` or `data_root` itself.

    Args:
        name: name of the data set.
        digest: its digest. A public data set is recognised by its class list and counts.
        data_root: folder of the data sets; $C2D_DATA by default, else ./data.
        runs: the store, which knows where data sets lie that specs named by their path.

    Raises:
        InputError: there is none, or the data of that name have changed.
    """
    root = data_folder(data_root)
    cards = [
        load_card(str(path)) for path in (*sorted(root.glob(f"*/{CARD_FILE}")), root / CARD_FILE) if path.is_file()
    ]
    same_name = [loaded for loaded in cards if loaded.card.name == name]
    public = public_cards().get(name)
    is_public = public is not None and public.digest == digest
    for loaded in same_name:
        if loaded.card.digest == digest or (public is not None and is_public and not public.differences(loaded.card)):
            return loaded
    place = kept_place(digest, runs)
    kept = load_card(str(place)) if place is not None and is_file(place / CARD_FILE) else None
    if kept is not None and (kept.card.name, kept.card.digest) == (name, digest):
        return kept
    if place is not None:
        raise InputError(
            f"data set {name} was given by its path, and {place} has it no longer; restore it, or give the spec again "
            "with its new path"
        )
    if same_name and is_public:
        check_public_name(same_name[0].card, str(same_name[0].root))
    if same_name:
        raise InputError(
            f"data set {name} in {same_name[0].root} has digest {same_name[0].card.digest[:12]}, the run names "
            f"{digest[:12]}; restore the data, or submit the spec again for the data that are here"
        )
    if is_public:
        raise _not_found_error(name, data_root)
    known = [loaded.card.name for loaded in cards]
    raise unknown_name("data set", name, known, f"searched: {root}; set {DATA_ROOT_VARIABLE} or give --data")


def check_dataset(
    name: str,
    digest: str,
    data_root: str | Path | None = None,
    min_size: int | None = 0,
    runs: str | Path | None = None,
) -> tuple[LoadedCard, bool] | None:
    """Check the data set of a spec before its run starts.

    It is the same one, has the splits that a run needs, its files exist and have not changed, and training and
    evaluation have a box.

    Args:
        name: name of the data set.
        digest: its digest.
        data_root: folder of the data sets; $C2D_DATA by default, else ./data.
        min_size: of the run's training images, see `c2d.data.usable_boxes.training_min_size`; None for a run that
            trains on other images, and needs the evaluation split alone.
        runs: the store, see `find_card`.

    Returns:
        (the card, whether its annotation files were compared with it); None if no data set of that name exists here.

    Raises:
        InputError: a data set of that name is another one, its files are missing, or they have changed; a split is
            missing or has no usable box.
    """
    try:
        loaded = find_card(name, digest, data_root, runs)
    except InputError:
        if find_card_file(name, data_root) is None and kept_place(digest, runs) is None:
            return None
        raise
    splits = splits_of_run(loaded, min_size)
    read = list(loaded.card.splits if min_size is not None else splits)
    files = {loaded.annotations(split) for split in read}
    folders = [loaded.images(split) for split in read]
    missing = [path for path in (*files, *folders) if not path.exists()]
    if missing:
        raise InputError(f"data set {name}: missing: {missing[0]}; fix: restore it, or write the card again")
    if sum(path.stat().st_size for path in files) > VERIFIED_MB * 2**20:
        return loaded, False
    verify_card(loaded, splits, only=read)
    return loaded, True


def splits_of_run(loaded: LoadedCard, min_size: int | None) -> dict[str, int]:
    """Return the splits that a run needs, for `verify_card`.

    Args:
        loaded: the data set.
        min_size: of its training images, see `c2d.data.usable_boxes.training_min_size`; None for a run that trains on
            other images.

    Raises:
        InputError: the data set has no split to train or to evaluate on.
    """
    if min_size is None:
        return {loaded.evaluation_split: 0}
    if "train" not in loaded.card.splits:
        raise InputError(
            f"data set '{loaded.card.name}' in {loaded.root} has no split 'train', so it is for evaluation alone; its "
            f"splits: {', '.join(loaded.card.splits)}; make the card again with the training file"
        )
    return {loaded.evaluation_split: 0, "train": min_size}


def verify_card(
    loaded: LoadedCard, used: Mapping[str, int] = MappingProxyType({}), *, only: Collection[str] | None = None
) -> None:
    """Check that the annotation files are still those that the card was made from.

    Args:
        loaded: the data set.
        used: {split that has to have a usable box: shorter side of an image in px below which it is dropped}.
        only: splits whose files are read; None: all.

    Raises:
        InputError: classes or annotations have changed, soft labels are malformed or not those of the card's
            `synthesis`, the key `protocol` of an annotation is malformed, or a split of `used` has no usable box.
    """
    card = loaded.card
    for split, entry in card.splits.items():
        if only is not None and split not in only:
            continue
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
        check_protocol(coco, str(loaded.annotations(split)), card.protocol)
        soft = check_soft_labels(coco, str(loaded.annotations(split)))
        declared = card.synthesis.soft_labels if card.synthesis is not None else soft
        if split == "train" and coco["annotations"] and declared != soft:
            raise InputError(
                f"data set '{card.name}': by its card soft_labels is {str(declared).lower()}, and "
                f"the annotations of {loaded.annotations(split)} have {'some' if soft else 'none'}; restore the card"
            )
        if split in used:
            check_usable(
                coco,
                str(loaded.annotations(split)),
                used[split],
                "to train on" if split == "train" else "to evaluate on",
            )
    digests = {split: entry.digest for split, entry in card.splits.items()}
    recorded = card_digest(card.classes, digests, card.evaluation_split, card.synthesis, card.protocol)
    if recorded != card.digest:
        raise InputError(f"data card '{card.name}': its digest does not belong to its splits; make the card again")


def _not_found_error(name: str, data_root: str | Path | None) -> InputError:
    """Build the error for a data set whose card does not exist."""
    root, public = data_folder(data_root), public_cards().get(name)
    fetch = f"`c2d data fetch {name} --out {root / name}` downloads it. " if name in DOWNLOADS else ""
    if public is not None:
        return InputError(
            f"the files of data set {name} are not here: no card of that name in {root} (set {DATA_ROOT_VARIABLE} or "
            f"give --data). {fetch}{public.files_text(str(root / name))}"
        )
    known = {path.parent.name for path in root.glob(f"*/{CARD_FILE}")} if root.is_dir() else set()
    hint = (
        f"{fetch}searched: {root} (set {DATA_ROOT_VARIABLE} or give the path of a {CARD_FILE}); "
        "`c2d data fetch|voc|kitti|yolo|cvat|imagenet|scenes|check` make one"
    )
    return unknown_name("data set", name, known | set(public_cards()), hint)


def data_folder(data_root: str | Path | None = None) -> Path:
    """Return the folder of the data sets.

    Args:
        data_root: None: $C2D_DATA, else ./data.
    """
    return Path(data_root or os.environ.get(DATA_ROOT_VARIABLE) or DEFAULT_DATA_ROOT)

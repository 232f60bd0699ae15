"""The splits of a data card as `c2d data check` takes them, and what is said of images that were synthesised."""

from __future__ import annotations

from pathlib import Path

from c2d.data.card import CARD_FILE, Card, LoadedCard
from c2d.data.card_lookup import load_card


def card_at(path: Path) -> LoadedCard | None:
    """Return the card if a path is a card.json or its folder, else None.

    Raises:
        InputError: the card is damaged.
    """
    is_card = path.name == CARD_FILE or (path.is_dir() and (path / CARD_FILE).is_file())
    return load_card(str(path)) if is_card else None


def splits_of_card(loaded: LoadedCard) -> dict[str, tuple[Path, Path]]:
    """Return {split: (annotation file, image folder)} of a card."""
    return {split: (loaded.annotations(split), loaded.images(split)) for split in loaded.card.splits}


def synthesis_lines(card: Card) -> list[str]:
    """Describe where the images of `train` come from and what their labels are; nothing of real, labelled images."""
    made = card.synthesis
    if made is None:
        return []
    images = {
        "optimised": f"optimised until the detector {made.teacher} sees the targets",
        "noise": "noise, a control",
        "procedural": "targets drawn on procedural backgrounds, a control",
        "real": "real images of a data set, a control",
    }[made.images_from]
    free = "data-free: no real image is among them" if made.is_data_free else "not data-free: the images are real"
    labels = "with a soft label each" if made.soft_labels else "without soft labels"
    return [
        f"images of 'train': {images}; {free}",
        f"made by {'run ' + made.run if made.run else 'no run of c2d'}, schedule {made.schedule}",
        f"targets of 'train': of the detector {made.teacher} (weights {made.teacher_sha256[:12]}), {labels}",
    ]

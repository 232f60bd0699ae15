"""Write a data set to a hidden folder beside its place and rename it at the end, so that it is complete or absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.disk import make_draft_folder
from c2d.core.errors import InputError
from c2d.core.run_state import remove_abandoned
from c2d.data.card import CARD_FILE, Card
from c2d.data.card_lookup import load_card


@dataclass(frozen=True)
class Stage:
    """The folder to write to.

    Attributes:
        path: the folder.
        existing: the card of the same data set, which exists already; then nothing has to be written.
    """

    path: Path
    existing: Card | None = None


@contextmanager
def staged_folder(out: Path, source: dict[str, Any]) -> Iterator[Stage]:
    """Yield the folder to write a data set to. It takes the name `out` at the end of the block.

    On any error it is removed, and `out` stays as it was.

    Args:
        out: folder of the data set.
        source: how it is made; equal to the source in the card of an existing `out`, or that is another data set.

    Raises:
        InputError: `out` is a file, or a folder with something other than this data set.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give the name of a new or empty folder")
    if out.is_dir() and any(out.iterdir()):
        if not (out / CARD_FILE).is_file():
            first = min(path.name for path in out.iterdir())
            raise InputError(f"{out} holds other files (first: {first}); give a new or empty folder")
        card = load_card(str(out)).card
        if card.source != source:
            raise InputError(
                f"{out} holds the data set '{card.name}' made with other options: {_differences(card.source, source)}; "
                "give another folder, or the same options"
            )
        yield Stage(out, card)
        return
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out)
        work = make_draft_folder(out)
    except OSError as error:
        raise InputError(f"cannot write to {out.parent}: {error.strerror}; give another folder") from None
    try:
        yield Stage(work)
        os.replace(work, out)  # also takes the place of an empty folder
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _differences(there: str | dict[str, Any], given: dict[str, Any]) -> str:
    """Name the options that differ between the source of a card, which may be a text, and the one that was given."""
    there = {"maker": there} if isinstance(there, str) else there
    keys = [key for key in there | given if there.get(key) != given.get(key)]
    return ", ".join(f"{key} {there.get(key, 'not given')} there, {given.get(key, 'not given')} here" for key in keys)

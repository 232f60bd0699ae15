"""A data set appears whole or not at all: it is written to a hidden folder beside its place and renamed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.data.card import CARD_FILE, Card, load_card


@dataclass(frozen=True)
class Stage:
    """Where to write (`path`), or the card that already answers the same question (`existing`; write nothing then)."""

    path: Path
    existing: Card | None = None


@contextmanager
def staged_folder(out: Path, source: dict[str, Any]) -> Iterator[Stage]:
    """Yield a `Stage` for the new data set `out`, made as `source` says (compared with the card's on a second call).

    On leaving the block the folder takes its name; on any error it is removed and `out` stays as it was. Raises
    InputError when `out` is a file or a folder that holds anything other than the data set of the same `source`.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give the name of a new or empty folder")
    if out.is_dir() and any(out.iterdir()):
        if not (out / CARD_FILE).is_file():
            raise InputError(f"{out} holds other files; give a new or empty folder")
        card = load_card(str(out)).card
        if card.source != source:
            raise InputError(
                f"{out} holds the data set '{card.name}' made from {card.source}, asked {source}; give another folder"
            )
        yield Stage(out, card)
        return
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(f"cannot write to {out.parent}: {error.strerror}; give another folder") from None
    try:
        work.chmod(0o755)  # mkdtemp's 0700 would hide the data set from colleagues
        yield Stage(work)
        os.replace(work, out)  # also takes the place of an empty folder
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise

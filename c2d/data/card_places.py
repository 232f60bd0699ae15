"""Places of data sets that a spec names by their path, kept in the store: a path is no part of a spec."""

from __future__ import annotations

import os
from pathlib import Path

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json, read_json
from c2d.core.store_folder import RunStore

FORMAT = 1


def keep_place(folder: Path, digest: str, runs: str | Path, data_root: Path) -> None:
    """Write down where a data set lies, unless runs find it in the data root anyway.

    Args:
        folder: of the card.
        digest: of the data set.
        runs: the store.
        data_root: folder of the data sets.
    """
    place, root = Path(os.path.abspath(folder)), Path(os.path.abspath(data_root))
    if root in (place, place.parent):
        return
    atomic_write_json(RunStore(Path(runs)).dataset(digest), {"format": FORMAT, "folder": str(place)})


def kept_place(digest: str, runs: str | Path | None) -> Path | None:
    """Return the folder that `keep_place` wrote down, or None.

    Raises:
        InputError: the record is damaged.
    """
    record = RunStore(Path(runs)).dataset(digest) if runs is not None else None
    if record is None or not record.exists():
        return None
    content = read_json(record)
    folder = content.get("folder") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if not isinstance(folder, str) or not os.path.isabs(folder):
        raise InputError(f"{record} has no folder of a data set; remove it, and resolve the spec again")
    return Path(folder)

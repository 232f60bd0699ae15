"""Cache of the values read from a store's files, so that a later command does not read an unchanged file again.

One file per store, under $C2D_CACHE or ~/.cache/c2d, never in the store; it may be deleted at any time. An entry is
used only if the file's size, times and inode are those of the time of reading, and the whole cache only if the code
that wrote it was the same. A cache that is damaged, of another store or cannot be written is ignored without an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path
from typing import Any

import c2d
from analysis.loading import columns, flatten
from analysis.loading.draft_files import DRAFT_PREFIX, remove_old_drafts
from c2d.core import json_values, regular_file
from c2d.core.disk import open_draft
from c2d.core.regular_file import FileState
from c2d.metrics.protocols import protocol_names

SCHEMA = 1
SETTLED_NS = 2_000_000_000
"""A file that changed within so many ns before it was read may change again without a new time: clocks of file systems
tick in up to two seconds. It is read again next time."""


@dataclass
class Cache:
    """Values of one store's files.

    Attributes:
        path: file of the cache; None where nothing is stored.
        store: real path of the store, as ASCII.
        entries: {run/file: (state of the file, value)}; JSON can hold every value.
        changed: whether the entries differ from the file of the cache.
    """

    path: Path | None = None
    store: str = ""
    entries: dict[str, tuple[FileState, Any]] = field(default_factory=dict)
    changed: bool = False

    def get(self, key: str, state: FileState) -> Any | None:
        """Return the value of a file in this state, or None.

        Args:
            key: run/file.
            state: size, times and inode of the file now.
        """
        found = self.entries.get(key)
        return found[1] if found is not None and found[0] == state else None

    def put(self, key: str, state: FileState, value: Any) -> None:
        """Store a value, unless its file is so new that it may still change without a change of its state."""
        if time.time_ns() - state[1] > SETTLED_NS:
            self.entries[key] = state, value
            self.changed = True
        elif key in self.entries:
            del self.entries[key]
            self.changed = True

    def keep_only(self, runs: Iterable[str]) -> None:
        """Remove the entries of all runs but these."""
        existing = set(runs)
        removed = [key for key in self.entries if key.rpartition("/")[0] not in existing]
        for key in removed:
            del self.entries[key]
        self.changed = self.changed or bool(removed)

    def save(self) -> None:
        """Write the cache as a whole or not at all. If two commands write at once, one wins; no error is raised."""
        if self.path is None or not self.changed:
            return
        try:
            body = json.dumps({key: [*state, value] for key, (state, value) in self.entries.items()}).encode()
            head = {**_made_by(), "store": self.store, "sha256": hashlib.sha256(body).hexdigest()}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = open_draft(self.path, DRAFT_PREFIX)
            remove_old_drafts(self.path.parent)
        except (OSError, ValueError):
            return
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(json.dumps(head).encode() + b"\n" + body)
            os.replace(draft, self.path)  # at once: a reader finds the old file or the new one
        except OSError:
            draft.unlink(missing_ok=True)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def cache_folder(given: Path | None = None) -> Path | None:
    """Return the folder of all caches: `given`, $C2D_CACHE or ~/.cache/c2d; None where there is no home."""
    if given is not None:
        return Path(given)
    if os.environ.get("C2D_CACHE"):
        return Path(os.environ["C2D_CACHE"])
    try:
        return Path.home() / ".cache" / "c2d"
    except RuntimeError:
        return None


def is_inside(place: Path, store: Path) -> bool:
    """Whether a cache folder would be in the store, whose files belong to the runs."""
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(store))


def load_cache(place: Path | None, store: Path) -> Cache:
    """Read the cache of a store; an empty one where there is no valid one.

    Args:
        place: folder of all caches; None stores nothing.
        store: the store.
    """
    if place is None or is_inside(place, store):
        return Cache()
    name = os.path.realpath(store)
    # surrogateescape: a path may hold bytes that are no UTF-8.
    path = place / f"store-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}.json"
    empty = Cache(path, ascii(name))
    try:
        if not path.is_file():
            return empty
        first, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(first)
        wanted = {**_made_by(), "store": empty.store, "sha256": hashlib.sha256(body).hexdigest()}
        if head != wanted:
            return empty
        entries = {key: ((a, b, c, d), value) for key, (a, b, c, d, value) in json.loads(body).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return empty
    return Cache(path, empty.store, entries)


@once
def _made_by() -> dict[str, Any]:
    """Format, version and digest of the code that makes the entries: a cache of other code is not read."""
    code = hashlib.sha256()
    for module in (columns, protocol_names, flatten, json_values, regular_file):
        try:
            code.update(Path(str(module.__file__)).read_bytes())
        except OSError:  # a package without source files has its version
            continue
    return {"schema": SCHEMA, "version": c2d.__version__, "code": code.hexdigest()}

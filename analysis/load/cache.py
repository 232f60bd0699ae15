"""What was read of a store's files, kept between commands so that an unchanged file is not read again.

One file per store, under $C2D_CACHE or ~/.cache/c2d, never in the store; it may be deleted at any time. An entry is
taken only if the file's size, times and inode are those of the time of reading, and the whole cache only if
the code that made it was the same. A cache that is damaged, foreign or cannot be written is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path
from typing import Any

import c2d
from analysis.load import columns, flatten
from c2d.core import json_values, regular_file
from c2d.core.regular_file import FileState

SCHEMA = 1
SETTLED_NS = 2_000_000_000
"""A file that changed within so many ns before it was read may change again without a new time: clocks of file systems
tick in up to two seconds. It is read again next time."""


@dataclass
class Cache:
    """{run/file: (state, value)} of one store; values are what JSON can hold.

    path: where it is kept; None: nowhere, and every look-up is in vain.
    """

    path: Path | None = None
    store: str = ""
    entries: dict[str, tuple[FileState, Any]] = field(default_factory=dict)
    changed: bool = False

    def get(self, key: str, state: FileState) -> Any | None:
        """The value of a file in this state, or None."""
        found = self.entries.get(key)
        return found[1] if found is not None and found[0] == state else None

    def put(self, key: str, state: FileState, value: Any) -> None:
        """Keep a value, unless its file is so young that its state does not yet vouch for its content."""
        if time.time_ns() - state[1] > SETTLED_NS:
            self.entries[key] = state, value
            self.changed = True
        elif key in self.entries:
            del self.entries[key]
            self.changed = True

    def keep_only(self, runs: Iterable[str]) -> None:
        """Forget the files of runs that are no longer in the store."""
        here = set(runs)
        gone = [key for key in self.entries if key.rpartition("/")[0] not in here]
        for key in gone:
            del self.entries[key]
        self.changed = self.changed or bool(gone)

    def save(self) -> None:
        """Write it, whole or not at all; of two readers that write at once, one wins. It is never an error."""
        if self.path is None or not self.changed:
            return
        try:
            body = json.dumps({key: [*state, value] for key, (state, value) in self.entries.items()}).encode()
            head = {**_made_by(), "store": self.store, "sha256": hashlib.sha256(body).hexdigest()}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        except (OSError, ValueError):
            return
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(json.dumps(head).encode() + b"\n" + body)
            os.replace(name, self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def cache_folder(given: Path | None = None) -> Path | None:
    """Where caches are kept: `given`, $C2D_CACHE or ~/.cache/c2d; None where there is no home."""
    if given is not None:
        return Path(given)
    if os.environ.get("C2D_CACHE"):
        return Path(os.environ["C2D_CACHE"])
    try:
        return Path.home() / ".cache" / "c2d"
    except RuntimeError:
        return None


def is_inside(place: Path, store: Path) -> bool:
    """True for a cache folder that would lie in the store, whose files belong to the runs."""
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(store))


def load_cache(place: Path | None, store: Path) -> Cache:
    """The cache of a store; an empty one where there is none that can be trusted."""
    if place is None or is_inside(place, store):
        return Cache()
    name = os.path.realpath(store)
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
    for module in (columns, flatten, json_values, regular_file):
        try:
            code.update(Path(str(module.__file__)).read_bytes())
        except OSError:  # a package without source files has its version
            continue
    return {"schema": SCHEMA, "version": c2d.__version__, "code": code.hexdigest()}

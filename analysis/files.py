"""The folder a report is written to. It is never inside the store: nothing that a run wrote is touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from analysis.errors import InputError


class Folder:
    """A folder for results; made when the first file is written.

    Raises:
        InputError: the folder is the store or lies inside it, or is a file.
    """

    def __init__(self, path: Path, store: Path) -> None:
        if path.resolve().is_relative_to(store.resolve()):
            raise InputError(
                f"--out {path} lies inside the store {store}, which reports never change; give another folder"
            )
        if path.exists() and not path.is_dir():
            raise InputError(f"--out {path} is a file; give a folder")
        self.path = path
        self.written: list[Path] = []

    def place(self, name: str) -> Path:
        """The path of a file in it, whose folder is there."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {self.path}: {error.strerror or error}; give another --out") from None
        return path

    def write(self, name: str, text: str) -> Path:
        """Write a text file beside its final name, then rename it: readers see the old one or the new."""
        path = self.place(name)
        try:
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            os.chmod(draft, 0o644)
            os.replace(draft, path)
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror or error}; free some space or give another --out"
            ) from None
        self.written.append(path)
        return path

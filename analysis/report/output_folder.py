"""The folder of a report's files. It is never inside the store, so no file of a run can change."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from analysis.loading.draft_files import DRAFT_PREFIX, remove_old_drafts
from c2d.core.disk import open_draft
from c2d.core.errors import InputError


class OutputFolder:
    """A folder for results; created when the first file is written.

    Raises:
        InputError: the folder is the store or lies inside it, or is a file.
    """

    def __init__(self, path: Path, store: Path) -> None:
        # `Path.resolve` raises for links that point at themselves, realpath does not.
        real, of_store = os.path.realpath(path), os.path.realpath(store)
        if real == of_store or real.startswith(of_store + os.sep):
            raise InputError(
                f"--out {path} lies inside the store {store}, which reports never change; give another folder"
            )
        if os.path.lexists(path) and not os.path.isdir(path):
            raise InputError(f"--out {path} is no folder; give one, or a name that is free")
        self.path = path
        self.written: list[Path] = []

    def older(self, *names: str) -> int:
        """Count the files in these folders that this report did not write."""
        found = {path for name in names for path in (self.path / name).glob("*") if path.is_file()}
        return len(found - set(self.written))

    def remove_drafts(self) -> None:
        """Remove what killed reports left in the folders that this report has written to."""
        for folder in {path.parent for path in self.written}:
            remove_old_drafts(folder)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file beside its final name, then rename it: readers see the old one or the new.

        Raises:
            InputError: the system refuses; what was written before stays.
        """
        path = self.path / name
        draft: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = open_draft(path, DRAFT_PREFIX)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content.encode() if isinstance(content, str) else content)
            os.replace(draft, path)
        except OSError as error:
            if draft is not None:
                draft.unlink(missing_ok=True)
            what = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the path"
            raise InputError(f"cannot write {path}: {error.strerror or error}; {what}, or give another --out") from None
        self.written.append(path)
        return path

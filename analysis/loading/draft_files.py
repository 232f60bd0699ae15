"""Files that a report has begun have a name of their own until they are complete; a killed report leaves them."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

DRAFT_PREFIX = ".draft-"
OLD_S = 3600.0
"""A younger draft may be one that another report is writing now."""


def remove_old_drafts(folder: Path) -> None:
    """Remove the drafts of killed reports in a folder; no error is raised."""
    with suppress(OSError):
        for path in folder.glob(f"{DRAFT_PREFIX}*"):
            if time.time() - path.lstat().st_mtime > OLD_S:
                path.unlink(missing_ok=True)

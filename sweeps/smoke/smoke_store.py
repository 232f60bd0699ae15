"""The folder of a smoke: runs/, data/ and reports/, and a mark that it has no real runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json

MARK = "smoke.json"
MEMORY_DISK = Path("/dev/shm")
MEMORY_DISK_BYTES = 4 * 2**30
"""Free space from which a temporary store lies in memory: a run writes and reads up to a gigabyte of weights."""


@dataclass(frozen=True)
class SmokeStore:
    """Folders of a smoke.

    Attributes:
        root: of everything.
        keep: weights and checkpoints stay.
    """

    root: Path
    keep: bool

    @property
    def runs(self) -> Path:
        """The store of the runs."""
        return self.root / "runs"

    @property
    def data(self) -> Path:
        """Root of the generated data sets."""
        return self.root / "data"

    @property
    def reports(self) -> Path:
        """One folder a sweep."""
        return self.root / "reports"

    def remove_weights(self, run: RunFolder) -> None:
        """Remove the weights of a run that no other needs, unless they are kept."""
        if not self.keep:
            run.student.unlink(missing_ok=True)
            run.classifier.unlink(missing_ok=True)

    def remove_checkpoints(self, run: RunFolder) -> None:
        """Remove the checkpoints of a run, unless they are kept."""
        if not self.keep:
            shutil.rmtree(run.checkpoints, ignore_errors=True)


@contextmanager
def smoke_store(root: Path | None, keep: bool) -> Iterator[SmokeStore]:
    """Yield the store of a smoke; a temporary one is removed afterwards unless it is kept.

    Args:
        root: a folder that is empty or of an earlier smoke; None: a temporary one.
        keep: keep a temporary store, and the weights in any.

    Raises:
        InputError: the folder is another store.
    """
    if root is not None:
        if root.exists() and any(root.iterdir()) and not (root / MARK).is_file():
            raise InputError(
                f"{root} holds other files; give an empty folder as --runs, or that of an earlier smoke, whose runs "
                "are replaced"
            )
        atomic_write_json(root / MARK, {"format": 1})
        yield SmokeStore(root.absolute(), keep)
        return
    in_memory = MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free > MEMORY_DISK_BYTES
    folder = Path(tempfile.mkdtemp(prefix="c2d-smoke-", dir=MEMORY_DISK if in_memory and not keep else None))
    try:
        atomic_write_json(folder / MARK, {"format": 1})
        yield SmokeStore(folder, keep)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)

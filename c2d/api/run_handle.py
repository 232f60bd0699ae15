"""A run as an object: its id, folder and spec, and the state and result that its folder has now."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.run_folder import RunFolder, read_json


@dataclass(frozen=True)
class Run:
    """One run of a store. It is a path as well (`os.PathLike`), so every function that takes a run folder takes it.

    Attributes:
        path: the run folder `<store>/<id>`, absolute. `resolve` does not make it.
        spec: the full spec with every default written out, the content of spec.json. It decides the id.
        data: root of the data cards that the run was resolved with; None takes C2D_DATA, else ./data.
        source: the YAML file that the spec was read from; "" for another one.
        notes: sentences about the spec, e.g. a learning rate that follows from the batch.
        stopped: where a training that was to stop early has stopped (`stop_after`); "" else.
    """

    path: Path
    spec: dict[str, Any] = field(repr=False)
    data: Path | None = field(default=None, repr=False)
    source: str = field(default="", repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    stopped: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        """The run id, `<name>-<12 hex digits of the spec>-s<seed>`."""
        return self.path.name

    @property
    def state(self) -> str:
        """The state: `new` (no folder yet), else that of status.json: waiting, running, failed or done.

        Raises:
            InputError: status.json is damaged.
        """
        folder = RunFolder(self.path)
        return str(folder.read_status()["state"]) if folder.spec.exists() else "new"

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json: AP and TIDE in 0-1, times in s, None where a number is undefined.

        Raises:
            InputError: the run is not finished.
        """
        return dict(read_json(RunFolder(self.path).result))

    def __fspath__(self) -> str:
        return str(self.path)

"""W&B: a run with the id of the run, offline unless WANDB_MODE says otherwise.

Offline, every attempt writes a folder of its own, `tracking/wandb/offline-run-TIME-ID`, with the whole history of the
run; folders of earlier attempts are removed once it is there: `wandb sync` uploads each number once. Online, W&B
resumes the run of that id and is sent what it does not have.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from c2d.core.store_folder import RunStore
from c2d.tracking.metric_names import RESULT
from c2d.tracking.tracked_run import TAG
from c2d.tracking.tracker import FINISHED, INTERRUPTED, Outcome, Point, TrackedRun
from c2d.tracking.tracker_option import TrackerOption

PROJECT = "c2d"
LONGEST_ID = 64
SHOWN_TAGS = ("dataset", "student", "method")
SERVICE, SERVICE_VARIABLE = "wandb-core", "WANDB_SERVICE"
"""Name of the process that W&B starts, which writes and uploads, and the variable with its address."""
TEARDOWN_S = 1.0
LEAST_FREE_BYTES = 2**16


class WandbTracker:
    """A run of W&B. The project is WANDB_PROJECT, else `c2d`.

    Args:
        option: its destination is PROJECT or ENTITY/PROJECT.
        store: of the run; offline runs lie in its folder `tracking/wandb`.
    """

    def __init__(self, option: TrackerOption, store: RunStore) -> None:
        self.folder = (option.local_folder(store) or store.tracking).absolute()
        entity, _, project = option.destination.rpartition("/")
        self.entity, self.project = entity or None, project or os.environ.get("WANDB_PROJECT") or PROJECT
        self._run: Any = None
        self._earlier: list[Path] = []
        self._first_step = 0
        self._owns_service = SERVICE_VARIABLE not in os.environ  # else it is of the program that called c2d

    def open(self, run: TrackedRun) -> None:
        """Start W&B's process and the run."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        name = wandb_id(run.folder.id)
        if mode == "offline":
            pattern = re.compile(rf"offline-run-\d+_\d+-{re.escape(name)}")
            self._earlier = [path for path in self.folder.glob("wandb/*") if pattern.fullmatch(path.name)]
        settings = wandb.Settings(
            mode=mode, console="off", silent=True, disable_git=True, disable_code=True, disable_job_creation=True,
            x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        hooks = sys.exit, sys.excepthook
        tags = {name.removeprefix(TAG): value for name, value in run.tags.items()}
        try:
            self._run = wandb.init(
                settings=settings,
                dir=str(self.folder),
                entity=self.entity,
                project=self.project,
                id=name,
                name=run.folder.id,
                # Offline, `wandb sync` would append a run that resumes to the one it has.
                reinit="create_new",  # a run of the program that called c2d goes on
                resume=None if mode == "offline" else "allow",
                group=tags.get("sweep"),
                job_type=tags.get("kind"),
                tags=[tags[key][:64] for key in SHOWN_TAGS if key in tags],
                config={**run.params, **run.tags},
                allow_val_change=True,
            )
        finally:
            sys.exit, sys.excepthook = hooks  # W&B replaces both
        self._first_step = self._run.starting_step

    def log(self, points: Sequence[Point]) -> None:
        """Hand points to W&B's process; train and val values of one iteration are one step."""
        for point in points:
            if point.step >= self._first_step:
                self._run.log({**point.values, "_timestamp": point.time_s}, step=point.step)
        self._check_disk()
        self._remove_earlier()

    def finish(self, outcome: Outcome) -> None:
        """Store final numbers and state in the summary, and end W&B's process."""
        import wandb

        self._run.config.update(outcome.tags, allow_val_change=True)
        summary = {**outcome.results, f"{TAG}state": outcome.state}
        if outcome.per_class:
            summary[f"{RESULT}/per_class"] = outcome.per_class
        self._run.summary.update(summary)
        if outcome.state == INTERRUPTED:
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if outcome.state == FINISHED else 1)
        if self._owns_service:
            wandb.teardown(exit_code=0)
        self._check_disk()
        self._remove_earlier()

    def abandon(self) -> None:
        """Kill W&B's process, for which Python would otherwise wait when it exits."""
        if not self._owns_service:
            return
        for pid in _children(SERVICE):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        # So that W&B does not try the same when Python exits; in a thread, because it could wait as well.
        end = threading.Thread(target=_teardown, daemon=True)
        end.start()
        end.join(TEARDOWN_S)

    def _check_disk(self) -> None:
        """Check that the disk is not full: W&B's process does not report it.

        Raises:
            OSError: it is.
        """
        if shutil.disk_usage(self.folder).free < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def _remove_earlier(self) -> None:
        for path in self._earlier:
            shutil.rmtree(path, ignore_errors=True)
        self._earlier = []


def _teardown() -> None:
    package: Any = sys.modules.get("wandb")
    with suppress(Exception, SystemExit):  # the latter with the exit code of the process
        package.teardown(exit_code=0)


def wandb_id(run_id: str) -> str:
    """Return the id of a run at W&B: its own, or a shorter one where that is too long or has a character of a URL.

    >>> wandb_id("retinanet-r18-icod-0123456789ab-s0")
    'retinanet-r18-icod-0123456789ab-s0'
    """
    if len(run_id) <= LONGEST_ID and re.fullmatch(r"[\w.\-]+", run_id, re.ASCII):
        return run_id
    plain = re.sub(r"[^A-Za-z0-9_.\-]", "_", run_id)
    return f"{plain[: LONGEST_ID - 17]}-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def _children(name: str) -> list[int]:
    """Return the processes of a name that this one has started (Linux; elsewhere none)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            command, _, rest = path.read_text().partition("(")[2].rpartition(")")
            if command == name and int(rest.split()[1]) == os.getpid():
                found.append(int(path.parent.name))
    return found

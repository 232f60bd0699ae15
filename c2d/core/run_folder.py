"""The file names of a run, and how its files are written: whole files by rename, curves by append.

A run is a folder of plain files (`runs/<run id>/`). Their names are defined here and nowhere else. Only the standard
library is imported, so a login node reads the state of a thousand runs quickly.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2d.core import json_values, status_shape
from c2d.core.disk import check_no_device, disk_error, open_draft
from c2d.core.errors import InputError, RunError
from c2d.core.json_values import MAX_BYTES
from c2d.core.masking import mask_text
from c2d.core.process.process_cost import cpu_seconds
from c2d.core.regular_file import Problem
from c2d.core.status_shape import STATES

SPEC_FILE, STATUS_FILE, RESULT_FILE, ENV_FILE = "spec.json", "status.json", "result.json", "env.json"
METRICS_FILE, LOG_FILE, DETECTIONS_FILE = "metrics.jsonl", "log.txt", "detections.json.gz"
JOB_FILE, CANARY_FILE, ATTEMPTS_FILE = "job.json", "canary.json", "attempts.jsonl"
LAUNCHER_FILES = (JOB_FILE, CANARY_FILE)
"""Whole files of a run folder that are written without its lock."""
LATENCY_FOLDER = "latency"
NODE_VARIABLE = "SLURMD_NODENAME"
"""SLURM's name of the node a job runs on. sbatch knows nodes by this name only, and the host may have another one."""
_OWN_BEGIN: dict[Path, tuple[float | None, float, float]] = {}
"""{run folder: (`begun`, time.monotonic() then, CPU seconds at the start)} of the attempts of this process."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Properties are paths that need not exist."""

    path: Path

    @property
    def id(self) -> str:
        """The run id, which is the name of the folder."""
        return self.path.name

    @property
    def spec(self) -> Path:
        """The full spec: everything that decides the result."""
        return self.path / SPEC_FILE

    @property
    def config_json(self) -> Path:
        """Stock config of the student, which is read (`c2d.configs.run_config`)."""
        return self.path / "config.json"

    @property
    def config(self) -> Path:
        """The same config for mmdet's own tools."""
        return self.path / "config.py"

    @property
    def train_config(self) -> Path:
        """Config of the training."""
        return self.path / "train_config.py"

    @property
    def env(self) -> Path:
        """Code, packages and machine of every attempt."""
        return self.path / ENV_FILE

    @property
    def status(self) -> Path:
        """State, heartbeat and progress."""
        return self.path / STATUS_FILE

    @property
    def job(self) -> Path:
        """The last launch of the run (`c2d.core.job_file`)."""
        return self.path / JOB_FILE

    @property
    def canary(self) -> Path:
        """The last launch of the run as a canary; the launch of the whole run waits for it."""
        return self.path / CANARY_FILE

    @property
    def attempts(self) -> Path:
        """One line for every attempt that ended without a result (`c2d.core.job_file`)."""
        return self.path / ATTEMPTS_FILE

    @property
    def metrics(self) -> Path:
        """Curves of the training, one event a line."""
        return self.path / METRICS_FILE

    @property
    def result(self) -> Path:
        """The numbers of a finished run."""
        return self.path / RESULT_FILE

    @property
    def detections(self) -> Path:
        """All detections of the evaluation."""
        return self.path / DETECTIONS_FILE

    @property
    def student(self) -> Path:
        """Exported weights of a detector."""
        return self.path / "student.pth"

    @property
    def classifier(self) -> Path:
        """Exported weights of a classifier."""
        return self.path / "classifier.pth"

    @property
    def card(self) -> Path:
        """Data card of a synthesis, which is a data set as well (its name is that of `c2d.data.card`)."""
        return self.path / "card.json"

    @property
    def train_annotations(self) -> Path:
        """Boxes and soft labels of the images of a synthesis, in COCO layout."""
        return self.path / "annotations" / "train.json"

    @property
    def train_images(self) -> Path:
        """Folder of the images of a synthesis."""
        return self.path / "train"

    @property
    def sheet(self) -> Path:
        """The first images of a synthesis with their boxes, as one picture."""
        return self.path / "sheet.png"

    @property
    def diagnostics(self) -> Path:
        """Page about a synthesis: found targets, labels, sizes, losses."""
        return self.path / "diagnostics.html"

    @property
    def latency(self) -> Path:
        """Folder of latency measurements."""
        return self.path / LATENCY_FOLDER

    @property
    def checkpoints(self) -> Path:
        """Folder of states to continue from."""
        return self.path / "checkpoints"

    @property
    def ranks(self) -> Path:
        """Folder with one file for every rank that failed."""
        return self.path / "ranks"

    @property
    def log(self) -> Path:
        """Log lines of all attempts."""
        return self.path / LOG_FILE

    @property
    def lock(self) -> Path:
        """Exists while a process writes the run."""
        return self.path / "lock"

    def checkpoint(self, iteration: int) -> Path:
        """The state after an iteration."""
        return self.checkpoints / f"iter_{iteration:08d}.pth"

    @property
    def is_done(self) -> bool:
        """Whether the run finished and its result exists."""
        return self.result.is_file() and self.try_read_status()["state"] == "done"

    @property
    def can_teach(self) -> bool:
        """Whether its weights, or the images of a synthesis, are here; an archive can be without them."""
        return self.classifier.is_file() or self.student.is_file() or self.train_images.is_dir()

    def load_status(self) -> dict[str, Any] | Problem:
        """Return the checked content of status.json, state `waiting` if it does not exist, a Problem if it is damaged.

        Keys that this version does not know are kept.
        """
        found = status_shape.read_status_file(self.status)
        return {"state": "waiting", "attempt": 0} if found is None else found

    def read_status(self) -> dict[str, Any]:
        """Return the content of status.json, or state `waiting` if it does not exist yet.

        Raises:
            InputError: it is damaged.
        """
        found = self.load_status()
        if isinstance(found, Problem):
            raise InputError(f"{found.path}: {found.message}")
        return found

    def try_read_status(self) -> dict[str, Any]:
        """Return status.json, or state `waiting` if it is missing or damaged."""
        found = self.load_status()
        return {"state": "waiting", "attempt": 0} if isinstance(found, Problem) else found

    def write_status(self, state: str, **facts: Any) -> None:
        """Replace status.json; keys that are not given keep their values.

        `elapsed_s` counts the seconds of all attempts, `cpu_s` the CPU seconds of their processes (of rank 0, with its
        loader processes that have ended); one that was killed counts up to its last heartbeat.

        Args:
            state: one of STATES. Host, pid and heartbeat (UTC) are added, in a job of SLURM also the name of its node.
            facts: further keys; secrets in `reason` and `error` are masked.

        Raises:
            RunError: the attempt began, and its folder was deleted since.
        """
        if state not in STATES:
            raise ValueError(f"state {state!r} is none of {STATES}")
        is_attempt = state == "running" and "begun" not in facts and self.path in _OWN_BEGIN
        if is_attempt and not self.status.exists():
            raise RunError(f"{self.path}: the run folder was deleted while it trained; submit it again", "config")
        # The process that holds the run replaces a file that was damaged meanwhile.
        before = self.try_read_status()
        facts |= {key: mask_text(facts[key]) for key in ("reason", "error") if facts.get(key)}
        now = datetime.now(UTC)
        begun = facts.get("begun", before.get("begun"))
        status = {**before, "format": 1, "state": state, "host": socket.gethostname(), "pid": os.getpid(), **facts}
        status["heartbeat"] = now.isoformat(timespec="seconds")
        status.pop("node", None)
        if NODE_VARIABLE in os.environ:
            status["node"] = os.environ[NODE_VARIABLE]
        if begun is not None and "begun" in facts:
            _OWN_BEGIN[self.path] = begun, time.monotonic() - max(0.0, now.timestamp() - begun), cpu_seconds()
        if begun is not None:
            own_begin, since, cpu_since = _OWN_BEGIN.get(self.path, (None, 0.0, 0.0))
            # The process of the attempt is not misled by a clock that is set; of another one, no time is negative.
            elapsed_s = time.monotonic() - since if own_begin == begun else max(0.0, now.timestamp() - begun)
            if own_begin == begun:  # no other process knows its CPU seconds
                spent_before = status.get("cpu_before_s")
                status["cpu_s"] = None if spent_before is None else round(spent_before + cpu_seconds() - cpu_since, 3)
            status["elapsed_s"] = round((status.get("elapsed_before_s") or 0.0) + elapsed_s, 3)
        atomic_write_json(self.status, status)

    def write_rank_report(self, rank: int, failure_class: str, line: str, start: str = "") -> None:
        """Record the failure of one process of a run on several, `ranks/<rank>.json`; rank 0 alone writes status.json.

        Args:
            rank: of the process.
            failure_class: as in status.json.
            line: what failed; secrets in it are masked.
            start: text that is equal on all ranks of one start of a job.
        """
        facts = {
            "format": json_values.FORMAT,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "attempt": self.try_read_status().get("attempt", 0),
            "rank": rank,
            "host": socket.gethostname(),
            "node": node_name(),
            "class": failure_class,
            "line": mask_text(line),
            "start": start,
        }
        atomic_write_json(self.ranks / f"{rank}.json", facts)

    def touch_heartbeat(self, stage: str, every_s: float = 10.0) -> None:
        """Write status `running` with a new heartbeat, unless the last one is younger than `every_s` seconds."""
        last = self.status.stat().st_mtime if self.status.exists() else 0.0
        if abs(time.time() - last) > every_s:
            self.write_status("running", stage=stage)


def node_name() -> str:
    """Return SLURM's name of this node in a job, elsewhere the name of the host."""
    return os.environ.get(NODE_VARIABLE) or socket.gethostname()


def atomic_write_bytes(path: Path, data: bytes, private: bool = False) -> None:
    """Write `data` beside `path`, flush it to disk and rename it: a reader sees the old file or the new one.

    Args:
        private: only the owner may read the file, because it holds a secret.

    Raises:
        DiskError: the system refuses, e.g. the disk is full.
    """
    path = Path(path)
    try:
        check_no_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = open_draft(path, mode=0o600 if private else 0o666)
    except OSError as error:
        raise disk_error(path, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            # Before the rename: if the machine crashes, the new name could otherwise belong to an empty file.
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(path, error) from error
        raise


def atomic_write_text(path: Path, text: str, private: bool = False) -> None:
    """Write `text` as UTF-8 with `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode(), private)


def atomic_write_json(path: Path, value: Any, private: bool = False) -> None:
    """Write indented JSON, keys in the given order. NaN raises ValueError: an undefined number is null."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False, default=_plain) + "\n", private)


def atomic_write_json_gz(path: Path, value: Any) -> None:
    """Write compressed JSON without a time stamp, so equal values give equal files."""
    data = json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    atomic_write_bytes(path, gzip.compress(data, compresslevel=6, mtime=0))


def _plain(value: Any) -> Any:
    """Convert numpy and Path values to JSON values."""
    # numpy's arrays and scalars, without importing numpy.
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """Return the value of a .json or .json.gz file.

    Args:
        path: the file.
        most: bytes of a larger file, which is refused.

    Raises:
        InputError: missing, not a file, not JSON, or too large.
    """
    path = Path(path)
    found = json_values.read_json(path, most)
    if not isinstance(found, Problem):
        return found
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a JSON file")
    if not os.path.lexists(path):
        raise InputError(f"no file {path}; check the path")
    raise InputError(f"{path} {found.message}; write it again or remove it")

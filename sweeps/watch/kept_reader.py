"""Read a store again and again, each time only what has changed: one `stat` for a run folder instead of its files.

status.json, job.json, canary.json and result.json are renamed into their folder, which changes the time of the folder.
metrics.jsonl grows in its place: its new lines alone are read. Everything else is read again after a minute or two.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.job_file import Job
from c2d.core.json_values import number, optional, read_object
from c2d.core.regular_file import FileState, FormatError, Problem, file_state
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.core.sweep_manifest import read_manifest
from sweeps.scheduler.queue import QueueAnswer
from sweeps.state.curve_tail import NO_CURVE, TAIL_BYTES, CurveTail, with_last_score, with_lines
from sweeps.state.run_facts import RunFacts
from sweeps.state.run_files import RunFiles, no_folder, read_run_files
from sweeps.state.run_reader import RunReader
from sweeps.state.state_rules import Decision
from sweeps.watch.kept_queue import KeptQueue
from sweeps.watch.loss_history import WHOLE_BYTES, LossPoint, read_early_losses, with_losses

AGAIN_S = 60.0
"""Age from which on a run is read again although its folder has not changed, up to twice that: not all at once."""
DONE_S = 30.0
"""Seconds between two looks at the folder of a run that is done."""
LOST_S = 60.0
Score = tuple[str, float]
"""Name and value (0-1) of the main number of a result: AP, or top-1 of a classifier."""


@dataclass
class _Kept:
    """What was read of one run folder.

    Attributes:
        changed_ns: time of the folder before it was read; None where something else has its name.
        is_settled: the folder had the same time at two readings. One alone may be followed by a change in the same
            moment of the file system's clock.
    """

    files: RunFiles
    changed_ns: int | None
    is_settled: bool
    looked_at: float
    read_again_at: float
    attempts: list[dict[str, Any]] | None = None
    logs: dict[tuple[str | None, str], Path | None] = field(default_factory=dict)
    decision: tuple[tuple[Any, ...], Decision] | None = None


@dataclass
class _Curve:
    state: FileState
    tail: CurveTail
    offset: int
    history: tuple[LossPoint, ...] | None


class KeptReader(RunReader):
    """Reads what has changed since the last call.

    Args:
        kept_queue: answers of SLURM.
        clock: seconds that only increase; replaced in tests.

    Attributes:
        folders_read: how many run folders were read so far.
        bytes_read: of metrics.jsonl files so far.
    """

    def __init__(self, kept_queue: KeptQueue | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.queue, self._clock = kept_queue or KeptQueue(), clock
        self._runs: dict[str, _Kept] = {}
        self._curves: dict[str, _Curve] = {}
        self._scores: dict[str, tuple[FileState, Score | None]] = {}
        self._manifests: dict[str, tuple[FileState, dict[str, Any]]] = {}
        self._lost: dict[frozenset[str], tuple[frozenset[str], float, dict[str, Job]]] = {}
        self.folders_read = self.bytes_read = 0

    def manifest(self, runs: Path, sweep: str) -> dict[str, Any] | Problem:
        """Return the manifest of a sweep, see `c2d.core.sweep_manifest.read_manifest`."""
        state = file_state(RunStore(runs).manifest(sweep))
        kept = self._manifests.get(sweep)
        if kept is not None and kept[0] == state:
            return kept[1]
        found = read_manifest(runs, sweep)
        if isinstance(state, tuple) and not isinstance(found, Problem):
            self._manifests[sweep] = state, found
        return found

    def files(self, ids: Iterable[str], runs: Path) -> dict[str, RunFiles]:
        """Return the files of runs, read again where their folders changed."""
        entries: dict[str, os.DirEntry[str]] = {}
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(runs) as listed:
            entries = {entry.name: entry for entry in listed}
        wanted, now = list(ids), self._clock()
        for place, name in enumerate(wanted):
            if name not in entries:
                self._runs.pop(name, None)
                continue
            kept = self._runs.get(name)
            if kept is not None and kept.files.status["state"] == "done" and now - kept.looked_at < DONE_S:
                continue
            changed_ns = _folder_time(entries[name])
            if kept is not None:
                kept.looked_at = now
            if kept is None or kept.changed_ns != changed_ns or not kept.is_settled or now >= kept.read_again_at:
                run = RunFolder(runs / name)
                found = no_folder(run) if changed_ns is None else read_run_files(run)
                self._keep(found, changed_ns, now, now + AGAIN_S * (1 + place / len(wanted)))
        return {name: self._runs[name].files for name in wanted if name in self._runs}

    def _keep(self, found: RunFiles, changed_ns: int | None, now: float, again_at: float) -> None:
        before = self._runs.get(found.run.id)
        is_settled = before is not None and before.changed_ns == changed_ns
        self._runs[found.run.id] = _Kept(found, changed_ns, is_settled, now, again_at)
        self.folders_read += 1
        if before is not None and before.files.status["state"] != found.status["state"]:
            self.queue.expire()  # SLURM's last answer is about what the run was before

    def jobs(self, jobs: Iterable[str]) -> QueueAnswer:
        """Return what SLURM reports, see `KeptQueue`."""
        return self.queue.read(jobs)

    def lost(self, ids: Collection[str], files: Mapping[str, RunFiles], runs: Path) -> dict[str, Job]:
        """Return the launches of deleted runs, at most LOST_S old unless another run has lost its folder."""
        asked, now = frozenset(ids), self._clock()
        missing, kept = asked - files.keys(), self._lost.get(asked)
        if kept is None or kept[0] != missing or now - kept[1] >= LOST_S:
            kept = self._lost[asked] = missing, now, super().lost(ids, files, runs)
        return kept[2]

    def decision(self, facts: RunFacts) -> Decision:
        """Return the state of a run. Of one that is done or failed it is kept: a diagnosis reads logs."""
        kept = self._runs.get(facts.run.id)
        if kept is None:
            return super().decision(facts)
        asked = facts.job, facts.slurm, facts.queue_answered
        if kept.decision is not None and kept.decision[0] == asked:
            return kept.decision[1]
        found = super().decision(facts)
        kept.decision = (asked, found) if found.state in ("done", "failed") else None
        return found

    def attempts(self, run: RunFolder) -> list[dict[str, Any]]:
        """Return the lines of attempts.jsonl."""
        kept = self._runs.get(run.id)
        if kept is None:
            return super().attempts(run)
        if kept.attempts is None:
            kept.attempts = super().attempts(run)
        return kept.attempts

    def log(self, run: RunFolder, job: Job | None) -> Path | None:
        """Return the log to read first."""
        kept = self._runs.get(run.id)
        if kept is None:
            return super().log(run, job)
        launch = (job.job, job.folder) if job is not None else (None, "")
        if launch not in kept.logs:
            kept.logs[launch] = super().log(run, job)
        return kept.logs[launch]

    def curve(self, run: RunFolder) -> CurveTail:
        """Return the end of metrics.jsonl: what was kept, with the lines that the file has got since."""
        state = file_state(run.metrics)
        if not isinstance(state, tuple):
            self._curves.pop(run.id, None)
            return NO_CURVE
        kept = self._curves.get(run.id)
        if kept is not None and kept.state == state:
            return kept.tail
        size, inode = state[0], state[3]
        if kept is not None and kept.state[3] == inode and kept.offset <= size <= kept.offset + TAIL_BYTES:
            begin, before = kept.offset, kept.tail
        else:  # a new file, or one whose end was dropped
            kept, begin, before = None, max(0, size - TAIL_BYTES), NO_CURVE
        lines = _whole_lines(run.metrics, begin, size)
        self.bytes_read += size - begin
        tail = with_lines(before, lines.splitlines())
        if kept is None:
            tail = with_last_score(tail, run.metrics)
        history = None  # read when it is shown
        if kept is not None and kept.history is not None:
            history = with_losses(kept.history, tail.points)
        self._curves[run.id] = _Curve(state, tail, begin + len(lines), history)
        return tail

    def losses(self, run: RunFolder) -> tuple[LossPoint, ...]:
        """Return the losses of a run from its first step on; () where it has none."""
        tail, kept = self.curve(run), self._curves.get(run.id)
        if kept is None:
            return ()
        if kept.history is None:
            begin = max(0, kept.state[0] - TAIL_BYTES)
            self.bytes_read += min(begin, WHOLE_BYTES)
            kept.history = with_losses(with_losses((), read_early_losses(run.metrics, begin)), tail.points)
        return kept.history

    def score(self, run: RunFolder) -> Score | None:
        """Return the main number of a finished run; None where it has none."""
        state = file_state(run.result)
        if not isinstance(state, tuple):
            return None
        kept = self._scores.get(run.id)
        if kept is None or kept[0] != state:
            kept = self._scores[run.id] = state, _score(run.result)
        return kept[1]


def _folder_time(entry: os.DirEntry[str]) -> int | None:
    """Return when a folder changed, in ns; None for something else, as a file or a link to itself."""
    try:
        found = entry.stat()
    except OSError:
        return None
    return found.st_mtime_ns if stat.S_ISDIR(found.st_mode) else None


def _whole_lines(path: Path, begin: int, end: int) -> bytes:
    """Return the bytes between two places up to the last line break: a line that is being written is read later."""
    try:
        with path.open("rb") as stream:
            stream.seek(begin)
            part = stream.read(end - begin)
    except OSError:
        return b""
    return part[: part.rfind(b"\n") + 1]


def _score(path: Path) -> Score | None:
    found = read_object(path)
    if isinstance(found, Problem):
        return None
    for name, key in (("AP", "AP"), ("top-1", "top1")):
        with suppress(FormatError):
            value = number(optional(found, key), key, 0, 1)
            if value is not None:
                return name, value
    return None

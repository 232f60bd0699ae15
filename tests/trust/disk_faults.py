"""Part `disk`: a training, a sweep and a report on a disk that is full, read-only, or gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from c2d.core.run_folder import RunFolder
from tests.c2d.conftest import TinyStore
from tests.trust.forks import Ended, command_in_fork
from tests.trust.kill_points import KillPoint, Watch
from tests.trust.killed_training import (
    SCHEDULE,
    damaged_files,
    differences,
    import_everything,
    make_tiny_store,
    watch_training,
)
from tests.trust.part import Outcome, Row, measure

FREE_KIB = (0, 4, 8, 16, 40, 80, 120, 200, 300, 400, 600, 900)
"""Free space at the begin of an attempt; a run writes about 1.2 MiB."""
DISK_MIB = 24


def rows(scratch: Path) -> Iterator[Row]:
    """One row for each free space, for a read-only store, and for each folder that vanishes."""
    import_everything()
    if why := cannot_mount():
        yield Row("disk", "a full disk", "needs root", why, False)
        return
    base = DiskTrial(make_tiny_store(scratch / "store"), scratch)
    with tmpfs(scratch / "disk", DISK_MIB) as disk:
        for free in FREE_KIB:
            yield measure("disk", f"full after {free} KiB", FULL, lambda f=free: base.full(disk, f))  # type: ignore[misc]
        yield measure("disk", "read-only store: train", "one line, exit code 1", lambda: base.read_only_train(disk))
        yield measure("disk", "read-only store: report", "the report of a store that can be written",
                      lambda: base.read_only_report(disk))  # fmt: skip
    for name, phase, place in VANISHING:
        yield measure("disk", f"vanishes in {phase}: {name}", GONE, lambda p=phase, v=place: base.vanish(p, v))  # type: ignore[misc]


FULL = "one line that names the file and the way out, whole files; with space again equal to the undisturbed run"
GONE = "one line, or it goes on; afterwards the same command ends equal to the undisturbed run"
VANISHING: tuple[tuple[str, str, Callable[[TinyStore, RunFolder], Path]], ...] = (
    ("the run folder", "training", lambda store, run: run.path),
    ("its checkpoints", "checkpoint", lambda store, run: run.checkpoints),
    ("the store", "training", lambda store, run: store.runs),
    ("the data set", "training", lambda store, run: store.data),
    ("the data set", "evaluation", lambda store, run: store.data),
    ("the store", "evaluation", lambda store, run: store.runs),
)


def cannot_mount() -> str:
    """Why no small file system can be mounted here, or ""."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return "only root can mount a small disk"
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else f"mount: {probe.stderr.decode().strip()}"


@contextmanager
def tmpfs(place: Path, mib: int) -> Iterator[Path]:
    """Mount a disk of `mib` MiB, and unmount it afterwards."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


class DiskTrial:
    """A training whose store is on a disk with faults."""

    def __init__(self, store: TinyStore, scratch: Path) -> None:
        self.scratch, self.data, self.calls = scratch, store.data, 0
        self.whole = self._run(store.with_empty_store(scratch / "whole"))
        ended = self.train(self.whole)
        assert ended.code == 0, ended.output

    def _run(self, store: TinyStore) -> RunFolder:
        run: RunFolder = store.create_run(schedule=SCHEDULE)
        return run

    def train(self, run: RunFolder, data: Path | None = None, prepare: Callable[[], None] = lambda: None) -> Ended:
        """`c2d train RUN`."""
        self.calls += 1
        words = ["train", str(run.path), "--runs", str(run.path.parent), "--data", str(data or self.data)]
        words += ["--workers", "0", "--checkpoint-every", "2", "--quiet"]
        return command_in_fork(words, self.scratch / f"output{self.calls}", prepare)

    def full(self, disk: Path, free_kib: int) -> Outcome:
        """Train with so much free space, then with enough."""
        place = disk / f"free{free_kib}"
        run = self._run(TinyStore(self.data, place / "runs"))
        fill = disk / "filler"
        with fill.open("wb") as stream:
            space = os.statvfs(disk)
            stream.write(b"\0" * max(0, space.f_bavail * space.f_frsize - free_kib * 1024))
        ended = self.train(run)
        wrong = _wrong_line(ended) + [f"damaged {item}" for item in damaged_files(place / "runs", run)]
        if ended.code and "cannot write" not in ended.last_line:
            wrong.append("the line does not say `cannot write`")
        fill.unlink()
        wrong += self._continues(run)
        shutil.rmtree(place)
        return not wrong, "; ".join([*wrong, _shown(ended, place)])

    def _continues(self, run: RunFolder) -> list[str]:
        ended = self.train(run)
        if ended.code:
            return [f"with space: exit code {ended.code}: {ended.last_line[-200:]}"]
        return [f"{item} differs" for item in differences(run, self.whole)]

    def read_only_train(self, disk: Path) -> Outcome:
        """Train in a store that became read-only after the spec was written."""
        run = self._run(TinyStore(self.data, disk / "ro" / "runs"))
        with _read_only(disk):
            ended = self.train(run)
        wrong = _wrong_line(ended) + ([] if ended.code in (1, 2) else [f"exit code {ended.code}"])
        wrong += self._continues(run)
        return not wrong, "; ".join([*wrong, _shown(ended, disk / "ro")])

    def read_only_report(self, disk: Path) -> Outcome:
        """Report from the store, read-only and not; `status` and `evaluate` work there too."""
        run = RunFolder(disk / "ro" / "runs" / self.whole.id)
        seen, wrong = [], list[str]()
        with _read_only(disk):
            out, cache = str(self.scratch / "out"), str(self.scratch / "cache")
            for words in (
                ["report", "--out", out, "--cache", cache],
                ["evaluate", str(run.path), "--data", str(self.data), "--workers", "0"],
            ):
                words += ["--runs", str(run.path.parent)]
                self.calls += 1
                ended = command_in_fork(words, self.scratch / f"output{self.calls}")
                seen.append(f"{words[0]}: exit code {ended.code}")
                wrong += [f"{words[0]}: {ended.last_line[-200:]}"] if ended.code else []
        return not wrong, "; ".join([*seen, *wrong])

    def vanish(self, phase: str, what: Callable[[TinyStore, RunFolder], Path]) -> Outcome:
        """Move a folder away in the middle of a phase, and back after the training has ended."""
        place = self.scratch / "vanishing"
        shutil.copytree(self.data, place / "data")
        store = TinyStore(place / "data", place / "runs")
        run = self._run(store)
        folder, away = what(store, run), place / "away"

        def prepare() -> None:
            point = KillPoint(phase, "before", 2) if phase != "training" else KillPoint(phase, "call", 400)
            watch_training(_Vanishing(store.runs, place / "notes", point, "start", folder, away))

        ended = self.train(run, place / "data", prepare)
        wrong = _wrong_line(ended)
        if not away.exists():
            wrong.append("it did not vanish")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(away, folder)
        again = self.train(run, place / "data")
        wrong += [f"again: exit code {again.code}: {again.last_line[-200:]}"] if again.code else []
        wrong += [f"{item} differs" for item in differences(run, self.whole)] if not again.code else []
        shutil.rmtree(place)
        return not wrong, "; ".join([*wrong, _shown(ended, place)])


class _Vanishing(Watch):
    """Moves a folder away where `Watch` kills."""

    def __init__(self, inside: Path, notes: Path, point: KillPoint, phase: str, folder: Path, away: Path) -> None:
        super().__init__(inside, notes, point, phase)
        self.folder, self.away = folder, away
        self._rename = os.rename

    def kill(self, **facts: Any) -> None:
        self.point = None
        self._rename(self.folder, self.away)


@contextmanager
def _read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def _wrong_line(ended: Ended) -> list[str]:
    if "Traceback" in ended.output or "Logging error" in ended.output:
        return ["a traceback"]
    if ended.code not in (0, 1, 2):
        return [f"exit code {ended.code}"]
    if ended.code and sum(line.startswith("error: ") for line in ended.output.splitlines()) != 1:
        return ["not one line of error"]
    return []


def _shown(ended: Ended, place: Path) -> str:
    line = ended.last_line.replace(f"{place}/", "").removeprefix("error: ")[:140]
    return f"exit code {ended.code}: {line}" if ended.code else "it went on"

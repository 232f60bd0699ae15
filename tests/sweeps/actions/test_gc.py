"""What `gc` would remove, and above all what it must not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core.disk import host_digest
from c2d.core.errors import RunError
from c2d.core.job_file import Job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import RunStore
from sweeps.actions import gc
from sweeps.actions.workspace import submission_lock
from sweeps.state.plan import Row

MANIFEST = {
    "format": 1, "name": "s", "question": "?", "source": "s.yaml", "size": "small", "axes": {}, "seeds": [0],
    "cells": [], "teachers": [], "needs": {}, "orphans": [], "definition": "",
}  # fmt: skip
NOW = time.time()
OLD = NOW - 3 * gc.DAY_S


def write(path: Path, text: str = "x", at: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def checkpoint(run: RunFolder, iteration: int, broken: bool = False) -> Path:
    path = run.checkpoint(iteration)
    path.parent.mkdir(parents=True, exist_ok=True)
    if broken:
        path.write_bytes(b"PK\x03\x04 cut off")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", b"w" * 10)
    return path


def row(runs: Path, name: str, state: Any = "done", **facts: Any) -> Row:
    run = RunFolder(runs / name)
    run.path.mkdir(parents=True, exist_ok=True)
    read = {"format": 1, "state": {"blocked": "waiting", "new": "waiting"}.get(state, state), "attempt": 1}
    atomic_write_json(run.status, read)
    if state == "done":
        atomic_write_json(run.result, {})
    given: dict[str, Any] = {"kind": "student", "cells": (), "reason": "x", "launch": False, "status": read} | facts
    return Row(run, state=state, **given)


def paths(removals: Iterable[gc.Removal]) -> set[Path]:
    return {removal.path for removal in removals}


def test_only_the_newest_complete_checkpoint_is_kept(tmp_path: Path) -> None:
    first = row(tmp_path, "a")
    files = [checkpoint(first.run, number) for number in (1, 20, 300)]
    removals = gc.plan_removals([first], tmp_path, NOW)
    assert paths(removals) == set(files[:2])
    assert all(removal.bytes == removal.path.stat().st_size for removal in removals)
    assert gc.remove(removals) == sum(removal.bytes for removal in removals)
    assert [path.exists() for path in files] == [False, False, True]
    assert gc.plan_removals([first], tmp_path, NOW) == []


def test_a_broken_newest_one_protects_the_one_before(tmp_path: Path) -> None:
    first = row(tmp_path, "a", "failed")
    files = [checkpoint(first.run, 1), checkpoint(first.run, 2), checkpoint(first.run, 3, broken=True)]
    assert paths(gc.plan_removals([first], tmp_path, NOW)) == {files[0]}
    only = row(tmp_path, "b", "failed")
    checkpoint(only.run, 1, broken=True)
    checkpoint(only.run, 2, broken=True)
    assert gc.plan_removals([only], tmp_path, NOW) == [], "nothing complete: nothing is thrown away"


@pytest.mark.parametrize(
    ("state", "facts", "removed"),
    [
        ("done", {}, 2),
        ("failed", {}, 2),
        ("blocked", {}, 2),
        ("waiting", {"launch": True}, 2),
        ("waiting", {}, 0),
        ("running", {}, 0),
        ("failed", {"status": {"state": "running"}}, 1),  # killed: what it half wrote
    ],
)
def test_running_and_waiting_runs_are_unchanged(tmp_path: Path, state: str, facts: Any, removed: int) -> None:
    first = row(tmp_path, "a", state, **facts)
    checkpoint(first.run, 1)
    checkpoint(first.run, 2)
    write(first.run.path / ".status.json.x8f3abcd")
    assert len(gc.plan_removals([first], tmp_path, NOW)) == removed
    first.run.lock.write_text("1\nhost")
    assert gc.plan_removals([first], tmp_path, NOW) == []


def test_a_run_that_started_after_the_listing_is_unchanged(tmp_path: Path) -> None:
    first = row(tmp_path, "a")
    old = checkpoint(first.run, 1)
    checkpoint(first.run, 2)
    removals = gc.plan_removals([first], tmp_path, NOW)
    first.run.lock.write_text("1\nhost")
    assert gc.remove(removals) == 0
    assert old.exists()


def name_of(host: str, pid: int, name: str) -> str:
    return f".{name}.{host}-{pid}-00112233.tmp"


def test_temporary_files_of_an_ended_attempt_are_removed_at_once(tmp_path: Path) -> None:
    """Those of other writers when they are gone: on this host their pid says so, elsewhere their age."""
    run = row(tmp_path, "a").run
    here, dead, alive = host_digest(), 2**22 + 1, os.getpid()
    gone = [
        write(run.path / name_of("0a1b2c", 7, "status.json"), at=NOW),
        write(run.checkpoints / name_of(here, dead, "iter_00000007.pth"), at=NOW),
        write(run.checkpoints / ".iter_00000007.pth.k3_0zz9a", at=NOW),  # of an earlier version
        write(run.path / name_of(here, dead, "job.json"), at=NOW),
        write(run.ranks / name_of(here, dead, "0.json"), at=NOW),
        write(run.latency / name_of("0a1b2c", 7, "cpu-0.json")),
        write(tmp_path / "weights" / name_of(here, dead, "f.pth"), at=NOW),
        write(tmp_path / "sweeps" / "s" / "j" / name_of(here, dead, "folders.txt"), at=NOW),
        write(tmp_path / "targets" / name_of("0a1b2c", 7, "x.json.gz")),
    ]
    draft = tmp_path / "snapshots" / name_of(here, dead, "d1")
    write(draft / "c2d" / "a.py", at=NOW)
    for kept in (
        run.path / name_of(here, alive, "job.json"),
        run.latency / name_of("0a1b2c", 7, "cpu-1.json"),
        run.path / ".notes.markdown",
        run.path / "notes.txt",
        run.checkpoints / "weights.pth.partial",
        tmp_path / "students" / name_of(here, alive, "y.py"),
    ):
        write(kept, at=NOW)
    removals = gc.plan_removals([row(tmp_path, "a")], tmp_path, NOW)
    assert paths(removals) == {*gone, draft}
    gc.remove(removals)
    assert not any(path.exists() for path in [*gone, draft])


def test_a_killed_run_whose_status_says_running_has_ended(tmp_path: Path) -> None:
    killed, running = row(tmp_path, "a"), row(tmp_path, "b", state="running")
    for found in (killed, running):
        status = {"format": 1, "state": "running", "attempt": 1, "pid": 2**22 + 1, "host": socket.gethostname()}
        atomic_write_json(found.run.status, status | {"heartbeat": "2026-01-01T00:00:00+00:00"})
        write(found.run.lock)
        write(found.run.checkpoints / name_of("0a1b2c", 7, "iter_00000007.pth"), at=NOW)
    failed = Row(killed.run, "student", (), "failed", "killed", True, {"state": "running"})
    removals = gc.plan_removals([failed, running], tmp_path, NOW)
    assert [path.parent.parent for path in paths(removals)] == [killed.run.path]
    assert gc.remove(removals) == 1


def submission(runs: Path, name: str, members: list[str], at: float = OLD) -> Path:
    place = RunStore(runs).sweeps / "s" / name
    write(place / "folders.txt", "".join(f"{runs / member}\n" for member in members), at)
    write(place / "7_0_0_log.out", "x" * 100, at)
    write(place / "task_0.pkl", at=at)
    return place


def test_submissions_are_removed_when_all_their_runs_are_done(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a"), row(tmp_path, "b"), row(tmp_path, "c", "failed"), row(tmp_path, "d", "running")]
    row(tmp_path, "other")
    finished = submission(tmp_path, "j1", ["a", "b"])
    for name, members in (("j2", ["a", "c"]), ("j3", ["a", "d"]), ("j4", ["other"]), ("j5", ["a", "gone"]), ("j6", [])):
        submission(tmp_path, name, members)
    submission(tmp_path, "j7", ["a"], at=NOW - 60)
    write(tmp_path / "sweeps" / "s.json", "{}")
    (removal,) = gc.plan_removals(rows, tmp_path, NOW)
    assert (removal.path, removal.why) == (finished, "logs and pickles of a submission whose 2 runs are done")
    assert removal.bytes == sum(path.stat().st_size for path in finished.iterdir())
    gc.remove([removal])
    assert not finished.exists()
    assert (tmp_path / "sweeps" / "s" / "j2").exists()


def named(run: RunFolder, digest: str) -> None:
    write_job(run, Job(sweep="s", where="local", state="submitted", name="n", snapshot=digest))


def test_unreferenced_snapshots_are_removed(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a"), row(tmp_path, "b", "running")]
    named(rows[0].run, "d1")
    named(rows[1].run, "d2")
    for digest in ("d1", "d2", "d3", ".d4.draft"):
        write(tmp_path / "snapshots" / digest / "c2d" / "fit.py")
        os.utime(tmp_path / "snapshots" / digest, (OLD, OLD))
    write(tmp_path / "snapshots" / "d5" / "snapshot.json")  # taken just now: its job.json is about to be written
    assert paths(gc.plan_removals([], tmp_path, NOW)) == {tmp_path / "snapshots" / name for name in ("d3", ".d4.draft")}
    (rows[0].run.path / "job.json").write_text("{half")
    assert gc.plan_removals([], tmp_path, NOW) == [], "who cannot be read may need any of them"


def test_a_snapshot_that_a_launch_takes_meanwhile_stays(tmp_path: Path) -> None:
    """gc in a process of its own starts while a launch holds the lock, which then names an old snapshot."""
    run = row(tmp_path, "a", "failed").run
    atomic_write_json(tmp_path / "sweeps" / "s.json", MANIFEST)
    for digest in ("used", "unused"):
        write(tmp_path / "snapshots" / digest / "c2d" / "fit.py")
        os.utime(tmp_path / "snapshots" / digest, (OLD, OLD))
    words = [sys.executable, "-m", "c2d", "sweep", "gc", "s", "--yes", "--runs", str(tmp_path)]
    with submission_lock(tmp_path):
        shell = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        time.sleep(4)  # it has started, and waits for the lock
        assert shell.poll() is None
        named(run, "used")
    told = shell.communicate(timeout=60)[0]
    assert shell.returncode == 0
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == ["used"]
    assert told.count("a copy of code that no run of the store names") == 1


def test_links_are_not_followed(tmp_path: Path) -> None:
    store, outside = tmp_path / "runs", tmp_path / "outside"
    first, linked, folders = row(store, "a"), row(outside, "b"), row(store, "c")
    real = [checkpoint(linked.run, number) for number in (1, 2, 3)]
    (store / "b").symlink_to(linked.run.path)
    shutil.rmtree(folders.run.checkpoints, ignore_errors=True)
    folders.run.checkpoints.symlink_to(linked.run.checkpoints)
    checkpoint(first.run, 9)
    first.run.checkpoint(1).symlink_to(real[0])
    place = submission(outside, "j", ["a"])
    (store / "sweeps").symlink_to(outside / "sweeps")
    (store / "snapshots").symlink_to(outside)
    os.utime(place, (OLD, OLD))
    rows = [
        first,
        Row(RunFolder(store / "b"), **{k: v for k, v in vars(linked).items() if k != "run"}),
        folders,
        linked,
    ]
    assert gc.plan_removals(rows, store, NOW) == []
    (tmp_path / "link").symlink_to(store)
    assert gc.plan_removals(rows, tmp_path / "link", NOW) == []
    assert gc.plan_removals(rows, tmp_path / "nowhere", NOW) == []


def test_failed_removals_are_reported_after_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, gone = write(tmp_path / "r" / "kept"), write(tmp_path / "r" / "gone")
    unlink = Path.unlink

    def refuse(path: Path, *rest: Any) -> None:
        if path == kept:
            raise PermissionError(13, "Permission denied")
        unlink(path, *rest)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(RunError, match=r"1 paths could not be removed, first .*kept: Permission denied"):
        gc.remove([gc.Removal(path, 1, "") for path in (kept, gone, tmp_path / "never")])
    assert not gone.exists()


STATES = ("new", "waiting", "running", "done", "failed", "blocked")
one_run = st.tuples(
    st.sampled_from(STATES),
    st.booleans(),  # launch
    st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=5, unique_by=lambda item: item[0]),
    st.booleans(),  # a lock
)


@settings(max_examples=60, deadline=None)
@given(st.lists(one_run, min_size=1, max_size=4), st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=3))
def test_nothing_that_is_needed_is_removed(given_runs: list[Any], submissions: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs"
        rows = [row(store, f"r{n}", state, launch=launch) for n, (state, launch, *_) in enumerate(given_runs)]
        newest, untouched = [], []
        for found, (state, launch, files, lock) in zip(rows, given_runs, strict=True):
            written = [(number, checkpoint(found.run, number, broken), broken) for number, broken in files]
            complete = [(number, path) for number, path, broken in written if not broken]
            newest += [max(complete)[1]] if complete else []
            write(found.run.path / ".left.x")
            if lock:
                found.run.lock.write_text("1\nh")
            if lock or state == "running" or (state == "waiting" and not launch):
                untouched.append(found.run.path)
        for number, members in enumerate(submissions):
            place = submission(store, f"j{number}", [f"r{member}" for member in members])
            if any(member < len(rows) and rows[member].run.path in untouched for member in members):
                untouched.append(place)
        keep = [write(store / name / "f.pth") for name in ("weights", "targets", "students")]
        keep.append(write(store / "weights" / ".f.pth.x"))
        before = {path: path.read_bytes() for place in untouched for path in place.rglob("*") if path.is_file()}
        elsewhere = write(Path(folder) / "elsewhere" / ".x")
        removals = gc.plan_removals(rows, store, NOW)
        assert all(removal.path.is_relative_to(store) for removal in removals)
        gc.remove(removals)
        assert all(path.exists() for path in [*newest, *keep, elsewhere])
        assert {path: path.read_bytes() for path in before} == before
        assert all(found.run.status.exists() for found in rows)

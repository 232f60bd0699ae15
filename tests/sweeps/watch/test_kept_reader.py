"""Reading only what has changed finds what reading everything finds, whatever happens to the store between."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from c2d.core.run_folder import RunFolder
from sweeps.state.curve_tail import NO_CURVE, TAIL_BYTES
from sweeps.state.plan import read_plan
from sweeps.state.status import summarize
from sweeps.watch.kept_reader import AGAIN_S, KeptReader
from tests.sweeps.watch.watch_examples import TinyStore


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def summary(store: TinyStore, reader: KeptReader | None) -> dict[str, Any]:
    manifest = (reader or KeptReader()).manifest(store.runs, "tiny")
    assert isinstance(manifest, dict)
    rows, facts = read_plan(manifest, store.runs, reader)
    found = summarize(rows, facts, 2_000_000_000.0, "tiny", reader)
    return json.loads(json.dumps(found))


def test_a_folder_is_read_when_it_changes_and_once_more(tmp_path: Path) -> None:
    store, clock = TinyStore(tmp_path), Clock()
    store.write("a", "running")
    store.write("b", "done")
    reader = KeptReader(clock=clock)
    counts = []
    for _ in range(4):
        summary(store, reader)
        counts.append(reader.folders_read)
        clock.now += 5
    # The second reading: the folder may have changed twice in one moment of its clock. A run that is done waits.
    assert counts == [2, 3, 3, 3]
    time.sleep(0.02)
    store.write("a", "running", iteration=6)
    assert summary(store, reader)["runs"][0]["iteration"] == 6
    assert reader.folders_read == 4
    clock.now += 2 * AGAIN_S
    summary(store, reader)
    assert reader.folders_read == 6


@pytest.mark.parametrize("seed", range(4))
def test_any_history_gives_what_a_fresh_reader_finds(tmp_path: Path, seed: int) -> None:
    """Runs begin, log, end, fail, are damaged and deleted in any order; every view equals that of a new reader."""
    store, clock, chance = TinyStore(tmp_path, "abcd"), Clock(), random.Random(seed)
    reader = KeptReader(clock=clock)
    logged = dict.fromkeys("abcd", 0)
    for _ in range(25):
        name = chance.choice("abcd")
        action = chance.choice(["running", "done", "failed", "log", "log", "damage", "delete", "cut", "quiet"])
        was_done = RunFolder(store.folder(name)).try_read_status()["state"] == "done"
        if action in ("running", "done", "failed"):
            why = "oom" if action == "failed" else None
            store.write(name, action, iteration=chance.randrange(10), failure_class=why)
        elif action == "log" and store.folder(name).exists():
            store.log(name, *((logged[name] + k, 1 / (logged[name] + k)) for k in range(1, 4)))
            logged[name] += 3
        elif action == "cut" and (metrics := store.folder(name) / "metrics.jsonl").exists():
            with metrics.open("a") as stream:
                stream.write('{"event": "tr\0')
        elif action == "damage" and store.folder(name).exists():
            draft = store.folder(name) / ".d"
            draft.write_text("{")
            draft.rename(store.folder(name) / "status.json")
        elif action == "delete":
            shutil.rmtree(store.folder(name), ignore_errors=True)
            logged[name] = 0
        clock.now += chance.choice([1, 5, 40])
        time.sleep(0.006)  # a tick of the file system's clock
        if was_done:
            clock.now += 31  # a run that was done and runs again is seen after half a minute
        assert summary(store, reader) == summary(store, None)


def test_what_is_no_folder_is_damaged_as_for_status(tmp_path: Path) -> None:
    store, reader = TinyStore(tmp_path), KeptReader()
    store.folder("a").symlink_to(store.folder("a"))
    store.folder("b").write_text("")
    for _ in range(2):
        found = summary(store, reader)
        assert found == summary(store, None)
        assert found["counts"] == {"new": 1, "damaged": 2}
    store.folder("b").unlink()
    store.write("b", "running")
    assert summary(store, reader)["counts"] == {"new": 1, "running": 1, "damaged": 1}


def test_of_a_curve_only_new_lines_are_read(tmp_path: Path) -> None:
    store, reader = TinyStore(tmp_path), KeptReader()
    store.write("a", "running")
    run = RunFolder(store.folder("a"))
    assert reader.curve(run) is NO_CURVE
    store.log("a", *((k, 100.0 - k) for k in range(1, 51)))
    assert reader.losses(run)[-1].loss == 50.0
    before = reader.bytes_read
    store.log("a", (51, 49.0))
    with run.metrics.open("a") as stream:
        stream.write('{"event": "val", "iteration": 51, "AP": 0.25')  # still being written
    assert (reader.curve(run).iteration, reader.curve(run).ap) == (51, None)
    with run.metrics.open("a") as stream:
        stream.write("}\n")
    assert (reader.curve(run).ap, reader.curve(run).pace_s) == (0.25, 2.0)
    assert [point.iteration for point in reader.losses(run)] == list(range(1, 52))
    assert reader.bytes_read - before < 400


def test_a_curve_that_was_cut_back_is_read_again(tmp_path: Path) -> None:
    store, reader = TinyStore(tmp_path), KeptReader()
    store.write("a", "running")
    run = RunFolder(store.folder("a"))
    store.log("a", *((k, float(k)) for k in range(1, 21)))
    assert reader.losses(run)[-1].iteration == 20
    kept = run.metrics.read_text().splitlines(keepends=True)[:10]
    draft = run.path / ".draft"
    draft.write_text("".join(kept))
    draft.rename(run.metrics)  # as an attempt that repeats steps does
    assert [point.iteration for point in reader.losses(run)] == list(range(1, 11))


def test_a_long_curve_costs_its_end_and_its_last_evaluation_is_found(tmp_path: Path) -> None:
    store, reader = TinyStore(tmp_path), KeptReader()
    store.write("a", "running")
    run = RunFolder(store.folder("a"))
    with run.metrics.open("w") as stream:
        for k in range(1, 40_001):
            stream.write(json.dumps({"event": "train", "iteration": k, "time": 1.8e9 + k, "loss": 1 / k}) + "\n")
            if k == 37_000:
                stream.write('{"event": "val", "iteration": 37000, "AP": 0.125}\n')
    assert run.metrics.stat().st_size > 3_000_000
    tail = reader.curve(run)
    assert (tail.ap, tail.ap_iteration, tail.pace_s) == (0.125, 37_000, 1.0)
    assert reader.bytes_read == TAIL_BYTES
    losses = reader.losses(run)
    assert losses[0].iteration < 10, "thinned from the first line on"
    assert losses[-1] == (40_000, 1 / 40_000)


def test_damaged_lines_and_files_are_no_points(tmp_path: Path) -> None:
    store, reader = TinyStore(tmp_path), KeptReader()
    store.write("a", "running")
    run = RunFolder(store.folder("a"))
    run.metrics.write_bytes(
        b'\xff\x00\n[1]\n{"event": "train"}\n{"event": "train", "iteration": 1, "loss": "x"}\n'
        b'{"event": "train", "iteration": 2, "loss": NaN}\n{"event": "train", "iteration": 3, "loss": 1e999}\n'
        b'{"event": "train", "iteration": 4, "loss": 3, "time": "soon"}\n'
        b'{"event": "train", "iteration": 5, "loss": true}\n'
        b'{"event": "val", "iteration": 5, "AP": 7}\n{"event": "train", "iteration": 6, "loss": 2}\n' + b"[" * 5000
    )
    losses = [point.loss for point in reader.losses(run)]
    assert [math.isnan(loss) for loss in losses] == [True, True, False]
    assert reader.curve(run).ap is None
    run.metrics.unlink()
    os.mkfifo(run.metrics)
    assert reader.losses(run) == ()

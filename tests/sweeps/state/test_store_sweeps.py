"""`c2d sweep list`: the counts are those of `status`, shared runs are read once, a damaged manifest is a row."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from c2d.core import run_folder
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import RunStore
from sweeps.cli import app
from sweeps.state.plan import read_plan
from sweeps.state.store_sweeps import list_sweeps
from tests.sweeps.fake_slurm.control import FakeSlurm

HASH = "0123456789ab"


def run_id(name: str) -> str:
    return f"{name}-base-{HASH}-s0"


def write_sweep(runs: Path, name: str, *cells: str, teachers: tuple[str, ...] = (), question: str = "Why?") -> dict:
    manifest = {
        "format": 1, "name": name, "question": question, "source": f"{name}.yaml", "size": "small",
        "axes": {"method": list(cells)}, "labels": {}, "labels_of_axes": {}, "seeds": [0],
        "cells": [{"labels": {"method": cell}, "seed": 0, "run": run_id(cell)} for cell in cells],
        "teachers": [run_id(one) for one in teachers],
        "needs": {run_id(cell): [run_id(one) for one in teachers] for cell in cells} if teachers else {},
        "orphans": [], "definition": "",
    }  # fmt: skip
    atomic_write_json(RunStore(runs).manifest(name), manifest)
    return manifest


def write_run(runs: Path, name: str, state: str, heartbeat: str = "2026-01-01T00:00:00+00:00") -> None:
    run = RunFolder(runs / run_id(name))
    run.path.mkdir(parents=True, exist_ok=True)
    run.spec.write_text("{}")
    run.status.write_text(
        json.dumps({"format": 1, "state": state, "attempt": 1, "reason": "x", "heartbeat": heartbeat})
    )
    if state == "done":
        run.result.write_text("{}")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    FakeSlurm(tmp_path / "slurm", monkeypatch, commands=())
    return tmp_path / "runs"


def test_counts_are_those_of_status(runs: Path) -> None:
    for name, state in (("a", "done"), ("b", "failed"), ("t", "failed")):
        write_run(runs, name, state)
    manifest = write_sweep(runs, "one", "a", "b", "c", teachers=("t",))
    [found], unanswered = list_sweeps(runs, time.time())
    assert found.counts == {"done": 1, "failed": 1, "blocked": 2}  # b is blocked by its teacher as well
    rows, _ = read_plan(manifest, runs)
    assert found.counts == {s: sum(row.state == s for row in rows) for s in found.counts}
    assert (found.runs, found.question, found.problem, unanswered) == (4, "Why?", "", False)


def test_the_sweep_that_changed_last_comes_first_and_a_damaged_one_is_a_row(runs: Path) -> None:
    write_run(runs, "a", "done")
    write_run(runs, "b", "failed", heartbeat="2026-06-01T12:00:00+00:00")
    for name, cell in (("old", "a"), ("young", "b")):
        write_sweep(runs, name, cell)
    RunStore(runs).manifest("broken").write_text('{"format":')
    RunStore(runs).manifest("listed").write_text("[]")
    for name in ("old", "young", "broken", "listed"):
        os.utime(RunStore(runs).manifest(name), (0, 0))
    found, _ = list_sweeps(runs, time.time())
    assert [sweep.name for sweep in found] == ["young", "old", "broken", "listed"]
    assert [bool(sweep.problem) for sweep in found] == [False, False, True, True]
    shown = CliRunner().invoke(app, ["list", "--runs", str(runs)])
    assert shown.exit_code == 0
    assert "damaged" in shown.output
    assert "4 sweeps, 2 damaged: submit them again" in shown.output
    listed = json.loads(CliRunner().invoke(app, ["list", "--runs", str(runs), "--json"]).output)
    assert [sweep["problem"] is None for sweep in listed["sweeps"]] == [True, True, False, False]
    assert listed["sweeps"][0]["changed"] == "2026-06-01T12:00:00+00:00"
    assert listed["sweeps"][0]["counts"] == {"failed": 1}


def test_an_empty_store_says_what_to_do(runs: Path) -> None:
    shown = CliRunner().invoke(app, ["list", "--runs", str(runs)])
    assert (shown.exit_code, shown.output.split(" in ")[0]) == (0, "no sweep")
    assert "c2d sweep submit" in shown.output


def test_a_shared_run_is_read_once_and_no_log_is_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(runs, "a", "failed")
    for number in range(5):
        write_sweep(runs, f"s{number}", "a")
    read: list[str] = []
    original = run_folder.RunFolder.load_status

    def counted(self: RunFolder) -> object:
        read.append(self.id)
        return original(self)

    monkeypatch.setattr(run_folder.RunFolder, "load_status", counted)
    monkeypatch.setattr("sweeps.state.state_rules.diagnose", lambda _: pytest.fail("a failure was diagnosed"))
    found, _ = list_sweeps(runs, time.time())
    assert [sweep.counts for sweep in found] == [{"failed": 1}] * 5
    assert read == [run_id("a")]

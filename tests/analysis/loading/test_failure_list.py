"""Triage from run folders alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.loading.failure_list import SHOWN, STALE, WIDTH, Failure, list_failures
from analysis.loading.load import read_study
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store
from c2d.core.failure_classes import FAILURE_CLASSES

NOW = 1_795_207_600.0


def _store(runs: Path, state: str = "failed") -> Path:
    """A store whose c2d cell of seed 0 is in that state; returns its run folder."""
    record = make_store(
        runs,
        {"method": ["baseline", "c2d"]},
        seeds=2,
        state=lambda labels, seed: state if (labels["method"], seed) == ("c2d", 0) else "done",
    )
    return runs / next(c["run"] for c in record["cells"] if (c["labels"]["method"], c["seed"]) == ("c2d", 0))


def _one(runs: Path) -> Failure:
    (found,) = list_failures(read_study(runs, cache=runs.parent / "cache", now=NOW + 86400))
    return found


def test_a_failed_run_says_what_it_was_why_and_what_to_do(tmp_path: Path) -> None:
    folder = _store(tmp_path / "runs")
    (folder / "log.txt").write_text(
        "".join(f"iter {i}/20  loss 1.0\n" for i in range(9)) + "bar\r\x1b[31mlast\x1b[0m\n"
    )
    found = _one(tmp_path / "runs")
    assert (found.run, found.state, found.failure_class) == (folder.name, "failed", "nan")
    assert found.cells == ("sweep made: method=c2d, seed 0",)
    assert found.suggestion == FAILURE_CLASSES["nan"].suggestion
    assert found.lines == (
        "iter 7/20  loss 1.0",
        "iter 8/20  loss 1.0",
        "last",
        "the loss is not finite",
        "loss_cls is nan at iteration 7",
    )


def test_a_stale_run_is_named_with_what_it_died_of_before(tmp_path: Path) -> None:
    folder = _store(tmp_path / "runs", "running")
    assert (_one(tmp_path / "runs").failure_class, _one(tmp_path / "runs").suggestion) == ("", STALE)
    (folder / "attempts.jsonl").write_text('{"class": "preempted", "reason": "asked to stop"}\n{"class": "ho')
    found = _one(tmp_path / "runs")
    assert (found.state, found.failure_class, found.lines) == ("stale", "preempted", ("asked to stop",))
    assert FAILURE_CLASSES["preempted"].suggestion in found.suggestion


@pytest.mark.parametrize(
    ("own", "noted", "expected"),
    [
        (None, "disk", "disk"),
        ("unknown", "disk", "disk"),
        ("nan", "disk", "nan"),
        ("of the future", None, "unknown"),
        (None, "of the future", "unknown"),
        (None, None, "unknown"),
    ],
)
def test_the_class_is_the_runs_own_or_else_the_nodes(
    tmp_path: Path, own: str | None, noted: str | None, expected: str
) -> None:
    folder = _store(tmp_path / "runs")
    status = json.loads((folder / "status.json").read_text())
    write_json(folder / "status.json", {**status, "failure_class": own})
    (folder / "attempts.jsonl").write_text(json.dumps({"class": noted}) + "\n")
    assert _one(tmp_path / "runs").failure_class == expected


def test_a_run_of_two_cells_is_listed_once(tmp_path: Path) -> None:
    folder = _store(tmp_path / "runs")
    path = tmp_path / "runs" / "sweeps" / "made.json"
    record = json.loads(path.read_text())
    record["cells"].append({"labels": {"method": "again"}, "seed": 0, "run": folder.name})
    write_json(path, record)
    write_json(path.with_name("other.json"), {**record, "name": "other", "cells": record["cells"][:2]})
    assert _one(tmp_path / "runs").cells == ("sweep made: method=c2d, seed 0", "sweep made: method=again, seed 0")


def test_teachers_and_single_runs_fail_too(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make_store(runs, {"method": ["baseline"]}, seeds=1, state=lambda labels, seed: "failed")
    teacher = json.loads((runs / "sweeps" / "made.json").read_text())["teachers"][0]
    status = json.loads((runs / teacher / "status.json").read_text())
    write_json(runs / teacher / "status.json", {**status, "state": "failed"})
    found = list_failures(read_study(runs, cache=tmp_path / "cache"))
    assert [failure.cells for failure in found] == [
        ("sweep made: method=baseline, seed 0",),
        ("teacher of sweep made",),
    ]
    (runs / "sweeps" / "made.json").unlink()
    found = list_failures(read_study(runs, cache=tmp_path / "cache"))
    assert found[1].cells == ("single run: student=tiny, method=baseline, seed 0",)


def test_a_huge_or_odd_log_is_read_from_its_end(tmp_path: Path) -> None:
    folder = _store(tmp_path / "runs")
    with (folder / "log.txt").open("wb") as stream:
        stream.truncate(3 * 2**30)  # sparse
        stream.seek(0, os.SEEK_END)
        stream.write(b"\n" + b"x" * 5000 + b"\n\xff end\n")
    lines = _one(tmp_path / "runs").lines
    assert lines[-3].endswith("end")
    assert max(map(len, lines)) == WIDTH
    (folder / "log.txt").unlink()
    (folder / "log.txt").mkdir()
    os.mkfifo(folder / "attempts.jsonl")
    assert _one(tmp_path / "runs").lines == ("the loss is not finite", "loss_cls is nan at iteration 7")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _store(tmp_path_factory.mktemp("failed") / "runs")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_log_and_any_attempts_give_printable_lines(failed: Path, log: bytes, attempts: bytes) -> None:
    folder, place = failed, failed.parents[1]
    (folder / "log.txt").write_bytes(log)
    (folder / "attempts.jsonl").write_bytes(attempts + b'\n{"class": [1], "reason": {}}\n')
    found = _one(place / "runs")
    assert 2 <= len(found.lines) <= SHOWN
    assert all(len(line) <= WIDTH and "\n" not in line and "\x1b" not in line for line in found.lines)
    for line in found.lines:
        line.encode()


def test_no_failure_no_entry(tmp_path: Path) -> None:
    _store(tmp_path / "runs", "done")
    study = read_study(tmp_path / "runs", cache=tmp_path / "cache")
    assert list_failures(study) == []
    assert isinstance(study.frame, pd.DataFrame)

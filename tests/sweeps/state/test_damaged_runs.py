"""A file of a run that cannot be used makes one damaged row, or a warning; the other runs go on."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from c2d.cli.main import app
from c2d.core.errors import InputError
from c2d.core.job_file import append_attempt, load_attempts, load_job, read_attempts
from c2d.core.regular_file import Problem
from c2d.core.run_folder import RunFolder
from sweeps.actions.cancel import cancellable
from sweeps.actions.gc import plan_removals
from sweeps.actions.select_retries import select_retries
from sweeps.launchers.submission import read_folders
from sweeps.scheduler.array_file import read_array
from sweeps.state.failure_groups import group_failures
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import Row, read_plan
from sweeps.state.status import Summary, summarize
from sweeps.state.status_table import has_ended, summary_lines

FIXTURE = Path(__file__).parents[2] / "fixtures" / "runs"
RUN, OTHER = "tiny-retinanet-baseline-10e2263c0d72-s0", "tiny-retinanet-baseline-10e2263c0d72-s1"
TEACHER = "resnet18-classifier-8b26211ff2a3-s0"
STATUS = json.loads((FIXTURE / RUN / "status.json").read_text())
JOB = {
    "sweep": "tiny", "where": "local", "state": "submitted", "name": "x", "folder": "/tmp/x", "task": 0,
    "profile": "cpu", "size": "small", "gpus": 0, "snapshot": "x", "submissions": 1, "host": "elsewhere", "pid": 4,
    "submitted": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
HUGE = "1" + "0" * 400


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "runs")
    return tmp_path / "runs"


def rows_of(runs: Path) -> tuple[dict[str, Row], Summary]:
    """Call what the commands call on the rows."""
    rows, facts = read_plan(load_manifest(runs, "tiny"), runs)
    summary = summarize(rows, facts, 1e9)
    group_failures(rows, facts)
    json.dumps(summary, allow_nan=False)
    summary_lines(summary)
    ids = {row.run.id for row in select_retries(rows)} | {row.run.id for row in cancellable(rows)}
    damaged = {row.run.id for row in rows if row.state == "damaged"}
    removed = [removal.path for removal in plan_removals(rows, runs)]
    assert not damaged & ids
    assert not any(path.is_relative_to(runs / name) for path in removed for name in damaged)
    return {row.run.id: row for row in rows}, summary


def test_the_store_as_it_is(runs: Path) -> None:
    rows, summary = rows_of(runs)
    assert rows[RUN].state == "done"
    assert summary["counts"]["done"] == 8
    assert "damaged" not in summary["counts"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": None}, "state is None, none of waiting, running, done, failed"),
        ({"state": "finished"}, "state is 'finished'"),
        ({"state": ["done"]}, "state is ['done']"),
        ({"format": 2}, "is of format 2"),
        ({"attempt": "\0"}, "attempt is '\\x00' where a number belongs"),
        ({"attempt": -1}, "attempt is -1, outside 0 to"),
        ({"attempt": 0.5}, "attempt is 0.5 where a whole number belongs"),
        ({"elapsed_s": [None]}, "elapsed_s is a list where a number belongs"),
        ({"elapsed_s": "NaN"}, "elapsed_s is 'NaN' where a number belongs"),
        ({"elapsed_s": int(HUGE)}, "elapsed_s is not finite"),
        ({"begun": int(HUGE)}, "begun is not finite"),
        ({"begun": -5}, "begun is -5, outside"),
        ({"iteration": {"a": None}}, "iteration is an object where a number belongs"),
        ({"iterations": True}, "iterations is True where a number belongs"),
        ({"pid": False}, "pid is False where a number belongs"),
        ({"pid": -1}, "pid is -1, outside"),
        ({"heartbeat": "soon"}, "heartbeat is 'soon' where a time such as"),
        ({"heartbeat": "9999-12-31T00:00:00+00:00"}, "outside the years 1970 to 2100"),
        ({"heartbeat": 5}, "heartbeat is 5 where text belongs"),
        ({"failure_class": {}}, "failure_class is an object where text belongs"),
        ({"host": []}, "host is a list where text belongs"),
    ],
)
def test_values_of_status_json(runs: Path, change: dict[str, Any], reason: str) -> None:
    (runs / RUN / "status.json").write_text(json.dumps(STATUS | change))
    rows, summary = rows_of(runs)
    row = rows[RUN]
    assert (row.state, row.launch) == ("damaged", False)
    assert row.reason.startswith("status.json ")
    assert reason in row.reason
    assert row.reason.endswith("remove it: the next attempt of the run continues from its newest checkpoint")
    assert summary["counts"] | {"done": 7, "damaged": 1} == summary["counts"]
    assert has_ended(summary)
    with pytest.raises(InputError, match=r"status\.json: "):
        RunFolder(runs / RUN).read_status()
    assert not RunFolder(runs / RUN).is_done


@pytest.mark.parametrize(
    ("change", "state"), [({"elapsed_s": None}, "done"), ({"iteration": 4.0}, "done"), ({"x": [HUGE]}, "done"),
                          ({"reason": "a\ud800\x1b[2J\nb"}, "done"), ({"heartbeat": "2026-11-21"}, "done")]
)  # fmt: skip
def test_unknown_keys_and_null_are_no_damage(runs: Path, change: dict[str, Any], state: str) -> None:
    (runs / RUN / "status.json").write_text(json.dumps(STATUS | change))
    rows, _ = rows_of(runs)
    assert rows[RUN].state == state
    assert str(rows[RUN].status.get("reason") or "").isprintable()


CONTENTS = {
    "empty": b"",
    "cut off": b'{"format": 1, "state": "do',
    "NUL bytes": b"\0" * 100,
    "no text": b"\xff\xfe\xfa",
    "half of UTF-16": json.dumps(STATUS).encode("utf-16")[:-1],
    "a list": b"[]",
    "deep": b'{"a":' * 100_000,
    "NaN": b'{"format": 1, "state": "done", "elapsed_s": NaN}',
    "infinite": b'{"format": 1, "state": "done", "elapsed_s": 1e999}',
    "digits": b'{"format": 1, "state": "done", "elapsed_s": ' + b"9" * 5000 + b"}",
    "twice": b'{"format": 1, "state": "done", "attempt": 1, "state": "failed"}',
}


def odd_files(path: Path) -> Iterator[str]:
    """Put one odd file after the other in the place of `path`."""
    for name, content in CONTENTS.items():
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        yield name
    path.unlink()
    path.mkdir()
    yield "folder"
    path.rmdir()
    os.mkfifo(path)
    yield "named pipe"
    path.unlink()
    path.symlink_to(path)
    yield "a link to itself"
    path.unlink()
    path.symlink_to("/dev/zero")
    yield "device"
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)
    yield "socket"
    path.unlink()
    with path.open("wb") as stream:
        stream.truncate(2**31)
    yield "2 GB of nothing"
    path.unlink()


def test_odd_files_in_the_place_of_status_json(runs: Path) -> None:
    for kind in odd_files(runs / RUN / "status.json"):
        rows, _ = rows_of(runs)
        assert rows[RUN].state == "damaged", kind
        assert "remove it" in rows[RUN].reason, kind
        assert rows[OTHER].state == "done", kind
    assert rows_of(runs)[0][RUN].state == "new"  # without status.json it is launched again


def test_odd_files_in_the_place_of_job_json_stop_a_run_that_is_not_done(runs: Path) -> None:
    """Without its job, nobody knows whether the run waits in a queue: launched again, it could run twice."""
    (runs / OTHER / "status.json").write_text(json.dumps(STATUS | {"state": "waiting"}))
    for kind in odd_files(runs / OTHER / "job.json"):
        rows, _ = rows_of(runs)
        assert (rows[OTHER].state, rows[OTHER].launch) == ("damaged", False), kind
        assert isinstance(load_job(RunFolder(runs / OTHER)), Problem), kind
    for kind in odd_files(runs / RUN / "job.json"):
        rows, summary = rows_of(runs)
        assert rows[RUN].state == "done", kind  # its numbers are right; the file is named
        assert [line for line in summary["problems"] if "job.json" in line], kind
    assert rows_of(runs)[0][OTHER].state == "waiting"


@pytest.mark.parametrize(
    "change",
    [{"task": -1}, {"task": "0"}, {"gpus": int(HUGE)}, {"job": "-x"}, {"job": "1 2"}, {"mem_gb": 0}, {"sweep": "../x"},
     {"snapshot": "../.."}, {"depends": ["a/b"]}, {"depends": "x"}, {"pid": -1}, {"submitted": "now"}, {"new": 1},
     {"where": "here"}, {"state": 1}, {"folder": "a\0b"}, {"name": "a\nb"}, {"submissions": True}]
)  # fmt: skip
def test_values_of_job_json(runs: Path, change: dict[str, Any]) -> None:
    run = RunFolder(runs / RUN)
    run.job.write_text(json.dumps(JOB))
    assert load_job(run) is not None
    run.job.write_text(json.dumps(JOB | change))
    found = load_job(run)
    assert isinstance(found, Problem)
    assert "squeue" in found.message
    assert next(iter(change)) in found.message or "x" in change


def test_attempts(runs: Path) -> None:
    run = RunFolder(runs / RUN)
    good = {"time": "2026-01-01T00:00:00+00:00", "class": "killed", "iteration": 3, "lost_s": 2.5}
    wrong: list[dict[str, object]] = [
        {"iteration": "x"},
        {"lost_s": int(HUGE)},
        {"time": "soon"},
        {"class": {}},
        {"attempt": -1},
    ]
    lines = [json.dumps(good), "[]", "{cut", *(json.dumps(good | change) for change in wrong), json.dumps(good)]
    run.attempts.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    assert read_attempts(run) == [good, good]
    run.attempts.write_bytes(b'{"class": "killed", "ti')
    append_attempt(run, **good)
    assert read_attempts(run) == [good]  # a line that was cut off takes no other with it
    (runs / RUN / "status.json").write_text(json.dumps(STATUS | {"state": "failed"}))
    run.attempts.unlink()
    os.mkfifo(run.attempts)
    assert isinstance(load_attempts(run), Problem)
    assert rows_of(runs)[0][RUN].state == "damaged"  # its retries could not be counted


@pytest.mark.parametrize("name", ["env.json", "result.json", "spec.json", "metrics.jsonl", "log.txt", "ranks", "lock"])
def test_odd_files_with_other_names(runs: Path, name: str) -> None:
    path = runs / RUN / name
    path.unlink(missing_ok=True)
    for kind in odd_files(path):
        for state in ("running", "failed", "done"):
            (runs / RUN / "status.json").write_text(json.dumps(STATUS | {"state": state}))
            rows, _ = rows_of(runs)
            assert rows[OTHER].state == "done", (kind, state)
            if name == "result.json" and state == "done":
                is_file = path.is_file() and path.stat().st_size
                assert rows[RUN].state == ("done" if is_file else "damaged"), kind


def test_a_run_folder_that_is_none(runs: Path) -> None:
    shutil.rmtree(runs / RUN)
    (runs / RUN).write_text("x")
    rows, _ = rows_of(runs)
    assert (rows[RUN].state, rows[RUN].reason) == (
        "damaged",
        f"{RUN} is not a folder; remove it, then submit the sweep again",
    )


def test_students_of_a_damaged_teacher_are_blocked(runs: Path) -> None:
    (runs / TEACHER / "status.json").write_text("{")
    student = runs / "tiny-retinanet-icod-906672b67f51-s0" / "status.json"
    student.unlink()
    rows, _ = rows_of(runs)
    assert rows[TEACHER].state == "damaged"
    assert rows[student.parent.name].state == "blocked"
    assert rows[student.parent.name].reason == f"blocked by {TEACHER} (damaged)"


def test_files_of_a_submission(tmp_path: Path) -> None:
    for _ in odd_files(tmp_path / "folders.txt"):
        assert read_folders(tmp_path) == []
    for _ in odd_files(tmp_path / "array.json"):
        assert read_array(tmp_path) is None
    (tmp_path / "array.json").write_text('{"format": 1, "job": "12", "throttle": 4}')
    assert read_array(tmp_path) == {"format": 1, "job": "12", "throttle": 4}
    (tmp_path / "array.json").write_text('{"format": 1, "job": "12", "throttle": "x"}')
    assert read_array(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cells": 0.5}, "cells is a number"),
        ({"needs": {RUN: "x"}}, "is text where a list belongs"),
        ({"needs": {RUN: [[]]}}, "holds [] where a run id belongs"),
        ({"teachers": [{"a": None}]}, "teachers holds"),
        ({"orphans": ["../x"]}, "orphans holds '../x' where a run id belongs"),
        ({"orphans": ["a" * 256]}, "orphans holds"),
        ({"orphans": ["sweeps"]}, "orphans holds 'sweeps'"),
        ({"seeds": "/etc/passwd"}, "seeds is text where a list belongs"),
        ({"seeds": [int(HUGE)]}, "seeds is not finite"),
        ({"name": "other"}, "which is the manifest of another sweep"),
        ({"labels": {"method": 1}}, "labels.'method' is a number"),
        ({"question": "\ud800"}, "which no file can hold"),
    ],
)
def test_a_damaged_manifest_is_named_by_every_command(runs: Path, change: dict[str, Any], reason: str) -> None:
    path = runs / "sweeps" / "tiny.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"manifest .*tiny\.json cannot be used: .*; submit the sweep again") as found:
        load_manifest(runs, "tiny")
    assert reason in str(found.value)


def test_the_commands_name_the_damaged_run_and_go_on(runs: Path) -> None:
    (runs / RUN / "status.json").write_text("{")
    call = CliRunner().invoke
    status = call(app, ["sweep", "status", "tiny", "--runs", str(runs)])
    assert status.exit_code == 1
    assert "1 damaged" in status.output
    found = json.loads(call(app, ["sweep", "status", "tiny", "--json", "--runs", str(runs)]).output)
    (row,) = [row for row in found["runs"] if row["state"] == "damaged"]
    assert "status.json is not valid JSON" in row["reason"]
    for command in (
        ["retry", "tiny", "--where", "dry"],
        ["cancel", "tiny", "--yes"],
        ["gc", "tiny"],
        ["triage", "tiny"],
    ):
        result = call(app, ["sweep", *command, "--runs", str(runs)])
        assert result.exit_code == 0, command
        assert f"warning: {RUN} is damaged and left out: status.json" in result.output, command

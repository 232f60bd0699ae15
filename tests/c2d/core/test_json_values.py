"""File names agree with the writer's; reading one file gives a value or a problem, whatever its bytes are."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core import json_values
from c2d.core.job_file import ATTEMPTS_FILE
from c2d.core.json_values import Problem, Wrong
from c2d.core.run_folder import RunFolder
from sweeps.state.manifest import record_path

FIXTURE = Path(__file__).parents[2] / "fixtures" / "runs"


def test_the_names_are_those_the_writers_use() -> None:
    run, runs = RunFolder(Path("runs/a")), Path("runs")
    assert [run.path / name for name in (json_values.SPEC, json_values.STATUS, json_values.RESULT, json_values.ENV, json_values.METRICS)] == [
        run.spec, run.status, run.result, run.env, run.metrics,
    ]  # fmt: skip
    assert (run.path / json_values.DETECTIONS, run.path / json_values.LATENCY) == (run.detections, run.latency)
    assert (run.path / json_values.LOG, json_values.ATTEMPTS) == (run.log, ATTEMPTS_FILE)
    assert json_values.targets_path(runs, "ab") == run.targets("ab")
    assert json_values.sweep_path(runs, "demo") == record_path(runs, "demo")
    assert {run.student_config("x").parent.name, run.weights("x").parent.name} < set(json_values.SHARED)


def test_entries_are_the_folders_that_may_be_runs(tmp_path: Path) -> None:
    for name in ("b", "a", "sweeps", "targets", ".hidden", "line\nbreak"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    found = json_values.entries(tmp_path)
    assert found.runs == ["a", "b"]
    assert ["'line\\nbreak'" in problem.message for problem in found.problems] == [True]


def test_a_folder_of_undecodable_name_is_a_problem(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    found = json_values.entries(tmp_path)
    assert found.runs == []
    found.problems[0].message.encode()
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"format": 1', "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"format": 1, "AP": NaN}', "it holds NaN"),
        (b'{"format": 1, "AP": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (b"[1]", "holds a list where an object belongs"),
        (b"null", "holds null"),
        (b"{}", "names no format"),
        (b'{"format": 2}', "is of format 2; this version reads format 1"),
        (b'{"format": true}', "is of format True"),
        (b'{"format": "1"}', "is of format '1'"),
    ],
)
def test_what_is_no_object_of_format_1_is_a_problem(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(raw)
    found = json_values.read_object(path)
    assert isinstance(found, Problem)
    assert message in found.message
    assert "\n" not in found.message


def test_what_is_no_file_is_a_problem_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    messages = [json_values.read_json(tmp_path / name) for name in ("pipe", "folder", "loop", "none", "a\0b")]
    assert all(isinstance(found, Problem) for found in messages)
    assert "is missing" in messages[3].message
    assert json_values.file_state(tmp_path / "none") is None


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "d.json.gz"
    path.write_bytes(gzip.compress(b"[1, 2]"))
    assert json_values.read_json(path) == [1, 2]
    whole = path.read_bytes()
    for broken in (whole[:-5], whole[:12] + b"\x00" + whole[13:], b"plain", b""):
        path.write_bytes(broken)
        assert isinstance(json_values.read_json(path), Problem), broken


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_a_value_or_a_problem(tmp_path_factory: pytest.TempPathFactory, raw: bytes, gz: bool) -> None:
    path = tmp_path_factory.mktemp("bytes") / ("x.json.gz" if gz else "x.json")
    path.write_bytes(raw)
    found = json_values.read_json(path)
    expected: object = None
    try:
        expected = json.loads(gzip.decompress(raw) if gz else raw)
    except Exception:
        assert isinstance(found, Problem)
    else:
        assert found == expected or expected != expected or isinstance(found, Problem)  # NaN is refused


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0.3", "AP is '0.3' where a number belongs"),
        (True, "AP is True where a number belongs"),
        ([1], "AP is a list where a number belongs"),
        (10**400, "AP is not finite"),
        (1e400, "AP is not finite"),
        (37.4, "AP is 37.4, outside 0 to 1"),
        (-1, "AP is -1, outside 0 to 1"),
    ],
)
def test_numbers_are_finite_numbers_within_bounds(value: object, message: str) -> None:
    with pytest.raises(Wrong) as caught:
        json_values.number(value, "AP", 0, 1)
    assert str(caught.value) == message
    assert json_values.number(None, "AP", 0, 1) is None
    assert json_values.number(1, "AP", 0, 1) == 1.0


def test_text_is_one_line_that_can_be_written() -> None:
    assert json_values.text("\x1b[31mloss\x1b[0m is nan\n at 7\ud800", "reason") == "loss is nan at 7?"
    assert json_values.text("größer als 5 µs", "reason") == "größer als 5 µs"
    with pytest.raises(Wrong, match="reason is 3 where text belongs"):
        json_values.text(3, "reason")


def test_at_and_maybe() -> None:
    value = {"a": {"b": 1, "n": None}}
    assert (
        json_values.at(value, "a", "b"),
        json_values.maybe(value, "a", "n", "x"),
        json_values.maybe(value, "z"),
    ) == (1, None, None)
    with pytest.raises(Wrong, match=r"^a\.c is missing"):
        json_values.at(value, "a", "c")
    with pytest.raises(Wrong, match=r"^a\.b is a number where an object belongs"):
        json_values.maybe(value, "a", "b", "c")


def test_the_end_of_a_long_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0123456789")
    assert json_values.read_bytes(tmp_path / "log", 4) == b"6789"
    assert json_values.read_bytes(tmp_path / "log", 40) == b"0123456789"


def test_every_json_file_of_the_fixture_is_readable() -> None:
    files = [path for pattern in ("*/*.json", "*/*.json.gz") for path in FIXTURE.glob(pattern)]
    assert len(files) > 10
    assert [path for path in files if isinstance(json_values.read_json(path), Problem)] == []

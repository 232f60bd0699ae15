"""Reading one file gives a value or a problem, whatever its bytes are."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core import json_values, regular_file
from c2d.core.regular_file import FormatError, Problem

FIXTURE = Path(__file__).parents[2] / "fixtures" / "runs"


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


def test_what_is_no_regular_file_is_a_problem_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    messages = [json_values.read_json(tmp_path / name) for name in ("pipe", "folder", "loop", "none", "a\0b")]
    assert all(isinstance(found, Problem) for found in messages)
    assert "is missing" in messages[3].message
    assert regular_file.file_state(tmp_path / "none") is None


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
    with pytest.raises(FormatError) as caught:
        json_values.number(value, "AP", 0, 1)
    assert str(caught.value) == message
    assert json_values.number(None, "AP", 0, 1) is None
    assert json_values.number(1, "AP", 0, 1) == 1.0


def test_text_is_one_line_that_can_be_written() -> None:
    assert json_values.text("\x1b[31mloss\x1b[0m is nan\n at 7\ud800", "reason") == "loss is nan at 7?"
    assert json_values.text("größer als 5 µs", "reason") == "größer als 5 µs"
    with pytest.raises(FormatError, match="reason is 3 where text belongs"):
        json_values.text(3, "reason")


def test_at_and_maybe() -> None:
    value = {"a": {"b": 1, "n": None}}
    assert (
        json_values.required(value, "a", "b"),
        json_values.optional(value, "a", "n", "x"),
        json_values.optional(value, "z"),
    ) == (1, None, None)
    with pytest.raises(FormatError, match=r"^a\.c is missing"):
        json_values.required(value, "a", "c")
    with pytest.raises(FormatError, match=r"^a\.b is a number where an object belongs"):
        json_values.optional(value, "a", "b", "c")


def test_every_json_file_of_the_fixture_is_readable() -> None:
    files = [path for pattern in ("*/*.json", "*/*.json.gz") for path in FIXTURE.glob(pattern)]
    assert len(files) > 10
    assert [path for path in files if isinstance(json_values.read_json(path), Problem)] == []

"""What is not a regular file is never opened; the end of a long file is read alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c2d.core import regular_file
from c2d.core.regular_file import FormatError, Problem


def test_the_end_of_a_long_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0123456789")
    assert regular_file.read_bytes(tmp_path / "log", 4) == b"6789"
    assert regular_file.read_bytes(tmp_path / "log", 40) == b"0123456789"


def test_a_missing_file_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(regular_file.file_state(tmp_path / "pipe"), Problem)
    assert regular_file.file_state(tmp_path / "none") is None
    for name in ("pipe", "none"):
        with pytest.raises(FormatError):
            regular_file.read_bytes(tmp_path / name)


def test_marks_that_turn_the_text_around_them_are_left_out() -> None:
    assert regular_file.printable("x\u202e (7)\u2066") == "x (7)"
    assert regular_file.printable("\u05d0\u05d1 (7)") == "\u05d0\u05d1 (7)", (
        "letters of a language that is read leftwards stay"
    )

"""A pid alone does not name a process: another one may have it by now."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from c2d.core import process
from c2d.core.process import START_TOLERANCE_S, is_process_alive, process_start

NO_PROCESS = 2**22 + 1  # above the largest pid


def test_the_own_process_is_alive_and_started_before_now() -> None:
    started = process_start(os.getpid())
    assert started is not None
    assert time.time() - 86400 < started < time.time() + START_TOLERANCE_S
    assert is_process_alive(os.getpid(), time.time())


@pytest.mark.parametrize("pid", [NO_PROCESS, 0, -1, None, "12", True, 2**80])
def test_what_is_no_process(pid: Any) -> None:
    assert not is_process_alive(pid, time.time())
    assert process_start(NO_PROCESS) is None


def test_a_process_that_started_after_the_stamp_is_another_one() -> None:
    started = process_start(os.getpid())
    assert started is not None
    assert not is_process_alive(os.getpid(), started - START_TOLERANCE_S - 1)
    assert is_process_alive(os.getpid(), started)
    assert is_process_alive(os.getpid(), None)  # no stamp: the pid decides


def test_without_proc_the_pid_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process, "PROC", tmp_path)
    assert process_start(os.getpid()) is None
    assert is_process_alive(os.getpid(), 0.0)


def test_a_name_with_brackets_does_not_shift_the_fields(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    ticks = 50 * os.sysconf("SC_CLK_TCK")
    (tmp_path / "7" / "stat").write_text(f"7 (a) b (c) S {' '.join(['0'] * 18)} {ticks} 0 0\n")
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000\n")
    monkeypatch.setattr(process, "PROC", tmp_path)
    assert process_start(7) == 1050.0

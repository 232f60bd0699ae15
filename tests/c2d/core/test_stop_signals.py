"""A command that is ended by a signal cleans up, unless it was told to ignore that signal."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from c2d.core.process.stop_signals import exit_on_close_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def default_handler(number: int) -> Iterator[None]:
    """The system's own handler: a process that `nohup` started, or CI without a terminal, ignores SIGHUP."""
    before = signal.signal(number, signal.SIG_DFL)
    yield
    signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_body_ends_by_an_exception(number, default_handler):
    cleaned = []

    def body() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(30)  # the handler ends it
        finally:
            cleaned.append(number)

    with pytest.raises(SystemExit, match=str(128 + number)), exit_on_close_signals():
        body()
    assert cleaned == [number]
    assert signal.getsignal(number) == signal.SIG_DFL


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with exit_on_close_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_may_use_it():
    used = []

    def body() -> None:
        with exit_on_close_signals():
            used.append(True)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert used == [True]

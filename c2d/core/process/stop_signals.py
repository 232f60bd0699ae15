"""Signals by which a machine asks a process to save and end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name))
"""TERM, and USR2, SLURM's warning before the time limit. Windows has no USR2."""
_CLOSE_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def exit_on_close_signals() -> Iterator[None]:
    """End the body by SystemExit on SIGTERM and SIGHUP, exit code 128 + signal, so that it can clean up.

    A signal that is ignored, as after `nohup`, stays ignored. Outside of the main thread nothing changes, since signals
    arrive there alone.
    """

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    is_main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in _CLOSE_SIGNALS if is_main and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

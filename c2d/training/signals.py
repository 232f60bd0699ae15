"""Stop signals: a handler only sets a flag; the ranks exchange it after a step, save, and exit with code 130."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import torch
from mmengine.dist import get_world_size

from c2d.core.process.stop_signals import STOP_SIGNALS

SIGNALS = (signal.SIGINT, *STOP_SIGNALS)


class StopSignals:
    """Handlers of SIGINT, SIGTERM and SIGUSR2 during the training; loader processes keep their default behaviour.

    Attributes:
        requested: whether this process received a signal.
        name: of the signal, e.g. SIGTERM; empty before one arrives, and on a rank that did not receive it itself.
    """

    def __init__(self) -> None:
        self.requested = False
        self.name = ""
        self._before: dict[int, object] = {}
        self._pid = os.getpid()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # Python accepts handlers in no other
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked loader process inherits the handler; its parent ends it
            raise SystemExit(128 + number)
        if self.requested and number == signal.SIGINT:  # the second Ctrl-C stops at once
            raise KeyboardInterrupt
        self.requested, self.name = True, signal.Signals(number).name

    def on_any_rank(self) -> bool:
        """Return whether any rank received a signal; collective, so that every rank stops after the same step."""
        if get_world_size() == 1:
            return self.requested
        device = "cuda" if torch.cuda.is_available() else "cpu"
        flag = torch.tensor(float(self.requested), device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag > 0)

"""A polite end: signals only set a flag; the ranks agree at a step boundary, save, and leave with exit code 130."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch
from mmengine.dist import get_world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Stop:
    """Installed for the time of the training; data workers (other processes) are not affected."""

    def __init__(self) -> None:
        self.asked = False
        self.by = ""  # the signal's name, SIGTERM; "" while nobody asked, and on a rank that only heard of it
        self._before: dict[int, object] = {}
        self._pid = os.getpid()

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked data worker inherits the handler; it is ended by its parent
            raise SystemExit(128 + number)
        if self.asked and number == signal.SIGINT:  # asked twice at the keyboard: at once
            raise KeyboardInterrupt
        self.asked, self.by = True, signal.Signals(number).name

    def agreed(self) -> bool:
        """True on every rank at the same step, once any rank was asked."""
        if get_world_size() == 1:
            return self.asked
        device = "cuda" if torch.cuda.is_available() else "cpu"
        flag = torch.tensor(float(self.asked), device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag > 0)

"""`safe_load.load` in a child of this process, whose memory and time are measured."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

from c2d.weights import safe_load


class Outcome(NamedTuple):
    """What happened: name of the error ("" for none, "signal N" for a crash), its message, CPU time, memory taken."""

    error: str
    message: str
    seconds: float
    peak_mib: float


def load_in_child(path: Path) -> Outcome:
    """Load a file; a child that takes a minute is ended."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        signal.alarm(60)
        with os.fdopen(write, "w") as pipe:
            json.dump(_load(path), pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return Outcome(*json.loads(answer)) if answer else Outcome(f"signal {status}", "", 60.0, 0.0)


def _load(path: Path) -> tuple[str, str, float, float]:
    before = _mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest use so far is that of the parent
    begin, error, message = time.process_time(), "", ""
    try:
        safe_load.weights_of(safe_load.load(path), str(path))
    except BaseException as caught:
        error, message = type(caught).__name__, str(caught)
    return error, message, time.process_time() - begin, _mib("VmHWM") - before


def _mib(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0

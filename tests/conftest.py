"""What all tests share."""

from __future__ import annotations

import gc
import sys

from hypothesis import settings

# The time of one example says nothing on a machine that other work shares.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
_frozen: set[str] = set()


def pytest_runtest_setup() -> None:
    """Leave what was imported out of every later garbage collection: mmengine collects once for each data set."""
    heavy = {name for name in ("c2d", "mmdet.models") if name in sys.modules}
    if not heavy <= _frozen:
        _frozen.update(heavy)
        gc.collect()
        gc.freeze()


def pytest_unconfigure() -> None:
    """Let the end of the process free all of it; libraries report objects that are left."""
    gc.unfreeze()

"""How much of a method enters at an iteration: step on, ramp, decay, stop; a factor in [0, 1]."""

from __future__ import annotations

import math
from typing import Any

from c2d.core.errors import InputError


def factor(params: Any, iteration: int, iterations: int) -> float:
    """The factor at `iteration` (from 0) of a run of `iterations`; see the common parameters in `distillers.base`.

    `linear` gives 1 at the first iteration and 1/N at the last; the papers that decay do so once per epoch.
    """
    if iteration < params.start or (params.stop is not None and iteration >= params.stop):
        return 0.0
    risen = min(1.0, (iteration - params.start) / params.ramp) if params.ramp else 1.0
    done = iteration / max(iterations, 1)
    fallen = {"none": 1.0, "linear": 1.0 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}[params.decay]
    return risen * fallen


def check(method: str, params: Any, iterations: int) -> None:
    """Refuse a schedule under which a method never teaches.

    Raises:
        InputError: it starts behind the end of the run, or stops before it starts.
    """
    if params.start + (1 if params.ramp else 0) >= iterations:
        raise InputError(  # a ramp begins with 0
            f"{method} starts at iteration {params.start}, but the run has {iterations}: it would never teach; set "
            f"method.{method}.start below that (0: at once){', for its ramp begins with 0' if params.ramp else ''}"
        )
    if params.stop is not None and params.stop <= params.start:
        raise InputError(f"{method} stops at iteration {params.stop} and starts at {params.start}; stop it later")

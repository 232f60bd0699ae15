"""Schedule of a method's weight: start, ramp, decay and stop give a factor in [0, 1] for each iteration."""

from __future__ import annotations

import math
from typing import Any

from c2d.core.errors import InputError


def weight_factor(params: Any, iteration: int, iterations: int) -> float:
    """Return the factor on a method's weight at one iteration.

    Args:
        params: the method's parameters, with the common ones of `c2d.methods.base.Params`.
        iteration: from 0.
        iterations: N, of the whole run. Decay `linear` is 1 at the first iteration and 1/N at the last; the papers
            that decay do so once per epoch.

    Returns:
        A factor in [0, 1].
    """
    if iteration < params.start or (params.stop is not None and iteration >= params.stop):
        return 0.0
    rise = min(1.0, (iteration - params.start) / params.ramp) if params.ramp else 1.0
    progress = iteration / max(iterations, 1)
    # linear: GKD, TADF and an option of DeFeat's code; cosine: another option of it.
    fall = {"none": 1.0, "linear": 1.0 - progress, "cosine": 0.5 + 0.5 * math.cos(math.pi * progress)}[params.decay]
    return rise * fall


def check_schedule(method: str, params: Any, iterations: int) -> None:
    """Check that a method has a weight above 0 at some iteration.

    Args:
        method: its name, for the message.
        params: its parameters.
        iterations: of the whole run.

    Raises:
        InputError: the method starts after the end of the run, or stops before it starts.
    """
    if params.start + (1 if params.ramp else 0) >= iterations:
        raise InputError(  # a ramp begins with 0
            f"{method} starts at iteration {params.start}, but the run has {iterations}: it would never teach; set "
            f"method.{method}.start below that (0: from the first step)"
            f"{', because its ramp begins with 0' if params.ramp else ''}"
        )
    if params.stop is not None and params.stop <= params.start:
        raise InputError(f"{method} stops at iteration {params.stop} and starts at {params.start}; stop it later")

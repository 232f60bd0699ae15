"""Resumable state: written whole or not at all, read back through safeload, two kept.

A checkpoint holds the weights of student and adapters, their running average, optimizer, loss scaler, schedulers and
iteration. It holds no teacher (frozen, found by its run id). Random states are stored by nobody: every iteration seeds
itself from (seed, iteration, rank), see sampling.py.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, atomic_write_bytes
from c2d.weights import safe_load

FORMAT = 1
KEPT = 2


def save(folder: RunFolder, state: dict[str, Any], iteration: int) -> Path:
    """Write the state after `iteration` iterations; older checkpoints beyond the newest two are removed.

    Raises:
        RunError: a weight is NaN or infinite (the last good checkpoint stays), or the disk is full.
    """
    broken = [key for key, value in state["model"].items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise RunError(
            f"weights are not finite after iteration {iteration}: {', '.join(broken[:3])} and {len(broken[3:])} more; "
            "the last good checkpoint is kept: lower the learning rate or a loss weight",
            "nan",
        )
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "run": folder.id, "iteration": iteration, **state}, buffer)
    path = folder.checkpoint(iteration)
    atomic_write_bytes(path, buffer.getvalue())
    reached = [kept for kept in listing(folder) if kept <= path]  # a later one is corrupt: we resumed before it
    for old in reached[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def listing(folder: RunFolder) -> list[Path]:
    """Complete checkpoints, oldest first; half-written ones begin with a dot and are never seen."""
    return sorted(folder.checkpoints.glob("iter_*.pth"))


def newest(folder: RunFolder, warn: Any = print) -> dict[str, Any] | None:
    """The newest readable checkpoint of this run, or None; a corrupt one is passed over with a warning.

    A file that wants to run code is not corrupt, it is an attack or a mistake: it stops the run.
    """
    for path in reversed(listing(folder)):
        try:
            state = safe_load.load(path)
        except safe_load.Corrupt as error:
            warn(f"warning: {error}; falling back to the checkpoint before it")
            continue
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise InputError(f"{path} is not a c2d checkpoint of format {FORMAT}; remove it to start again")
        if state["run"] != folder.id:
            raise InputError(f"{path} belongs to run {state['run']}, this is {folder.id}; remove it")
        return state
    return None

"""Checkpoints of a training, and the export of the weights that are shipped.

A checkpoint holds the weights of student and adapters, their EMA, the optimizer with its loss scaler, the schedulers
and the iteration. It holds no teacher (frozen, and identified by its run id) and no random state: every iteration seeds
itself from (seed, iteration, rank), see `c2d.training.sampler`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError, RunError, first_line
from c2d.core.run_folder import RunFolder, atomic_write_bytes
from c2d.weights import safe_load

FORMAT = 1
KEPT = 2
"""Checkpoints of a run that are kept; a corrupt newest one leaves the one before it."""
ENTRIES: dict[str, Any] = {
    "iteration": int, "model": dict, "average": dict | None, "optimizer": dict, "schedulers": list,
}  # fmt: skip
"""{entry of a checkpoint: its type}; those from before it was recorded lack `box_losses`."""
PREFIXES = {"detector": "student.", "classifier": "network."}
"""Prefix of the exported weights in a checkpoint, by kind of run."""


def save(folder: RunFolder, state: dict[str, Any], iteration: int) -> Path:
    """Write the state after `iteration` iterations, and remove all but the newest two checkpoints.

    Args:
        folder: run folder.
        state: what `Trainer.state_dict` returns.
        iteration: number of steps that are done.

    Returns:
        The path of the checkpoint; it is written whole or not at all.

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
    # To memory first: the file is then written under another name and moved, whole or not at all.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "run": folder.id, "iteration": iteration, **state}, buffer)
    path = folder.checkpoint(iteration)
    atomic_write_bytes(path, buffer.getvalue())
    # A later checkpoint is corrupt: the run resumed from the one before it.
    earlier = [item for item in list_checkpoints(folder) if item <= path]
    for old in earlier[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def built_weights(model: nn.Module, keys: Sequence[str]) -> dict[str, Tensor]:
    """Return a model's weights and buffers under the keys that it had when it was built.

    A loss of mmdet may register a part of the student a second time: DDQ's puts the head's auxiliary branches under
    the decoder too. A newly built model has no such keys, so a strict load would refuse them.

    Args:
        model: any module.
        keys: of its state dict when it was built.

    Returns:
        Tensors of any shape under `keys`.

    Raises:
        RunError: a further key is no second name of a stored tensor.
    """
    state = model.state_dict()
    stored = {key: state.pop(key) for key in keys}
    places = {value.data_ptr() for value in stored.values()}
    if new := [key for key, value in state.items() if value.data_ptr() not in places]:
        raise RunError(
            f"the student added weights while it was trained ({', '.join(new[:3])}), which a newly built one lacks; "
            "no checkpoint can hold them: choose another student",
            "config",
        )
    return stored


def list_checkpoints(folder: RunFolder) -> list[Path]:
    """Return the complete checkpoints, oldest first; the name of a half-written one begins with a dot."""
    return sorted(folder.checkpoints.glob("iter_*.pth"))


def load_newest(folder: RunFolder, warn: Any = print) -> dict[str, Any] | None:
    """Load the newest readable checkpoint of this run, or None; a corrupt one is skipped with a warning.

    Args:
        folder: run folder.
        warn: called with a line for each corrupt file.

    Raises:
        InputError: the file has another format or belongs to another run. A file that contains code is not corrupt
            either: it is an attack or a mistake, and stops the run.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            state = safe_load.load(path)
        except safe_load.Corrupt as error:
            warn(f"warning: {error}; falling back to the checkpoint before it")
            continue
        _check_shape(path, state, folder)
        return state
    return None


def _check_shape(path: Path, state: Any, folder: RunFolder) -> None:
    """Check that a checkpoint has the entries that `save` writes, for this run and for the iteration in its name.

    Raises:
        InputError: naming the entry.
    """
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(f"{path} is not a c2d checkpoint of format {FORMAT}; remove it to start again")
    if state.get("run") != folder.id:
        raise InputError(f"{path} belongs to run {state.get('run')!a:.80}, this is {folder.id}; remove it")
    wrong = [key for key, kind in ENTRIES.items() if not isinstance(state.get(key), kind)]
    if not wrong and folder.checkpoint(state["iteration"]) != path:
        wrong = ["iteration"]
    if wrong:
        raise InputError(
            f"{path}: {', '.join(wrong)} {'are' if wrong[1:] else 'is'} not as the training wrote it; remove the file, "
            "and the run continues from the checkpoint before it"
        )


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Read a checkpoint's state into the parts of the run.

    Raises:
        InputError: it does not fit them; torch and mmengine raise any type for it.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} does not fit this run ({type(error).__name__}: {first_line(error)}); remove it, and the run "
            "continues from the checkpoint before it"
        ) from error


def export(checkpoint: Path, out: Path, kind: str) -> dict[str, Tensor]:
    """Write the weights that are shipped under stock keys: the EMA where there is one, else the last weights.

    No teacher and no adapter is in them.

    Args:
        checkpoint: path of a checkpoint.
        out: student.pth or classifier.pth.
        kind: `detector` or `classifier`.

    Returns:
        The state dict that was written: tensors of any shape.

    Raises:
        InputError: the checkpoint is of a run of the other kind.
    """
    state = safe_load.load(checkpoint)
    weights = state["average"] or state["model"]
    prefix = PREFIXES[kind]
    stock = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if not stock:
        raise InputError(f"{checkpoint} holds no weight under '{prefix}'; it is not a checkpoint of a {kind} run")
    write_weights(stock, out)
    return stock


def write_weights(state: Mapping[str, Tensor], out: Path) -> None:
    """Write weights under their stock keys, on the CPU, whole or not at all.

    Args:
        state: tensors of any shape.
        out: student.pth or classifier.pth.
    """
    buffer = io.BytesIO()
    torch.save({key: value.detach().cpu() for key, value in state.items()}, buffer)
    atomic_write_bytes(out, buffer.getvalue())

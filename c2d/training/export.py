"""Training checkpoint -> student.pth (or classifier.pth): stock keys, no teacher, nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_bytes
from c2d.weights import safe_load

PREFIXES = {"detector": "student.", "classifier": "network."}


def export(checkpoint: Path, out: Path, kind: str) -> dict[str, Tensor]:
    """Write the subject's weights under stock keys: the running average where there is one, else the last weights.

    Args:
        checkpoint: written by checkpoint.py.
        out: student.pth or classifier.pth.
        kind: `detector` or `classifier`.
    Returns:
        The state dict that was written.
    """
    state = safe_load.load(checkpoint)
    weights = state["average"] or state["model"]
    prefix = PREFIXES[kind]
    stock = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if not stock:
        raise InputError(f"{checkpoint} holds no weight under '{prefix}'; it is not a checkpoint of a {kind} run")
    buffer = io.BytesIO()
    torch.save(stock, buffer)
    atomic_write_bytes(out, buffer.getvalue())
    return stock

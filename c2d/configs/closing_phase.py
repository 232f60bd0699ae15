"""The closing phase of a training: its last iterations, which read the images through another pipeline.

YOLOX and RTMDet end without Mosaic and MixUp. mmdet switches by hooks that count epochs; here it is a share of the
iterations, so that the pipeline of an image follows from its position in the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2d.core.errors import InputError

PIPELINE, SHARE = "closing_pipeline", "closing_share"


def closing_phase(
    source: Mapping[str, Any], train: list[Any], name: str, *, own: bool
) -> tuple[list[Any], float] | None:
    """Return (pipeline, share of the iterations) of a config's closing phase, or None where it has none.

    Args:
        source: the config: `closing_pipeline` and `closing_share`, else one of mmdet's two hooks.
        train: its training pipeline.
        name: of the config, for messages.
        own: True for a config in the form of the shipped students: hooks, which it may inherit, do not count.

    Raises:
        InputError: a share that is none, one key without the other, or a hook without the number of epochs.
    """
    if PIPELINE in source or SHARE in source:
        pipeline, share = source.get(PIPELINE), source.get(SHARE)
        if not isinstance(pipeline, list | tuple) or not pipeline or not is_share(share):
            raise InputError(
                f"'{name}' has {SHARE} {share!r} and a {PIPELINE} of type {type(pipeline).__name__}; give both: a "
                "share of the iterations above 0 and at most 1, and the list of the steps"
            )
        return list(pipeline), float(share)  # type: ignore[arg-type]  # a number, see is_share
    epochs = (source.get("train_cfg") or {}).get("max_epochs")
    for hook in () if own else source.get("custom_hooks") or ():
        kind = str(hook.get("type")).rpartition(".")[2]
        if kind == "PipelineSwitchHook":
            last = epochs - hook["switch_epoch"] if isinstance(epochs, int) else 0
            return list(hook["switch_pipeline"]), _share(last, epochs, name)
        if kind == "YOLOXModeSwitchHook":
            skipped = hook.get("skip_type_keys", ("Mosaic", "RandomAffine", "MixUp"))
            # The hook compares the number of the next epoch, so that it closes one epoch more than it names.
            last = hook.get("num_last_epochs", 15) + 1
            return [step for step in train if step["type"] not in skipped], _share(last, epochs, name)
    return None


def is_share(value: Any) -> bool:
    """True for a number above 0 and at most 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def closing_start(train_cfg: Mapping[str, Any]) -> int | None:
    """Return the first iteration of the closing phase, or None where a training has none.

    Args:
        train_cfg: of train_config.py: `max_iters` and perhaps `closing_share`; empty for a classifier that is fitted
            without steps.
    """
    if (share := train_cfg.get(SHARE)) is None:
        return None
    total = int(train_cfg["max_iters"])
    return total - round(share * total)


def _share(last: int, epochs: Any, name: str) -> float:
    """The last epochs as a share of all."""
    if not isinstance(epochs, int) or epochs < 1 or not is_share(last / epochs):
        raise InputError(
            f"'{name}' switches its pipeline by epochs, and its train_cfg has max_epochs {epochs!r}; copy the config "
            f"without the hook, and give {PIPELINE} and {SHARE}, a share of the iterations"
        )
    return last / epochs

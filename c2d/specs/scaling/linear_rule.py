"""`schedule: {name: ssd, scale_to_batch: 32}`: the linear scaling rule of a spec. Needs no torch.

With k = new batch / old batch (Goyal et al. 2017, arXiv 1706.02677, section 2.1): the learning rate is multiplied by
k; iterations, milestones, warm-up and `val_interval` are divided by k and rounded to the nearest integer, a half up, so
that each covers the images that it covered. Weight decay stays: it acts through the learning rate, in SGD and in AdamW.
The averaged weights keep their memory in images: `ema` becomes 1 - (1 - ema)^k (Busbridge et al. 2023, arXiv
2307.13813). For Adam and AdamW the linear rule is our choice: the square root of k is used as well, and neither is
verified for detectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor
from typing import Any

from c2d.core.errors import InputError

BATCH_KEY = "scale_to_batch"
WITHOUT_STEPS = ("linear-probe", "zero-shot")
DIGITS = 12
"""Significant digits of a number that a power or a third gives, so that it can be written by hand."""


def scale_to_batch(values: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """Return the values of a schedule at another batch.

    Args:
        values: of a valid schedule of a detector or a classifier.
        batch: images per iteration over all GPUs.

    Raises:
        InputError: the schedule has no iteration at this batch, or two milestones would be one.
    """
    if batch == values["batch"]:
        return dict(values)
    k = Fraction(batch, values["batch"])
    optimizer = dict(values["optimizer"])
    optimizer["lr"] = _plain(Fraction(str(optimizer["lr"])) * k)
    scaled = {**values, "batch": batch, "optimizer": optimizer, "iterations": _divided(values["iterations"], k)}
    if warmup := values.get("warmup"):
        scaled["warmup"] = {**warmup, "iterations": _divided(warmup.get("iterations", 0), k)}
    if milestones := values.get("milestones"):
        scaled["milestones"] = [_divided(milestone, k) for milestone in milestones]
    if (interval := values.get("val_interval")) is not None:
        scaled["val_interval"] = max(1, _divided(interval, k))
    if (momentum := values.get("ema")) is not None:
        scaled["ema"] = _plain(1 - (1 - momentum) ** float(k))
    before, after = list(milestones or []), scaled.get("milestones", [])
    reached = [sum(step < one["iterations"] for step in steps) for one, steps in ((values, before), (scaled, after))]
    if scaled["iterations"] < 1 or len({0, *after}) <= len(before) or reached[0] != reached[1]:
        raise InputError(
            f"{BATCH_KEY} {batch}: {values['iterations']} iterations of {values['batch']} images with milestones "
            f"{before} become {scaled['iterations']} with milestones {after}, which is no schedule; give fewer images"
        )
    return scaled


def scaling_line(name: str, before: Mapping[str, Any], after: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return one line that says what the rule changed.

    Args:
        name: of the schedule.
        before: its own values.
        after: what `scale_to_batch` returned.
        given: values that the spec gives beside the rule, which win.
    """
    if after["batch"] == before["batch"]:
        return f"schedule {name} has batch {before['batch']} itself: nothing is scaled"
    kind = before["optimizer"]["type"]
    rule = "linear rule" if kind == "SGD" else f"linear rule, our choice for {kind}"
    pairs = [
        (f"lr {{}} ({rule})", before["optimizer"]["lr"], after["optimizer"]["lr"]),
        ("iterations {}", before["iterations"], after["iterations"]),
        ("warm-up {}", *((one.get("warmup") or {}).get("iterations", 0) for one in (before, after))),
        ("milestones {}", *(" ".join(map(str, one.get("milestones") or [])) for one in (before, after))),
        ("val_interval {}", before.get("val_interval"), after.get("val_interval")),
        ("ema {}", before.get("ema"), after.get("ema")),
    ]
    changes = [text.format(f"{old} -> {new}") for text, old, new in pairs if old or new]
    own = [f"given, not scaled: {', '.join(_dotted(given))}"] if given else []
    return f"schedule {name} at batch {after['batch']} instead of {before['batch']}: {', '.join([*changes, *own])}"


def _plain(value: Fraction | float) -> float:
    """A float of at most DIGITS digits: the number that a file would have."""
    return float(f"{float(value):.{DIGITS}g}")


def _divided(length: int, k: Fraction) -> int:
    return floor(length / k + Fraction(1, 2))


def _dotted(values: Mapping[str, Any], above: str = "") -> list[str]:
    """`{optimizer: {lr: 1}}` -> [`optimizer.lr 1`]."""
    found: list[str] = []
    for key, value in values.items():
        found += _dotted(value, f"{above}{key}.") if isinstance(value, Mapping) and value else [f"{above}{key} {value}"]
    return found

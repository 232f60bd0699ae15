"""What log and result.json record of mixed images and of the closing phase."""

from __future__ import annotations

from typing import Any

from mmengine import Config

from c2d.configs.closing_phase import PIPELINE, closing_start
from c2d.configs.image_mixing import PARTNERS, mixing_steps
from c2d.detectors.iteration_state import has_l1_switch


def mixing_facts(train: Config) -> dict[str, Any]:
    """Return the entries of result.json: none for a training on single images with one pipeline.

    Args:
        train: train_config.py.
    """
    facts: dict[str, Any] = {}
    if mixed := _mixed(train, "pipeline"):
        facts["image_mixing"] = [{"type": kind, PARTNERS: steps, "prob": prob} for kind, steps, prob in mixed]
    if (start := closing_start(train.get("train_cfg", {}))) is not None:
        facts["closing_iterations"] = train["train_cfg"]["max_iters"] - start
    return facts


def mixing_notes(train: Config, student: Any) -> list[str]:
    """Return the lines of the log.

    Args:
        train: train_config.py.
        student: mmdet detector.
    """
    notes: list[str] = []
    if mixed := _mixed(train, "pipeline"):
        steps = ", ".join(f"{kind} (images after {steps} steps, prob {prob:g})" for kind, steps, prob in mixed)
        notes.append(
            f"mixes images: {steps}; further images are drawn from the whole data set for each item and read anew, "
            "never from a cache of earlier ones (mmdet's CachedMosaic and CachedMixUp run as Mosaic and MixUp)"
        )
    if (start := closing_start(train.get("train_cfg", {}))) is not None:
        without = "" if _mixed(train, PIPELINE) else ", without mixed images"
        l1 = "; the head adds its L1 loss there" if has_l1_switch(student) else ""
        notes.append(f"from iteration {start} on the closing pipeline is used{without}{l1}")
    elif has_l1_switch(student):
        notes.append("the head's further L1 loss is off: it belongs to a closing phase, and this training has none")
    return notes


def _mixed(train: Config, key: str) -> list[tuple[str, int, float]]:
    """(type, partner_steps, prob) of the steps of a pipeline that mix."""
    dataset = train["train_dataloader"]["dataset"]
    return [(step["type"], step[PARTNERS], step.get("prob", 1.0)) for step in mixing_steps(dataset.get(key))]

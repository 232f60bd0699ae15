"""Fit a classifier teacher whose trunk is frozen, without steps: a linear probe is solved, a zero-shot one is complete.

The features are computed once and stay in memory: 4 bytes a number, so 1280 features of 100,000 crops are 0.5 GB. An
attempt that is interrupted has no state; the next one computes them again.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from torch import Tensor

from c2d.core.attempt import Interrupted
from c2d.evaluation.distributed import is_main
from c2d.evaluation.evaluate_classifier import crop_rows
from c2d.evaluation.rank_shares import Heartbeat
from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.specs.schedule import ProbeSchedule
from c2d.teachers.crop_classifier import CropClassifier
from c2d.teachers.fitting.linear_probe import solve


def fit_without_steps(
    recipe: Any,
    model: CropClassifier,
    dataset: Any,
    batch: int,
    log: logging.Logger,
    heartbeat: Heartbeat = lambda: None,
    workers: int = 0,
) -> dict[str, Any]:
    """Fit the last layer of a model; every rank computes the features of a share of the images.

    Args:
        recipe: ProbeSchedule; with a ZeroShotSchedule there is nothing left to do.
        model: on its device; on rank 0 its last layer is changed in place.
        dataset: mmdet data set of the training split.
        batch: images whose crops are computed together.
        log: logger of the run.
        heartbeat: called after every batch.
        workers: loader processes of this rank.

    Returns:
        `ProbeFacts` and the seconds of its two parts; {} on ranks other than 0 and for zero-shot.

    Raises:
        Interrupted: a stop signal arrived.
        RunError: there is no crop, a feature is not finite, or an image cannot be read.
    """
    model.eval()
    if not isinstance(recipe, ProbeSchedule):
        return {}
    try:
        return _solve(recipe, model, dataset, batch, log, heartbeat, workers)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; call again: features are computed again") from None


def _solve(
    recipe: ProbeSchedule,
    model: CropClassifier,
    dataset: Any,
    batch: int,
    log: logging.Logger,
    heartbeat: Heartbeat,
    workers: int,
) -> dict[str, Any]:
    begun = time.monotonic()
    images, compute = SeededDataset(dataset, 0), partial(_features, model, recipe.probe.flips)
    features, labels = crop_rows(model, images, batch, compute, heartbeat, workers)
    if not is_main():
        return {}
    features_s = time.monotonic() - begun
    device = next(model.parameters()).device
    layer, found = solve(features.to(device), labels.to(device), model.num_classes, recipe.probe, recipe.loss)
    model.set_head(layer)
    solve_s = time.monotonic() - begun - features_s
    log.info(
        f"linear probe: {found.features} features of {found.crops} crops in {features_s:.1f} s, solved in "
        f"{solve_s:.1f} s: {found.iterations} iterations, gradient {found.gradient:.1e}, top-1 on training crops "
        f"{found.train_top1:.3f}"
    )
    if not found.converged:
        log.warning(
            f"the solver stopped at {found.iterations} iterations with a gradient above {recipe.probe.tolerance:g}; "
            "raise probe.max_iterations or probe.l2"
        )
    if found.absent:
        log.warning(
            f"{found.absent} of {model.num_classes} classes have no training crop; the teacher never names them"
        )
    return {**found.to_json(), "features_s": round(features_s, 3), "solve_s": round(solve_s, 3)}


def _features(model: CropClassifier, flips: bool, data: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Features (K, D) and labels (K,) of the crops of one batch."""
    return model.crop_features(**data, flips=flips)

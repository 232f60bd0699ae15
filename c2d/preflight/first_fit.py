"""The fit of a classifier without steps, tried on the synthetic images of a dry run."""

from __future__ import annotations

import logging

import torch

from c2d.core.errors import RunError
from c2d.preflight import synthetic
from c2d.training.build import TrainingRun
from c2d.training.without_steps.fit_without_steps import fit_without_steps


def first_fit(run: TrainingRun) -> str:
    """Solve a probe on the synthetic training images, and classify the crops of a batch.

    Args:
        run: built on synthetic sources.

    Returns:
        A note on what was tried.

    Raises:
        RunError: a logit is not finite.
    """
    model, loader = run.model, run.resolved.train["train_dataloader"]
    log = logging.getLogger("c2d.silent")
    fit_without_steps(run.spec.schedule.values, model, run.dataset, loader["batch_size"], log)
    side = synthetic.batch_sides(run.resolved)[0]
    data = model.data_preprocessor(synthetic.batch(side, model.num_classes), False)
    logits, _, _ = model(**data, mode="predict")
    if not bool(torch.isfinite(logits).all()):
        raise RunError("a logit of a synthetic crop is not finite; check the weights that `init` names", "nan")
    return f"fit {run.spec.fit} tried on the crops of two synthetic images"

"""Optimizer, gradient clipping, accumulation, mixed precision and learning-rate schedulers, built by mmengine."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine import Config
from mmengine.logging import MMLogger
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS, PARAM_SCHEDULERS
from torch import nn

from c2d.specs.schedule import Schedule


@OPTIM_WRAPPERS.register_module()
class MixedPrecision(AmpOptimWrapper):
    """Autocast around the losses, on CUDA and CPU, and a loss scaler where fp16 needs one.

    mmengine's AmpOptimWrapper refuses to run without a GPU. bf16 has the exponent range of fp32, so it is not scaled.

    Args:
        dtype: `float16` or `bfloat16`.
        rest: options of mmengine's OptimWrapper.
    """

    def __init__(self, dtype: str, **rest: Any) -> None:
        OptimWrapper.__init__(self, **rest)  # not the parent's own, which raises on a CPU
        self.device_type = "cuda" if torch.cuda.is_available() else "cpu"
        self.cast_dtype = getattr(torch, dtype)
        self.loss_scaler = torch.amp.GradScaler(self.device_type, enabled=dtype == "float16")
        self._scale_update_param = None  # read by the parent's `step`

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of one step: no gradient synchronization while accumulating, and autocast."""
        with OptimWrapper.optim_context(self, model), torch.autocast(self.device_type, dtype=self.cast_dtype):
            yield


def optimization_config(schedule: Schedule) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(optim_wrapper, param_scheduler) of a schedule, as mmengine's configs name them. Lengths in iterations."""
    chosen = schedule.optimizer
    optimizer: dict[str, Any] = {"type": chosen.type, "lr": chosen.lr, "weight_decay": chosen.weight_decay}
    if chosen.type == "SGD":
        optimizer["momentum"] = chosen.momentum
    wrapper: dict[str, Any] = {"type": "OptimWrapper", "optimizer": optimizer}
    if schedule.precision != "fp32":
        dtype = {"amp-fp16": "float16", "amp-bf16": "bfloat16"}[schedule.precision]
        wrapper |= {"type": MixedPrecision.__name__, "dtype": dtype}
    if schedule.clip_grad_norm is not None:
        wrapper["clip_grad"] = {"max_norm": schedule.clip_grad_norm, "norm_type": 2}
    if not chosen.norm_weight_decay:
        # RTMDet's levels share convolutions; without bypass_duplicate mmengine would list these once for each level.
        wrapper["paramwise_cfg"] = {"norm_decay_mult": 0.0, "bypass_duplicate": True}
    return wrapper, _scheduler_configs(schedule)


def _scheduler_configs(schedule: Schedule) -> list[dict[str, Any]]:
    warmup, configs = schedule.warmup.iterations, []
    if warmup:
        configs.append(
            {"type": "LinearLR", "start_factor": schedule.warmup.factor, "by_epoch": False, "begin": 0, "end": warmup}
        )
    if schedule.policy == "step" and schedule.milestones:
        configs.append(
            {"type": "MultiStepLR", "milestones": list(schedule.milestones), "gamma": schedule.gamma, "by_epoch": False}
        )
    elif schedule.policy == "cosine":
        configs.append(
            {
                "type": "CosineAnnealingLR",
                "T_max": schedule.iterations - warmup,
                "eta_min": 0.0,
                "begin": warmup,
                "end": schedule.iterations,
                "by_epoch": False,
            }
        )
    return configs


def build_optimizer(model: nn.Module, config: Config) -> tuple[OptimWrapper, list[Any]]:
    """Build the optimizer wrapper and the learning-rate schedulers that a training config describes.

    Args:
        model: whose parameters are optimized, wrapped by DDP or not. With a `trained_module` only that part's are: a
            frozen trunk has no state in the optimizer.
        config: train_config.py; overrides reach `optim_wrapper` and `param_scheduler` too.

    Returns:
        (optimizer wrapper, schedulers), the schedulers in the order in which they step.
    """
    # Copies, because mmengine's builders take keys out of the config that they are given.
    trained = getattr(getattr(model, "module", model), "trained_module", None)
    options = copy.deepcopy(config["optim_wrapper"].to_dict())
    if "paramwise_cfg" in options:  # layers that levels share (RTMDet) would be optimized once for each of their names
        options["paramwise_cfg"].setdefault("bypass_duplicate", True)
    with _without_notes():
        wrapper = build_optim_wrapper(model if trained is None else trained, options)
    total = config["train_cfg"]["max_iters"]
    schedulers = []
    for item in config["param_scheduler"]:
        arguments = copy.deepcopy(dict(item))
        # The whole run is one epoch, as in mmengine's loop over iterations.
        arguments.setdefault("end", 1 if arguments.get("by_epoch", True) else total)
        schedulers.append(PARAM_SCHEDULERS.build(arguments, default_args={"optimizer": wrapper, "epoch_length": total}))
    return wrapper, schedulers


@contextmanager
def _without_notes() -> Iterator[None]:
    """Drop mmengine's line for every parameter that is frozen, or has a second name."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

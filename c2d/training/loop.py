"""mmengine's Runner, cut down to what a run needs: the loop, optimizer, schedulers, hooks and DDP.

Logging, visualisation, environment dumps and checkpoints of mmengine stay out: a run's files are c2d's own, and weights
are read by safeload only.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner

from c2d.core.errors import RunError
from c2d.core.run_folder import RunFolder
from c2d.ops.seeding import mix, seed_everything
from c2d.specs.spec import Schedule
from c2d.training import checkpoint
from c2d.training.distributed import device_index
from c2d.training.ema import Average
from c2d.training.mixed_precision import MixedPrecision


class _NoVisualizer:
    """mmengine wants one; it draws nothing."""

    dataset_meta: Any = None

    def add_config(self, *_: Any, **__: Any) -> None:
        pass


class Engine(Runner):
    """A Runner whose only folder is the run folder."""

    def __init__(
        self, folder: RunFolder, state: dict[str, Any] | None, average: Average | None, **arguments: Any
    ) -> None:
        self.folder, self.state, self.average = folder, state, average
        super().__init__(
            work_dir=str(folder.path),
            experiment_name=f"{folder.id}-{uuid.uuid4().hex[:8]}",
            default_scope="mmdet",
            **arguments,
        )

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        super().setup_env(env_cfg)
        self._timestamp = ""  # mmengine would make a folder named by the time

    def set_randomness(self, seed: int, **_: Any) -> None:
        self._deterministic, self._seed = False, seed

    def build_logger(self, log_level: int | str = "WARNING", **_: Any) -> MMLogger:
        return MMLogger.get_instance(name=self._experiment_name, log_level="WARNING")

    def build_visualizer(self, visualizer: Any = None) -> Any:
        return _NoVisualizer()

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        pass  # env.json

    def dump_config(self) -> None:
        pass  # config.py and train_config.py

    def _init_model_weights(self) -> None:
        pass  # done, audited and seeded before the model came here

    def load_or_resume(self) -> None:
        """Optimizer, scaler, schedulers, average and iteration from the checkpoint; the model has its weights."""
        if self.state is None:
            return
        self.optim_wrapper.load_state_dict(self.state["optimizer"])
        for scheduler, saved in zip(self.param_schedulers or [], self.state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        if self.average is not None:
            self.average.load_state_dict(self.state["average"])
        self.train_loop._iter = self.state["iteration"]

    def resumable(self) -> dict[str, Any]:
        """What a checkpoint holds beside the iteration."""
        model = self.model.module if is_model_wrapper(self.model) else self.model
        return {
            "model": model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.param_schedulers or []],
        }


class Loop(IterBasedTrainLoop):
    """Steps until the end or until a stop was asked for; every step seeds itself from (seed, iteration, rank)."""

    def run(self) -> Any:
        runner = self.runner
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        stream = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            data = _next(stream)
            seed_everything(mix(runner.seed, self._iter, runner.rank, 3))
            model.iteration = self._iter
            self.run_iter(data)
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model


def _next(stream: Iterator[Any]) -> Any:
    """The next batch; of an error in a loader process, the last line of its traceback counts."""
    try:
        return next(stream)
    except RunError as error:
        line = str(error).strip().splitlines()[-1].removeprefix("c2d.core.errors.RunError: ")
        raise RunError(line, "data") from error


class CheckpointHook(Hook):
    """Saves every `interval` iterations, at the end, when a stop is asked for, and after iteration `stop_after`.

    Runs after every other hook.
    """

    priority = "LOWEST"

    def __init__(self, interval: int, stop: Any, stop_after: int | None = None) -> None:
        self.interval, self.stop, self.stop_after = interval, stop, stop_after

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        done = batch_idx + 1
        asked = self.stop.agreed()  # on every rank at every step, whatever else is true
        asked = asked or (self.stop_after is not None and self.stop_after <= done < runner.max_iters)
        if asked:
            runner.train_loop.stop_training = True
        if runner.rank == 0 and (asked or done % self.interval == 0 or done == runner.max_iters):
            checkpoint.save(runner.folder, runner.resumable(), done)
        if asked and runner.world_size > 1:  # nobody leaves before the state is saved: torchrun would end the others
            torch.distributed.barrier()


def optimisation(schedule: Schedule) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(optim_wrapper, param_scheduler) in mmengine's words. Lengths in iterations."""
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
        wrapper["paramwise_cfg"] = {"norm_decay_mult": 0.0}
    warm = schedule.warmup.iterations
    schedulers: list[dict[str, Any]] = []
    if warm:
        schedulers.append(
            {"type": "LinearLR", "start_factor": schedule.warmup.factor, "by_epoch": False, "begin": 0, "end": warm}
        )
    if schedule.policy == "step" and schedule.milestones:
        schedulers.append(
            {"type": "MultiStepLR", "milestones": list(schedule.milestones), "gamma": schedule.gamma, "by_epoch": False}
        )
    elif schedule.policy == "cosine":
        schedulers.append(
            {
                "type": "CosineAnnealingLR",
                "T_max": schedule.iterations - warm,
                "eta_min": 0.0,
                "begin": warm,
                "end": schedule.iterations,
                "by_epoch": False,
            }
        )
    return wrapper, schedulers


def model_wrapper(find_unused_parameters: bool) -> dict[str, Any]:
    """How DDP wraps the model on this device."""
    devices = [device_index()] if torch.cuda.is_available() else None
    return {
        "type": "MMDistributedDataParallel",
        "device_ids": devices,
        "broadcast_buffers": False,
        "find_unused_parameters": find_unused_parameters,
    }

"""The training loop: from iteration 0, or from the newest checkpoint, to the last iteration.

It uses mmengine's optimizer wrapper, schedulers and DDP wrapper, and not its Runner: seeds, data order, checkpoints,
EMA and logs of a run are c2d's own. A step is `train_step`, then metrics, schedulers, EMA, checkpoint, in this order.
"""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import torch
from mmengine import Config
from mmengine.dist import get_dist_info
from mmengine.logging import MessageHub, MMLogger
from mmengine.utils.dl_utils import set_multi_processing
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from c2d.configs.closing_phase import closing_start
from c2d.core.attempt import Interrupted
from c2d.core.curves.event_file import drop_events_after
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder
from c2d.detectors.iteration_state import set_l1_loss
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.evaluation.distributed import data_parallel
from c2d.evaluation.loader_processes import image_loader, loader_errors
from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.ops.seeding import derive_seed, seed_everything
from c2d.tracking.tracking import Tracking
from c2d.training import checkpoint
from c2d.training.box_loss_check import BoxLossCheck
from c2d.training.ema import EMA
from c2d.training.metrics_logger import MetricsLogger, Validate
from c2d.training.optimization import build_optimizer
from c2d.training.sampler import ResumableSampler
from c2d.training.signals import StopSignals


def fit(
    folder: RunFolder,
    model: Any,
    dataset: Any,
    config: Config,
    log: logging.Logger,
    *,
    ema: float | None,
    workers: int = 0,
    checkpoint_every: int | None = None,
    stop_after: int | None = None,
    validate: Validate | None = None,
    tracking: Tracking | None = None,
) -> None:
    """Train to the end. Resuming is exact: a run on the CPU that is killed at any step and resumed has equal weights.

    Args:
        folder: run folder, for checkpoints, metrics.jsonl and status.json.
        model: Distillation or CropClassifier, on its device.
        dataset: mmdet data set of the training split.
        config: train_config.py.
        log: logger of the run.
        ema: momentum of the averaged weights, or None.
        workers: loader processes; the batches do not depend on their number.
        checkpoint_every: iterations; default: a tenth of the run, 1000 at most.
        stop_after: iteration after which to save and exit, as if a stop signal had arrived.
        validate: called with the model at the schedule's val_interval; returns the AP values of a `val` event.
        tracking: is sent each event; None: nothing.

    Raises:
        InputError: the batch does not divide by the number of processes, or a checkpoint does not fit.
        Interrupted: a stop signal arrived, or `stop_after` is reached (`planned`); the state is saved.
        RunError: a loss or weight is not finite, the box loss stays exactly 0, an image cannot be read, or the GPU's
            memory is full.
    """
    rank, world = get_dist_info()
    total, batch = config["train_cfg"]["max_iters"], config["train_dataloader"]["batch_size"]
    if batch % world:
        raise InputError(f"the effective batch of {batch} does not divide by {world} processes; use a divisor of it")
    state = checkpoint.load_newest(folder, log.warning)
    start = state["iteration"] if state else 0
    if state:  # before `Trainer` wraps the model: DDP copies the weights of rank 0 to the others
        with checkpoint.fitting(folder.checkpoint(start)):
            model.load_state_dict(state["model"], strict=True)
        log.info(f"continuing after iteration {start} of {total}")
    if rank == 0:
        drop_events_after(folder.metrics, start)
        if tracking is not None:
            tracking.continue_after(start)
    if start >= total:  # the last attempt ended after its last step, before the export
        return
    if stop_after is not None and stop_after <= start:  # a canary that is started a second time
        raise Interrupted(_planned(start, total), start, planned=True)
    # At most 2000 `train` events a run.
    val_interval = config["train_cfg"]["val_interval"]
    metrics = MetricsLogger(folder, log, total, max(1, math.ceil(total / 2000)), val_interval, validate, tracking)
    every = checkpoint_every or min(1000, max(1, total // 10))
    with StopSignals() as signals, mmdet_scope(), loader_errors():
        try:
            trainer = Trainer(model, config, EMA(model, ema) if ema else None, math.ceil(len(dataset) / batch))
            if state:
                with checkpoint.fitting(folder.checkpoint(start)):
                    trainer.resume(state)
            loader = training_loader(dataset, config, workers, start)
            with metrics.progress(start):
                stream, stopping = iter(loader), False
                while trainer.iteration < total and not stopping:
                    losses = trainer.step(next(stream))
                    done = trainer.iteration
                    metrics.log_step(done, losses, trainer.optimizer, trainer.wrapped)
                    trainer.update_averages()
                    stopping = signals.on_any_rank()  # collective: on every rank at every step
                    stopping = stopping or (stop_after is not None and stop_after <= done < total)
                    if rank == 0 and (stopping or done % every == 0 or done == total):
                        checkpoint.save(folder, trainer.state_dict(), done)
                    if stopping and world > 1:  # a rank that exits before the state is saved ends the others
                        torch.distributed.barrier()
        except torch.OutOfMemoryError as error:
            raise RunError(f"{error}; use a smaller batch, more GPUs, or amp", "cuda-oom") from error
        if (done := trainer.iteration) < total:
            log.info(f"stopped after iteration {done} of {total}; the state is saved")
            raise _interruption(done, total, stop_after, signals.name)
        if warning := trainer.box_losses.warning():
            log.warning(warning)


class Trainer:
    """Model, optimizer, schedulers and EMA of a run, and the iteration that it has reached.

    Attributes:
        model: Distillation or CropClassifier.
        wrapped: the model under DDP, or the model itself where there is one process.
        optimizer: mmengine's OptimWrapper.
        schedulers: of the learning rate, in the order in which they step.
        average: EMA of the weights, or None.
        keys: of the model's weights before its first step.
        iteration: number of steps that are done.
        closing_start: first iteration of the closing phase, or None.
        box_losses: stops a run that learns no box.
    """

    def __init__(self, model: Any, config: Config, average: EMA | None, steps_of_a_pass: int) -> None:
        self.rank, world = get_dist_info()
        self.seed, self.total = config["seed"], config["train_cfg"]["max_iters"]
        set_multi_processing(distributed=world > 1)  # loader processes are forked, OpenCV starts no threads
        if not MMLogger.check_instance_created("c2d"):  # mmengine prints every parameter group to its newest logger
            MMLogger.get_instance("c2d", log_level="WARNING")
        # Some heads (TOOD, BoxInst) read `epoch` and `iter` from the message hub, where mmengine's Runner writes them.
        self.hub, self.steps_of_a_pass = MessageHub.get_current_instance(), steps_of_a_pass
        self.hub.update_info_dict({"epoch": 0, "max_iters": self.total})
        self.model, self.average, self.iteration = model, average, 0
        self.keys = tuple(model.state_dict())
        # The loader pins its images, so their copy to a GPU need not be waited for: kernels run after it in any case.
        model.data_preprocessor._non_blocking = torch.cuda.is_available()
        self.closing_start = closing_start(config["train_cfg"])
        self.box_losses = BoxLossCheck(model, steps_of_a_pass)
        self.wrapped = data_parallel(model, config["find_unused_parameters"])
        self.optimizer, self.schedulers = build_optimizer(self.wrapped, config)
        self._count_accumulation()

    def resume(self, state: dict[str, Any]) -> None:
        """Load all but the model's weights from a checkpoint; `fit` loads those before DDP copies them to the ranks."""
        self.optimizer.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.box_losses.load_state_dict(state.get("box_losses", {}))
        self.iteration = state["iteration"]
        self._count_accumulation()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the iteration."""
        return {
            "model": checkpoint.built_weights(self.model, self.keys),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "box_losses": self.box_losses.state_dict(),
        }

    def step(self, batch: Any) -> dict[str, Tensor]:
        """Take one optimizer step (or, under accumulation, add to the gradients).

        The step draws its random numbers from (seed, iteration, rank), so none has to be stored for a resume.

        Args:
            batch: as the loader gives it, before the model's data preprocessor.

        Returns:
            Losses and observations of the step by name, each of shape ().

        Raises:
            RunError: see `BoxLossCheck`.
        """
        self.wrapped.train()
        # 3 is the purpose of this seed, see `Distillation.generator`. Before `train_step`, which draws from it.
        seed_everything(derive_seed(self.seed, self.iteration, self.rank, 3))
        self.model.iteration = self.iteration
        self.hub.update_info_dict({"iter": self.iteration, "epoch": self.iteration // self.steps_of_a_pass})
        if self.closing_start is not None:
            set_l1_loss(self.model, self.iteration >= self.closing_start)
        losses: dict[str, Tensor] = self.wrapped.train_step(batch, optim_wrapper=self.optimizer)
        self.iteration += 1
        self.box_losses.check(losses, batch["data_samples"])
        return losses

    def update_averages(self) -> None:
        """Step the schedulers and update the EMA; after the metrics, which log the learning rate of this step."""
        for scheduler in self.schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
        if self.average is not None:
            self.average.update(self.model)

    def _count_accumulation(self) -> None:
        self.optimizer.initialize_count_status(self.wrapped, self.iteration, self.total)


def training_loader(
    dataset: Any, config: Config, workers: int, start: int, *, endless: bool = False
) -> DataLoader[Any]:
    """Return the batches of this rank, from iteration `start` on.

    Args:
        dataset: mmdet data set of the training split.
        config: train_config.py.
        workers: loader processes; the batches do not depend on their number.
        start: first iteration.
        endless: go on after the training's last iteration, to measure the loader.
    """
    rank, world = get_dist_info()
    batch, seed = config["train_dataloader"]["batch_size"], config["seed"]
    stop = sys.maxsize // batch if endless else config["train_cfg"]["max_iters"]
    stream = ResumableSampler(len(dataset), seed, batch, rank, world, start, stop)
    batches = BatchSampler(stream, batch // world, drop_last=False)  # type: ignore[arg-type]  # keys are no ints
    return image_loader(seeded(dataset, config), batches, workers)


def seeded(dataset: Any, config: Config) -> SeededDataset:
    """Return the images of a training by their positions in it.

    Args:
        dataset: mmdet data set of the training split.
        config: train_config.py.
    """
    first = closing_start(config["train_cfg"])
    closing_position = None if first is None else first * config["train_dataloader"]["batch_size"]
    return SeededDataset(dataset, config["seed"], "training", closing_position)


def _interruption(done: int, total: int, stop_after: int | None, signal: str) -> Interrupted:
    """The error of a training that ends before its last iteration, with its state saved."""
    if stop_after is not None and done >= stop_after:
        return Interrupted(_planned(done, total), done, planned=True)
    how = f"interrupted by {signal}" if signal else "interrupted"
    return Interrupted(f"{how}; call again to continue", done, by=signal)


def _planned(reached: int, total: int) -> str:
    return f"stopped after iteration {reached} of {total} as asked; call again to continue"

"""The middle of a run: stream, engine, hooks; from iteration 0 or from the newest checkpoint to the last one."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from mmengine import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader

from c2d.core.attempt import Interrupted
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder
from c2d.training import checkpoint
from c2d.training.ema import Average, AverageHook
from c2d.training.loop import CheckpointHook, Engine, Loop, model_wrapper
from c2d.training.metrics_logger import Recorder, rewind
from c2d.training.sampler import SeededDataset, Stream
from c2d.training.signals import Stop


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
    validate: Any = None,
) -> None:
    """Train to the end; exact under interruption: killed at any step and resumed, a CPU run ends with equal weights.

    Args:
        model: Distillation or CropClassifier, on its device.
        dataset: mmdet data set of the training split.
        config: train_config.py.
        ema: momentum of the averaged weights, or None.
        workers: loader processes; the data they deliver does not depend on their number.
        checkpoint_every: iterations; default: a tenth of the run, 1000 at most.
        stop_after: iteration after which to save and leave, as if asked to stop.
        validate: called with the model at the schedule's val_interval.
    Raises:
        Interrupted: a stop was asked for, or `stop_after` is reached (`planned`); the state is saved.
    """
    rank, world = get_dist_info()
    total, batch, seed = config["train_cfg"]["max_iters"], config["train_dataloader"]["batch_size"], config["seed"]
    if batch % world:
        raise InputError(f"the effective batch of {batch} does not divide by {world} processes; use a divisor of it")
    state = checkpoint.newest(folder, log.warning)
    start = state["iteration"] if state else 0
    if state:
        model.load_state_dict(state["model"], strict=True)
        log.info(f"continuing after iteration {start} of {total}")
    if rank == 0:
        rewind(folder.metrics, start)
    if stop_after is not None and stop_after <= start < total:  # a canary that is asked for again
        raise Interrupted(_planned(start, total), start, planned=True)
    average = Average(model, ema) if ema else None
    stream = Stream(len(dataset), seed, batch, rank, world, start, total)
    loader: DataLoader[Any] = DataLoader(
        SeededDataset(dataset, seed),
        batch_size=batch // world,
        sampler=stream,
        num_workers=workers,
        collate_fn=pseudo_collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread if workers else None,
    )
    with Stop() as stop:
        engine = Engine(
            folder,
            state,
            average,
            model=model,
            train_dataloader=loader,
            train_cfg={"type": Loop, "max_iters": total},
            optim_wrapper=dict(config["optim_wrapper"]),
            param_scheduler=[dict(item) for item in config["param_scheduler"]] or None,
            default_hooks={"timer": None, "sampler_seed": None, "logger": None, "checkpoint": None},
            custom_hooks=[
                Recorder(folder, log, max(1, math.ceil(total / 2000)), config["train_cfg"]["val_interval"], validate),
                CheckpointHook(checkpoint_every or min(1000, max(1, total // 10)), stop, stop_after),
                *([AverageHook(average)] if average else []),
            ],
            launcher="pytorch" if world > 1 else "none",
            randomness={"seed": seed},
            cfg={"model_wrapper_cfg": model_wrapper(config["find_unused_parameters"])},
        )
        if start < total:
            try:
                engine.train()
            except torch.OutOfMemoryError as error:
                raise RunError(f"{error}; use a smaller batch, more GPUs, or amp", "cuda-oom") from error
        if start < total and engine.train_loop.stop_training and engine.iter < total:
            log.info(f"stopped after iteration {engine.iter} of {total}; the state is saved")
            if stop_after is not None and engine.iter >= stop_after:
                raise Interrupted(_planned(engine.iter, total), engine.iter, planned=True)
            how = f"interrupted by {stop.by}" if stop.by else "interrupted"
            raise Interrupted(f"{how}; call again to continue", engine.iter, by=stop.by)


def _planned(reached: int, total: int) -> str:
    return f"stopped after iteration {reached} of {total} as asked; call again to continue"


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
    try:
        import cv2

        cv2.setNumThreads(0)
    except ImportError:
        pass

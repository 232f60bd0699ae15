"""train(folder): configure, fit, export, evaluate. The main road of a run, on one screen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from c2d.core.attempt import attempt, refusing
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, atomic_write_json_gz, read_json
from c2d.data.card import LoadedCard, find_card, verify
from c2d.distillation.gradient_monitor import Monitor
from c2d.specs.spec import RunSpec, parse_spec
from c2d.training import checkpoint, config, evaluate, export
from c2d.training.build import build, cached
from c2d.training.distributed import is_main, join
from c2d.training.loop import fit


@dataclass(frozen=True)
class Machine:
    """What a run may use here. Nothing of it changes the question."""

    data: Path | None = None
    workers: int = 0
    checkpoint_every: int | None = None
    download: bool = False
    quiet: bool = False
    stop_after: int | None = None  # iteration at which to save and leave: a canary
    monitor: int | None = None  # iterations between two looks at the terms' gradients
    cache_teacher: Path | None = None  # folder of the classifier teacher's logits, for training without augmentation


def train(folder: RunFolder, machine: Machine = Machine()) -> dict[str, Any]:
    """Answer the question in `folder/spec.json`; a finished run returns its result, an unfinished one continues.

    Returns:
        The content of result.json.
    Raises:
        InputError: something to be mended first; found before any step, and nothing but the status is written.
            `failure_class` says config, or data when the data set is missing or has changed.
        Busy: another process writes this run.
        RunError: the run failed and says so in status.json.
        Interrupted: asked to stop; the state is saved. `planned` when `machine.stop_after` was reached.
    """
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    if folder.read_status()["state"] == "done" and folder.result.exists():
        return read_json(folder.result)
    device = join()
    card = _checked_card(spec, machine.data)
    with refusing(folder):
        resolved = config.resolve(spec, card, folder)
        built = build(spec, resolved, card, folder, device, download=machine.download)
        if machine.monitor and hasattr(built.model, "monitor"):
            built.model.monitor = Monitor(machine.monitor)
        cache = cached(built.model, resolved, machine.cache_teacher) if machine.cache_teacher else None
    training = partial(
        fit,
        folder,
        built.model,
        built.dataset,
        resolved.train,
        ema=spec.schedule.values.ema,
        workers=machine.workers,
        checkpoint_every=machine.checkpoint_every,
        stop_after=machine.stop_after,
    )
    if not is_main():  # ranks beside the first only train; files are the first one's business
        training(log=logging.getLogger("c2d.silent"))
        return {}
    with attempt(folder, machine.quiet) as log:
        config.write(resolved, folder)
        for line in built.notes:
            log.info(line)
        truth = evaluate.targets(card, folder)
        if built.samples is not None:
            built.samples.heartbeat = partial(folder.touch_heartbeat, "fit")
        try:
            training(log=log, validate=built.validator(truth))
        finally:
            if cache is not None:
                log.info(cache.summary())
        folder.write_status("running", stage="export")
        trained_s = folder.read_status()["elapsed_s"]  # of all attempts
        weights = folder.student if spec.kind == "detector" else folder.classifier
        export.export(checkpoint.listing(folder)[-1], weights, spec.kind)
        folder.write_status("running", stage="evaluate")
        result = _measure(spec, resolved, card, truth, weights, folder, device)
        seconds = {**result["seconds"], "train": trained_s}
        result |= built.facts | {"seconds": seconds}
        atomic_write_json(folder.result, result)
    return result


def _checked_card(spec: RunSpec, data: Path | None) -> LoadedCard:
    """The data set as the question knows it; whatever is wrong with it is of class data."""
    try:
        card = find_card(spec.dataset.name, spec.dataset.digest, data)
        verify(card)
    except InputError as error:
        error.failure_class = "data"
        raise
    return card


def _measure(
    spec: RunSpec,
    resolved: config.Resolved,
    card: Any,
    truth: dict[str, Any],
    weights: Path,
    folder: RunFolder,
    device: str,
) -> dict[str, Any]:
    """The result of the exported file."""

    def beat() -> None:
        folder.touch_heartbeat("evaluate")

    if spec.kind == "classifier":
        from c2d.training.evaluate_classifier import (
            evaluate_classifier,  # a detector's evaluation loads no teacher module
        )

        return evaluate_classifier(resolved.student, weights, card, device, beat)
    result, detections = evaluate.evaluate_detector(resolved.student, weights, card, truth, device, beat)
    atomic_write_json_gz(folder.detections, detections)
    return result

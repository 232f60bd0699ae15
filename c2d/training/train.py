"""`c2d train`: build, fit, export and evaluate one run; a run of kind impressions makes images instead."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank

from c2d.configs.run_config import file_digests, verify_before_training, write_run_config
from c2d.core.archives.remade_run import check_remade
from c2d.core.attempt import attempt, record_build_failure, record_rank_failure
from c2d.core.curves.event_file import read_events
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, atomic_write_json_gz, read_json
from c2d.distillation.gradient_monitor import GradientMonitor
from c2d.evaluation.distributed import is_main, join_process_group
from c2d.evaluation.evaluate_detector import evaluate_detector, load_ground_truth
from c2d.ops.process_memory import memory_mib
from c2d.specs.data_of_run import verified_data
from c2d.specs.spec import parse_spec
from c2d.tracking.metric_names import is_number
from c2d.tracking.tracker_option import TrackerOption, parse_trackers
from c2d.tracking.tracking import Tracking, send_finished
from c2d.training import checkpoint
from c2d.training.build import TrainingRun, build, cache_teacher_logits
from c2d.training.loop import fit
from c2d.training.sources import Sources
from c2d.training.synthesis import SynthesisOptions, synthesise


@dataclass(frozen=True)
class RunOptions:
    """Options of one attempt. None of them changes the result.

    Attributes:
        data: root of the data cards (default: C2D_DATA, else ./data).
        workers: loader processes of each rank, for training, validation and evaluation.
        checkpoint_every: iterations between two checkpoints.
        download: fetch weight files that are not in the cache.
        quiet: log to the file only.
        stop_after: iteration after which to save and exit, e.g. of a canary.
        monitor: iterations between two observations of the terms' gradients.
        cache_teacher: folder for the classifier teacher's logits, for training without augmentation.
        track: trackers with their destinations (`c2d.tracking.tracker_option`).
    """

    data: Path | None = None
    workers: int = 0
    checkpoint_every: int | None = None
    download: bool = False
    quiet: bool = False
    stop_after: int | None = None
    monitor: int | None = None
    cache_teacher: Path | None = None
    track: tuple[str, ...] = ()


def train(folder: RunFolder, options: RunOptions = RunOptions()) -> dict[str, Any]:
    """Train the run of `folder/spec.json`, or make its images; a finished run returns its result, another continues.

    Args:
        folder: run folder.
        options: of this attempt.

    Returns:
        The content of result.json; on ranks other than 0 an empty dict.

    Raises:
        InputError: something to fix first; raised before any step, and nothing but the status is written.
            `failure_class` is `config`, or `data` when the data set is missing or has changed.
        Busy: another process writes this run.
        RunError: the run failed, which status.json records.
        Interrupted: a stop signal arrived; the state is saved. `planned` when `options.stop_after` was reached.
    """
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    if spec.id != folder.id:
        raise InputError(
            f"{folder.spec} is the spec of run {spec.id}; it was changed, or the folder was renamed: restore it, or "
            "train the spec as a run of its own: c2d train SPEC.yaml"
        )
    trackers = parse_trackers(options.track)
    if folder.read_status()["state"] == "done" and folder.result.exists():
        if trackers and int(os.environ.get("RANK", "0")) == 0:
            send_finished(folder, trackers, options.quiet)
        return read_json(folder.result)
    if spec.kind == "impressions":
        return synthesise(folder, spec, _synthesis_options(options, trackers))
    device = join_process_group()
    with record_rank_failure(folder, get_rank()):
        if is_main():
            verify_before_training(folder)
        data = verified_data(spec, folder, options.data)
        sources = Sources(spec, folder, device, *data, download=options.download)
        with record_build_failure(folder):
            run = build(sources)
            if options.monitor and spec.kind == "detector":
                run.model.gradient_monitor = GradientMonitor(options.monitor)
            cache = cache_teacher_logits(run, options.cache_teacher) if options.cache_teacher else None
        if not is_main():  # the other ranks train and evaluate with rank 0, which alone writes files
            _fit(run, options, logging.getLogger("c2d.silent"), {})
            _evaluate(run, sources, {}, options.workers)
            return {}
    with Tracking(folder, trackers, options.quiet) as tracking, attempt(folder, options.quiet) as log:
        tracking.start(log)
        write_run_config(folder, run.resolved.student, run.resolved.train)
        for line in run.notes:
            log.info(line)
        truth = load_ground_truth(sources.card, folder)
        if run.samples is not None:
            run.samples.heartbeat = partial(folder.touch_heartbeat, "fit")
        try:
            facts = _fit(run, options, log, truth, tracking)
        finally:
            if cache is not None:
                log.info(cache.summary())
        return _finish(run, sources, truth, options.workers, facts, log)


def _fit(
    run: TrainingRun,
    options: RunOptions,
    log: logging.Logger,
    truth: dict[str, Any],
    tracking: Tracking | None = None,
) -> dict[str, Any]:
    """Train or solve the model; return what result.json adds about a fit without steps."""
    if run.spec.is_evaluation_only:
        if is_main():
            checkpoint.write_weights(run.model.student.state_dict(), run.folder.student)
        return {}
    if not run.spec.has_steps:
        # imported here: a training needs no code of such a fit
        from c2d.training.without_steps.fit_without_steps import fit_without_steps

        heartbeat = partial(run.folder.touch_heartbeat, "fit") if is_main() else lambda: None
        batch = run.resolved.train["train_dataloader"]["batch_size"]
        recipe = run.spec.schedule.values
        facts = fit_without_steps(recipe, run.model, run.dataset, batch, log, heartbeat, options.workers)
        if is_main():
            checkpoint.write_weights(run.model.network.state_dict(), run.folder.classifier)
        return facts
    fit(
        run.folder,
        run.model,
        run.dataset,
        run.resolved.train,
        log,
        ema=run.spec.training.ema,
        workers=options.workers,
        checkpoint_every=options.checkpoint_every,
        stop_after=options.stop_after,
        validate=run.validation(truth, options.workers),
        tracking=tracking,
    )
    return {}


def _synthesis_options(options: RunOptions, trackers: tuple[TrackerOption, ...]) -> SynthesisOptions:
    """Return the options of a synthesis.

    Raises:
        InputError: an option is for trainings.
    """
    for name, given in (("--monitor", options.monitor), ("--cache-teacher", options.cache_teacher)):
        if given:
            raise InputError(f"{name} observes the methods of a training; a run of kind impressions has none")
    return SynthesisOptions(options.data, options.stop_after, options.quiet, trackers)


def _finish(
    run: TrainingRun,
    sources: Sources,
    truth: dict[str, Any],
    workers: int,
    facts_of_fit: dict[str, Any],
    log: logging.Logger,
) -> dict[str, Any]:
    """Export and evaluate the last weights; write and return the content of result.json."""
    folder = run.folder
    folder.write_status("running", stage="export")
    status = folder.read_status()  # the seconds in it are those of all attempts
    train_s = {"train": status["elapsed_s"], "train_cpu": status["cpu_s"]}
    # An attempt that only exports has trained nothing: the events of the others have their peaks.
    logged = (event.get("memory_mib") for event in read_events(folder.metrics))
    peak_mib = max([round(memory_mib(), 1), *filter(is_number, logged)])
    if run.spec.has_steps:
        checkpoint.export(checkpoint.list_checkpoints(folder)[-1], _weights(run), run.spec.kind)
    folder.write_status("running", stage="evaluate")
    result, detections = _evaluate(run, sources, truth, workers)
    if detections is not None:
        atomic_write_json_gz(folder.detections, detections)
    if run.spec.is_evaluation_only:
        # imported here: a training has no published AP
        from c2d.training.without_steps.published_ap import published_facts

        result |= published_facts(run.spec, result["AP"])
        if result["published_ap_warning"]:
            log.warning(result["published_ap_warning"])
    if facts_of_fit:
        run.facts["fit"] |= facts_of_fit
    spent = {"seconds": result["seconds"] | train_s, "memory_mib": peak_mib}
    result |= run.facts | spent | {"sha256": file_digests(folder, _weights(run))}
    check_remade(folder, result)
    atomic_write_json(folder.result, result)
    return result


def _weights(run: TrainingRun) -> Path:
    return run.folder.student if run.spec.kind == "detector" else run.folder.classifier


def _evaluate(
    run: TrainingRun, sources: Sources, truth: dict[str, Any], workers: int
) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    """Return (result of the exported file, a detector's detections); on ranks other than 0 both are empty."""
    weights, student, card = _weights(run), run.resolved.student, sources.card
    heartbeat = partial(run.folder.touch_heartbeat, "evaluate") if is_main() else lambda: None
    if run.spec.kind == "classifier":
        # imported here: the evaluation of a detector loads no teacher module
        from c2d.evaluation.evaluate_classifier import evaluate_classifier

        calibrated = run.spec.is_calibrated
        return evaluate_classifier(student, weights, card, run.device, heartbeat, workers, calibrated), None
    return evaluate_detector(student, weights, card, truth, run.device, heartbeat, workers=workers)

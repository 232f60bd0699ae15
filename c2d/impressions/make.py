"""Make the images of a run of kind `impressions`: batch by batch, resumable, then the card (`c2d.impressions.finish`).

Batch b starts from the targets of its images, optimises a draft whose detections change the targets, then the final
images for targets that stay. A run that is killed and continued makes the same files as one that is not: finished
batches are files, the batch under way has its state stored between two draws, and every random number follows from the
seed of the run, the number of the batch and the step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from c2d.configs.input_size import pipeline_size
from c2d.configs.run_config import read_run_config
from c2d.core.attempt import Interrupted
from c2d.core.curves.event_file import append_event, drop_events_after
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard
from c2d.impressions import batch_files
from c2d.impressions.finish import SynthesisFacts, finish
from c2d.impressions.pixels.optimise import STAGES, Optimisation, to_uint8
from c2d.impressions.pixels.priors import batch_norm_prior
from c2d.impressions.pixels.teacher_losses import TeacherLosses
from c2d.impressions.progress_lines import Progress
from c2d.impressions.sampling.adaptive_targets import detect_objects, update_all
from c2d.impressions.sampling.pseudo_targets import sample_targets
from c2d.impressions.sampling.targets import Targets
from c2d.impressions.write_card import ImageFiles
from c2d.ops.process_memory import memory_mib
from c2d.specs.impressions_schedule import ImpressionsSchedule
from c2d.specs.spec import RunSpec
from c2d.teachers.detector import DetectorTeacher
from c2d.tracking.tracking import Tracking

SAVE_S = 60.0
"""Time between two stored states of the batch under way."""
SMALLEST_ADDED_PX = 2.0
"""Side of a detection in the final images from which it may become a target."""
EVENTS = 200
"""Events of one batch in metrics.jsonl, at most."""
NO_BATCH_NORM = "the teacher has no batch norm with stored statistics"


def make_impressions(
    spec: RunSpec,
    folder: RunFolder,
    teacher_run: RunFolder,
    card: LoadedCard,
    *,
    source: RunFolder | None,
    log: logging.Logger,
    device: str = "cpu",
    stop_signal: Callable[[], str] = lambda: "",
    stop_after: int | None = None,
    tracking: Tracking | None = None,
) -> dict[str, Any]:
    """Make all images, or those that are missing, then card, sheet and page.

    Args:
        spec: kind `impressions`.
        folder: the run; its lock is held.
        teacher_run: finished run of the detector.
        card: the teacher's data set.
        source: run whose targets a control keeps (`images_from` noise or procedural), else None.
        log: of the run.
        device: `cpu` or `cuda:N`.
        stop_signal: name of the signal that asked for a stop, "" as long as there is none.
        stop_after: step after which to save and stop, counted over all batches.
        tracking: is sent each event; None: nothing.

    Returns:
        The content of result.json. When the run is done, `batch_files.remove_state_files` removes the states.

    Raises:
        InputError: the teacher is not supported, or half precision without CUDA.
        Interrupted: a signal arrived, or `stop_after` is reached; the state is saved.
        RunError: the loss is not finite, or the GPU's memory is full.
    """
    schedule = spec.schedule.values
    assert isinstance(schedule, ImpressionsSchedule)
    if schedule.images_from != "optimised":
        from c2d.impressions.make_control import make_control

        beat = partial(folder.touch_heartbeat, "draw")
        return make_control(spec, folder, teacher_run, card, source=source, log=log, heartbeat=beat, device=device)
    if schedule.precision != "fp32" and not device.startswith("cuda"):
        raise InputError(f"precision {schedule.precision} needs CUDA; write precision: fp32")
    teacher = DetectorTeacher.from_run(teacher_run.path, device)
    teacher.network.to(memory_format=torch.channels_last)
    work = _Synthesis(spec, schedule, folder, teacher_run, teacher, log, device, tracking or Tracking(folder))
    try:
        targets = work.make(stop_signal, stop_after)
    except torch.OutOfMemoryError as error:
        raise RunError(f"{error}; use a smaller batch, or amp", "cuda-oom") from error
    names = [batch_files.image_name(index) for index in range(schedule.images)]
    facts = SynthesisFacts(
        float(folder.read_status().get("elapsed_s") or 0.0), round(memory_mib(), 1), work.terms_dropped
    )
    images = ImageFiles(names, [(work.sizes["final"], work.sizes["final"])] * schedule.images)
    beat = partial(folder.touch_heartbeat, "evaluate")
    return finish(folder, spec, teacher_run, teacher, card, targets, images, facts, beat)


@dataclass
class _Synthesis:
    """One synthesis, batch by batch.

    Attributes:
        sizes: {stage: px, side of its images}.
        batches: number of batches; the last may be smaller.
        steps: of one batch, all stages.
        terms_dropped: {term: why it is left out}.
    """

    spec: RunSpec
    schedule: ImpressionsSchedule
    folder: RunFolder
    teacher_run: RunFolder
    teacher: DetectorTeacher
    log: logging.Logger
    device: str
    tracking: Tracking
    terms_dropped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = teacher_input_px(self.teacher_run)
        self.sizes = {stage: getattr(self.schedule, stage).size or own for stage in STAGES}
        self.batches = -(-self.schedule.images // self.schedule.batch)
        self.steps = sum(getattr(self.schedule, stage).iterations for stage in STAGES)
        self.statistics = batch_norm_prior(self.teacher.network, self.schedule.priors)
        if self.statistics is None and self.schedule.priors.batch_norm:
            self.terms_dropped["batch_norm"] = NO_BATCH_NORM
            self.log.warning(f"prior batch_norm is left out: {NO_BATCH_NORM}")

    def make(self, stop_signal: Callable[[], str], stop_after: int | None) -> list[Targets]:
        """Make the missing batches; return the final targets of all images."""
        schedule, folder = self.schedule, self.folder
        classes = int(self.teacher.num_classes or 0)
        sizes = [min(schedule.batch, schedule.images - batch * schedule.batch) for batch in range(self.batches)]
        done = batch_files.finished_batches(folder, sizes, classes)
        state = batch_files.load_state(folder, len(done), self.log.warning) if len(done) < self.batches else None
        begun = len(done) * self.steps + (self._steps_of(state) if state else 0)
        drop_events_after(folder.metrics, begun)
        self.tracking.continue_after(begun)
        if begun:
            self.log.info(f"continuing after step {begun} of {self.batches * self.steps}")
        progress = Progress(
            folder, self.log, schedule.images / (self.batches * self.steps), begun, self.batches * self.steps
        )
        targets = sample_targets(schedule.targets, schedule.images, self.teacher, self.sizes["final"], self.spec.seed)
        with ExitStack() as stack:
            losses = stack.enter_context(
                TeacherLosses(self.teacher, soft_labels=schedule.targets.soft_labels, rois=schedule.rois)
            )
            for batch in range(len(done), self.batches):
                first = batch * schedule.batch
                own = targets[first : first + schedule.batch]
                images, final = self._make_batch(batch, own, losses, state, progress, stop_signal, stop_after)
                state = None
                batch_files.save_batch(folder, batch, first, to_uint8(images, self.teacher.normalization), final)
                done.append(final)
        progress.report(self.batches - 1, "final", {}, force=True)
        return [one for batch in done for one in batch]

    def _make_batch(
        self, batch: int, targets: list[Targets], losses: TeacherLosses, state: dict[str, Any] | None,
        progress: Progress, stop_signal: Callable[[], str], stop_after: int | None,
    ) -> tuple[Tensor, list[Targets]]:  # fmt: skip
        """Return images (B, 3, S, S) in the teacher's normalization, and their targets."""
        start: Tensor | None = None
        saved = time.monotonic()
        for place, stage in enumerate(STAGES):
            settings = getattr(self.schedule, stage)
            if not settings.iterations or (state and STAGES.index(state["stage"]) > place):
                continue
            if state:
                start = state["start"]
            work = Optimisation(
                self.teacher, losses, self.statistics, self.schedule, stage, targets, self.sizes[stage],
                (self.spec.seed, batch), start if settings.start == "previous" else None, self.device,
            )  # fmt: skip
            if state:
                work.load_state_dict(state["optimisation"])
                state = None
            before = batch * self.steps + sum(getattr(self.schedule, one).iterations for one in STAGES[:place])
            while not work.is_done:
                if work.is_before_draw:
                    reached = before + work.iteration
                    name = stop_signal()
                    stops = bool(name) or (stop_after is not None and reached >= stop_after)
                    if stops or time.monotonic() - saved > SAVE_S:
                        batch_files.save_state(
                            self.folder,
                            {"batch": batch, "stage": stage, "start": start, "optimisation": work.state_dict()},
                        )
                        saved = time.monotonic()
                    if stops:
                        raise _interruption(reached, progress.total, name)
                # After the state is stored: a second look at the same images may drop more targets.
                if stage == "draft" and self._changes_targets(work.iteration):
                    seen = detect_objects(self.teacher, work.images.detach())
                    smallest = SMALLEST_ADDED_PX / self.sizes["final"]
                    work.targets = update_all(work.targets, seen, self.schedule.adaptive, smallest)
                terms = work.step()
                progress.step(before + work.iteration)
                if work.iteration % max(1, self.steps // EVENTS) == 0 or work.is_done:
                    self._event(before + work.iteration, batch, stage, terms, work)
                progress.report(batch, stage, terms)
            start, targets = work.images.detach().cpu(), work.targets
        assert start is not None
        return start, targets

    def _changes_targets(self, iteration: int) -> bool:
        recipe = self.schedule.adaptive
        return bool(recipe.interval and iteration >= max(1, recipe.start) and iteration % recipe.interval == 0)

    def _steps_of(self, state: dict[str, Any]) -> int:
        place = STAGES.index(state["stage"])
        earlier = sum(getattr(self.schedule, one).iterations for one in STAGES[:place])
        return int(earlier + state["optimisation"]["iteration"])

    def _event(self, reached: int, batch: int, stage: str, terms: dict[str, Tensor], work: Optimisation) -> None:
        event = {
            "event": "train",
            "iteration": reached,
            "time": round(time.time(), 3),
            "batch": batch,
            "stage": stage,
            "lr": work.optimizer.param_groups[0]["lr"],
            "targets": round(sum(map(len, work.targets)) / len(work.targets), 4),
            "memory_mib": round(memory_mib(), 1),
            **{name: float(value) for name, value in terms.items()},
        }
        append_event(self.folder.metrics, event)
        self.tracking.send(event)


def teacher_input_px(run: RunFolder) -> int:
    """Return the side in px of the square images that a detector's run is used at: the short side of its input."""
    size = pipeline_size(read_run_config(run)["test_dataloader"]["dataset"]["pipeline"])
    return size if isinstance(size, int) else min(size)


def _interruption(reached: int, total: int, signal: str) -> Interrupted:
    if signal:
        return Interrupted(f"interrupted by {signal}; call again to continue", reached, by=signal)
    message = f"stopped after step {reached} of {total} as asked; call again to continue"
    return Interrupted(message, reached, planned=True)

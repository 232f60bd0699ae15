"""One step of a synthesis on two small images: the teacher's family is supported, targets fit, the terms are finite."""

from __future__ import annotations

from typing import Any

from c2d.core.errors import InputError, RunError, first_line
from c2d.impressions.pixels.optimise import STAGES, Optimisation
from c2d.impressions.pixels.priors import batch_norm_prior
from c2d.impressions.pixels.teacher_losses import TeacherLosses
from c2d.impressions.sampling.pseudo_targets import sample_targets
from c2d.preflight.synthetic import SMALL
from c2d.specs.spec import RunSpec
from c2d.teachers.detector import DetectorTeacher

IMAGES = 2


def first_synthesis_step(spec: RunSpec, teacher: DetectorTeacher) -> list[str]:
    """Take one step of each stage; a control has none.

    Args:
        spec: kind `impressions`.
        teacher: finished, or with random weights, on the CPU.

    Returns:
        Notes on what was not tried.

    Raises:
        InputError: the teacher's family is not supported, or its targets cannot be sampled.
        RunError: a step failed, or its loss is not finite.
    """
    schedule = spec.impressions
    notes = [] if schedule.precision == "fp32" else [f"tried in fp32; {schedule.precision} is for the run itself"]
    if schedule.images_from != "optimised":
        return [*notes, f"images_from {schedule.images_from}: its images are made when its source is finished"]
    schedule = schedule.model_copy(update={"precision": "fp32"})
    head: Any = getattr(teacher.network, "bbox_head", None)
    # An SSD takes its own size alone.
    own = getattr(getattr(head, "prior_generator", None), "input_size", None)
    with TeacherLosses(teacher, soft_labels=schedule.targets.soft_labels, rois=schedule.rois) as losses:
        statistics = batch_norm_prior(teacher.network, schedule.priors)
        if statistics is None and schedule.priors.batch_norm:
            notes.append("the teacher has no batch norm; the prior batch_norm is left out")
        for stage in STAGES:
            settings = getattr(schedule, stage)
            if not settings.iterations:
                continue
            size = settings.size or (own[0] if own else SMALL)
            targets = sample_targets(schedule.targets, IMAGES, teacher, size, spec.seed)
            try:
                Optimisation(
                    teacher, losses, statistics, schedule, stage, targets, size, (spec.seed, 0), None, "cpu"
                ).step()
            except (InputError, RunError):
                raise
            except Exception as error:
                line = f"{stage}: {type(error).__name__}: {first_line(error)} (images of {size} px)"
                raise RunError(line, "config") from error
    return notes

"""Build the methods of a run from their parameters, and the student with them; check that they fit the run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from c2d.core.errors import InputError, unknown_name
from c2d.detectors import heads
from c2d.detectors.recording.head_towers import head_towers
from c2d.detectors.recording.layout import probe_layout
from c2d.detectors.training_images import TrainingImages
from c2d.distillation.weight_schedule import check_schedule, weight_factor
from c2d.distillation.wrapper import Distillation, TeacherSet
from c2d.methods import DISTILLERS
from c2d.methods.base import Context, Distiller, Params
from c2d.ops.seeding import derive_seed, temporary_seed
from c2d.specs.method_schema import Method
from c2d.specs.spec import RunSpec, validation_message


def build_distillation(
    spec: RunSpec,
    student: Any,
    teachers: TeacherSet,
    num_classes: int,
    samples: TrainingImages | None = None,
    soft_labels: bool = False,
) -> Distillation:
    """Build the student with the methods of a spec: the model that is trained.

    Args:
        spec: of the run.
        student: mmdet detector.
        teachers: frozen teachers of the run.
        num_classes: foreground classes.
        samples: the training images through the test-time pipeline, for methods that read all of them.
        soft_labels: whether the training boxes have soft labels.

    Raises:
        InputError: a parameter's value is not allowed, or a teacher or the data set does not fit a method.
    """
    context = method_context(spec, student, teachers, num_classes, samples, soft_labels)
    methods = build_methods(spec.method, context, spec.seed)
    for name, method in methods.items():
        _check_weights(name, method)
        _check_heads(name, method, context)
    return Distillation(student, methods, teachers, num_classes, spec.seed, context.iterations)


def method_context(
    spec: RunSpec,
    student: Any,
    teachers: TeacherSet,
    num_classes: int,
    samples: TrainingImages | None = None,
    soft_labels: bool = False,
) -> Context:
    """Collect what the methods of a run are built from; the detectors are probed where there is a detector teacher."""
    iterations, batch = (spec.training.iterations, spec.training.batch) if spec.has_steps else (0, 0)
    if teachers.detector is None:
        return Context(
            num_classes, teachers.classifier, None, student, iterations=iterations, batch=batch, soft_labels=soft_labels
        )
    layouts = probe_layout(student), probe_layout(teachers.detector.network)
    return Context(
        num_classes, teachers.classifier, teachers.detector, student, *layouts, iterations, samples, batch, soft_labels
    )


def build_methods(method: Method, context: Context, seed: int = 0) -> dict[str, Distiller]:
    """Build the methods of a run.

    The first weights of adaptation layers follow from the seed and the method's name, so they are the same alone and
    beside other methods, and no other random numbers change.

    Args:
        method: of the spec: a list of {name: parameters}.
        context: what the methods are built from.
        seed: of the run.

    Raises:
        InputError: a parameter's value is not allowed, or the method does not teach this student or on this data set.
    """
    methods = {}
    for name, params in method_parameters(method).items():
        kind: Any = DISTILLERS[name]
        check_schedule(name, params, context.iterations)
        detector = context.student_layout.detector if context.student_layout is not None else None
        if detector is not None and kind.DETECTORS and detector not in kind.DETECTORS:
            reason = f" ({kind.DETECTORS_REASON})" if kind.DETECTORS_REASON else ""
            raise InputError(
                f"{name} does not teach {detector} students; it teaches {', '.join(kind.DETECTORS)}{reason}: "
                "choose one of these, or another method (`c2d methods`)"
            )
        if kind.SOFT_LABELS and not context.soft_labels:
            raise no_soft_labels(name)
        # 4 is the purpose of this seed, see `Distillation.generator`.
        with temporary_seed(derive_seed(seed, zlib.crc32(name.encode()), 4)):
            methods[name] = kind(params, context)
    return methods


def soft_label_methods(method: Method) -> list[str]:
    """Return the methods of a spec that need training boxes with soft labels."""
    return [name for item in method for name in item if name in DISTILLERS and DISTILLERS[name].SOFT_LABELS]


def no_soft_labels(name: str) -> InputError:
    """Build the error for a method that needs soft labels, on a data set without them.

    Args:
        name: of the method.
    """
    return InputError(
        f"{name} teaches the soft labels of the training boxes, and this data set has none; train on images that were "
        "synthesised with soft labels (`c2d impressions make`), write a `soft_label` into every annotation, or choose "
        "another method"
    )


def method_parameters(method: Method) -> dict[str, Params]:
    """Validate the parameters of every method with the method's own schema.

    Raises:
        InputError: no such method, or a parameter's value is not allowed.
    """
    validated: dict[str, Params] = {}
    for item in method:
        ((name, params),) = item.items()
        if name not in DISTILLERS:
            raise unknown_name("method", name, DISTILLERS, "see `c2d methods`")
        try:
            # `version` is a key of every method in a spec, not one of its parameters.
            validated[name] = DISTILLERS[name].Params.model_validate(
                {key: value for key, value in params.items() if key != "version"}
            )
        except ValidationError as error:
            raise InputError(f"method {name}: {validation_message(error)}; see `c2d methods {name}`") from None
    return validated


def check_classes(model: Distillation, classes: Sequence[str]) -> None:
    """Check that student and detector teacher have the same classes in the same order, for methods that compare heads.

    Methods that compare feature maps alone accept a teacher of other classes.

    Raises:
        InputError: the classes differ.
    """
    teacher_classes = getattr(model.teachers.detector, "classes", None)
    for name, method in model.methods.items():
        needs = method.needs
        compares_heads = needs.dense or needs.rois or needs.proposals or needs.queries
        if compares_heads and model.teachers.detector is not None and teacher_classes is None:
            raise InputError(
                f"{name} compares the heads' outputs, and nothing names the classes of the detector teacher; write "
                "them as metainfo.classes of its config's test data set"
            )
        if compares_heads and teacher_classes is not None and list(teacher_classes) != list(classes):
            raise InputError(
                f"{name} compares the heads' outputs, and the detector teacher has the classes "
                f"{', '.join(teacher_classes[:4])}, ... ({len(teacher_classes)}), the student "
                f"{', '.join(classes[:4])}, ... ({len(classes)}); train a teacher on this data set, or take a "
                "method that compares feature maps alone"
            )


def schedule_notes(model: Distillation) -> list[str]:
    """Name the methods that never reach their full weight in this run."""
    notes, total = [], model.iterations
    for name, method in model.methods.items():
        top = max(weight_factor(method.params, i, total) for i in range(0, total, max(1, total // 1000)))
        if top < 0.99:
            notes.append(f"{name}: at most {top:.0%} of its weight by its start, ramp, decay and stop in {total} steps")
    return notes


def _check_heads(name: str, method: Distiller, context: Context) -> None:
    """Refuse detectors whose outputs the method cannot read, before the first batch does."""
    needs = method.needs
    teacher = context.detector.network if context.detector is not None else None
    for who, detector in (("student", context.student), ("detector teacher", teacher)):
        if detector is None:
            continue
        try:
            if needs.positives and who == "student":
                heads.final_head(detector)
            if needs.dense:
                heads.dense_head(detector)
            if needs.queries:
                heads.query_head(detector)
            if needs.towers:
                head_towers(heads.dense_head(detector))
            if needs.rois or needs.proposals:
                heads.roi_head(detector)
        except InputError as error:
            raise InputError(f"{name}, {who}: {error}") from None


def _check_weights(name: str, method: Distiller) -> None:
    """Refuse a method whose every term has weight 0: it would be a baseline under another name."""
    weights = {parameter: getattr(method.params, parameter) for parameter in method.WEIGHTS.values()}
    if method.params.weight == 0 or not any(weights.values()):
        what = "its weight is 0" if method.params.weight == 0 else f"{', '.join(weights)} are all 0"
        raise InputError(f"{name} would never teach: {what}; give one a value, or leave {name} out for the baseline")

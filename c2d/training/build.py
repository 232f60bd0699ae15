"""What a run trains: the model with its weights, its teachers, its data set; and the audit of every weight file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard
from c2d.detectors.layout import probe_layout
from c2d.detectors.training_images import TrainingImages
from c2d.distillation.weight_schedule import check as check_schedule
from c2d.distillation.weight_schedule import factor
from c2d.distillation.wrapper import Distillation, TeacherSet
from c2d.methods import DISTILLERS
from c2d.methods.base import Context, Distiller, Params
from c2d.ops.seeding import derive_seed, seed_everything, temporary_seed
from c2d.specs.resolve_spec import teacher_result, teacher_run
from c2d.specs.spec import Method, RunSpec, explain
from c2d.training import evaluate
from c2d.training.config import Resolved

if TYPE_CHECKING:
    from c2d.teachers.classifier import ClassifierTeacher
    from c2d.teachers.detector import DetectorTeacher
    from c2d.teachers.logit_cache import LogitCache


POOR_AP = 0.05
"""Below it the log says what a detector teacher is worth. Unlike a classifier's min_top1 nothing is refused: how good a
detector can be depends on its data."""


@dataclass
class Built:
    """Everything `fit` needs. `facts` go into result.json, `notes` into the log; `samples` are what methods look at."""

    model: Any
    dataset: Any
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    validator: Callable[[Any], Callable[[Any], dict[str, float | None]] | None] = lambda truth: None
    samples: TrainingImages | None = None


def build(
    spec: RunSpec, resolved: Resolved, card: LoadedCard, folder: RunFolder, device: str, *, download: bool
) -> Built:
    """Build and check all of it, before anything is written.

    Weights follow from the seed alone: the student is built first, so a student starts from the same weights under
    every method.

    Raises:
        InputError: a weight file that does not fit, a teacher below its min_top1, a data set that cannot be read.
    """
    dataset = evaluate.build_dataset(resolved.train["train_dataloader"]["dataset"])
    seed_everything(spec.seed)
    if spec.kind == "classifier":
        return _classifier(spec, resolved, dataset, folder, device, download)
    student = evaluate.build_student(resolved.student)
    facts: dict[str, Any] = {"audit_init": None}
    notes = [
        f"{folder.id}: {len(dataset)} training images of {card.card.name}, "
        f"{len(card.card.classes)} classes, on {device}"
    ]
    if spec.init != "none":
        from c2d.weights.pretrained import initialise

        audit = initialise(student, spec.init, folder, download=download)
        facts["audit_init"] = audit.to_dict()
        notes.append(f"student backbone from {spec.init}: {audit.summary()}")
    else:
        notes.append("student from scratch (init none): no pretrained weights")
    teachers, teacher_notes, teacher_facts = _teachers(spec, card, folder, device)
    samples = TrainingImages(partial(as_at_test, resolved, card))
    model = distillation(spec, student, teachers, len(card.card.classes), samples).to(device)
    check_classes(model, card.card.classes)
    notes_of_methods = [f"{name}: {note}" for name, method in model.methods.items() for note in method.notes]

    def validator(truth: Any) -> Callable[[Any], dict[str, float | None]] | None:
        if not spec.schedule.values.val_interval:
            return None
        val = evaluate.build_dataset(resolved.student["test_dataloader"]["dataset"])

        def validate(running: Any) -> dict[str, float | None]:
            from c2d.metrics import coco

            found = evaluate.detect(
                getattr(running, "module", running).student, val, lambda: folder.touch_heartbeat("validate")
            )
            return {key: value for key, value in coco.evaluate(truth, found).items() if key in ("AP", "AP50", "AP75")}

        return validate

    notes += [*teacher_notes, *notes_of_methods, *_schedule_notes(model)]
    return Built(model, dataset, facts | {"teachers": teacher_facts}, notes, validator, samples)


def cached(model: Any, resolved: Resolved, folder: Path) -> LogitCache:
    """From here on the classifier teacher of `model` keeps its logits of ground-truth crops in `folder`.

    Raises:
        InputError: no method asks a classifier teacher for logits, or the student's training pipeline is random.
    """
    from c2d.teachers.logit_cache import open_cache

    methods = getattr(model, "methods", {})
    if not any(getattr(method.params, "lambda_kc", 0) > 0 for method in methods.values()):
        raise InputError(
            "--cache-teacher keeps what a classifier teacher says about true crops, and no method of this run asks for "
            "that (icod with lambda_kc above 0 does); leave the option out"
        )
    dataset = resolved.train["train_dataloader"]["dataset"].to_dict()
    preprocessor = resolved.student["model"]["data_preprocessor"].to_dict()
    return open_cache(folder, model.teachers.classifier, dataset, preprocessor)


def as_at_test(resolved: Resolved, card: LoadedCard) -> Any:
    """The training split through the student's test-time pipeline."""
    pipeline = resolved.student["test_dataloader"]["dataset"]["pipeline"]
    return evaluate.build_dataset(evaluate.coco_dataset(card, "train", pipeline, test=True))


def distillation(
    spec: RunSpec, student: Any, teachers: TeacherSet, num_classes: int, samples: TrainingImages | None = None
) -> Distillation:
    """The student under its methods; what `fit` trains.

    Args:
        samples: the training images as at test time, for methods that look at all of them.

    Raises:
        InputError: a parameter's value is not allowed, or a teacher does not fit a method.
    """
    context = context_of(spec, student, teachers, num_classes, samples)
    methods = distillers(spec.method, context, spec.seed)
    for name, built in methods.items():
        _check_weights(name, built)
    return Distillation(student, methods, teachers, num_classes, spec.seed, context.iterations)


def _schedule_notes(model: Distillation) -> list[str]:
    """Methods that never reach their whole weight in this run."""
    notes, total = [], model.iterations
    for name, method in model.methods.items():
        top = max(factor(method.params, i, total) for i in range(0, total, max(1, total // 1000)))
        if top < 0.99:
            notes.append(f"{name}: at most {top:.0%} of its weight by its start, ramp, decay and stop in {total} steps")
    return notes


def _check_weights(name: str, method: Any) -> None:
    """A method whose every term weighs nothing would be a baseline under another name.

    Raises:
        InputError: it is one.
    """
    weights = {parameter: getattr(method.params, parameter) for parameter in method.WEIGHTS.values()}
    if method.params.weight == 0 or not any(weights.values()):
        what = "its weight is 0" if method.params.weight == 0 else f"{', '.join(weights)} are all 0"
        raise InputError(f"{name} would never teach: {what}; give one a value, or leave {name} out for the baseline")


def check_classes(model: Distillation, classes: Sequence[str]) -> None:
    """Methods that compare what heads say need a teacher that speaks of the same classes, in the same order.

    Methods that look at maps alone may have a teacher of other classes.

    Raises:
        InputError: other classes.
    """
    teacher = model.teachers.detector
    named = getattr(teacher, "classes", None)
    for name, method in model.methods.items():
        asks = method.needs.dense or method.needs.rois or method.needs.proposals
        if asks and named is not None and list(named) != list(classes):
            raise InputError(
                f"{name} compares the heads' outputs, and the detector teacher knows {', '.join(named[:4])}, ... "
                f"({len(named)}), the student {', '.join(classes[:4])}, ... ({len(classes)}); train a teacher on this "
                "data set, or take a method that looks at maps alone"
            )


def context_of(
    spec: RunSpec, student: Any, teachers: TeacherSet, num_classes: int, samples: TrainingImages | None = None
) -> Context:
    """What the methods of a run are built from; detectors are probed where a method has a detector teacher."""
    iterations, batch = spec.schedule.values.iterations, spec.schedule.values.batch
    if teachers.detector is None:
        return Context(num_classes, teachers.classifier, None, student, iterations=iterations, batch=batch)
    layouts = probe_layout(student), probe_layout(teachers.detector.network)
    return Context(num_classes, teachers.classifier, teachers.detector, student, *layouts, iterations, samples, batch)


def distillers(method: Method, context: Context, seed: int = 0) -> dict[str, Distiller]:
    """The methods of a run, built from their parameters.

    First weights of adaptation layers follow from the seed and the method's name, so that a method starts alike alone
    and beside others, and disturbs nobody's random numbers.

    Raises:
        InputError: a parameter's value is not allowed, or the method does not teach this student.
    """
    built = {}
    for name, given in parameters(method).items():
        kind: Any = DISTILLERS[name]
        check_schedule(name, given, context.iterations)
        if (
            context.student_layout is not None
            and kind.DETECTORS
            and context.student_layout.detector not in kind.DETECTORS
        ):
            raise InputError(
                f"{name} does not teach {context.student_layout.detector} students; it teaches {', '.join(kind.DETECTORS)}: "
                "choose one of these, or another method (`c2d methods`)"
            )
        with temporary_seed(derive_seed(seed, zlib.crc32(name.encode()), 4)):
            built[name] = kind(given, context)
    return built


def parameters(method: Method) -> dict[str, Params]:
    """The parameters of every method, checked by the method itself.

    Raises:
        InputError: no such method, or a parameter's value is not allowed.
    """
    found: dict[str, Params] = {}
    for item in method:
        ((name, params),) = item.items()
        if name not in DISTILLERS:
            raise unknown_name("distiller", name, DISTILLERS, "see `c2d methods`")
        try:
            found[name] = DISTILLERS[name].Params.model_validate(
                {key: value for key, value in params.items() if key != "version"}
            )
        except ValidationError as error:
            raise InputError(f"method {name}: {explain(error)}; see `c2d methods {name}`") from None
    return found


def _teachers(
    spec: RunSpec, card: LoadedCard, folder: RunFolder, device: str
) -> tuple[TeacherSet, list[str], dict[str, Any]]:
    """Frozen teachers of a detector run, with what the audit found."""
    teachers, notes = TeacherSet(), []
    facts: dict[str, Any] = {"classifier": None, "detector": None}
    if spec.teachers.classifier:
        teachers.classifier, facts["classifier"], note = classifier_teacher(
            spec.teachers.classifier, card.card.name, card.card.classes, folder, device
        )
        notes.append(note)
    if spec.teachers.detector:
        teachers.detector, facts["detector"], note = detector_teacher(spec.teachers.detector, folder, device)
        notes.append(note)
    return teachers, notes, facts


def classifier_teacher(
    run_id: str, dataset: str, classes: Sequence[str], folder: RunFolder, device: str
) -> tuple[ClassifierTeacher, dict[str, Any], str]:
    """(teacher, facts, note) of a finished classifier run in the store of `folder`.

    Args:
        dataset, classes: what the student learns; the teacher has to know the same classes in the same order.

    Raises:
        InputError: not finished, below its min_top1, or other classes.
    """
    from c2d.teachers.classifier import ClassifierTeacher, check_teacher

    run = teacher_run(run_id, folder)
    teacher_spec, result = teacher_result(run, "classifier")
    check_teacher(result, teacher_spec)
    teacher = ClassifierTeacher.from_run(run.path, device)
    if list(teacher.classes) != list(classes):
        raise InputError(
            f"teacher {run.id} knows the classes {', '.join(teacher.classes[:4])}, ... ({len(teacher.classes)}), "
            f"the data set {dataset} has {', '.join(classes[:4])}, "
            f"... ({len(classes)}); train a teacher on this data"
        )
    assert teacher.audit is not None  # from_run loads a file
    facts = {"run": run.id, "top1": result["top1"], "audit": teacher.audit.to_dict()}
    return teacher, facts, f"classifier teacher {run.id}: top-1 {result['top1']:.3f}, {teacher.audit.summary()}"


def detector_teacher(run_id: str, folder: RunFolder, device: str) -> tuple[DetectorTeacher, dict[str, Any], str]:
    """(teacher, facts, note) of a finished detector run in the store of `folder`."""
    from c2d.teachers.detector import DetectorTeacher

    run = teacher_run(run_id, folder)
    _, result = teacher_result(run, "detector")
    teacher = DetectorTeacher.from_run(run.path, device)
    assert teacher.audit is not None  # from_run loads a file
    facts = {"run": run.id, "AP": result["AP"], "audit": teacher.audit.to_dict()}
    poor = "" if (result["AP"] or 0) >= POOR_AP else "; it detects next to nothing, and that is what it would teach"
    return teacher, facts, f"detector teacher {run.id}: AP {result['AP']}{poor}, {teacher.audit.summary()}"


def _classifier(
    spec: RunSpec, resolved: Resolved, dataset: Any, folder: RunFolder, device: str, download: bool
) -> Built:
    from c2d.teachers.crop_classifier import CropClassifier

    model = CropClassifier(**resolved.train["model"])
    notes = [f"{folder.id}: classifier {spec.network} on crops of {len(dataset)} images, on {device}"]
    facts: dict[str, Any] = {"audit_init": None}
    if spec.init != "none":
        from c2d.weights.pretrained import initialise

        audit = initialise(model, spec.init, folder, download=download)
        facts["audit_init"] = audit.to_dict()
        notes.append(f"network from {spec.init}: {audit.summary()}")
    return Built(model.to(device), dataset, facts, notes)

"""What a run trains: the model with its weights, its teachers, its data set; and the audit of every weight file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from c2d import evaluate
from c2d.config import Resolved
from c2d.data.card import LoadedCard
from c2d.distillers import DISTILLERS
from c2d.distillers.base import Context, Distiller
from c2d.errors import InputError
from c2d.question import teacher_result, teacher_run
from c2d.runfolder import RunFolder
from c2d.sampling import seed_everything
from c2d.spec import Method, RunSpec, explain
from c2d.wrapper import Distillation, TeacherSet


@dataclass
class Built:
    """Everything `fit` needs. `facts` go into result.json, `notes` into the log."""

    model: Any
    dataset: Any
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    validator: Callable[[Any], Callable[[Any], dict[str, float | None]] | None] = lambda truth: None


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
        from c2d.backbones import initialise

        audit = initialise(student, spec.init, folder, download=download)
        facts["audit_init"] = audit.to_dict()
        notes.append(f"student backbone from {spec.init}: {audit.summary()}")
    else:
        notes.append("student from scratch (init none): no pretrained weights")
    teachers, teacher_notes, teacher_facts = _teachers(spec, card, folder, device)
    context = Context(len(card.card.classes), teachers.classifier, teachers.detector, student)
    model = Distillation(student, distillers(spec.method, context), teachers, len(card.card.classes), spec.seed).to(
        device
    )

    def validator(truth: Any) -> Callable[[Any], dict[str, float | None]] | None:
        if not spec.schedule.values.val_interval:
            return None
        val = evaluate.build_dataset(resolved.student["test_dataloader"]["dataset"])

        def validate(running: Any) -> dict[str, float | None]:
            from analysis import coco

            found = evaluate.detect(
                getattr(running, "module", running).student, val, lambda: folder.touch_heartbeat("validate")
            )
            return {key: value for key, value in coco.evaluate(truth, found).items() if key in ("AP", "AP50", "AP75")}

        return validate

    return Built(model, dataset, facts | {"teachers": teacher_facts}, notes + teacher_notes, validator)


def distillers(method: Method, context: Context) -> dict[str, Distiller]:
    """The methods of a run, built from their parameters.

    Raises:
        InputError: a parameter's value is not allowed.
    """
    found: dict[str, Distiller] = {}
    for item in method:
        ((name, params),) = item.items()
        kind = DISTILLERS[name]
        try:
            given = kind.Params.model_validate({key: value for key, value in params.items() if key != "version"})
        except ValidationError as error:
            raise InputError(f"method {name}: {explain(error)}; see `c2d methods {name}`") from None
        found[name] = kind(given, context)
    return found


def _teachers(
    spec: RunSpec, card: LoadedCard, folder: RunFolder, device: str
) -> tuple[TeacherSet, list[str], dict[str, Any]]:
    """Frozen teachers of a detector run, with what the audit found."""
    teachers, notes = TeacherSet(), []
    facts: dict[str, Any] = {"classifier": None, "detector": None}
    if spec.teachers.classifier:
        from c2d.teachers.classifier import ClassifierTeacher, check_teacher

        run = teacher_run(spec.teachers.classifier, folder)
        teacher_spec, result = teacher_result(run, "classifier")
        check_teacher(result, teacher_spec)
        teacher = ClassifierTeacher.from_run(run.path, device)
        if list(teacher.classes) != list(card.card.classes):
            raise InputError(
                f"teacher {run.id} knows the classes {', '.join(teacher.classes[:4])}, ... ({len(teacher.classes)}), "
                f"the data set {card.card.name} has {', '.join(card.card.classes[:4])}, "
                f"... ({len(card.card.classes)}); train a teacher on this data"
            )
        assert teacher.audit is not None  # from_run loads a file
        teachers.classifier = teacher
        facts["classifier"] = {"run": run.id, "top1": result["top1"], "audit": teacher.audit.to_dict()}
        notes.append(f"classifier teacher {run.id}: top-1 {result['top1']:.3f}, {teacher.audit.summary()}")
    if spec.teachers.detector:
        from c2d.teachers.detector import DetectorTeacher

        run = teacher_run(spec.teachers.detector, folder)
        _, result = teacher_result(run, "detector")
        teachers.detector = DetectorTeacher.from_run(run.path, device)
        facts["detector"] = {"run": run.id, "AP": result["AP"], "audit": teachers.detector.audit.to_dict()}
        notes.append(f"detector teacher {run.id}: AP {result['AP']}, {teachers.detector.audit.summary()}")
    return teachers, notes, facts


def _classifier(
    spec: RunSpec, resolved: Resolved, dataset: Any, folder: RunFolder, device: str, download: bool
) -> Built:
    from c2d.teachers.crop_classifier import CropClassifier

    model = CropClassifier(**resolved.train["model"])
    notes = [f"{folder.id}: classifier {spec.network} on crops of {len(dataset)} images, on {device}"]
    facts: dict[str, Any] = {"audit_init": None}
    if spec.init != "none":
        from c2d.backbones import initialise

        audit = initialise(model, spec.init, folder, download=download)
        facts["audit_init"] = audit.to_dict()
        notes.append(f"network from {spec.init}: {audit.summary()}")
    return Built(model.to(device), dataset, facts, notes)

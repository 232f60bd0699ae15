"""Build what a run trains: the model with its weights and teachers, and the data set. Nothing is written.

Training, `c2d inspect`, `c2d suggest-weight`, the dry run of a sweep and the step benchmark all build a run here; they
differ in the sources of its parts (`c2d.training.sources`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dataset import pseudo_collate

from c2d.configs.input_size import pipeline_size
from c2d.configs.mixing_record import mixing_facts, mixing_notes
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import find_run
from c2d.core.yaml.yaml_lines import read_mapping
from c2d.data.card import LoadedCard
from c2d.detectors.heads import count_classes
from c2d.detectors.iteration_state import resize_by_iteration
from c2d.detectors.recording.query_candidates import check_candidates
from c2d.detectors.training_images import TrainingImages
from c2d.distillation.build_methods import build_distillation, check_classes, schedule_notes
from c2d.distillation.wrapper import TeacherSet
from c2d.evaluation.datasets import build_dataset, coco_dataset, subset
from c2d.evaluation.detect import detect
from c2d.evaluation.distributed import is_main, join_process_group
from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.evaluation.stock_model import build_student
from c2d.methods import DISTILLERS
from c2d.ops.seeding import seed_everything
from c2d.specs.catalog import method_catalog
from c2d.specs.data_of_run import verified_data
from c2d.specs.method_schema import needed_teachers
from c2d.specs.resolve_spec import resolve_spec
from c2d.specs.spec import RunSpec, parse_spec
from c2d.training import config
from c2d.training.metrics_logger import Validate
from c2d.training.sampler import ResumableSampler
from c2d.training.sources import Sources

if TYPE_CHECKING:
    from c2d.teachers.logit_cache import LogitCache


@dataclass
class TrainingRun:
    """A run that is built and not started.

    Attributes:
        spec: of the run.
        folder: the run's folder; it need not exist.
        resolved: the configs of student and training.
        model: Distillation, or CropClassifier for a classifier run, on `device`.
        dataset: mmdet data set of the training split.
        device: `cpu` or `cuda:N`.
        facts: go into result.json.
        notes: go into the log.
        samples: the training images through the test-time pipeline, for methods that read all of them.
    """

    spec: RunSpec
    folder: RunFolder
    resolved: config.RunConfigs
    model: Any
    dataset: Any
    device: str
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    samples: TrainingImages | None = None

    def batches(self, count: int, size: int | None = None) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, data samples) of iterations 0 .. count-1, after the model's data preprocessor.

        Args:
            count: number of batches.
            size: images a batch; default: the schedule's.
        """
        batch = size or self.resolved.train["train_dataloader"]["batch_size"]
        # The same images and augmentation as in a training of one process.
        data = SeededDataset(self.dataset, self.spec.seed)  # never in the closing phase
        keys = iter(ResumableSampler(len(data), self.spec.seed, batch, 0, 1, 0, count))
        for _ in range(count):
            images = pseudo_collate([data[next(keys)] for _ in range(batch)])
            processed = self.model.data_preprocessor(images, True)
            yield processed["inputs"], processed["data_samples"]

    def validation(self, truth: Any, workers: int) -> Validate | None:
        """Return the function that computes AP during training, or None where the schedule has no val_interval.

        Args:
            truth: ground truth of the evaluation split; only rank 0 uses it.
            workers: loader processes of this rank.
        """
        if self.spec.kind != "detector" or not self.spec.training.val_interval:
            return None
        val = build_dataset(self.resolved.student["test_dataloader"]["dataset"])
        heartbeat = partial(self.folder.touch_heartbeat, "validate") if is_main() else lambda: None

        def validate(model: Any) -> dict[str, float | None]:
            from c2d.metrics import coco

            detections = detect(getattr(model, "module", model).student, val, heartbeat, workers)
            if not is_main():
                return {}
            scores = coco.evaluate(truth, detections)
            return {key: value for key, value in scores.items() if key in ("AP", "AP50", "AP75")}

        return validate


def build(sources: Sources) -> TrainingRun:
    """Build and check all parts of a run, before anything is written.

    First weights follow from the seed alone: the student is built first, so it starts equal under every method.

    Raises:
        InputError: a weight file that does not fit, a teacher below its min_top1, a data set that cannot be read.
    """
    spec, card = sources.spec, sources.card
    resolved = config.resolve(spec, card, sources.folder)
    dataset = build_dataset(resolved.train["train_dataloader"]["dataset"], soft_labels=spec.kind == "detector")
    if spec.is_calibrated:
        dataset = subset(dataset, sources.calibration_images(), inside=False)
    seed_everything(spec.seed)  # after the data set, directly before the model: first weights depend on the seed alone
    build_model = _classifier if spec.kind == "classifier" else _detector
    return build_model(sources, resolved, dataset)


def build_from_name(name: str, runs: Path, data: Path | None) -> TrainingRun:
    """Build a run with real sources, in training mode.

    Args:
        name: SPEC.yaml, or the id of a run in the store.
        runs: the store.
        data: root of the data cards (default: C2D_DATA, else ./data).

    Raises:
        InputError: as in training: an unfinished teacher, a missing data set, ...
    """
    if name.endswith((".yaml", ".yml")):
        spec = resolve_spec(read_mapping(Path(name)), where=name, runs=runs, data=data)
    else:
        folder = find_run(name, runs)
        spec = parse_spec(read_json(folder.spec), str(folder.spec))
    device = join_process_group()
    spec.check_trains()  # before a teacher or an image is read
    folder = RunFolder(runs / spec.id)
    run = build(Sources(spec, folder, device, *verified_data(spec, folder, data)))
    run.model.train()
    return run


def dataset_at_test_time(resolved: config.RunConfigs, card: LoadedCard) -> Any:
    """Build the training split with the student's test-time pipeline."""
    pipeline = resolved.student["test_dataloader"]["dataset"]["pipeline"]
    return build_dataset(coco_dataset(card, "train", pipeline, test=True))


def cache_teacher_logits(run: TrainingRun, folder: Path) -> LogitCache:
    """Make the classifier teacher store its logits of ground-truth crops in `folder`, and read them from there.

    Raises:
        InputError: no method uses such logits, or the student's training pipeline is random.
    """
    from c2d.teachers.logit_cache import open_cache

    methods = getattr(run.model, "methods", {})
    if not any(method.uses_crop_logits for method in methods.values()):
        users = [f"{name} with {kind.CROP_LOGITS} above 0" for name, kind in DISTILLERS.items() if kind.CROP_LOGITS]
        raise InputError(
            "--cache-teacher stores the logits of a classifier teacher on ground-truth crops, and no method of this "
            f"run uses them ({', '.join(users)} does); leave the option out"
        )
    dataset = run.resolved.train["train_dataloader"]["dataset"].to_dict()
    preprocessor = run.resolved.student["model"]["data_preprocessor"].to_dict()
    return open_cache(folder, run.model.teachers.classifier, dataset, preprocessor)


def _detector(sources: Sources, resolved: config.RunConfigs, dataset: Any) -> TrainingRun:
    spec, card, folder = sources.spec, sources.card, sources.folder
    classes = card.card.classes
    student = build_student(resolved.student)
    # A head whose config has no num_classes keeps mmdet's default.
    if (count := count_classes(student)) not in (None, len(classes)):
        raise InputError(
            f"the student's head has {count} classes, and data set {card.card.name} has {len(classes)}; write a "
            "num_classes into the head of its config, so that the number can be set"
        )
    size = pipeline_size(resolved.student["test_dataloader"]["dataset"]["pipeline"])
    check_candidates(student, (size, size) if isinstance(size, int) else size, _shapes(dataset))
    audit, note = sources.first_weights(student)
    resized = resize_by_iteration(student, spec.seed)
    images = f"{len(dataset)} training images {_origin(sources)}"
    notes = [f"{folder.id}: {images}, {len(classes)} classes, on {sources.device}", note]
    teachers = TeacherSet()
    facts: dict[str, Any] = {"classifier": None, "detector": None}
    inherited = None
    if spec.teachers.backbone:
        facts["backbone"] = sources.backbone()
    if spec.teachers.classifier:
        teachers.classifier, facts["classifier"], note = sources.classifier()
        notes.append(note)
    if spec.teachers.detector:
        source = sources.detector_teacher(spec.teachers.detector)
        facts["detector"] = source.facts
        notes.append(source.note)
        inherited, note = sources.inherited_weights(student, source)
        notes += [note] if note else []
        if "detector" in needed_teachers(spec.method, method_catalog()):
            teachers.detector = source.teacher
    samples = TrainingImages(partial(dataset_at_test_time, resolved, card))
    soft_labels = getattr(dataset, "has_soft_labels", False)
    model = build_distillation(spec, student, teachers, len(classes), samples, soft_labels).to(sources.device)
    check_classes(model, classes)
    notes += [f"{name}: {note}" for name, method in model.methods.items() for note in method.notes]
    notes += [*schedule_notes(model), *resized, *mixing_notes(resolved.train, student)]
    facts = {"audit_init": audit, "teachers": facts, **_facts_of_images(sources), **mixing_facts(resolved.train)}
    if inherited is not None:
        facts["audit_inherited"] = inherited
    return TrainingRun(spec, folder, resolved, model, dataset, sources.device, facts, notes, samples)


def _shapes(dataset: Any) -> Iterator[tuple[int, int]]:
    """(height, width) in px of every training image, as its annotations say."""
    for index in range(len(dataset)):
        image = dataset.get_data_info(index)
        yield int(image["height"]), int(image["width"])


def _classifier(sources: Sources, resolved: config.RunConfigs, dataset: Any) -> TrainingRun:
    from c2d.teachers.crop_classifier import CropClassifier
    from c2d.teachers.student_network import UNFROZEN

    spec, folder, device = sources.spec, sources.folder, sources.device
    model = CropClassifier(**resolved.train["model"])
    audit, note = sources.first_weights(model)
    notes = [
        f"{folder.id}: classifier {spec.network} on crops of {len(dataset)} images {_origin(sources)}, on {device}"
    ]
    notes += [note] if note else []
    notes += [f"network {spec.network}: {UNFROZEN}"] if spec.student else []
    fitted = [weight.numel() for weight in model.network.parameters() if weight.requires_grad]
    facts_of_fit: dict[str, Any] = {"kind": spec.fit, "init": spec.init, "trained_params": sum(fitted)}
    text = sources.text_embeddings()
    # A dry run may have no weights of the tower, and then no projection.
    if text is not None and audit is not None:
        model.set_text(text)
        facts_of_fit["text_embeddings"] = text.origin
        notes.append(text.origin)
    notes += mixing_notes(resolved.train, model)
    facts = {"audit_init": audit, "fit": facts_of_fit, **_facts_of_images(sources), **mixing_facts(resolved.train)}
    return TrainingRun(spec, folder, resolved, model.to(device), dataset, device, facts, notes)


def _origin(sources: Sources) -> str:
    """Where the training images come from, for the log."""
    if sources.images is None:
        return f"of {sources.card.card.name}"
    return f"{sources.images.origin()}; measured on real images of {sources.card.card.name}"


def _facts_of_images(sources: Sources) -> dict[str, Any]:
    return {} if sources.images is None else {"training_images": sources.images.to_json()}

"""FLOPs of a whole run from its spec: images of training and evaluation, and the work for each of them.

Runs of one structure (they differ in seed, length or the size of weights) are counted once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch

from benchmarks.flops.training_flops import Work
from benchmarks.hours import coco_images
from benchmarks.hours.image_shapes import BatchShape, batch_shape
from benchmarks.hours.method_flops import Views, method_flops, step_operators
from benchmarks.hours.network_flops import DetectorFlops, classifier_work, detector_flops
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card import Card, LoadedCard, Split
from c2d.data.card_lookup import find_card
from c2d.data.public import public_cards
from c2d.specs.schedule import NoTraining, TeacherRecipe, TeacherSchedule
from c2d.specs.spec import RunSpec, parse_spec


@dataclass(frozen=True)
class ImageFlops:
    """Mean FLOPs for one training image.

    Attributes:
        student: forward and backward pass of what is trained.
        teachers: forward passes of the teachers, and what the method computes on them and on crops.
        prediction: forward pass for one image of the evaluation.
        pixels: mean area of the padded images in px^2.
        operators: of a whole step, whatever its batch.
        prediction_operators: of an image of the evaluation.
        notes: what is not counted.
    """

    student: float
    teachers: float
    prediction: float
    pixels: float
    operators: int
    prediction_operators: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFlops:
    """A run.

    Attributes:
        spec: of the run.
        image: work for one image.
        iterations, batch: of the training; 0 where nothing is trained.
        evaluated: images of the evaluations.
    """

    spec: RunSpec
    image: ImageFlops
    iterations: int
    batch: int
    evaluated: int

    @property
    def training(self) -> float:
        """FLOPs of all training steps."""
        return self.iterations * self.batch * (self.image.student + self.image.teachers)

    @property
    def evaluation(self) -> float:
        """FLOPs of all evaluations."""
        return self.evaluated * self.image.prediction


class RunCounter:
    """Count runs; networks, teachers and structures are counted once.

    Args:
        specs: {run id: spec} of all runs, for teachers.
        runs, data: the store and the root of the data cards, for teachers and data sets that no definition has.
        gpus: of a training: a batch is padded on each of them alone.
    """

    def __init__(self, specs: Mapping[str, RunSpec], runs: Path, data: Path | None, gpus: int) -> None:
        self.specs, self.runs, self.data, self.gpus = specs, runs, data, gpus
        self._images: dict[str, ImageFlops] = {}
        self._networks: dict[str, Any] = {}
        self._configs: dict[str, Any] = {}
        self._classifiers: dict[str, Any] = {}
        self._views: Views = {}
        self._operators: dict[str, int] = {}
        self._cards: dict[str, LoadedCard] = {}

    def forget_networks(self) -> None:
        """Free the detectors and classifiers on the CPU; what was counted stays."""
        self._networks.clear()
        self._classifiers.clear()
        self._views.clear()

    def count(self, spec: RunSpec) -> RunFlops:
        """Count one run.

        Raises:
            InputError: its student cannot be built, or a teacher is nowhere.
        """
        card = self.card(spec)
        split = card.card.splits[card.evaluation_split]
        if spec.kind == "impressions":
            return RunFlops(spec, self._synthesis(spec), 0, 0, 0)
        key = self._structure(spec)
        if key not in self._images:
            self._images[key] = self._classifier(spec) if spec.kind == "classifier" else self._detector(spec)
        image = self._images[key]
        if not spec.has_steps or isinstance(spec.schedule.values, NoTraining):
            passes = 2 * card.card.splits["train"].n_images if spec.fit == "linear-probe" else 0
            return RunFlops(spec, image, 0, 0, split.n_images + passes)
        schedule = spec.training
        validations = schedule.iterations // schedule.val_interval if schedule.val_interval else 0
        return RunFlops(spec, image, schedule.iterations, schedule.batch, (1 + validations) * split.n_images)

    def card(self, spec: RunSpec) -> LoadedCard:
        """Return the card of a run's data set; where its files are not here, one with the published counts.

        A data set that is neither here nor public counts as one of COCO's size and classes.
        """
        name, digest = spec.dataset.name, spec.dataset.digest
        if digest not in self._cards:
            try:
                self._cards[digest] = find_card(name, digest, self.data, self.runs)
            except InputError:
                self._cards[digest] = _published_card(name, digest)
        return self._cards[digest]

    def _boxes(self, spec: RunSpec, most: int | None = None) -> float:
        """Mean boxes of a training image, at most `most` of each."""
        train = self.card(spec).card.splits["train"]
        mean = train.n_boxes / train.n_images
        usual = coco_images.mean_boxes()
        return mean * coco_images.mean_boxes(most) / usual if mean > 1 else mean

    def _structure(self, spec: RunSpec) -> str:
        """Equal for runs with the same work for an image: numbers that only weigh terms are left out."""
        value = spec.model_dump(mode="json", exclude={"seed", "name", "schedule"})
        for method in value["method"]:
            for parameters in method.values():
                for key, number in parameters.items():
                    if isinstance(number, float):
                        parameters[key] = number > 0
        value["teachers"] = {role: self._structure(self.teacher(run)) for role, run in _teachers(spec).items()}
        recipe = spec.schedule.values
        crops = recipe.crops.model_dump() if isinstance(recipe, TeacherRecipe) else None
        batch = getattr(recipe, "batch", 0)
        return json.dumps([value, crops, spec.fit, batch], sort_keys=True, default=str)

    def teacher(self, run: str) -> RunSpec:
        """Return the spec of a teacher, of a definition or in the store.

        Raises:
            InputError: it is nowhere.
        """
        if run in self.specs:
            return self.specs[run]
        stored = RunFolder(self.runs / run).spec
        if not stored.is_file():
            raise InputError(f"teacher {run} is in none of the definitions and not in {self.runs}; give its definition")
        return parse_spec(read_json(stored), str(stored))

    def configs(self, spec: RunSpec) -> Any:
        """Return the resolved configs of a run; those of runs that differ in method and schedule alone are shared."""
        from c2d.training import config

        kept = {"kind", "dataset", "student", "network", "input", "init", "overrides"}
        key = json.dumps(spec.model_dump(mode="json", include=kept), sort_keys=True)
        if key not in self._configs:
            self._configs[key] = config.resolve(spec, self.card(spec), RunFolder(self.runs / spec.id))
        return self._configs[key]

    def shape(self, resolved: Any, batch: int) -> BatchShape:
        """Return the shape of the padded training images of a batch over all GPUs."""
        test = resolved.student["test_dataloader"]["dataset"]["pipeline"]
        dataset = resolved.train["train_dataloader"]["dataset"]
        model = resolved.student["model"].to_dict()
        return batch_shape(dataset["pipeline"], test, model, max(1, batch // self.gpus))

    def _detector(self, spec: RunSpec) -> ImageFlops:
        resolved = self.configs(spec)
        model = resolved.student["model"].to_dict()
        batch = spec.training.batch if spec.has_steps else 1
        shape = self.shape(resolved, batch)
        student = detector_flops(model, shape.height, shape.width).scaled(shape.scale)
        pipeline = resolved.student["test_dataloader"]["dataset"]["pipeline"]
        test = batch_shape(pipeline, pipeline, model, 1)
        tested = detector_flops(model, test.height, test.width).scaled(test.scale)
        operators = self._step_operators(spec, resolved)
        teachers, notes = Work(0.0, 0), tuple[str, ...]()
        if spec.method:
            teachers, notes = self._methods(spec, resolved, shape, student)
        return ImageFlops(
            student.step, teachers.flops, tested.prediction, shape.mean_pixels, operators + teachers.operators,
            student.operators, notes,
        )  # fmt: skip

    def _step_operators(self, spec: RunSpec, resolved: Any) -> int:
        network = self._network("student", resolved.student).train()
        key = json.dumps([spec.student and spec.student.digest, spec.input, spec.overrides], default=str)
        if key not in self._operators:
            self._operators[key] = step_operators(network, len(self.card(spec).card.classes), _fixed_size(network))
        return self._operators[key]

    def _methods(
        self, spec: RunSpec, resolved: Any, shape: BatchShape, student: DetectorFlops
    ) -> tuple[Work, tuple[str, ...]]:
        """Work of the teachers' passes and the methods' terms for one image, and notes."""
        from c2d.detectors.outputs import Needs

        model = self.distillation(spec, resolved)
        needs = reduce(or_, (method.needs for method in model.methods.values()), Needs())
        refreshed = any(method.refresh is not None for method in model.methods.values())
        total, operators = 0.0, 0
        if needs.detector:
            teacher_config = self.configs(self.teacher(str(spec.teachers.detector))).student["model"].to_dict()
            teacher = detector_flops(teacher_config, shape.height, shape.width).scaled(shape.scale)
            operators += teacher.operators
            total += teacher.forward if needs.dense or needs.towers or needs.queries else teacher.maps
            total += student.rois * teacher.roi_forward * (needs.rois + needs.proposals)
            total += student.rois * student.roi_training * needs.proposals
            if refreshed:  # a pass of both detectors over the training images for every pass of the training
                total += teacher.forward + student.forward
        counted = method_flops(model, len(self.card(spec).card.classes), _fixed_size(model.student), self._views)
        truths, positives = self._boxes(spec), _positives(model.student, self._boxes(spec))
        total += sum(one.of_image(truths, positives, shape.mean_pixels) for one in counted.values())
        operators += sum(one.operators for one in counted.values())
        return Work(total, operators), tuple(one.note for one in counted.values() if one.note)

    def distillation(self, spec: RunSpec, resolved: Any) -> Any:
        """Build the student with its methods and teachers on the CPU, all with random weights, in training mode.

        Args:
            spec: of a detector run.
            resolved: its configs.
        """
        from c2d.detectors.iteration_state import resize_by_iteration
        from c2d.distillation.build_methods import build_distillation
        from c2d.distillation.wrapper import TeacherSet
        from c2d.teachers.detector import DetectorTeacher
        from c2d.teachers.ensemble import EnsembleTeacher

        torch.manual_seed(0)
        classes = self.card(spec).card.classes
        student = self._network("student", resolved.student)
        resize_by_iteration(student, spec.seed)
        teachers = TeacherSet()
        if spec.teachers.detector:
            config = self.configs(self.teacher(spec.teachers.detector)).student
            teachers.detector = DetectorTeacher(self._network("teacher", config))  # the network is shared
            teachers.detector.classes = tuple(classes)
        if members := spec.teachers.classifiers:
            built = [self._classifier_teacher(self.teacher(run), classes) for run in members]
            teachers.classifier = built[0] if len(built) == 1 else EnsembleTeacher(built, spec.teachers.weights())
        model = build_distillation(spec, student, teachers, len(classes), None, soft_labels=True)
        return model.train()

    def _network(self, role: str, config: Any) -> Any:
        """A detector with random weights; methods leave it as it is, so those of one structure share it."""
        from c2d.evaluation.stock_model import build_student

        key = role + json.dumps(config["model"].to_dict(), sort_keys=True, default=str)
        if key not in self._networks:
            self._networks[key] = build_student(config)
        return self._networks[key]

    def _classifier(self, spec: RunSpec) -> ImageFlops:
        recipe = spec.schedule.values
        assert isinstance(recipe, TeacherRecipe)
        length = 512 if spec.text_embeddings is not None else None
        side = spec.input or recipe.input
        forward, training = classifier_work(str(spec.network), len(self.card(spec).card.classes), side, length)
        most = recipe.crops.per_image if isinstance(recipe, TeacherSchedule) else None
        work = training if spec.fit == "full" else forward
        return ImageFlops(
            work.flops * self._boxes(spec, most), 0.0, forward.flops * self._boxes(spec), float(side**2),
            work.operators, forward.operators,
        )  # fmt: skip

    def _classifier_teacher(self, spec: RunSpec, classes: list[str]) -> Any:
        """A classifier with random weights; the students of one teacher share it."""
        from c2d.teachers.classifier import ClassifierTeacher
        from c2d.teachers.crop_classifier import normalization_from_recipe
        from c2d.teachers.networks import build_fitted_network

        recipe = spec.schedule.values
        assert isinstance(recipe, TeacherRecipe)
        side = spec.input or recipe.input
        if spec.id not in self._classifiers:
            length = 512 if spec.text_embeddings is not None else None
            network = build_fitted_network(str(spec.network), len(classes), side, length)
            pixels = normalization_from_recipe(recipe.normalisation.model_dump())
            self._classifiers[spec.id] = ClassifierTeacher(network, classes, side, pixels, context=recipe.crops.context)
        return self._classifiers[spec.id]

    def _synthesis(self, spec: RunSpec) -> ImageFlops:
        return ImageFlops(0.0, 0.0, 0.0, 0.0, 0, 0, (f"{spec.id}: a synthesis of images is not counted",))


def _teachers(spec: RunSpec) -> dict[str, str]:
    from c2d.specs.teachers import needed_runs

    return {role: run for role, run in needed_runs(spec.teachers).items() if role != "impressions"}


def _published_card(name: str, digest: str) -> LoadedCard:
    public = public_cards().get(name) or public_cards()["coco2017"]
    kept = {"annotations", "images", "n_images", "n_boxes"}
    splits = {split: Split(**one.model_dump(include=kept), digest="") for split, one in public.splits.items()}
    return LoadedCard(Card(name=name, classes=public.classes, digest=digest, splits=splits), Path(name))


def _fixed_size(student: Any) -> int | None:
    """Side of the only images that a student takes, in px: SSD's."""
    generator = getattr(getattr(student, "bbox_head", None), "prior_generator", None)
    size = getattr(generator, "input_size", None)
    return None if size is None else int(size[0] if isinstance(size, list | tuple) else size)


def _positives(student: Any, boxes: float) -> float:
    """Mean positives of an image: as measured for the head's family, at most what a second stage samples."""
    from c2d.detectors.families import detector_family

    roi_head = getattr(student, "roi_head", None)
    if roi_head is not None and getattr(roi_head, "train_cfg", None):
        configs = roi_head.train_cfg
        sampler = (configs[0] if isinstance(configs, list | tuple) else configs).get("sampler", {})
        if sampler.get("num"):
            return float(sampler["num"] * sampler["pos_fraction"])
    family = detector_family(student) or ""
    return boxes * coco_images.POSITIVES.get(family, coco_images.POSITIVES_UNKNOWN)

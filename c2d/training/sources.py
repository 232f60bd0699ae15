"""Sources of a run's parts: its data set, teachers and first weights. Its images: `c2d.specs.data_of_run`.

`Sources` reads the real ones. `c2d.preflight.synthetic_sources` puts random ones in the place of those that do not
exist yet, behind the same methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from c2d.configs.run_config import verify_run_files
from c2d.core.errors import InputError, abbreviate
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard
from c2d.specs import first_weights
from c2d.specs.data_of_run import ImageSource
from c2d.specs.schedule import TeacherRecipe
from c2d.specs.spec import RunSpec
from c2d.specs.teacher_runs import teacher_result, teacher_run

if TYPE_CHECKING:
    from c2d.teachers.fitting.text_embeddings import TextEmbeddings

POOR_AP = 0.05
"""A detector teacher below it gets a warning in the log. It is not an error, as a classifier below its min_top1 is: how
good a detector can be depends on its data."""


class TeacherSource(NamedTuple):
    """A teacher with what result.json (`facts`) and the log (`note`) record about it."""

    teacher: Any
    facts: dict[str, Any]
    note: str


class Sources:
    """The real data set, teachers and first weights of a run.

    Attributes:
        spec: of the run.
        folder: the run's folder; its parent is the store, which holds the teachers and kept weight files.
        device: `cpu` or `cuda:N`.
        card: the data set: `train` has the images of the run, wherever they come from.
        images: where they come from; None: they are real and labelled.
        init: what fills the network or backbone: the spec's `init` without what is inherited from a teacher.
    """

    def __init__(
        self, spec: RunSpec, folder: RunFolder, device: str, card: LoadedCard, images: ImageSource | None = None,
        *, download: bool = False,
    ) -> None:  # fmt: skip
        self.spec, self.folder, self.device, self.card, self.images = spec, folder, device, card, images
        self.download = download
        self.init = first_weights.network_source(spec.init)

    def first_weights(self, model: Any) -> tuple[dict[str, Any] | None, str]:
        """Load the weights that the spec's `init` names into a detector's backbone or a classifier's network.

        Returns:
            (audit of the weight file or None, note for the log, empty where there is none).

        Raises:
            InputError: the file or run is missing or does not fit.
        """
        if self.init == first_weights.BACKBONE:
            return self._backbone_weights(model)
        is_classifier = self.spec.kind == "classifier"
        if first_weights.is_whole(self.init):
            return self._whole_detector(model)
        if self.init == first_weights.NONE:
            part = "backbone" if first_weights.inherits(self.spec.init) else "student"
            return None, "" if is_classifier else f"{part} from scratch (init {self.spec.init}): no pretrained weights"
        from c2d.weights.pretrained import initialise

        audit = initialise(model, self.init, self.folder, download=self.download)
        return (
            audit.to_dict(),
            f"{'network' if is_classifier else 'student backbone'} from {self.init}: {audit.summary()}",
        )

    def _backbone_weights(self, student: Any) -> tuple[dict[str, Any] | None, str]:
        """Load the weights of the classifier run of `teachers.backbone` into a student's backbone.

        Raises:
            InputError: the run is not finished, is below its min_top1, had other pixels or another network.
        """
        from c2d.teachers.classifier import check_teacher_accuracy
        from c2d.teachers.crop_classifier import normalization_from_recipe
        from c2d.weights.pretrained import initialise_from_run

        run = teacher_run(str(self.spec.teachers.backbone), self.folder)
        spec, result = teacher_result(run, "classifier")
        check_teacher_accuracy(result, spec)
        verify_run_files(run)
        recipe = spec.schedule.values
        assert isinstance(recipe, TeacherRecipe)
        trained = normalization_from_recipe(recipe.normalisation.model_dump())
        audit = initialise_from_run(student, run, trained)
        return (
            audit.to_dict(),
            f"student's {audit.summary()}; top-1 {result['top1']:.3f} on {spec.dataset.name}",
        )

    def backbone(self) -> dict[str, Any]:
        """Return what result.json records about the classifier run that a student's backbone starts from.

        Raises:
            InputError: it is not finished.
        """
        spec, result = teacher_result(teacher_run(str(self.spec.teachers.backbone), self.folder), "classifier")
        return {
            "run": spec.id,
            "top1": result["top1"],
            "network": spec.network,
            "dataset": spec.dataset.name,
            "schedule": spec.schedule.name,
        }

    def _whole_detector(self, detector: Any) -> tuple[dict[str, Any], str]:
        """Fill a whole detector from its file, whose classes are those of the data set where it names them."""
        from c2d.configs.class_names import name_outputs
        from c2d.detectors.heads import count_classes
        from c2d.weights.zoo.zoo_weights import fill_detector, read_detector

        file = read_detector(self.init, self.folder, download=self.download)
        audit = fill_detector(detector, file)
        classes = tuple(self.card.card.classes)
        named = name_outputs({}, file.content, count_classes(detector), self.init, file.source)
        if named is not None and named.names != classes:
            raise InputError(
                f"{named.source} has the classes {abbreviate(named.names, 4)}, and data set {self.spec.dataset.name} "
                f"has {abbreviate(classes, 4)}; take the data set of its training, with the classes in that order"
            )
        unknown = [f"its {what}" for what, found in (("classes", named), ("pixels", file.pixels)) if found is None]
        note = f"; the file does not say {' and '.join(unknown)}: taken as the data set and the config have them"
        return audit.to_dict(), f"whole detector from {self.init}: {audit.summary()}{note if unknown else ''}"

    def inherited_weights(self, student: Any, teacher: TeacherSource) -> tuple[dict[str, Any] | None, str]:
        """Fill a student's neck and heads from its detector teacher, where the spec's `init` says so.

        Args:
            student: an mmdet detector.
            teacher: of the run.

        Returns:
            (audit of all keys of neck and heads or None, note for the log).

        Raises:
            InputError: no layer fits, or the classes differ.
        """
        if not first_weights.inherits(self.spec.init):
            return None, ""
        classes, name = self.card.card.classes, f"teacher {self.spec.teachers.detector}"
        if teacher.teacher.classes is not None and list(teacher.teacher.classes) != list(classes):
            raise InputError(
                f"init {self.spec.init}: {name} has the classes {abbreviate(teacher.teacher.classes)}, the student "
                f"{abbreviate(classes)}; its head would start with the weights of other classes: train a teacher on "
                "this data set, or take another init"
            )
        from c2d.weights.inherited import inherit_neck_and_heads

        audit = inherit_neck_and_heads(student, teacher.teacher.network, name)
        return audit.to_dict(), audit.summary()

    def calibration_images(self) -> set[int]:
        """Return the ids of the training images that a calibrated classifier is not trained on.

        Raises:
            InputError: there are too few images, or those have no box.
        """
        from c2d.evaluation.datasets import calibration_ids

        return calibration_ids(self.card)

    def text_embeddings(self) -> TextEmbeddings | None:
        """Read the text embeddings of the classes; None for a run that has none.

        Raises:
            InputError: the file is not in the store, or has no embedding of a class.
        """
        if self.spec.text_embeddings is None:
            return None
        from c2d.teachers.fitting.text_embeddings import stored_embeddings

        return stored_embeddings(self.spec.text_embeddings, self.folder).of_classes(self.card.card.classes)

    def classifier(self) -> TeacherSource:
        """Load the classifier that the spec names, or the members of an ensemble.

        Raises:
            InputError: as `classifier_teacher`.
        """
        from c2d.teachers.ensemble import EnsembleTeacher

        teachers = self.spec.teachers
        sources = [self.classifier_teacher(run_id) for run_id in teachers.classifiers]
        if len(sources) == 1:
            return sources[0]
        weights = teachers.weights()
        facts = {"members": [{**one.facts, "weight": weight} for one, weight in zip(sources, weights, strict=True)]}
        shares = ", ".join(f"{weight:.3g}" for weight in weights)
        note = "\n".join([f"ensemble of {len(sources)} classifiers, weights {shares}", *(one.note for one in sources)])
        return TeacherSource(EnsembleTeacher([one.teacher for one in sources], weights), facts, note)

    def classifier_teacher(self, run_id: str) -> TeacherSource:
        """Load the classifier of a finished run.

        Raises:
            InputError: the run is not finished, is below its min_top1, or has other classes than the student.
        """
        from c2d.teachers.classifier import ClassifierTeacher, check_teacher_accuracy

        run = teacher_run(run_id, self.folder)
        teacher_spec, result = teacher_result(run, "classifier")
        check_teacher_accuracy(result, teacher_spec)
        teacher = ClassifierTeacher.from_run(run.path, self.device)
        classes = self.card.card.classes
        if list(teacher.classes) != list(classes):
            raise InputError(
                f"teacher {run.id} has the classes {', '.join(teacher.classes[:4])}, ... ({len(teacher.classes)}), "
                f"the data set {self.spec.dataset.name} has {', '.join(classes[:4])}, "
                f"... ({len(classes)}); train a teacher on this data"
            )
        assert teacher.audit is not None  # from_run loads a file
        facts = {"run": run.id, "top1": result["top1"], **facts_of_fit(teacher_spec, result)}
        facts["audit"] = teacher.audit.to_dict()
        how = f"fit {facts['fit']}" + (f", {facts['text_embeddings']}" if "text_embeddings" in facts else "")
        note = f"classifier teacher {run.id}: {how}, top-1 {result['top1']:.3f}, {teacher.audit.summary()}"
        if "calibration" in result:
            facts["temperature"] = teacher.temperature
            note += f", calibrated: logits divided by {teacher.temperature:.3f}"
        return TeacherSource(teacher, facts, note)

    def detector_teacher(self, run_id: str) -> TeacherSource:
        """Load the detector of a finished run.

        Raises:
            InputError: the run is not finished, or its weights do not fit its config.
        """
        from c2d.teachers.detector import DetectorTeacher

        run = teacher_run(run_id, self.folder)
        _, result = teacher_result(run, "detector")
        teacher = DetectorTeacher.from_run(run.path, self.device)
        assert teacher.audit is not None  # from_run loads a file
        facts = {"run": run.id, "AP": result["AP"], "audit": teacher.audit.to_dict()}
        poor = "" if (result["AP"] or 0) >= POOR_AP else "; it detects almost nothing, and its student would learn that"
        note = f"detector teacher {run.id}: AP {result['AP']}{poor}, {teacher.audit.summary()}"
        return TeacherSource(teacher, facts, note)


def check_pixels_of_run(folder: RunFolder, init: str) -> None:
    """Compare the normalisation that weights were trained with to that of a run which was built; nothing is loaded.

    Args:
        folder: of the run, with its config.
        init: the weights; those of files and of other runs state no normalisation.

    Raises:
        InputError: unknown weights, or they do not belong to the run's pixels.
    """
    from c2d.configs.run_config import read_run_config
    from c2d.detectors.mmdet_scope import mmdet_scope
    from c2d.detectors.normalization import Normalization
    from c2d.teachers.crop_classifier import normalization_from_recipe
    from c2d.weights.pretrained import check_pixels

    model = read_run_config(folder)["model"]
    if "normalisation" in model:
        pixels = normalization_from_recipe(model["normalisation"])
    else:
        with mmdet_scope():
            from mmdet.registry import MODELS

            pixels = Normalization.from_preprocessor(MODELS.build(model["data_preprocessor"]))
    check_pixels(first_weights.network_source(init), pixels)


def facts_of_fit(spec: RunSpec, result: dict[str, Any]) -> dict[str, Any]:
    """Return what the result of a student records about the fit of its classifier teacher.

    Args:
        spec: of the teacher.
        result: its result.json.
    """
    fit = result.get("fit")
    facts: dict[str, Any] = {"fit": spec.fit, "network": spec.network, "init": spec.init}
    if isinstance(fit, dict) and fit.get("text_embeddings"):
        facts["text_embeddings"] = str(fit["text_embeddings"])
    return facts

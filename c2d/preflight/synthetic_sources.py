"""Sources of a dry run: synthetic parts in the place of a data set, teachers and weights that do not exist yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card import LoadedCard
from c2d.detectors.normalization import Normalization
from c2d.distillation.build_methods import soft_label_methods
from c2d.preflight import synthetic
from c2d.preflight.dry_run_entry import Entry, is_finished, structure, teacher_entry
from c2d.specs import first_weights
from c2d.specs.spec import RunSpec, parse_spec
from c2d.specs.teacher_runs import teacher_run
from c2d.specs.teachers import BACKBONE, key_of_role
from c2d.teachers.fitting.text_embeddings import TextEmbeddings, random_embeddings, stored_embeddings
from c2d.training.sources import Sources, TeacherSource
from c2d.weights import pretrained, safe_load, timm_weights, torchvision_weights
from c2d.weights.weight_file import WeightFile
from c2d.weights.zoo.zoo_table import PREFIX, zoo_file

UNKNOWN_CLASSES = ("one", "two", "three")


class SyntheticParts:
    """Synthetic data sets and teachers, each built once for all entries of a dry run.

    Attributes:
        runs: the store, for finished teachers, kept student configs and weight files; nothing is written to it.
        scratch: an empty folder for synthetic files.
    """

    def __init__(self, runs: Path, scratch: Path) -> None:
        self.runs, self.scratch = runs, scratch
        self._cards: dict[tuple[bool, bool, tuple[str, ...]], LoadedCard] = {}
        self._teachers: dict[str, Any] = {}

    def card(self, classes: Sequence[str], soft_labels: bool = False, whole_images: bool = False) -> LoadedCard:
        """Return a data set of these classes, with or without soft labels, of boxes or of whole images."""
        key = soft_labels, whole_images, tuple(classes)
        if key not in self._cards:
            folder = self.scratch / f"data{len(self._cards)}"
            self._cards[key] = synthetic.dataset(classes, folder, soft_labels, whole_images)
        return self._cards[key]

    def teacher(self, kind: str, entry: Entry, card: LoadedCard) -> Any:
        """Return the teacher that `entry` will train, with random weights.

        Args:
            kind: `classifier` or `detector`.
            entry: of the teacher.
            card: the data set, for its classes.
        """
        classes = card.card.classes
        key = f"{kind} {structure(entry, self.runs)} {classes}"
        if key not in self._teachers:
            folder = RunFolder(self.runs / entry.spec.id)
            self._teachers[key] = (
                synthetic.classifier_teacher(entry.spec, classes, folder, self._text_length(entry.spec))
                if kind == "classifier"
                else synthetic.detector_teacher(entry.spec, card, folder)
            )
        return self._teachers[key]

    def _text_length(self, spec: RunSpec) -> int | None:
        """Numbers of a text embedding of a zero-shot classifier, from the file that the store keeps."""
        if spec.text_embeddings is None:
            return None
        return stored_embeddings(spec.text_embeddings, RunFolder(self.runs / spec.id)).vectors.shape[1]


class SyntheticSources(Sources):
    """Sources of one entry: a synthetic data set, and finished teachers and weight files where they exist.

    Attributes:
        notes: what was replaced, and what was loaded.
    """

    def __init__(self, entry: Entry, parts: SyntheticParts) -> None:
        classes = entry.classes or UNKNOWN_CLASSES
        card = parts.card(classes, bool(soft_label_methods(entry.spec.method)), entry.spec.takes_whole_images)
        super().__init__(entry.spec, RunFolder(parts.runs / entry.spec.id), "cpu", card)
        self.entry, self.parts = entry, parts
        self.notes: list[str] = []
        if self.spec.teachers.impressions and self.spec.kind != "impressions":
            self.notes.append(f"the images of {self.spec.teachers.impressions} are not read; tried with synthetic ones")
        if entry.classes is None:
            name = entry.spec.dataset.name
            self.notes.append(f"the classes of {name} are not known here; tried with {len(classes)}")

    def first_weights(self, model: Any) -> tuple[dict[str, Any] | None, str]:
        """Load `init` if its file exists here; else check its name, normalization, keys and shapes without a download.

        Raises:
            InputError: unknown or missing weights, another normalization, or another architecture.
        """
        init = self.init
        if init == first_weights.NONE:
            return None, ""
        if init == first_weights.BACKBONE:
            audit, note = self._backbone_weights(model)
            self.notes.append(note)
            return audit, note
        if first_weights.is_whole(init):
            return self._whole_weights(model)
        pretrained.check_pixels(init, Normalization.from_preprocessor(model.data_preprocessor))
        audit = None
        if init.startswith(timm_weights.PREFIX) and not timm_weights.is_cached(init):
            timm_weights.check_network(init, getattr(model, "network", None) or model.backbone)
            note = f"weights {init} are not here; name, normalisation and network fit; the run needs the file"
        elif not init.startswith(torchvision_weights.PREFIX) or synthetic.is_downloaded(init):
            loaded = pretrained.initialise(model, init, self.folder, download=False)
            audit, note = loaded.to_dict(), f"first weights {init}: {loaded.summary()}"
        else:
            self._check_weights(model)
            note = f"weights {init} are not here; name, normalisation, keys and shapes fit; the run needs the file"
        self.notes.append(note)
        return audit, note

    def _backbone_weights(self, student: Any) -> tuple[dict[str, Any] | None, str]:
        """Load the weights of a finished run; of a planned one random weights, which have its keys and shapes."""
        run_id = str(self.spec.teachers.backbone)
        if is_finished(self.parts.runs, run_id):
            return super()._backbone_weights(student)
        spec = self._planned(BACKBONE, run_id)
        state, pixels = synthetic.classifier_weights(spec, self.card.card.classes, RunFolder(self.parts.runs / run_id))
        pretrained.check_same_pixels(
            f"of run {run_id}", pixels, Normalization.from_preprocessor(student.data_preprocessor)
        )
        audit = pretrained.load(student.backbone, WeightFile(f"run {run_id}", state), classifier=False)
        return audit.to_dict(), f"{BACKBONE} {run_id} is not trained yet; tried with random weights: {audit.summary()}"

    def backbone(self) -> dict[str, Any]:
        """Return the facts of a finished run; nothing of a planned one."""
        return super().backbone() if is_finished(self.parts.runs, self.spec.teachers.backbone) else {}

    def _whole_weights(self, model: Any) -> tuple[dict[str, Any] | None, str]:
        """Load a whole detector, if its file and the class list are here."""
        audit: dict[str, Any] | None = None
        note = f"whole detector {self.init} is not loaded: its file, or the class list of the data set, is not here"
        is_here = not self.init.startswith(PREFIX) or torchvision_weights.cache_place(zoo_file(self.init).url).is_file()
        if is_here and self.entry.classes is not None:
            audit, note = super().first_weights(model)
        self.notes.append(note)
        return audit, note

    def inherited_weights(self, student: Any, teacher: TeacherSource) -> tuple[dict[str, Any] | None, str]:
        """Compare the layers of student and teacher; a teacher that is not trained yet has random weights."""
        audit, note = super().inherited_weights(student, teacher)
        self.notes += [note] if note else []
        return audit, note

    def calibration_images(self) -> set[int]:
        """Return no image: a synthetic data set is too small to hold some out."""
        return set()

    def text_embeddings(self) -> TextEmbeddings | None:
        """Read the text embeddings; where the classes are not known, random ones take their place.

        Raises:
            InputError: the file is not in the store, or has no embedding of a class.
        """
        if self.entry.classes is not None or self.spec.text_embeddings is None:
            return super().text_embeddings()
        stored = stored_embeddings(self.spec.text_embeddings, self.folder)
        return random_embeddings(self.card.card.classes, stored.vectors.shape[1], seed=0)

    def classifier_teacher(self, run_id: str) -> TeacherSource:
        """Load a finished classifier, or build the planned one with random weights."""
        return self._noted(super().classifier_teacher(run_id) if self._usable(run_id) else None, "classifier", run_id)

    def detector_teacher(self, run_id: str) -> TeacherSource:
        """Load a finished detector, or build the planned one with random weights."""
        return self._noted(super().detector_teacher(run_id) if self._usable(run_id) else None, "detector", run_id)

    def _usable(self, run_id: str) -> bool:
        """Whether the finished teacher can be loaded: the synthetic data set needs the same classes, as names."""
        return self.entry.classes is not None and is_finished(self.parts.runs, run_id)

    def _noted(self, finished: TeacherSource | None, kind: str, run_id: str) -> TeacherSource:
        source = finished or self._planned_teacher(kind, run_id)
        self.notes += source.note.splitlines()
        return source

    def _planned(self, key: str, run_id: str) -> RunSpec:
        """Return the spec of the run in a key of `teachers`, of the entry or of the store."""
        given = [spec for role, spec in self.entry.teachers.items() if key_of_role(role) == key]
        spec = next((spec for spec in given if spec.id == run_id), given[0] if len(given) == 1 else None)
        if spec is None:
            run = teacher_run(run_id, self.folder)
            spec = parse_spec(read_json(run.spec), str(run.spec))
        if spec.id != run_id:
            raise InputError(
                f"the {key} teacher given is {spec.id}, the spec names {run_id}; give the spec of that run"
            )
        return spec

    def _planned_teacher(self, kind: str, run_id: str) -> TeacherSource:
        spec = self._planned(kind, run_id)
        teacher = self.parts.teacher(kind, teacher_entry(self.entry, spec), self.card)
        note = f"{kind} teacher {run_id} is not trained yet; tried with random weights"
        if spec.dataset != self.spec.dataset:
            note += f"\nteacher {run_id} learns on {spec.dataset.name}; its classes are compared when it is finished"
        return TeacherSource(teacher, {}, note)

    def _check_weights(self, model: Any) -> None:
        """Load zeros with the keys and shapes of `init`, and restore the model's weights."""
        is_classifier = hasattr(model, "network")
        target = model.network if is_classifier else model.backbone
        own = {key: value.clone() for key, value in target.state_dict().items()}
        zeros = synthetic.weights(self.init, self.parts.scratch, head=is_classifier)
        pretrained.load(target, WeightFile(self.init, safe_load.load(zeros)), classifier=is_classifier)
        target.load_state_dict(own)

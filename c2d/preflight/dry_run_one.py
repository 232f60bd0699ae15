"""One question tried out: everything that its training will build is built, and one step is taken on stand-ins.

The road is the training's own (config.resolve, build.distillation, Distillation.loss); only the data, the weights of
untrained teachers and weights that are not on this machine come from standins.py. Random weights, fp32, one process.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from c2d.core.errors import InputError, RunError, first_line
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card import LoadedCard, find_card, find_file, verify
from c2d.detectors.normalization import Normalization
from c2d.detectors.training_images import TrainingImages
from c2d.distillation.wrapper import TeacherSet
from c2d.ops.seeding import seed_everything
from c2d.preflight import synthetic
from c2d.preflight.first_step import first_step
from c2d.specs.resolve_spec import teacher_run
from c2d.specs.spec import RunSpec, parse_spec
from c2d.training import build, config, evaluate
from c2d.weights import pretrained

if TYPE_CHECKING:
    from c2d.preflight.dry_run import Entry

VERIFIED_MB = 64
"""Annotation files are read and compared with their card up to this size; larger ones when a run starts."""
UNKNOWN_CLASSES = ("one", "two", "three")


def structure(entry: Entry, runs: Path) -> str:
    """Equal for questions that build the same modules and compute the same terms.

    Seed, name, lengths and rates of the schedule, and the size of float parameters are left out; whether a float is
    zero stays in, because a term of weight 0 is not computed. Parameters are validated on the way.

    Raises:
        InputError: a parameter's value is not allowed.
    """
    spec = entry.spec
    values = {
        name: {key: _sign(value) for key, value in given.model_dump().items()}
        for name, given in build.parameters(spec.method).items()
    }
    schedule = spec.schedule.values.model_dump(
        mode="json",
        include={"optimizer": {"type"}, "precision": True, "policy": True, "crops": True, "normalisation": True},
    )
    teachers = {kind: run_id for kind, run_id in spec.teachers.model_dump().items() if run_id}
    planned = {
        kind: structure(replaced(entry, teacher), runs)
        for kind, teacher in entry.teachers.items()
        if not _finished(runs, teachers.get(kind))
    }
    whole = spec.model_dump(
        mode="json", include={"kind", "dataset", "student", "network", "input", "init", "overrides"}
    )
    whole |= {"method": values, "schedule": schedule, "teachers": teachers | planned, "classes": entry.classes}
    return json.dumps(whole, sort_keys=True, default=str)


def replaced(entry: Entry, teacher: RunSpec) -> Entry:
    """The entry of a teacher: its own spec, the same classes, no teachers of its own."""
    return type(entry)(teacher, {}, entry.classes)


def _sign(value: Any) -> Any:
    return (
        f"{'zero' if value == 0 else 'positive' if value > 0 else 'negative'} float"
        if isinstance(value, float)
        else value
    )


def _finished(runs: Path, run_id: str | None) -> bool:
    if run_id is None:
        return False
    run = RunFolder(runs / run_id)
    return run.read_status()["state"] == "done" and run.result.exists()


class Tryout:
    """Tries out one question after the other; stand-in data sets, teachers and data checks are kept between them."""

    def __init__(self, runs: Path, data: Path | None, scratch: Path) -> None:
        """`runs`: the store; `data`: root of the data cards; `scratch`: an empty folder for stand-ins."""
        self.runs, self.data, self.scratch = runs, data, scratch
        self._cards: dict[tuple[str, ...], LoadedCard] = {}
        self._teachers: dict[str, tuple[Any, list[str]]] = {}
        self._data_notes: dict[tuple[str, str], str] = {}

    def run(self, entry: Entry) -> list[str]:
        """Build it and take one step; notes on what was seen and what could not be looked at.

        Raises:
            InputError, RunError: something a person has to mend; or whatever mmdet or torch raises while it is built.
        """
        spec, folder = entry.spec, RunFolder(self.runs / entry.spec.id)
        classes = entry.classes or UNKNOWN_CLASSES
        notes: list[str] = []
        if entry.classes is None:
            notes.append(f"the classes of {spec.dataset.name} are not known here; tried with {len(classes)}")
        card = self._card(classes)
        resolved = config.resolve(spec, card, folder)
        for dataset in (resolved.train["train_dataloader"]["dataset"], resolved.student["test_dataloader"]["dataset"]):
            evaluate.build_dataset(dataset)[0]
        seed_everything(spec.seed)
        teachers = TeacherSet()
        if spec.kind == "classifier":
            from c2d.teachers.crop_classifier import CropClassifier

            model: Any = CropClassifier(**resolved.train["model"])
            notes += self._first_weights(model, spec.init, folder)
        else:
            student = evaluate.build_student(resolved.student)
            notes += self._first_weights(student, spec.init, folder)
            for kind, run_id in spec.teachers.model_dump().items():
                if run_id:
                    teacher, found = self._teacher(kind, run_id, entry, card)
                    setattr(teachers, kind, teacher)
                    notes += found
            samples = TrainingImages(partial(build.as_at_test, resolved, card))
            model = build.distillation(spec, student, teachers, len(classes), samples)
            model.at_full_weight()
        _optimisation(model, resolved)
        if spec.schedule.values.precision != "fp32":
            notes.append(f"tried in fp32; {spec.schedule.values.precision} is for the run itself")
        notes += first_step(model, teachers, synthetic.sides(resolved), len(classes))
        return [*notes, self._data_note(spec)]  # last: data on another disk hide no mistake of the question

    def _card(self, classes: Sequence[str]) -> LoadedCard:
        key = tuple(classes)
        if key not in self._cards:
            self._cards[key] = synthetic.dataset(key, self.scratch / f"data{len(self._cards)}")
        return self._cards[key]

    def _data_note(self, spec: RunSpec) -> str:
        """What is known about the real data set; once for each.

        Raises:
            InputError: data of that name are here and are not those of the question, or files are missing.
        """
        key = (spec.dataset.name, spec.dataset.digest)
        if key not in self._data_notes:
            self._data_notes[key] = _look_at(spec, self.data)
        return self._data_notes[key]

    def _teacher(self, kind: str, run_id: str, entry: Entry, card: LoadedCard) -> tuple[Any, list[str]]:
        """A finished teacher as training would load it, or a planned one with random weights."""
        folder, spec = RunFolder(self.runs / entry.spec.id), entry.teachers.get(kind)
        classes, finished = card.card.classes, _finished(self.runs, run_id)
        if finished and entry.classes is not None:
            if kind == "classifier":
                found, _, note = build.classifier_teacher(run_id, entry.spec.dataset.name, classes, folder, "cpu")
                return found, [note]
            detector, _, note = build.detector_teacher(run_id, folder, "cpu")
            return detector, [note]
        if spec is None:
            run = teacher_run(run_id, folder)
            spec = parse_spec(read_json(run.spec), str(run.spec))
        if spec.id != run_id:
            raise InputError(f"the {kind} teacher given is {spec.id}, the question asks for {run_id}")
        key = f"{kind} {structure(replaced(entry, spec), self.runs)} {classes}"
        if key not in self._teachers:
            planned = (
                synthetic.classifier_teacher(spec, classes)
                if kind == "classifier"
                else synthetic.detector_teacher(spec, card, RunFolder(self.runs / spec.id))
            )
            self._teachers[key] = planned, []
        notes = [f"{kind} teacher {run_id} is not trained yet; tried with random weights"]
        if spec.dataset != entry.spec.dataset:
            notes.append(
                f"teacher {run_id} learns on {spec.dataset.name}; its classes are compared when it is finished"
            )
        return self._teachers[key][0], notes

    def _first_weights(self, model: Any, init: str, folder: RunFolder) -> list[str]:
        """`init` as training would load it; torchvision's without a download: name, pixels, keys and shapes.

        Raises:
            InputError: unknown or absent weights, pixels that do not belong to them, or another architecture.
        """
        if init == "none":
            return []
        pretrained.check_pixels(init, Normalization.from_preprocessor(model.data_preprocessor))
        if not init.startswith(pretrained.PREFIX) or synthetic.fetched(init):
            return [f"first weights {init}: {pretrained.initialise(model, init, folder, download=False).summary()}"]
        classifier = hasattr(model, "network")
        target = model.network if classifier else model.backbone
        own = {key: value.clone() for key, value in target.state_dict().items()}
        pretrained.load(target, synthetic.weights(init, self.scratch, head=classifier), classifier=classifier)
        target.load_state_dict(own)
        return [
            f"weights {init} are not here; name, normalisation, keys and shapes fit, the file is for the run to find"
        ]


def _look_at(spec: RunSpec, data: Path | None) -> str:
    name = spec.dataset.name
    try:
        card = find_card(name, spec.dataset.digest, data)
    except InputError as error:
        if find_file(name, data) is None:
            return f"data set {name} is not here; verified at start"
        raise RunError(str(error), "data") from None
    files = {card.annotations(split) for split in card.card.splits}
    missing = [path for path in (*files, *(card.images(split) for split in card.card.splits)) if not path.exists()]
    if missing:
        raise RunError(f"data set {name} lacks {missing[0]}; restore it, or make its card anew", "data")
    if sum(path.stat().st_size for path in files) > VERIFIED_MB * 2**20:
        return f"data set {name} is here; its annotations are compared with its card at start"
    try:
        verify(card)
    except InputError as error:
        raise RunError(str(error), "data") from None
    return f"data set {name} is here and is the one its card describes"


def _optimisation(model: nn.Module, resolved: config.Resolved) -> None:
    """Optimizer and schedulers as the engine will build them; overrides reach them too."""
    with evaluate.mmdet_scope():
        try:
            wrapper = build_optim_wrapper(model, copy.deepcopy(resolved.train["optim_wrapper"].to_dict()))
            for item in resolved.train["param_scheduler"]:
                PARAM_SCHEDULERS.build({**copy.deepcopy(dict(item)), "optimizer": wrapper})
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the optimizer cannot be built: {first_line(error)}; check the schedule and the overrides"
            ) from error

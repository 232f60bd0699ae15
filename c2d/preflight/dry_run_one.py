"""Dry run of one spec: build it as its training will, on synthetic sources, and take one step in fp32, one process."""

from __future__ import annotations

from pathlib import Path

from c2d.core.errors import InputError, RunError, first_line
from c2d.data.card_lookup import check_dataset
from c2d.data.coco_file import read_coco
from c2d.data.soft_label_checks import have_soft_labels
from c2d.data.usable_boxes import training_min_size
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.distillation.build_methods import no_soft_labels, soft_label_methods
from c2d.distillation.wrapper import TeacherSet
from c2d.evaluation.datasets import build_dataset
from c2d.preflight import synthetic
from c2d.preflight.dry_run_entry import Entry
from c2d.preflight.first_fit import first_fit
from c2d.preflight.first_step import first_step
from c2d.preflight.first_synthesis_step import first_synthesis_step
from c2d.preflight.synthetic_sources import SyntheticParts, SyntheticSources
from c2d.specs.spec import RunSpec
from c2d.training.build import TrainingRun, build
from c2d.training.optimization import build_optimizer


class DryRun:
    """Try one spec after the other; synthetic parts and checks of data sets are shared.

    Args:
        runs: the store.
        data: root of the data cards.
        scratch: an empty folder for synthetic files.
    """

    def __init__(self, runs: Path, data: Path | None, scratch: Path) -> None:
        self.parts, self.data = SyntheticParts(runs, scratch), data
        self._data_notes: dict[tuple[str, str, int | None], str] = {}

    def run(self, entry: Entry) -> list[str]:
        """Build a run and take one step.

        Returns:
            Notes on what was checked and what could not be.

        Raises:
            InputError: something to fix in the spec.
            RunError: the step failed, or the real data set is damaged. mmdet or torch may raise anything else.
        """
        spec, sources = entry.spec, SyntheticSources(entry, self.parts)
        if spec.kind == "impressions":
            notes = first_synthesis_step(spec, sources.detector_teacher(str(spec.teachers.detector)).teacher)
            return [*sources.notes, *notes, self._data_note(spec)]
        run = build(sources)
        for dataset in (run.dataset, build_dataset(run.resolved.student["test_dataloader"]["dataset"])):
            dataset[0]  # one image: a transform with wrong options fails when it runs
        teachers = TeacherSet()
        if spec.kind == "detector":
            teachers = run.model.teachers
            run.model.at_full_weight()  # a method that starts late must be tried too
        notes = list(sources.notes)
        if spec.is_evaluation_only:
            return [*notes, "evaluated and never trained: no step is tried", self._data_note(spec)]
        if not spec.has_steps:
            notes.append(first_fit(run))
            return [*notes, self._data_note(spec)]
        _check_optimizer(run)
        if spec.training.precision != "fp32":
            notes.append(f"tried in fp32; {spec.training.precision} is for the run itself")
        notes += first_step(run.model, teachers, synthetic.batch_sides(run.resolved), len(sources.card.card.classes))
        notes.append(self._data_note(spec))  # last: a damaged data set must not hide a mistake in the spec
        _check_soft_labels(entry, self.data, self.parts.runs)  # reads the data set
        return notes

    def _data_note(self, spec: RunSpec) -> str:
        min_size = training_min_size(spec.overrides) if spec.trains_on_dataset else None
        key = (spec.dataset.name, spec.dataset.digest, min_size)
        if key not in self._data_notes:
            self._data_notes[key] = _dataset_note(spec, self.data, min_size, self.parts.runs)
        return self._data_notes[key]


def _dataset_note(spec: RunSpec, data: Path | None, min_size: int | None, runs: Path) -> str:
    """Check the real data set of a spec, if it exists here; return a note.

    Raises:
        RunError: of class `data`: a data set of that name exists and is another one, or files are missing.
    """
    name = spec.dataset.name
    try:
        checked = check_dataset(name, spec.dataset.digest, data, min_size, runs)
    except InputError as error:
        raise RunError(str(error), "data") from None
    if checked is None:
        return f"data set {name} is not here; verified at start"
    _, is_compared = checked
    if not is_compared:
        return f"data set {name} is here; its annotations are compared with its card at start"
    return f"data set {name} is here and is the one its card describes"


def _check_soft_labels(entry: Entry, data: Path | None, runs: Path) -> None:
    """Check that the training images will have the soft labels that a method needs.

    Those of a planned synthesis follow from its schedule, those of a data set from its files, if it is here. All others
    are checked when the run starts.

    Raises:
        InputError: they have none.
    """
    spec, planned = entry.spec, entry.teachers.get("impressions")
    needing = soft_label_methods(spec.method)
    if not needing:
        return
    if spec.teachers.impressions is not None:
        made = planned.impressions if planned is not None else None
        found = made is None or made.targets.soft_labels
    else:
        checked = check_dataset(spec.dataset.name, spec.dataset.digest, data, runs=runs)
        known = checked[0] if checked is not None and checked[1] else None
        found = known is None or have_soft_labels(read_coco(known.annotations("train")))
    if not found:
        raise no_soft_labels(needing[0])


def _check_optimizer(run: TrainingRun) -> None:
    """Build the optimizer and the schedulers; overrides reach them too."""
    with mmdet_scope():
        try:
            build_optimizer(run.model, run.resolved.train)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the optimizer cannot be built: {first_line(error)}; check the schedule and the overrides"
            ) from error

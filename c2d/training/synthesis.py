"""A run of kind impressions: check its teacher and its source, make the images inside an attempt, write the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.configs.run_config import read_run_config
from c2d.core.archives.remade_run import check_remade
from c2d.core.attempt import attempt
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.data.card import LoadedCard
from c2d.evaluation.distributed import is_main, join_process_group
from c2d.specs.data_of_run import check_same_classes, finished_images, verified_card
from c2d.specs.spec import RunSpec
from c2d.specs.teacher_runs import teacher_result, teacher_run
from c2d.tracking.tracker_option import TrackerOption
from c2d.tracking.tracking import Tracking
from c2d.training.signals import StopSignals


@dataclass(frozen=True)
class SynthesisOptions:
    """Options of one attempt. None of them changes the images.

    Attributes:
        data: root of the data cards (default: C2D_DATA, else ./data).
        stop_after: iteration after which to save and exit.
        quiet: log to the file only.
        trackers: are sent each event.
    """

    data: Path | None = None
    stop_after: int | None = None
    quiet: bool = False
    trackers: tuple[TrackerOption, ...] = ()


def synthesise(
    folder: RunFolder,
    spec: RunSpec,
    options: SynthesisOptions = SynthesisOptions(),
    *,
    teacher: RunFolder | None = None,
    source: RunFolder | None = None,
) -> dict[str, Any]:
    """Make the images of a run, from its newest checkpoint if there is one.

    Args:
        folder: where; in a store its name is `spec.id`.
        spec: of the run.
        options: of this attempt.
        teacher: the detector; default: the run of the store that the spec names.
        source: of a control, the synthesis whose targets it keeps; default: as for `teacher`.

    Returns:
        The content of result.json; on ranks other than 0 an empty dict: one process makes the images.

    Raises:
        InputError: something to fix first; nothing but the status is written.
        Busy: another process writes this run.
        RunError: the run failed, which status.json records.
        Interrupted: a stop signal arrived; the state is saved. `planned` when `options.stop_after` was reached.
    """
    device = join_process_group()
    if spec.impressions.precision != "fp32" and device == "cpu":
        raise InputError(f"precision {spec.impressions.precision} needs a GPU, and there is none here; wanted fp32")
    # Imported here: a training needs no code of a synthesis.
    from c2d.impressions.batch_files import remove_state_files
    from c2d.impressions.make import make_impressions

    teacher = teacher or teacher_run(str(spec.teachers.detector), folder)
    # The store of the teacher: `folder` may lie in none.
    card = verified_card(spec, options.data, teacher.path.parent)
    _check_teacher(teacher, card)
    if spec.teachers.impressions:
        source = source or teacher_run(spec.teachers.impressions, folder)
        _check_source(source, spec, card)
    if not is_main():
        return {}
    with Tracking(folder, options.trackers, options.quiet) as tracking, attempt(folder, options.quiet) as log:
        tracking.start(log)
        log.info(f"{folder.id}: {spec.impressions.images} images ({spec.impressions.images_from}) of {teacher.id}")
        with _stop_signals(spec) as stop_signal:
            result = make_impressions(
                spec,
                folder,
                teacher,
                card,
                source=source,
                log=log,
                device=device,
                stop_signal=stop_signal,
                stop_after=options.stop_after,
                tracking=tracking,
            )
        check_remade(folder, result)
        atomic_write_json(folder.result, result)
    remove_state_files(folder)
    return result


@contextmanager
def _stop_signals(spec: RunSpec) -> Iterator[Callable[[], str]]:
    """Yield a function that returns the name of a stop signal; a control has no state, and a signal ends it at once."""
    if spec.impressions.images_from != "optimised":
        yield lambda: ""
        return
    with StopSignals() as signals:
        yield lambda: signals.name


def _check_teacher(teacher: RunFolder, card: LoadedCard) -> None:
    """Check that the teacher is a finished detector of the classes of the data set."""
    teacher_result(teacher, "detector")
    taught = list(read_run_config(teacher)["test_dataloader"]["dataset"]["metainfo"]["classes"])
    classes = card.card.classes
    if taught != classes:
        raise InputError(
            f"teacher {teacher.id} has the classes {', '.join(taught[:4])}, ... ({len(taught)}), the data set "
            f"{card.card.name} has {', '.join(classes[:4])}, ... ({len(classes)}); name the data set of the teacher"
        )


def _check_source(source: RunFolder, spec: RunSpec, card: LoadedCard) -> None:
    """Check that a control keeps the targets of the finished run that its spec names."""
    found, _ = teacher_result(source, "impressions")
    if found.id != spec.teachers.impressions:
        raise InputError(
            f"{source.path} has the spec of {found.id}, the control keeps the targets of {spec.teachers.impressions}"
        )
    check_same_classes(finished_images(source), card)

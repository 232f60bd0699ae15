"""Checks of a run that read files only: batch, student, weights, teachers, images, data set. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.data.card import LoadedCard
from c2d.data.card_lookup import check_dataset
from c2d.data.public import public_cards
from c2d.data.usable_boxes import training_min_size
from c2d.specs.catalog import student_catalog
from c2d.specs.data_of_run import finished_images
from c2d.specs.first_weights import network_source
from c2d.specs.spec import RunSpec
from c2d.specs.teacher_runs import teacher_result, teacher_run, wrong_kind
from c2d.specs.teachers import BACKBONE, kind_of_role, needed_runs
from sweeps.definition.profile import Profile
from sweeps.launchers.launch_request import PrintLine

Cards = dict[tuple[str, str], LoadedCard | None]
"""{(name, digest) of a data set: its card, None where it is missing here}"""


@dataclass(frozen=True)
class RunProblem:
    """One problem of one run.

    Attributes:
        run: id.
        message: what is wrong, and how to fix it.
        failure_class: see c2d/core/failure_classes.py.
        skips_dry_run: a dry run of the run would report the same.
    """

    run: str
    message: str
    failure_class: str = "config"
    skips_dry_run: bool = True


def datasets(
    specs: dict[str, RunSpec], data: Path | None, runs: Path, print_line: PrintLine, definition: str
) -> tuple[Cards, list[RunProblem]]:
    """Return the card of each data set, and the problems. Each data set is read once for each filter of images.

    Args:
        specs: {run id: spec}.
        data: root of the data cards; None: C2D_DATA, else ./data.
        runs: the store, which knows the places of data sets that were given by their path.
        print_line: called with a line about each missing data set.
        definition: what `c2d prefetch` names the sweep by.
    """
    cards: Cards = {}
    wrong: dict[tuple[str, str, int | None], str] = {}
    used = {run: (spec.dataset.name, spec.dataset.digest, _min_size(spec)) for run, spec in specs.items()}
    for name, digest, min_size in dict.fromkeys(used.values()):
        try:
            checked = check_dataset(name, digest, data, min_size, runs)
            cards[name, digest] = checked[0] if checked is not None else None
            if checked is None:
                print_line(
                    f"data set {name} is missing here; jobs verify it when they start; `c2d prefetch {definition}` "
                    "gets it, or says how"
                )
        except InputError as error:
            cards.setdefault((name, digest), None)
            wrong[name, digest, min_size] = str(error)
    return cards, [
        RunProblem(run, wrong[key], "data", skips_dry_run=False) for run, key in used.items() if key in wrong
    ]


def _min_size(spec: RunSpec) -> int | None:
    """Return the `min_size` of the training images that a run takes from its data set; None where it takes none."""
    return training_min_size(spec.overrides) if spec.trains_on_dataset else None


def classes(spec: RunSpec, cards: Cards) -> list[str] | None:
    """Return the class list of the card in the data root, else of the shipped one, else None."""
    card = cards[spec.dataset.name, spec.dataset.digest]
    if card is not None:
        return list(card.card.classes)
    public = public_cards().get(spec.dataset.name)
    return list(public.classes) if public is not None and public.digest == spec.dataset.digest else None


# ---------------------------------------------------------------------------------------------------------------------
# One run


def batches(specs: dict[str, RunSpec], profile: Profile | None) -> Iterator[RunProblem]:
    """Check that the batch divides by the processes of the profile; an override may set the batch."""
    for run, spec in specs.items():
        if not spec.has_steps:
            continue
        images: Any = spec.overrides.get("train_dataloader.batch_size", spec.training.batch)
        if profile is not None and isinstance(images, int) and images % profile.world:
            yield RunProblem(
                run,
                f"the batch of {images} ({spec.schedule.name}) does not divide by the {profile.world} processes of "
                f"profile {profile.name or 'default'} ({profile.nodes} nodes x {profile.processes_per_node}); "
                "take a profile whose processes divide it, or change the schedule's batch",
                skips_dry_run=False,
            )


def students(specs: dict[str, RunSpec], runs: Path) -> Iterator[RunProblem]:
    """Check that the student's config is in the store, or is the shipped one with the same digest."""
    shipped = student_catalog()
    for run, spec in specs.items():
        student = spec.student
        if student is None or student.name.startswith("mmdet::") or shipped.get(student.name) == student.digest:
            continue
        if RunStore(runs).student_config(student.digest).is_file():
            continue
        if student.name in shipped:
            yield RunProblem(
                run,
                f"student {student.name} is {shipped[student.name][:12]} here, the run has {student.digest[:12]}; "
                "its config has changed: plan the sweep again",
            )
        else:
            yield RunProblem(
                run,
                f"student {student.name} ({student.digest[:12]}) is neither shipped nor kept in {runs}/students; "
                "give its config file again",
            )


CACHES_OF_WEIGHTS = {
    "torchvision": ("TORCH_HOME", "~/.cache/torch", "hub/checkpoints", "{}*"),
    "zoo": ("TORCH_HOME", "~/.cache/torch", "hub/checkpoints", "{}*"),
    "timm": ("HF_HOME", "~/.cache/huggingface", "hub", "models--*--{}*"),
}
"""{library of an `init`: the variable that moves its cache, the default, the folder in it, files of a model}."""


def first_weights(
    specs: dict[str, RunSpec], runs: Path, profile: Profile | None, print_line: PrintLine, definition: str
) -> Iterator[RunProblem]:
    """Check that weight files of the store exist; warn about weights of torchvision and timm no job may download."""
    for run, spec in specs.items():
        source = network_source(spec.init)
        if source.removeprefix("detector:").startswith("sha256:"):
            kept = RunStore(runs).weights(source.rpartition(":")[2])
            if not kept.is_file():
                yield RunProblem(
                    run, f"no weight file {kept} in the store; give the file itself as `init`; the store keeps a copy"
                )
    if profile is None or profile.download:
        return
    with_profile = ", with the same --profile," if profile.name else ""
    for init in sorted({network_source(spec.init) for spec in specs.values()}):
        library, _, name = init.partition(":")
        if library not in CACHES_OF_WEIGHTS:
            continue
        variable, default, inside, pattern = CACHES_OF_WEIGHTS[library]
        home = profile.environment.get(variable) or os.environ.get(variable) or default
        cache = Path(home).expanduser() / inside
        # A variable in the path has its value on the node only.
        if "$" not in home and not any(cache.glob(pattern.format(name.partition(".")[0]))):
            print_line(
                f"warning: weights {init} are not in {cache}, and the jobs of profile {profile.name or 'default'} may "
                f"not download; `c2d prefetch {definition}`{with_profile} downloads them, or set `download: true` in it"
            )


def teachers(specs: dict[str, RunSpec], planned: dict[str, RunSpec], cards: Cards, runs: Path) -> Iterator[RunProblem]:
    """Check that a teacher is in the grid, or done in the store with its min_top1, and has the student's classes.

    The same holds for a synthesis whose images are used; a finished one is compared with its card.

    Args:
        specs: {run id: spec} of runs to check.
        planned: {run id: spec} of the teachers in the grid.
        cards: see `datasets`.
        runs: the store.
    """
    teacher_classes: dict[tuple[str, str], list[str] | InputError | None] = {}
    for run, spec in specs.items():
        own = classes(spec, cards)
        for role, teacher in needed_runs(spec.teachers).items():
            kind = kind_of_role(role)
            if (kind, teacher) not in teacher_classes:
                try:
                    teacher_classes[kind, teacher] = _taught_classes(kind, teacher, planned, cards, runs)
                except InputError as error:
                    teacher_classes[kind, teacher] = error
            theirs = teacher_classes[kind, teacher]
            if isinstance(theirs, InputError):
                yield RunProblem(run, str(theirs))
            elif (
                role != BACKBONE  # trained on other classes
                and (kind, spec.kind) != ("detector", "detector")  # feature maps of a detector need no equal classes
                and theirs is not None
                and own is not None
                and theirs != own
            ):
                yield RunProblem(
                    run,
                    f"teacher {teacher} has other classes ({', '.join(theirs[:4])}, ...; {len(theirs)}) than data "
                    f"set {spec.dataset.name} ({', '.join(own[:4])}, ...; {len(own)}); train a teacher on this data",
                )


def _taught_classes(kind: str, teacher: str, planned: dict[str, RunSpec], cards: Cards, runs: Path) -> list[str] | None:
    """Return the classes of a teacher; None where they are unknown.

    Raises:
        InputError: not finished, of another kind, or below its min_top1.
    """
    run = RunFolder(runs / teacher)
    if teacher in planned and not (run.read_status()["state"] == "done" and run.can_teach):
        spec = planned[teacher]
        if spec.kind != kind:
            raise InputError(wrong_kind(teacher, spec.kind, kind))
        return classes(spec, cards)
    # `teacher_run` uses the parent of the given folder, which is the store, whatever the name.
    spec, result = teacher_result(teacher_run(teacher, RunFolder(runs / "any")), kind)
    if kind == "impressions":
        return list(finished_images(RunFolder(runs / teacher)).card.classes)
    wanted, top1 = getattr(spec.schedule.values, "min_top1", None), result.get("top1")
    if wanted is not None and (top1 is None or top1 < wanted):
        raise InputError(
            f"teacher {teacher} has top-1 {'n/a' if top1 is None else f'{top1:.3f}'} on held-out crops, below min_top1 "
            f"{wanted:.3f} of {spec.schedule.name}; train it longer, or lower min_top1 if you study weak teachers"
        )
    return result.get("classes")

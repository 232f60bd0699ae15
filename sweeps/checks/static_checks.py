"""What files alone say against a run: its batch, its student, its weights, its teachers, its data. No torch."""

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
from c2d.data.card_lookup import find_card, find_card_file, verify_card
from c2d.data.public import public_cards
from c2d.specs.catalog import student_catalog
from c2d.specs.spec import RunSpec
from c2d.specs.teacher_runs import teacher_result, teacher_run
from sweeps.definition.profile import Profile
from sweeps.launchers.launch_request import PrintLine

VERIFIED_MB = 64
"""Annotation files are read and compared with their card up to this size; larger ones when a run starts."""
Cards = dict[tuple[str, str], LoadedCard | None]
"""(name, digest) of a data set -> its card, None where it is not here."""


@dataclass(frozen=True)
class RunProblem:
    """One thing wrong with one run. `stops`: a rehearsal of the run would only say the same."""

    run: str
    message: str
    failure_class: str = "config"
    stops: bool = True


def kinds(spec: RunSpec) -> dict[str, str]:
    """Kind of teacher -> run id, of the teachers a run has."""
    return {kind: run for kind, run in spec.teachers.model_dump().items() if run}


def datasets(specs: dict[str, RunSpec], data: Path | None, print_line: PrintLine) -> tuple[Cards, list[RunProblem]]:
    """(card of each data set, None where it is not here; problems). Each data set is looked at once."""
    cards: Cards = {}
    wrong: dict[tuple[str, str], str] = {}
    for key in dict.fromkeys((spec.dataset.name, spec.dataset.digest) for spec in specs.values()):
        try:
            cards[key] = _card(*key, data)
            if cards[key] is None:
                print_line(f"data set {key[0]} is not here; verified at start")
        except InputError as error:
            cards[key], wrong[key] = None, str(error)
    concerned = ((run, (spec.dataset.name, spec.dataset.digest)) for run, spec in specs.items())
    return cards, [RunProblem(run, wrong[key], "data", stops=False) for run, key in concerned if key in wrong]


def _card(name: str, digest: str, data: Path | None) -> LoadedCard | None:
    """The card with its files compared, or None where no data set of that name is here."""
    try:
        card = find_card(name, digest, data)
    except InputError:
        if find_card_file(name, data) is None:
            return None
        raise
    files = {card.annotations(split) for split in card.card.splits}
    missing = [path for path in (*files, *(card.images(split) for split in card.card.splits)) if not path.exists()]
    if missing:
        raise InputError(f"data set {name} lacks {missing[0]}; restore it, or make its card anew")
    if sum(path.stat().st_size for path in files) <= VERIFIED_MB * 2**20:
        verify_card(card)
    return card


def classes(spec: RunSpec, cards: Cards) -> list[str] | None:
    """Class list of the card that is here, else of the shipped one, else None."""
    card = cards[spec.dataset.name, spec.dataset.digest]
    if card is not None:
        return list(card.card.classes)
    public = public_cards().get(spec.dataset.name)
    return list(public.classes) if public is not None and public.digest == spec.dataset.digest else None


# ---------------------------------------------------------------------------------------------------------------------
# One run


def batches(specs: dict[str, RunSpec], profile: Profile | None) -> Iterator[RunProblem]:
    """Images of an iteration are dealt to processes evenly; an override may set their number."""
    for run, spec in specs.items():
        images: Any = spec.overrides.get("train_dataloader.batch_size", spec.schedule.values.batch)
        if profile is not None and isinstance(images, int) and images % profile.world:
            yield RunProblem(
                run,
                f"the batch of {images} ({spec.schedule.name}) does not divide by the {profile.world} processes of "
                f"profile {profile.name or 'default'} ({profile.nodes} nodes x {profile.processes_per_node}); "
                "take a profile whose processes divide it, or change the schedule's batch",
                stops=False,
            )


def students(specs: dict[str, RunSpec], runs: Path) -> Iterator[RunProblem]:
    """A student given as a file is kept in the store; a shipped one has to be the one that is shipped now."""
    shipped = student_catalog()
    for run, spec in specs.items():
        asked = spec.student
        if asked is None or asked.name.startswith("mmdet::") or shipped.get(asked.name) == asked.digest:
            continue
        if RunStore(runs).student_config(asked.digest).is_file():
            continue
        if asked.name in shipped:
            yield RunProblem(
                run,
                f"student {asked.name} is {shipped[asked.name][:12]} here, the run asks for {asked.digest[:12]}; "
                "its config changed since: plan the sweep anew",
            )
        else:
            yield RunProblem(
                run,
                f"student {asked.name} ({asked.digest[:12]}) is neither shipped nor kept in {runs}/students; "
                "give its config file again",
            )


def first_weights(
    specs: dict[str, RunSpec], runs: Path, profile: Profile | None, print_line: PrintLine
) -> Iterator[RunProblem]:
    """Files that the store keeps have to be there; torchvision's may still be fetched, so their absence is said."""
    for run, spec in specs.items():
        if spec.init.startswith("sha256:"):
            kept = RunStore(runs).weights(spec.init.removeprefix("sha256:"))
            if not kept.is_file():
                yield RunProblem(
                    run, f"no weight file {kept} in the store; give the file itself as `init`, so that it is kept"
                )
    if profile is None or profile.download:
        return
    home = profile.environment.get("TORCH_HOME") or os.environ.get("TORCH_HOME") or "~/.cache/torch"
    cache = Path(home).expanduser() / "hub" / "checkpoints"
    for init in sorted({spec.init for spec in specs.values() if spec.init.startswith("torchvision:")}):
        model = init.removeprefix("torchvision:").partition(".")[0]
        if "$" not in home and not any(cache.glob(f"{model}*")):
            print_line(
                f"warning: weights {init} are not in {cache}, and the jobs of profile {profile.name or 'default'} may "
                "not download; fetch them once where the jobs find them, or set `download: true` in the profile"
            )


def teachers(specs: dict[str, RunSpec], planned: dict[str, RunSpec], cards: Cards, runs: Path) -> Iterator[RunProblem]:
    """A teacher is part of the grid, or finished in the store, good enough, and knows the student's classes."""
    looked: dict[tuple[str, str], list[str] | InputError | None] = {}
    for run, spec in specs.items():
        own = classes(spec, cards)
        for kind, teacher in kinds(spec).items():
            if (kind, teacher) not in looked:
                try:
                    looked[kind, teacher] = _taught_classes(kind, teacher, planned, cards, runs)
                except InputError as error:
                    looked[kind, teacher] = error
            taught = looked[kind, teacher]
            if isinstance(taught, InputError):
                yield RunProblem(run, str(taught))
            elif kind == "classifier" and taught is not None and own is not None and taught != own:
                yield RunProblem(
                    run,
                    f"teacher {teacher} knows other classes ({', '.join(taught[:4])}, ...; {len(taught)}) than data "
                    f"set {spec.dataset.name} ({', '.join(own[:4])}, ...; {len(own)}); train a teacher on this data",
                )


def _taught_classes(kind: str, teacher: str, planned: dict[str, RunSpec], cards: Cards, runs: Path) -> list[str] | None:
    """The classes a teacher knows or will know; None where that cannot be said.

    Raises:
        InputError: not finished, of another kind, or below its min_top1.
    """
    if teacher in planned and RunFolder(runs / teacher).read_status()["state"] != "done":
        spec = planned[teacher]
        if spec.kind != kind:
            raise InputError(f"run {teacher} is a {spec.kind}, a {kind} teacher is wanted")
        return classes(spec, cards)
    spec, result = teacher_result(teacher_run(teacher, RunFolder(runs / "any")), kind)
    wanted, top1 = getattr(spec.schedule.values, "min_top1", None), result.get("top1")
    if wanted is not None and (top1 is None or top1 < wanted):
        raise InputError(
            f"teacher {teacher} has top-1 {'n/a' if top1 is None else f'{top1:.3f}'} on held-out crops, below min_top1 "
            f"{wanted:.3f} of {spec.schedule.name}; train it longer, or lower min_top1 if that is what you study"
        )
    return result.get("classes")

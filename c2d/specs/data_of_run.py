"""The images that a run trains on and is measured on: those of its data set, or those of a synthesis in their place.

A student without data has the training images of a finished run of kind impressions, and the evaluation split of its
own data set. Both come back as one card, so nothing after this knows the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard, Synthesis
from c2d.data.card_lookup import find_card, find_card_file, load_card, splits_of_run, verify_card
from c2d.data.usable_boxes import training_min_size
from c2d.specs.spec import RunSpec
from c2d.specs.teacher_runs import teacher_result, teacher_run

TRAIN = "train"


@dataclass(frozen=True)
class ImageSource:
    """Where the training images of a run come from, for result.json and the log.

    Attributes:
        run: id of the synthesis, whatever its folder; "" where no run made the images.
        synthesis: of its card.
        card_digest: of that card (hex).
        n_images: in its split `train`.
    """

    run: str
    synthesis: Synthesis
    card_digest: str
    n_images: int

    def to_json(self) -> dict[str, Any]:
        """Return `training_images` of result.json."""
        made = self.synthesis
        return {
            "run": self.run,
            "images_from": made.images_from,
            "schedule": made.schedule,
            "teacher": made.teacher,
            "teacher_sha256": made.teacher_sha256,
            "card_digest": self.card_digest,
            "n_images": self.n_images,
            "soft_labels": made.soft_labels,
        }

    def origin(self) -> str:
        """Return what the log says after the number of images."""
        made = self.synthesis
        what = (
            "real ones with labels" if made.images_from == "real" else f"{made.images_from}, schedule {made.schedule},"
        )
        return f"from {self.run or 'a synthesis'} ({what} of teacher {made.teacher})"


class RunData(NamedTuple):
    """The images of a run.

    Attributes:
        card: split `train` to train on, the evaluation split to measure on.
        images: where those of `train` come from; None: they are real and labelled.
    """

    card: LoadedCard
    images: ImageSource | None


def verified_data(spec: RunSpec, folder: RunFolder, data: Path | None) -> RunData:
    """Find the images of a run, compare their files with their cards, and check that there is something to learn.

    Args:
        spec: of the run.
        folder: its folder; its store has the synthesis that the spec names.
        data: root of the data cards (default: C2D_DATA, else ./data).

    Raises:
        InputError: of class `data`: a data set is missing or has changed, or has no box to train or evaluate on; the
            synthesis is not finished or is another one; the run claims to use no real image and would.
    """
    min_size = training_min_size(spec.overrides)
    card = verified_card(spec, data, folder.path.parent)
    try:
        if spec.teachers.impressions and spec.kind != "impressions":
            return _with_images(card, teacher_run(spec.teachers.impressions, folder), min_size, spec.data_free)
        made = card.card.synthesis
        if spec.data_free and not (made and made.is_data_free):
            raise InputError(
                f"data_free: true, and the training images of {card.card.name} in {card.root} are real; restore its "
                "card, or name a run of kind impressions in teachers.impressions"
            )
    except InputError as error:
        error.failure_class = "data"
        raise
    if made is None:
        return RunData(card, None)
    return RunData(card, ImageSource(made.run, made, card.card.digest, card.card.splits[TRAIN].n_images))


def verified_card(spec: RunSpec, data: Path | None, runs: Path) -> LoadedCard:
    """Find the data set of a spec, and compare the files that its run reads with the card.

    Args:
        data: root of the data cards (default: C2D_DATA, else ./data).
        runs: the store, which knows the places of data sets that were given by their path.

    Raises:
        InputError: of class `data`: it is missing or has changed, or has no box to train or evaluate on.
    """
    try:
        card = find_card(spec.dataset.name, spec.dataset.digest, data, runs)
        if spec.trains_on_dataset:
            verify_card(card, splits_of_run(card, training_min_size(spec.overrides)))
        else:  # the training images need not be here
            verify_card(card, used := splits_of_run(card, None), only=used)
    except InputError as error:
        error.failure_class = "data"
        raise
    return card


def finished_images(run: RunFolder, min_size: int = 0) -> LoadedCard:
    """Return the card of a finished synthesis after its training split was compared with it.

    Its evaluation split is not read: that is part of the data set, which may lie elsewhere on this machine.

    Args:
        run: its folder.
        min_size: see `c2d.data.usable_boxes.training_min_size`.

    Raises:
        InputError: it is not finished, is no synthesis, or its files were changed.
    """
    spec, result = teacher_result(run, "impressions")
    if find_card_file(str(run.path)) is None:
        raise InputError(f"{run.path} has no card.json any more; restore it, or make the images again")
    loaded = load_card(str(run.path))
    card = loaded.card
    if card.synthesis is None or card.digest != result.get("card_digest"):
        raise InputError(
            f"{run.path}: its card is not the one that the run wrote; restore it, or make the images again"
        )
    if card.synthesis.images_from != spec.impressions.images_from:
        raise InputError(
            f"{run.path}: its card says images_from {card.synthesis.images_from}, its spec "
            f"{spec.impressions.images_from}; restore the card, or make the images again"
        )
    verify_card(loaded, {TRAIN: min_size}, only=(TRAIN,))
    return loaded


def check_same_classes(made: LoadedCard, card: LoadedCard) -> None:
    """Check that images were made for the classes of a data set.

    Args:
        made: card of a synthesis.
        card: the data set.

    Raises:
        InputError: the classes or their order differ.
    """
    own, classes = made.card.classes, card.card.classes
    if own != classes:
        raise InputError(
            f"the impressions {made.root.name} have the classes {', '.join(own[:4])}, ... ({len(own)}), the "
            f"data set {', '.join(classes[:4])}, ... ({len(classes)}); make impressions of a teacher of this data set"
        )


def _with_images(card: LoadedCard, run: RunFolder, min_size: int, claims_data_free: bool) -> RunData:
    """Return the data set with the images of a synthesis in the place of its training split."""
    made = finished_images(run, min_size)
    check_same_classes(made, card)
    assert made.card.synthesis is not None
    if claims_data_free and not made.card.synthesis.is_data_free:
        raise InputError(f"data_free: true, and the images of {run.id} are real; write data_free: false")
    split = made.card.splits[TRAIN]
    paths = {"annotations": made.annotations(TRAIN).absolute(), "images": made.images(TRAIN).absolute()}
    train = split.model_copy(update={key: str(path) for key, path in paths.items()})
    joined = card.card.model_copy(update={"splits": {**card.card.splits, TRAIN: train}})
    facts = ImageSource(run.id, made.card.synthesis, made.card.digest, split.n_images)
    return RunData(LoadedCard(joined, card.root), facts)

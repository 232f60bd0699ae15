"""Classify the crops of given boxes with a classifier teacher, as a student's distillation sees them.

A box is cut from the image as the student's test pipeline makes it (resized, padded, normalised), by the operator of
the methods (`c2d.teachers.crop_teacher`): the teacher's own crop size, context and normalisation. What differs from a
training step is the augmentation, which a test pipeline does not have.

`python -m c2d.evaluation.crops.crop_verdicts REQUEST.json OUT.json` is the step that needs torch, for commands that do
without it (`c2d browse --teacher`).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from c2d.configs.run_config import read_run_config
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.data.card_lookup import find_card, verify_card
from c2d.detectors.batch import Batch
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.detectors.normalization import Normalization
from c2d.evaluation.datasets import build_dataset, held_out_dataset
from c2d.evaluation.loader_processes import image_loader, loader_errors
from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.specs.spec import RunSpec, parse_spec
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.crop_sampling import MIN_SIDE
from c2d.teachers.crop_teacher import CropTeacher
from c2d.teachers.ensemble import EnsembleTeacher

BEST = 3
"""Classes of a crop that are kept."""
CHUNK = 64
"""Crops that the teacher sees at once."""


@dataclass(frozen=True)
class TeacherOfRun:
    """A classifier with the crops that it sees.

    Attributes:
        network: the classifier, or an ensemble.
        runs: ids of its run, or of its members.
        size: side of the crops in px.
    """

    network: ClassifierTeacher | EnsembleTeacher
    runs: tuple[str, ...]
    size: int


def load_teacher(run: RunFolder, spec: RunSpec, other: str | None, device: str) -> TeacherOfRun:
    """Load the classifier teacher of a detector run.

    Args:
        run: the detector.
        spec: its spec.
        other: folder of another classifier run; None: the run's own teacher.
        device: `cpu` or `cuda:N`.

    Raises:
        InputError: the run has no classifier teacher, or its run is not here.
    """
    if other is not None:
        teacher = ClassifierTeacher.from_run(other, device)
        return TeacherOfRun(teacher, (RunFolder(Path(other)).id,), teacher.size)
    ids = spec.teachers.classifiers
    if not ids:
        raise InputError(
            f"run {run.id} has no classifier teacher; give the id of a classifier run on the same data, or leave out "
            "--teacher"
        )
    members = [ClassifierTeacher.from_run(run.path.parent / name, device) for name in ids]
    if len(members) > 1:
        network: ClassifierTeacher | EnsembleTeacher = EnsembleTeacher(members, spec.teachers.weights())
    else:
        network = members[0]
    # A method that crops at a size of its own has it as `size`.
    own = [values.get("size") for method in spec.method for values in method.values() if isinstance(values, dict)]
    return TeacherOfRun(network, ids, next((side for side in own if isinstance(side, int)), network.size))


@torch.no_grad()
def classify_crops(
    run: RunFolder, boxes: Mapping[Any, Sequence[Sequence[float]]], data: Path | None, teacher: str | None, device: str
) -> dict[str, Any]:
    """Classify the crops of boxes of evaluation images.

    Args:
        run: a finished detector, whose test pipeline reads the images.
        boxes: {image id: boxes x, y, w, h in px of the original image}.
        data: root of the data cards (default: C2D_DATA, else ./data).
        teacher: folder of a classifier run; None: the teacher of the run.
        device: `cpu` or `cuda:N`.

    Returns:
        `classes`: names; `runs`: ids of the classifiers; `size`: side of the crops in px; `context`; `temperature`;
        `images`: pairs [id, rows], a row is the BEST classes of a box by falling probability, [place in `classes`,
        probability in 0-1, ...], or None for a box with a side below 2 px in the student's image.

    Raises:
        InputError: no teacher, other classes, or the data set is not here.
        RunError: an image cannot be read.
    """
    spec = parse_spec(read_json(run.spec), str(run.spec))
    chosen = load_teacher(run, spec, teacher, device)
    card = find_card(spec.dataset.name, spec.dataset.digest, data, run.path.parent)
    verify_card(card, {card.evaluation_split: 0})
    classes = list(card.card.classes)
    if list(chosen.network.classes) != classes:
        raise InputError(
            f"the classifier {', '.join(chosen.runs)} has other classes than data set {card.card.name}; give one that "
            "was trained on the same data"
        )
    config = read_run_config(run)
    with mmdet_scope():
        from mmdet.registry import MODELS

        preprocessor = MODELS.build(config["model"]["data_preprocessor"]).to(device)
    dataset = build_dataset(held_out_dataset(config, card, "student"))
    place = {dataset.get_data_info(index)["img_id"]: index for index in range(len(dataset))}
    wanted = [(image, rows) for image, rows in boxes.items() if len(rows)]
    keys = [[(place[image], place[image])] for image, _ in wanted]
    found = []
    with loader_errors():
        for (image, rows), loaded in zip(wanted, image_loader(SeededDataset(dataset, 0, "evaluation"), keys, 0),
                                         strict=True):  # fmt: skip
            batch, usable = _batch(preprocessor(loaded, False), rows, preprocessor, len(classes))
            seen = CropTeacher(chosen.network, batch, chosen.size, CHUNK, None)
            best = _best_classes(seen, usable)
            found.append([image, [best.get(row) for row in range(len(rows))]])
    return {
        "format": 1,
        "classes": classes,
        "runs": list(chosen.runs),
        "size": chosen.size,
        "context": chosen.network.context,
        "temperature": getattr(chosen.network, "temperature", 1.0),
        "images": found,
    }


def _batch(
    processed: Mapping[str, Any], rows: Sequence[Sequence[float]], preprocessor: Any, classes: int
) -> tuple[Batch, Tensor]:
    """One image with the boxes in its pixels, and the places of those that are large enough."""
    images, (sample,) = processed["inputs"], processed["data_samples"]
    meta = sample.metainfo
    boxes = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes * torch.tensor([*meta["scale_factor"], *meta["scale_factor"]], dtype=torch.float64)
    height, width = (int(side) for side in meta["img_shape"][:2])
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
    usable = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE).all(dim=1).nonzero().flatten()
    batch = Batch(
        images,
        (boxes.float().to(images.device),),
        (torch.zeros(len(boxes), dtype=torch.long, device=images.device),),
        ((height, width),),
        Normalization.from_preprocessor(preprocessor),
        classes,
    )
    return batch, usable.to(images.device)


def _best_classes(seen: CropTeacher, usable: Tensor) -> dict[int, list[float]]:
    """{place of a box: [class, probability, class, probability, ...]}."""
    if not len(usable):
        return {}
    logits, _ = seen.ground_truth_outputs(usable, {}, with_logits=True)
    assert logits is not None
    shares, classes = logits.double().softmax(dim=1).topk(min(BEST, logits.shape[1]), dim=1)
    pairs = torch.stack([classes.double(), shares], dim=2).flatten(1)
    return {row: [round(value, 4) for value in best] for row, best in zip(usable.tolist(), pairs.tolist(), strict=True)}


def main(arguments: list[str] | None = None) -> int:
    """Run the step: REQUEST.json has `run`, `data`, `teacher`, `device` and `images`, pairs of id and boxes."""
    parser = argparse.ArgumentParser(prog="python -m c2d.evaluation.crops.crop_verdicts")
    parser.add_argument("request", type=Path, metavar="REQUEST.json")
    parser.add_argument("out", type=Path, metavar="OUT.json")
    options = parser.parse_args(arguments)
    asked = read_json(options.request)
    device = asked["device"] or ("cuda:0" if torch.cuda.is_available() else "cpu")
    boxes = dict(asked["images"])
    data = None if asked["data"] is None else Path(asked["data"])
    with contextlib.redirect_stdout(sys.stderr):
        answer = classify_crops(RunFolder(Path(asked["run"])), boxes, data, asked["teacher"], device)
    atomic_write_json(options.out, answer)
    return 0


if __name__ == "__main__":
    from c2d.core.errors import RunError
    from c2d.core.masking import mask_text

    try:
        sys.exit(main())
    except (InputError, RunError) as error:
        print(f"error: {mask_text(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)

"""Evaluation of a classifier on the ground-truth crops of the evaluation split: top-1, calibration, per class."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from torch import Tensor

from c2d.core.errors import InputError
from c2d.data.card import LoadedCard
from c2d.evaluation.distributed import is_main
from c2d.evaluation.loader_processes import image_loader, loader_errors, worthwhile_workers
from c2d.evaluation.rank_shares import Heartbeat, main_rank_weights, run_on_ranks
from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.teachers.crop_classifier import CropClassifier
from c2d.teachers.temperature import fit_temperature
from c2d.weights import safe_load


def evaluate_classifier(
    config: Config,
    weights: Path,
    card: LoadedCard,
    device: str,
    heartbeat: Heartbeat = lambda: None,
    workers: int = 0,
    calibrated: bool = False,
) -> dict[str, Any]:
    """Evaluate the exported file of a classifier, always in fp32; every rank classifies a share of the batches.

    Args:
        config: config.py of the run: `model` for CropClassifier, `test_dataloader` with the data set.
        weights: classifier.pth; only rank 0 reads it.
        card: the data set; every box of its evaluation split counts, but crowds and those with a side below 2 px.
        device: `cpu` or `cuda:N`.
        heartbeat: called after every batch, and while this rank waits for others.
        workers: loader processes of this rank.
        calibrated: fit a temperature on the training images that were held out, see `calibration_ids`.

    Returns:
        The content of result.json; an empty dict on ranks other than 0.

    Raises:
        InputError: weights of another network, or other classes.
    """
    from c2d.evaluation.datasets import build_dataset, calibration_ids, held_out_dataset, subset
    from c2d.metrics import classification

    begun = time.monotonic()
    held_out, classes = held_out_dataset(config, card, "teacher"), list(card.card.classes)
    model = CropClassifier(**config["model"])
    audit = safe_load.load_into(model.network, weights, who="teacher", strict=True) if is_main() else None
    model.to(device).eval()
    size = config["test_dataloader"]["batch_size"]
    scores, truth = _crop_logits(model, build_dataset(held_out), size, heartbeat, workers)
    calibration: dict[str, Any] = {}
    if calibrated:
        ids = calibration_ids(card)
        images = subset(build_dataset(held_out_dataset(config, card, "teacher", "train")), ids, inside=True)
        fitted_on = _crop_logits(model, images, size, heartbeat, workers)
        if is_main():
            calibration = {"calibration": _calibration(fitted_on, (scores, truth), len(images))}
    if audit is None:
        return {}
    return {
        "format": 1,
        "kind": "classifier",
        "evaluation_split": card.evaluation_split,
        **classification.score(scores.double().numpy(), truth.numpy(), classes),
        **calibration,
        "classes": classes,
        "network": config["model"]["network"],
        "input": config["model"]["input"],
        "params": sum(weight.numel() for weight in model.network.parameters()),
        "audit": audit.to_dict(),
        "seconds": {"score": round(time.monotonic() - begun, 3)},
    }


def crop_rows(
    model: CropClassifier,
    images: SeededDataset,
    size: int,
    compute: Callable[[dict[str, Any]], tuple[Tensor, Tensor]],
    heartbeat: Heartbeat,
    workers: int,
) -> tuple[Tensor, Tensor]:
    """Compute rows of all crops of a data set; every rank computes a share of the batches with the weights of rank 0.

    Args:
        model: on its device.
        images: the data set.
        size: images whose crops are computed together, the same for any number of ranks: the last bits of a row depend
            on the batch.
        compute: a batch after the model's data preprocessor -> rows (K, D) of its crops and their labels (K,).
        heartbeat: called after every batch.
        workers: loader processes of this rank.

    Returns:
        Rows (n, D) and labels (n,) on the CPU of rank 0, in the order of the images; (0, C) and (0,) on other ranks.
    """
    batches = [[(i, i) for i in range(start, min(start + size, len(images)))] for start in range(0, len(images), size)]

    def share(rank: int, world: int) -> list[tuple[Tensor, Tensor]]:
        mine = batches[rank::world]
        found = []
        with loader_errors():
            for batch in image_loader(images, mine, worthwhile_workers(workers, size * len(mine))):
                rows, labels = compute(model.data_preprocessor(batch, False))
                found.append((rows.cpu(), labels.cpu()))
                heartbeat()
        return found

    with main_rank_weights(model):
        shares = run_on_ranks(share, heartbeat)
    found = [shares[number % len(shares)][number // len(shares)] for number in range(len(batches))] if shares else []
    if not found:
        return torch.zeros(0, model.num_classes), torch.zeros(0, dtype=torch.long)
    return torch.cat([rows for rows, _ in found]), torch.cat([labels for _, labels in found])


def _crop_logits(
    model: CropClassifier, dataset: Any, size: int, heartbeat: Heartbeat, workers: int
) -> tuple[Tensor, Tensor]:
    """Logits (n, C) and labels (n,) of all crops, see `crop_rows`."""

    def predict(data: dict[str, Any]) -> tuple[Tensor, Tensor]:
        logits, labels, _ = model(**data, mode="predict")
        return logits, labels

    return crop_rows(model, SeededDataset(dataset, 0, "evaluation"), size, predict, heartbeat, workers)


def _calibration(held_out: tuple[Tensor, Tensor], evaluated: tuple[Tensor, Tensor], images: int) -> dict[str, Any]:
    """The temperature of logits (n, C) with labels (n,), and NLL and ECE before and after.

    `evaluated` are those of the evaluation split, which the temperature does not see.
    """
    from c2d.metrics import classification

    logits, labels = held_out
    if not len(labels):
        raise InputError("calibrate: the training images held out have no box; leave it out")
    temperature = fit_temperature(logits, labels)

    def measures(z: Tensor, y: Tensor) -> dict[str, float | None]:
        found = classification.score(z.double().numpy(), y.numpy())
        return {"nll": found["nll"], "ece": found["ece"]}

    return {
        "temperature": temperature,
        "images": images,
        "crops": len(labels),
        "before": measures(logits, labels),
        "after": measures(logits / temperature, labels),
        "evaluation_after": measures(evaluated[0] / temperature, evaluated[1]),
    }

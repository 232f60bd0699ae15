"""Evaluation of a classifier on the ground-truth crops of the evaluation split: top-1, calibration, per class."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from torch import Tensor

from c2d.data.card import LoadedCard
from c2d.evaluation.distributed import is_main
from c2d.evaluation.loader_processes import image_loader, loader_errors, worthwhile_workers
from c2d.evaluation.rank_shares import Heartbeat, main_rank_weights, run_on_ranks
from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.teachers.crop_classifier import CropClassifier
from c2d.weights import safe_load


def evaluate_classifier(
    config: Config,
    weights: Path,
    card: LoadedCard,
    device: str,
    heartbeat: Heartbeat = lambda: None,
    workers: int = 0,
) -> dict[str, Any]:
    """Evaluate the exported file of a classifier, always in fp32; every rank classifies a share of the batches.

    Args:
        config: config.py of the run: `model` for CropClassifier, `test_dataloader` with the data set.
        weights: classifier.pth; only rank 0 reads it.
        card: the data set; every box of its evaluation split counts, but crowds and those with a side below 2 px.
        device: `cpu` or `cuda:N`.
        heartbeat: called after every batch, and while this rank waits for others.
        workers: loader processes of this rank.

    Returns:
        The content of result.json; an empty dict on ranks other than 0.

    Raises:
        InputError: weights of another network, or other classes.
    """
    from c2d.evaluation.datasets import build_dataset, held_out_dataset
    from c2d.metrics import classification

    begun = time.monotonic()
    held_out, classes = held_out_dataset(config, card, "teacher"), list(card.card.classes)
    model = CropClassifier(**config["model"])
    audit = safe_load.load_into(model.network, weights, who="teacher", strict=True) if is_main() else None
    model.to(device).eval()
    images = SeededDataset(build_dataset(held_out), 0, "evaluation")
    size = config["test_dataloader"]["batch_size"]
    # Of the same images for any number of ranks: the last bits of a logit depend on the batch.
    batches = [[(i, i) for i in range(start, min(start + size, len(images)))] for start in range(0, len(images), size)]

    def share(rank: int, world: int) -> list[tuple[Tensor, Tensor]]:
        mine = batches[rank::world]
        found = []
        with loader_errors():
            for batch in image_loader(images, mine, worthwhile_workers(workers, size * len(mine))):
                logits, labels, _ = model(**model.data_preprocessor(batch, False), mode="predict")
                found.append((logits.cpu(), labels.cpu()))
                heartbeat()
        return found

    with main_rank_weights(model):
        shares = run_on_ranks(share, heartbeat)
    if audit is None:
        return {}
    found = [shares[number % len(shares)][number // len(shares)] for number in range(len(batches))]
    scores = torch.cat([logits for logits, _ in found]) if found else torch.zeros(0, len(classes))
    truth = torch.cat([labels for _, labels in found]) if found else torch.zeros(0, dtype=torch.long)
    return {
        "format": 1,
        "kind": "classifier",
        "evaluation_split": card.evaluation_split,
        **classification.score(scores.double().numpy(), truth.numpy(), classes),
        "classes": classes,
        "network": config["model"]["network"],
        "input": config["model"]["input"],
        "params": sum(weight.numel() for weight in model.network.parameters()),
        "audit": audit.to_dict(),
        "seconds": {"score": round(time.monotonic() - begun, 3)},
    }

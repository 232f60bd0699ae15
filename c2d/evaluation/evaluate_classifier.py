"""Evaluation of a classifier on the ground-truth crops of the evaluation split: top-1, calibration, per class."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from mmengine.dataset import pseudo_collate

from c2d.data.card import LoadedCard
from c2d.teachers.crop_classifier import CropClassifier
from c2d.weights import safe_load


def evaluate_classifier(
    config: Config, weights: Path, card: LoadedCard, device: str, heartbeat: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Evaluate the exported file of a classifier, always in fp32.

    Args:
        config: config.py of the run: `model` for CropClassifier, `test_dataloader` with the data set.
        weights: classifier.pth.
        card: the data set; every box of its evaluation split counts, but crowds and those with a side below 2 px.
        device: `cpu` or `cuda:N`.
        heartbeat: called after every batch.

    Returns:
        The content of result.json.

    Raises:
        InputError: weights of another network, or other classes.
    """
    from c2d.evaluation.datasets import build_dataset, held_out_dataset
    from c2d.metrics import classification

    begun = time.monotonic()
    held_out, classes = held_out_dataset(config, card, "teacher"), list(card.card.classes)
    model = CropClassifier(**config["model"])
    audit = safe_load.load_into(model.network, weights, who="teacher", strict=True)
    model.to(device).eval()
    dataset = build_dataset(held_out)
    logits, labels = [], []
    size = config["test_dataloader"]["batch_size"]
    for start in range(0, len(dataset), size):
        batch = pseudo_collate([dataset[index] for index in range(start, min(start + size, len(dataset)))])
        z, y, _ = model(**model.data_preprocessor(batch, False), mode="predict")
        logits.append(z.cpu())
        labels.append(y.cpu())
        heartbeat()
    scores = torch.cat(logits) if logits else torch.zeros(0, len(classes))
    truth = torch.cat(labels) if labels else torch.zeros(0, dtype=torch.long)
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

"""The temperature of a calibrated classifier: recovered from simulated labels, fitted on images held out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from c2d.core.errors import InputError
from c2d.core.run_folder import read_json
from c2d.data.card_lookup import find_card
from c2d.evaluation.datasets import build_dataset, calibration_ids, coco_dataset, subset
from c2d.specs.spec import parse_spec
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.temperature import LIMITS, fit_temperature
from c2d.training.train import train
from tests.c2d.conftest import TinyStore


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_of_simulated_labels_is_recovered(true: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial((logits / true).softmax(1), 1, generator=generator)[:, 0]
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(true, rel=0.03)
    # No temperature near it is more likely.
    losses = [float(F.cross_entropy(logits.double() / (found * by), labels)) for by in (0.99, 1.0, 1.01)]
    assert losses[1] == min(losses)


def test_crops_that_are_all_right_or_all_wrong_stay_inside_the_limits() -> None:
    logits, labels = 5 * torch.eye(3), torch.arange(3)
    assert LIMITS[0] <= fit_temperature(logits, labels) < 0.5
    assert 5 < fit_temperature(-logits, labels) <= LIMITS[1]


def test_a_calibrated_teacher_is_fitted_on_images_that_it_was_not_trained_on(
    tiny_store: TinyStore, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"iterations": 2, "batch": 4, "min_top1": 0.0, "warmup": {"iterations": 0}}
    plain, run = (
        tiny_store.create_run(
            network="resnet18", input=32, schedule={"name": "demo-classifier", "values": {**values, **more}}
        )
        for more in ({}, {"calibrate": True})
    )
    assert "calibrate" not in read_json(plain.spec)["schedule"]["values"]
    assert plain.id != run.id
    train(run, tiny_store.options())
    result = read_json(run.result)
    found = result["calibration"]
    assert found["images"] == 2  # of 20
    assert found["after"]["nll"] <= found["before"]["nll"]
    assert set(found["evaluation_after"]) == {"nll", "ece"}
    assert ClassifierTeacher.from_run(run.path).temperature == found["temperature"] != 1
    spec = parse_spec(read_json(run.spec), "test")
    card = find_card(spec.dataset.name, spec.dataset.digest, tiny_store.data, tiny_store.runs)
    ids = calibration_ids(card)
    whole = build_dataset(coco_dataset(card, "train", [], test=False))
    parts = [subset(whole, ids, inside=inside) for inside in (False, True)]
    trained, held_out = ({part.get_data_info(n)["img_id"] for n in range(len(part))} for part in parts)
    assert held_out == ids
    assert not trained & ids
    assert trained | ids == {whole.get_data_info(n)["img_id"] for n in range(len(whole))}
    without = tmp_path / "train.json"
    annotations = read_json(card.annotations("train"))
    annotations["annotations"] = [box for box in annotations["annotations"] if box["image_id"] not in ids]
    without.write_text(json.dumps(annotations))
    with pytest.raises(InputError, match="the training images held out, 2 of 20, have no box"):
        calibration_ids(SimpleNamespace(annotations=lambda _split: without))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs a plain data set, and overrides made a list"):
        subset([], ids, inside=True)

"""Several classifiers as one teacher: the weighted mean of tempered logits, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from analysis.loading import flatten
from c2d.core.errors import InputError
from c2d.core.run_folder import read_json
from c2d.detectors.batch import Batch
from c2d.detectors.normalization import IMAGENET, Normalization, renormalize
from c2d.ops.crop import crop_and_resize
from c2d.preflight import dry_run
from c2d.preflight.dry_run_entry import Entry
from c2d.specs.spec import parse_spec
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.crop_teacher import CropTeacher
from c2d.teachers.ensemble import EnsembleTeacher
from c2d.teachers.logit_cache import open_cache
from c2d.training.train import train
from tests.c2d.conftest import TinyStore

NAMES = ("a", "b", "c")
OTHER = Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "bgr")


def member(seed: int, size: int, normalization: Normalization = IMAGENET, temperature: float = 1.0,
           classes: Sequence[str] = NAMES) -> ClassifierTeacher:  # fmt: skip
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(*trunk, nn.Linear(4, len(classes)))
    return ClassifierTeacher(network, classes, size, normalization, temperature=temperature)


def test_logits_are_the_weighted_mean_of_tempered_logits() -> None:
    teachers = [member(0, 16, temperature=2.0), member(1, 24, OTHER), member(2, 16)]
    weights = [0.5, 0.3, 0.2]
    ensemble = EnsembleTeacher(teachers, weights)
    images = torch.randn(2, 3, 32, 40)
    boxes = (torch.tensor([[1.0, 2, 20, 30], [4, 4, 9, 9]]), torch.tensor([[0.0, 0, 40, 32]]))
    batch = Batch(images, boxes, (torch.tensor([0, 1]), torch.tensor([2])), ((32, 40), (32, 40)), IMAGENET, 3)
    rows = torch.tensor([2, 0])
    found, maps = CropTeacher(ensemble, batch, ensemble.size, 1, None).ground_truth_outputs(rows, {"l0": 2}, True)
    wanted = torch.zeros(2, 3)
    for place, (image, box) in enumerate([(1, [0.0, 0, 40, 32]), (0, [1.0, 2, 20, 30])]):
        for teacher, weight, tau, size, pixels in zip(
            teachers, weights, (2, 1, 1), (16, 24, 16), (IMAGENET, OTHER, IMAGENET), strict=True
        ):
            crop = crop_and_resize(images[image : image + 1], torch.tensor([box]), torch.zeros(1).long(), size)
            wanted[place] += weight * teacher.network(renormalize(crop, IMAGENET, pixels))[0] / tau
    assert found is not None
    torch.testing.assert_close(found, wanted)
    alone = CropTeacher(teachers[0], batch, 16, 1, None).ground_truth_outputs(rows, {"l0": 2}, False)[1]
    assert torch.equal(maps["l0"], alone["l0"])


def test_a_calibrated_teacher_divides_its_logits_alone() -> None:
    plain, calibrated = member(0, 16), member(0, 16, temperature=4.0)
    crops = torch.randn(3, 3, 16, 16)
    assert torch.equal(calibrated.logits(crops), plain.logits(crops) / 4)
    logits, maps = calibrated.logits_and_features(crops, ["l0"])
    assert torch.equal(logits, plain.logits(crops) / 4)
    assert torch.equal(maps["l0"], plain.features(crops, ["l0"])["l0"])


def test_what_an_ensemble_cannot_do_is_refused() -> None:
    with pytest.raises(InputError, match=r"member 2 of the ensemble has the classes b, a, \.\.\. \(2\)"):
        EnsembleTeacher([member(0, 16), member(1, 16, classes=("b", "a"))], [0.5, 0.5])
    ensemble = EnsembleTeacher([member(0, 16), member(1, 24)], [0.5, 0.5])
    assert ensemble.map_sides(["l0"], 16) == {"l0": 8}
    with pytest.raises(InputError, match=r"members have crops of their own \(16, 24 px\); leave the size out"):
        ensemble.map_sides(["l0"], 24)
    with pytest.raises(InputError, match="an ensemble of 2; leave the option out"):
        open_cache(Path("nowhere"), ensemble, {}, {})


@pytest.fixture(scope="module")
def members(tiny_store: TinyStore, teacher: Any) -> list[str]:
    """Run ids of a finished classifier and of one that is trained for one step on other crops."""
    schedule = {
        "name": "demo-classifier",
        "values": {"iterations": 1, "batch": 4, "min_top1": 0.0, "warmup": {"iterations": 0}},
    }
    other = tiny_store.create_run(network="resnet18", schedule=schedule, input=48)
    train(other, tiny_store.options())
    return [teacher.id, other.id]


def test_a_student_learns_from_an_ensemble(tiny_store: TinyStore, members: list[str]) -> None:
    teachers = {"classifier": members, "classifier_weights": [0.75, 0.25]}
    run = tiny_store.create_run(iterations=2, method=["icod"], teachers=teachers)
    train(run, tiny_store.options())
    facts = read_json(run.result)["teachers"]["classifier"]
    assert [(one["run"], one["weight"]) for one in facts["members"]] == [(members[0], 0.75), (members[1], 0.25)]
    row = flatten.spec(read_json(run.spec))
    assert row["teacher.classifier"] == f"0.75 {members[0]} + 0.25 {members[1]}"
    assert "ensemble of 2 classifiers, weights 0.75, 0.25" in run.log.read_text()


def test_planned_members_are_tried_with_random_weights(tiny_store: TinyStore, members: list[str]) -> None:
    planned = [parse_spec(read_json(tiny_store.runs / one / "spec.json"), one) for one in members]
    planned = [spec.model_copy(update={"seed": 7}) for spec in planned]
    run = tiny_store.create_run(iterations=2, method=["icod"], teachers={"classifier": members})
    student = {**read_json(run.spec), "teachers": {"classifier": [spec.id for spec in planned]}}
    names = tuple(read_json(tiny_store.runs / members[0] / "result.json")["classes"])
    entry = Entry(parse_spec(student, "test"), dict(zip(("classifier", "classifier-2"), planned, strict=True)), names)
    (answer,) = dry_run.run_entries([entry], tiny_store.runs, tiny_store.data)
    assert answer.ok, answer.problem
    for spec in planned:
        assert any(note.startswith(f"classifier teacher {spec.id} is not trained yet") for note in answer.notes)

"""Classifier runs with a frozen trunk, end to end: head, linear probe, zero-shot; as teachers, and in a dry run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.attempt import Interrupted
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card_lookup import load_card
from c2d.evaluation.evaluate_run import evaluate_run
from c2d.preflight.dry_run_entry import Entry
from c2d.preflight.dry_run_one import DryRun
from c2d.specs.spec import parse_spec
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.crop_classifier import CropClassifier
from c2d.teachers.fitting.text_embeddings import random_embeddings, write_embeddings
from c2d.teachers.networks import build_network
from c2d.training import checkpoint
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TinyStore

FREE = {"min_top1": 0.0, "crops": {"image_size": 96, "context": 0.1}}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of a resnet18 with a head of other classes."""
    path = tmp_path_factory.mktemp("trunk") / "trunk.pth"
    torch.manual_seed(5)
    torch.save(build_network("resnet18", 7, 32).state_dict(), path)
    return path


def create(store: TinyStore, trunk: Path, schedule: str, **changes: Any) -> RunFolder:
    values = {**FREE, **changes.pop("values", {})}
    folder: RunFolder = store.create_run(
        network="resnet18", init=str(trunk), input=32, schedule={"name": schedule, "values": values}, **changes
    )
    return folder


def trunk_of(folder: RunFolder) -> dict[str, torch.Tensor]:
    state = safe_load.load(folder.classifier)
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def assert_same_trunk(folder: RunFolder, trunk: Path) -> None:
    given = safe_load.load(trunk)
    assert all(torch.equal(value, given[key]) for key, value in trunk_of(folder).items())


PIXELS = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "order": "rgb"}
STEPS = {"iterations": 3, "batch": 4, "warmup": {"iterations": 0}, "normalisation": PIXELS}


def test_a_head_is_trained_and_its_trunk_stays_to_the_last_bit(tiny_store: TinyStore, trunk: Path) -> None:
    folder = create(tiny_store, trunk, "head", values=STEPS)
    result = train(folder, tiny_store.options())
    assert_same_trunk(folder, trunk)  # statistics of batch norm, too
    assert result["fit"]["kind"] == "head"
    assert result["fit"]["trained_params"] == 513 * len(result["classes"])
    state = safe_load.load(checkpoint.list_checkpoints(folder)[-1])
    assert sum(len(group["params"]) for group in state["optimizer"]["param_groups"]) == 2
    assert safe_load.load(folder.classifier)["fc.bias"].any()


def test_a_frozen_trunk_stays_in_eval_mode() -> None:
    model = CropClassifier("resnet18", 3, 32, fit="head").train()
    assert model.training
    assert not any(module.training for module in model.network.modules())
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {
        "network.fc.weight",
        "network.fc.bias",
    }


def test_a_probe_is_a_run_like_others(tiny_store: TinyStore, trunk: Path, tmp_path: Path) -> None:
    folder = create(tiny_store, trunk, "linear-probe")
    result = train(folder, tiny_store.options())
    assert_same_trunk(folder, trunk)
    assert folder.read_status()["state"] == "done"
    fit = result["fit"]
    boxes = sum(len(parts) for parts in (load_boxes(tiny_store)))
    assert (fit["kind"], fit["features"], fit["crops"], fit["converged"]) == ("linear-probe", 512, 2 * boxes, True)
    assert result == read_json(folder.result)
    assert 0 <= result["top1"] <= 1
    assert {"train", "score"} <= set(result["seconds"])
    assert set(safe_load.load(folder.classifier)) == set(build_network("resnet18", 2, 32).state_dict())
    assert "solved in" in folder.log.read_text()
    assert train(folder, tiny_store.options()) == result  # finished: not run again
    again = create(tiny_store.with_empty_store(tmp_path), trunk, "linear-probe")
    train(again, tiny_store.options())
    assert again.id == folder.id
    first, second = safe_load.load(folder.classifier), safe_load.load(again.classifier)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    found, lines = evaluate_run(folder.id, tiny_store.runs, tiny_store.data, check=False)
    assert found["top1"] == result["top1"]
    assert "top1 equals" in lines[-1]


def load_boxes(store: TinyStore) -> list[list[Any]]:
    annotations = read_json(load_card("scenes", store.data).annotations("train"))["annotations"]
    return [[box for box in annotations if not box["iscrowd"] and min(box["bbox"][2:]) >= 2]]


def test_a_probe_that_is_stopped_computes_again(
    tiny_store: TinyStore, trunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create(tiny_store, trunk, "linear-probe", values={"probe": {"flips": False}})
    original = CropClassifier.crop_features

    def stop(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(CropClassifier, "crop_features", stop)
        with pytest.raises(Interrupted, match="features are computed again"):
            train(folder, tiny_store.options())
    assert folder.read_status()["state"] == "waiting"
    assert not folder.classifier.exists()
    assert train(folder, tiny_store.options())["fit"]["converged"]


def test_a_probe_teaches_with_its_context(tiny_store: TinyStore, trunk: Path) -> None:
    folder = create(tiny_store, trunk, "linear-probe")
    train(folder, tiny_store.options())
    teacher = ClassifierTeacher.from_run(folder.path)
    assert teacher.context == 0.1
    student = tiny_store.create_run(
        iterations=1, method=[{"icod": {"max_positives": 4}}], teachers={"classifier": folder.id}
    )
    result = train(student, tiny_store.options())
    assert result["teachers"]["classifier"]["fit"] == "linear-probe"


def test_zero_shot_takes_text_embeddings_by_name(tiny_store: TinyStore, trunk: Path, tmp_path: Path) -> None:
    classes = load_card("scenes", tiny_store.data).card.classes
    text = random_embeddings([*reversed(classes), "other"], 512, seed=1)
    write_embeddings(tmp_path / "text", text)
    folder = create(tiny_store, trunk, "zero-shot", text_embeddings=str(tmp_path / "text"))
    result = train(folder, tiny_store.options())
    assert result["fit"]["text_embeddings"] == "random text embeddings (seed 1)"
    assert result["fit"]["trained_params"] == 0
    assert_same_trunk(folder, trunk)
    teacher = ClassifierTeacher.from_run(folder.path)
    tower = build_network("resnet18", 7, 32)
    tower.load_state_dict(safe_load.load(trunk))
    tower.fc = nn.Identity()
    crops = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        image = nn.functional.normalize(tower.eval()(crops), dim=1)
        expected = 100 * image @ text.of_classes(classes).vectors.T
        torch.testing.assert_close(teacher.logits(crops), expected, rtol=1e-3, atol=1e-3)
    write_embeddings(tmp_path / "few", random_embeddings(classes[:1], 512, seed=1))
    few = create(tiny_store, trunk, "zero-shot", text_embeddings=str(tmp_path / "few"))
    with pytest.raises(InputError, match="unknown class in the text embeddings"):
        train(few, tiny_store.options())
    write_embeddings(tmp_path / "long", random_embeddings(classes, 99, seed=1))
    long = create(tiny_store, trunk, "zero-shot", text_embeddings=str(tmp_path / "long"))
    with pytest.raises(InputError, match="embeddings have 99 numbers, the features of the network 512"):
        train(long, tiny_store.options())


def test_fits_without_steps_in_a_dry_run(tiny_store: TinyStore, trunk: Path, tmp_path: Path) -> None:
    classes = tuple(load_card("scenes", tiny_store.data).card.classes)
    write_embeddings(tmp_path / "text", random_embeddings(classes, 512, seed=2))
    probe = create(tiny_store, trunk, "linear-probe", values={"probe": {"l2": 1}, "calibrate": True})
    zero_shot = create(tiny_store, trunk, "zero-shot", text_embeddings=str(tmp_path / "text"))
    (tmp_path / "scratch").mkdir()
    tried = DryRun(tiny_store.runs, tiny_store.data, tmp_path / "scratch")
    for folder in (probe, zero_shot):
        spec = parse_spec(read_json(folder.spec), "test")
        notes = tried.run(Entry(spec, {}, classes))
        assert f"fit {spec.fit} tried on the crops of two synthetic images" in notes
        planned = tiny_store.create_run(method=[{"icod": {}}], teachers={"classifier": spec.id})
        student = parse_spec(read_json(planned.spec), "test")
        notes = tried.run(Entry(student, {"classifier": spec}, classes))
        assert f"classifier teacher {spec.id} is not trained yet; tried with random weights" in notes

"""A student whose backbone starts from a classifier run: key by key, with an account, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.loading import flatten
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.specs.resolve_spec import resolve_spec
from c2d.training.build import build_from_name
from c2d.training.train import train
from tests.c2d.conftest import TINY, TinyStore

TINY_NETWORK = f"student:{TINY}"
PROBE: dict[str, Any] = {"name": "trial-classifier", "values": {"iterations": 3, "warmup": {"iterations": 0}}}


def classifier(store: TinyStore, **changes: Any) -> RunFolder:
    folder: RunFolder = store.create_run(**{"network": TINY_NETWORK, "input": 32, "schedule": PROBE, **changes})
    return folder


@pytest.fixture(scope="module")
def pretrained(tiny_store: TinyStore) -> RunFolder:
    folder = classifier(tiny_store)
    train(folder, tiny_store.options())
    return folder


def first_weights(store: TinyStore, **changes: Any) -> Any:
    return build_from_name(store.create_run(2, **changes).id, store.runs, store.data)


def test_the_first_weights_are_those_of_the_file(tiny_store: TinyStore, pretrained: RunFolder) -> None:
    student = {"init": "backbone", "teachers": {"backbone": pretrained.id}}
    run = first_weights(tiny_store, **student)
    file = torch.load(pretrained.classifier, weights_only=True)
    own = run.model.student.backbone.state_dict()
    assert set(file) == {f"backbone.{key}" for key in own} | {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, file[f"backbone.{key}"]) for key, value in own.items())
    random = first_weights(tiny_store).model.student
    assert not torch.equal(random.backbone.conv1.weight, file["backbone.conv1.weight"])
    assert torch.equal(random.bbox_head.retina_cls.weight, run.model.student.bbox_head.retina_cls.weight)
    result = train(run.folder, tiny_store.options())
    assert result["teachers"]["backbone"] == {
        "run": pretrained.id,
        "top1": read_json(pretrained.result)["top1"],
        "network": "student:tiny-retinanet",
        "dataset": "scenes",
        "schedule": "trial-classifier",
    }
    audit = result["audit_init"]
    assert (audit["loaded"], audit["wanted"], audit["dropped"]) == (len(own), len(own), ["fc.weight", "fc.bias"])
    assert audit["sha256"] == read_json(pretrained.result)["sha256"]["classifier.pth"]
    assert pretrained.id in run.folder.log.read_text()
    assert flatten.spec(read_json(run.folder.spec))["backbone"] == pretrained.id
    assert flatten.result(result)["backbone_top1"] == result["teachers"]["backbone"]["top1"]


def test_both_halves_of_a_student_from_runs(tiny_store: TinyStore, pretrained: RunFolder) -> None:
    detector = tiny_store.create_run(2, seed=3)
    train(detector, tiny_store.options())
    both = {"backbone": pretrained.id, "detector": detector.id}
    run = first_weights(tiny_store, init="backbone+teacher", teachers=both)
    heads = torch.load(detector.student, weights_only=True)
    state = run.model.student.state_dict()
    assert torch.equal(state["bbox_head.retina_cls.weight"], heads["bbox_head.retina_cls.weight"])
    assert not torch.equal(state["backbone.conv1.weight"], heads["backbone.conv1.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "backbone"}, "init backbone needs a classifier run; add teachers: {backbone: RUN}"),
        (
            {"init": "backbone", "network": "resnet18", "schedule": PROBE, "input": 32},
            "init backbone and teachers.backbone",
        ),
    ],
)
def test_what_belongs_together(tiny_store: TinyStore, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_store.create_run(2, **changes)


def test_a_backbone_that_no_init_asks_for_is_no_part_of_the_id(tiny_store: TinyStore, pretrained: RunFolder) -> None:
    assert tiny_store.create_run(2, teachers={"backbone": pretrained.id}).id == tiny_store.create_run(2).id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"schedule": {**PROBE, "values": {**PROBE["values"], "normalisation": {"std": [1.0, 1.0, 1.0]}}}},
            "were trained on .* but this network sees",
        ),
        ({"network": "resnet18"}, "weights run resnet18-classifier"),
        ({"schedule": {**PROBE, "values": {**PROBE["values"], "min_top1": 1.0}}}, "below min_top1 1.000"),
    ],
    ids=["pixels", "network", "min_top1"],
)
def test_refusals(tiny_store: TinyStore, tmp_path: Path, pretrained: RunFolder, changes: Any, message: str) -> None:
    """The run need not be trained anew for each: its files are copied under the id of another spec."""
    store = tiny_store.with_empty_store(tmp_path)
    other = classifier(store, **changes)
    for name in ("result.json", "status.json", "classifier.pth", "config.json", "config.py", "train_config.py"):
        if (pretrained.path / name).exists():
            shutil.copyfile(pretrained.path / name, other.path / name)
    if "network" in changes:
        from c2d.teachers.networks import build_network

        torch.save(build_network("resnet18", 8, 32).state_dict(), other.classifier)
        result = read_json(other.result)
        result["sha256"].pop("classifier.pth")
        atomic_write_json(other.result, result)
    with pytest.raises(InputError, match=message):
        first_weights(store, init="backbone", teachers={"backbone": other.id})


def test_a_changed_file_is_refused(tiny_store: TinyStore, tmp_path: Path, pretrained: RunFolder) -> None:
    store = tiny_store.with_empty_store(tmp_path)
    shutil.copytree(pretrained.path, store.runs / pretrained.id)
    shutil.copytree(tiny_store.runs / "students", store.runs / "students")
    state = torch.load(pretrained.classifier, weights_only=True)
    torch.save(
        {**state, "backbone.conv1.weight": state["backbone.conv1.weight"] + 1},
        store.runs / pretrained.id / "classifier.pth",
    )
    with pytest.raises(InputError, match=r"classifier\.pth"):
        first_weights(store, init="backbone", teachers={"backbone": pretrained.id})


def test_specs_of_a_resolved_run_resolve_to_the_same_id(tiny_store: TinyStore, pretrained: RunFolder) -> None:
    run = tiny_store.create_run(2, init="backbone", teachers={"backbone": pretrained.id})
    values = read_json(run.spec)
    assert resolve_spec(values, where="test", runs=tiny_store.runs, data=tiny_store.data).id == run.id

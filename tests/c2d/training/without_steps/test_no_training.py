"""Whole detectors: loaded from a file of mmdet's form, exported, evaluated, and used as teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.cli.commands import summary
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.specs.resolve_spec import resolve_spec
from c2d.training.train import train
from c2d.training.without_steps.published_ap import published_facts
from c2d.weights.weight_file import file_sha256
from c2d.weights.zoo import zoo_table
from c2d.weights.zoo.zoo_table import ZooFile
from tests.c2d.conftest import TINY, TinyStore

CONFIG = "img_norm_cfg = dict(\n    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)\n"


@pytest.fixture(scope="module")
def trained(tiny_store: TinyStore) -> dict[str, Any]:
    """Two steps of the tiny student: its run, and its weights."""
    folder = tiny_store.create_run(2, seed=5)
    result = train(folder, tiny_store.options())
    return {"folder": folder, "result": result, "state": torch.load(folder.student, weights_only=True)}


def write_checkpoint(path: Path, state: dict[str, Any], classes: Any = None, config: str = CONFIG) -> Path:
    """A file as mmdet 2 publishes it."""
    meta = {"mmdet_version": "2.2.0", "config": config, "CLASSES": classes}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "meta": {key: value for key, value in meta.items() if value}}, path)
    return path


def classes_of(store: TinyStore) -> tuple[str, ...]:
    return tuple(read_json(store.data / "scenes" / "card.json")["classes"])


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_store: TinyStore, trained: dict[str, Any]) -> str:
    """`init` of a table with one file, which torch's cache has; an average of the weights is beside them."""
    state = {**trained["state"], **{f"ema_{key.replace('.', '_')}": v for key, v in list(trained["state"].items())[:2]}}
    draft = write_checkpoint(tmp_path / "hub" / "checkpoints" / "draft.pth", state, classes_of(tiny_store))
    stem = f"tiny_retinanet_20200130-{file_sha256(draft)[:8]}"
    draft.rename(draft.with_name(f"{stem}.pth"))
    entry = ZooFile(stem, f"https://example.org/{stem}.pth", "tiny-retinanet", "none.py", 38.9)
    monkeypatch.setattr(zoo_table, "zoo_files", lambda: {stem: entry})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return f"zoo:{stem}"


def test_a_file_of_the_zoo_is_a_run_and_a_teacher(
    tiny_store: TinyStore, zoo: str, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_store.create_run(schedule="no-training", init=zoo)
    assert folder.id.startswith("tiny-retinanet-no-training-")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("c2d.training.train._evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            train(folder, tiny_store.options())
    assert folder.read_status()["state"] != "done"
    result = train(folder, tiny_store.options())
    assert folder.read_status()["attempt"] == 2
    assert folder.read_status()["state"] == "done"
    found = torch.load(folder.student, weights_only=True)
    assert all(torch.equal(found[key], value) for key, value in trained["state"].items())
    assert result["AP"] == trained["result"]["AP"]
    assert result["audit_init"]["sha256"] == file_sha256(Path(result["audit_init"]["source"]))
    assert len(result["audit_init"]["dropped"]) == 2
    assert result["published_ap"] is None  # it is of COCO, and these are scenes
    for path in (folder.detections, folder.env, folder.config, folder.train_config):
        assert path.exists(), path
    assert train(folder, tiny_store.options()) == result  # a finished run stays

    student = tiny_store.create_run(1, method=[{"fitnets": {}}], teachers={"detector": folder.id})
    taught = train(student, tiny_store.options())
    assert taught["teachers"]["detector"]["run"] == folder.id


def test_a_file_of_ones_own_is_kept_by_its_digest(
    tiny_store: TinyStore, trained: dict[str, Any], tmp_path: Path
) -> None:
    path = write_checkpoint(tmp_path / "mine.pth", trained["state"])
    digest = file_sha256(path)
    folder = tiny_store.create_run(schedule="no-training", init=f"detector:{path}")
    path.unlink()
    assert read_json(folder.spec)["init"] == f"detector:sha256:{digest}"
    result = train(folder, tiny_store.options())
    assert result["audit_init"]["sha256"] == digest
    assert "the file does not say its classes" in folder.log.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("moth", "beetle")}, "the model has"),
        ({"classes": "reversed"}, "has the classes"),
        (
            {"config": CONFIG.replace("58.395, 57.12, 57.375", "1.0, 1.0, 1.0")},
            "and std (1 1 1), but this network sees",
        ),
        ({"config": CONFIG.replace("True", "False")}, "were trained on bgr pixels"),
        ({"drop": "backbone.conv1.weight"}, "1 of"),
        ({"add": "mask_head.weight"}, "1 keys are unexpected: mask_head.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tiny_store: TinyStore, trained: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    own = classes_of(tiny_store)
    classes = own[::-1] if change.get("classes") == "reversed" else change.get("classes", own)
    state = {key: value for key, value in trained["state"].items() if key != change.get("drop")}
    if "add" in change:
        state[change["add"]] = torch.zeros(1)
    path = write_checkpoint(tmp_path / "mine.pth", state, classes, change.get("config", CONFIG))
    folder = tiny_store.create_run(schedule="no-training", init=f"detector:{path}")
    with pytest.raises(InputError) as info:
        train(folder, tiny_store.options())
    assert message in str(info.value)


def test_a_file_that_is_not_here_or_damaged(tiny_store: TinyStore, zoo: str, tmp_path: Path) -> None:
    folder = tiny_store.create_run(schedule="no-training", init=zoo, seed=2)
    (path,) = (tmp_path / "hub" / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match="its sha256 does not begin with"):
        train(folder, tiny_store.options())
    path.unlink()
    with pytest.raises(InputError, match=r"call again with --download"):
        train(folder, tiny_store.options())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "none"}, "no other run has that schedule"),
        ({"schedule": "smoke"}, "evaluated and never trained, schedule: no-training"),
        ({"init": "zoo:nothing-00000000"}, "unknown file of the model zoo 'nothing-00000000'"),
        ({"init": "detector:none.pth"}, "names no file that exists"),
        ({"init": "zoo:retinanet_r50_fpn_1x_coco_20200130-c2398f9e+teacher"}, "leave +teacher out"),
        ({"student": "retinanet-r101"}, "is a retinanet-r50, and the student is retinanet-r101"),
        ({"schedule": {"name": "no-training", "scale_to_batch": 8}}, "has no batch to scale"),
        ({"method": [{"icod": {}}]}, "a run that is not trained has no method"),
        ({"student": None, "network": "resnet18"}, "unknown schedule of a classifier 'no-training'"),
    ],
)
def test_specs_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    given = {"dataset": "coco2017", "student": "retinanet-r50", "schedule": "no-training", **changes}
    given.setdefault("init", "zoo:retinanet_r50_fpn_1x_coco_20200130-c2398f9e")
    with pytest.raises(InputError) as info:
        resolve_spec({k: v for k, v in given.items() if v is not None}, where="test", runs=tmp_path, data=tmp_path)
    assert message in str(info.value)


def test_the_published_ap_is_beside_the_measured_one(tmp_path: Path, tiny_store: TinyStore) -> None:
    given = {"dataset": "coco2017", "student": "retinanet-r50", "schedule": "no-training"}
    given["init"] = "zoo:retinanet_r50_fpn_1x_coco_20200130-c2398f9e"
    spec = resolve_spec(given, where="test", runs=tmp_path, data=tmp_path)
    assert published_facts(spec, 0.3629) == {"published_ap": 0.365, "published_ap_warning": None}
    assert published_facts(spec, 0.3679)["published_ap_warning"] is None
    far = published_facts(spec, 0.3615)
    assert far["published_ap"] == 0.365
    assert "is 36.15, -0.35 from the published one (36.5), more than 0.3 away" in far["published_ap_warning"]
    numbers = {"kind": "detector", **dict.fromkeys(("AP50", "AP75", "APs", "APm", "APl")), "tide": {"dAP": {}}}
    assert f"\npublished AP 36.5\nwarning: {far['published_ap_warning']}\n" in summary({"AP": 0.3615, **numbers, **far})
    assert "undefined" in published_facts(spec, None)["published_ap_warning"]
    smaller = resolve_spec({**given, "input": 400}, where="test", runs=tmp_path, data=tmp_path)
    assert published_facts(smaller, 0.1) == {"published_ap": None, "published_ap_warning": None}


def test_it_is_a_run_of_an_evaluation_alone(tmp_path: Path) -> None:
    given = {"dataset": "coco2017", "student": "retinanet-r50", "schedule": "no-training"}
    given["init"] = "zoo:retinanet_r50_fpn_1x_coco_20200130-c2398f9e"
    spec = resolve_spec(given, where="test", runs=tmp_path, data=tmp_path)
    assert spec.is_evaluation_only
    assert not spec.has_steps
    with pytest.raises(InputError, match="is evaluated and never trained"):
        assert spec.training
    assert RunFolder(tmp_path / spec.id).id == spec.id
    assert TINY.exists()

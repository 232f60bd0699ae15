"""`import c2d`: resolve, train, evaluate and load a student, as docs/api.md shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import c2d
from tests.test_public_api import run_examples


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names after the examples of the page, run in a folder with the scenes that they name."""
    from c2d.data.scenes.make_scenes import make_scenes

    root = tmp_path_factory.mktemp("api")
    make_scenes(root / "data" / "scenes", train=8, val=4, size=64, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return {**run_examples("c2d"), "root": root}


def test_the_examples_of_the_page_train_and_load_a_student(example: dict[str, Any]) -> None:
    run = example["run"]
    path = example["root"] / run.path
    assert run.id == run.path.name == path.name
    assert run.spec == json.loads((path / "spec.json").read_text())
    assert example["numbers"]["AP"] == json.loads((path / "result.json").read_text())["AP"]
    assert example["student"].classes[0] == "banded"
    assert not example["student"].model.training


@pytest.fixture(scope="module")
def confident(example: dict[str, Any]) -> c2d.Student:
    """The student with scores near a half: after four iterations all of them are below its lowest score."""
    example["student"].model.bbox_head.retina_cls.bias.data.zero_()
    return example["student"]


def test_predictions_are_the_detections_of_the_evaluation(example: dict[str, Any], confident: c2d.Student) -> None:
    from c2d.evaluation.datasets import build_dataset
    from c2d.evaluation.detect import detect

    dataset = build_dataset(confident.config["test_dataloader"]["dataset"])
    evaluated = detect(confident.model, dataset)
    names = dict(zip(dataset.cat_ids, confident.classes, strict=True))
    for place in range(len(dataset)):
        info = dataset.get_data_info(place)
        found = confident.predict(info["img_path"])
        wanted = [one for one in evaluated if one["image_id"] == info["img_id"]]
        assert len(found) == len(wanted) > 0
        assert found.scores.tolist() == [one["score"] for one in wanted]
        assert found.names == tuple(names[one["category_id"]] for one in wanted)
        corners = [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in wanted)]
        assert np.allclose(found.boxes, corners, atol=1e-9)


def test_pixels_and_files_give_one_prediction_and_mmdet_takes_the_model(
    example: dict[str, Any], confident: c2d.Student
) -> None:
    from mmcv import imread
    from mmdet.apis import inference_detector

    file = example["root"] / "data/scenes/val/val_000001.png"
    pixels = imread(str(file), channel_order="rgb")
    of_file, of_pixels = confident.predict([file, pixels])
    assert np.array_equal(of_file.boxes, of_pixels.boxes)
    assert np.array_equal(of_file.scores, of_pixels.scores)
    of_mmdet = inference_detector(confident.model, str(file)).pred_instances
    assert np.array_equal(of_mmdet.scores.double().numpy(), of_file.scores)
    middle = float(np.median(of_file.scores))
    assert 0 < len(confident.predict(file, score=middle)) == int((of_file.scores >= middle).sum()) < len(of_file)


def test_a_mapping_and_a_file_are_one_run_and_an_id_continues_it(example: dict[str, Any], tmp_path: Path) -> None:
    root, run = example["root"], example["run"]
    given = {"dataset": str(root / "data/scenes"), "student": "retinanet-qr18", "schedule": "smoke"}
    (tmp_path / "one.yaml").write_text("\n".join(f"{key}: {value}" for key, value in given.items()))
    of_file = c2d.resolve(tmp_path / "one.yaml", runs=tmp_path / "empty")
    assert of_file.id == c2d.resolve(given, runs=tmp_path / "empty").id == run.id
    assert of_file.state == "new"
    assert not list((tmp_path / "empty").glob("*-s0"))
    finished = c2d.train(run.id[:20], runs=root / "runs", workers=0, quiet=True)  # trained already: nothing is done
    assert finished.result == json.loads((root / "runs" / run.id / "result.json").read_text())


def test_a_run_stops_where_it_is_planned(example: dict[str, Any], tmp_path: Path) -> None:
    spec = {"dataset": str(example["root"] / "data/scenes"), "student": "retinanet-qr18", "schedule": "smoke"}
    run = c2d.train(spec, runs=tmp_path, workers=0, quiet=True, stop_after=1)
    assert "iteration 1" in run.stopped
    assert run.state == "waiting"
    with pytest.raises(c2d.InputError, match=r"is waiting and has no student\.pth; finish it"):
        c2d.load_student(run, device="cpu")


def test_mistakes_are_found_before_anything_is_written(example: dict[str, Any], tmp_path: Path) -> None:
    data = str(example["root"] / "data/scenes")
    with pytest.raises(c2d.InputError, match="unknown key 'studnet'; did you mean 'student'"):
        c2d.train({"dataset": data, "studnet": "retinanet-qr18", "schedule": "smoke"}, runs=tmp_path)
    with pytest.raises(c2d.InputError, match="did you mean 'retinanet-qr18'"):
        c2d.resolve({"dataset": data, "student": "retinanet-qr", "schedule": "smoke"}, runs=tmp_path)
    run = c2d.resolve({"dataset": data, "student": "retinanet-qr18", "schedule": "smoke"}, runs=tmp_path)
    with pytest.raises(c2d.InputError, match="teacher"):  # found when the run is built: its folder is removed again
        c2d.train(run, cache_teacher=tmp_path / "logits", workers=0, quiet=True)
    assert [path.name for path in tmp_path.glob("*/spec.json")] == []
    with pytest.raises(c2d.InputError, match="train it first"):
        c2d.load_student("nothing", runs=tmp_path)


def test_images_that_cannot_be_used_are_named(example: dict[str, Any], tmp_path: Path) -> None:
    student = example["student"]
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(c2d.RunError, match=r"text\.png is no image"):
        student.predict(tmp_path / "text.png")
    with pytest.raises(c2d.InputError, match=r"no image file .*missing\.png"):
        student.predict(tmp_path / "missing.png")
    with pytest.raises(c2d.InputError, match=r"an image is float64 of shape \(4, 4, 3\)"):
        student.predict(np.zeros((4, 4, 3)))
    with pytest.raises(c2d.InputError, match="an image is int"):
        student.predict(3)
    (tmp_path / "empty.png").touch()
    for unusable in (
        tmp_path / "empty.png",
        np.zeros((1, 4000, 3), np.uint8),
    ):  # the second has no pixel after a resize
        with pytest.raises(c2d.RunError, match="is no image that the test pipeline takes"):
            student.predict(unusable)
    with pytest.raises(c2d.InputError, match=r"of shape \(0, 0, 3\)"):
        student.predict(np.zeros((0, 0, 3), np.uint8))
    with pytest.raises(c2d.InputError, match="allowed is 0 to 1"):
        student.predict(tmp_path / "text.png", score=50)


def test_objects_with_arrays_are_compared_by_identity(example: dict[str, Any]) -> None:
    first, second = (example["student"].predict(np.zeros((8, 8, 3), np.uint8)) for _ in range(2))
    assert first != second
    assert len({first, second, example["student"]}) == 3


def test_a_device_that_does_not_exist_and_lost_weights_are_named(example: dict[str, Any], tmp_path: Path) -> None:
    import torch

    run = example["root"] / "runs" / example["run"].id
    for device, message in (("gpu", "unknown device 'gpu'"), ("meta", "students run on"), ("cuda:64", "torch sees")):
        with pytest.raises(c2d.InputError, match=message):
            c2d.load_student(run, device=device)
    assert c2d.load_student(run, device=torch.device("cpu")).device == "cpu"
    shutil.copytree(run, tmp_path / run.name)
    (tmp_path / run.name / "student.pth").unlink()
    with pytest.raises(c2d.InputError, match=r"is done and has no student\.pth; import it"):
        c2d.load_student(tmp_path / run.name)


def test_a_run_is_the_same_in_another_folder(example: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"dataset": "scenes", "student": "retinanet-qr18", "schedule": "smoke"}
    monkeypatch.chdir(example["root"])
    run = c2d.resolve(given, runs="runs", data="data")
    assert (run.state, run.data) == ("done", example["root"] / "data")
    monkeypatch.chdir("/")
    assert run.state == "done"
    assert run.result == json.loads((example["root"] / "runs" / run.id / "result.json").read_text())


@pytest.mark.parametrize("option", [{"workers": -1}, {"workers": "2"}, {"threads": 0}, {"stop_after": 1.5}])
def test_a_count_that_is_none_begins_nothing(example: dict[str, Any], tmp_path: Path, option: dict[str, Any]) -> None:
    data = str(example["root"] / "data/scenes")
    with pytest.raises(c2d.InputError, match=f"{next(iter(option))} is .*; give a whole number"):
        c2d.train({"dataset": data, "student": "retinanet-qr18", "schedule": "smoke"}, runs=tmp_path, **option)
    assert not list(tmp_path.iterdir())

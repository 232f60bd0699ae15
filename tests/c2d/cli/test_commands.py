"""The face: bad input is one line with exit code 2, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2d.cli.main import main
from c2d.core.run_folder import RunFolder, read_json
from tests.c2d.conftest import TINY, TinyStore


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run `c2d` with these arguments; return (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def question(folder: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {"dataset": "scenes", "student": str(TINY), "schedule": "smoke", **changes}
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in given.items() if value is not None}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": "retinanet-qr81"}, "unknown student 'retinanet-qr81'; did you mean 'retinanet-qr18'"),
        ({"student": None, "network": "resnet81", "schedule": "demo-classifier"}, "did you mean 'resnet"),
        ({"dataset": "scense"}, "unknown data set 'scense'; did you mean 'scenes'"),
        ({"schedule": "demoo"}, "unknown schedule of a detector 'demoo'; did you mean 'demo'"),
        ({"sead": 3}, "did you mean 'seed'"),
        ({"method": [{"icdo": {}}]}, "did you mean 'icod'"),
        ({"method": [{"icod": {"lambda_ck": 1}}]}, "unknown parameter of icod 'lambda_ck'; did you mean 'lambda_"),
        ({"method": [{"icod": {}}]}, "needs a classifier teacher"),
        ({"method": [{"icod": {}}], "teachers": {"classifier": "nobody"}}, "unknown run"),
        ({"schedule": {"name": "smoke", "values": {"iterations": -4}}}, "iterations"),
        (
            {"schedule": {"name": "smoke", "values": {"warmup": {"iterations": 9}}}},
            "a warm-up of 9 iterations does not fit",
        ),
        ({"overrides": {"model.bbox_head.los_cls.gamma": 1}}, "did you mean 'loss_cls'"),
        ({"overrides": {"method.0.icod.T": 4}}, "a part of the spec itself"),
        ({"overrides": {"seed.x": 4}}, "a part of the spec itself"),
        ({"overrides": {"train_cfg.max_iters.x": 4}}, "its parent is a value"),
        ({"overrides": {"train_dataloader.dataset.filter_cfgg": 1}}, "cannot build the data set"),
        ({"method": [{"icod": 5}]}, "parameters are keys and values"),
        ({"method": [{1: {}}]}, "unknown method '1'"),
        ({"init": 5}, "init 5 is not text"),
        ({"student": {"digest": "x"}}, "has no name"),
        ({"dataset": {"digest": "x"}}, "has no name"),
        ({"init": "nowhere.pth"}, "init 'nowhere.pth' names no weights and no file that exists"),
        ({"init": "torchvision:resnet18.IMAGENET1K_V1"}, "resnet18"),
        ({"input": 0}, "input"),
        ({"schedule": None}, "needs dataset, schedule"),
    ],
)
def test_bad_specs(
    tiny_store: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    runs = tmp_path / "runs"
    code, _, err = call(capsys, "train", question(tmp_path, **changes), "--runs", runs, "--data", tiny_store.data)
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert not list(runs.glob("*/spec.json"))


def test_bad_parameter_value_names_the_method(
    tiny_store: TinyStore, teacher: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = question(tmp_path, method=[{"icod": {"T": -1}}], teachers={"classifier": teacher.id})
    before = sorted(item.name for item in tiny_store.runs.iterdir())
    code, _, err = call(capsys, "train", path, "--runs", tiny_store.runs, "--data", tiny_store.data)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "method icod: T:" in err
    assert sorted(item.name for item in tiny_store.runs.iterdir() if item.name not in ("students",)) == [
        n for n in before if n != "students"
    ]


def test_yaml_errors_name_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("dataset: scenes\nstudent: [unclosed\n")
    code, _, err = call(capsys, "train", path)
    assert code == 2
    assert f"{path}:3: not valid YAML" in err
    assert call(capsys, "train", tmp_path / "none.yaml")[0] == 2
    path.write_text("- a\n- list\n")
    assert "holds a list" in call(capsys, "train", path)[2]


@pytest.mark.parametrize("wrong", ["trian", "evaluat"])
def test_unknown_commands(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    code, _, err = call(capsys, wrong)
    assert code == 2
    assert "did you mean" in err


def test_train_prints_the_summary_and_the_folder(
    tiny_store: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs = question(tmp_path, schedule={"name": "smoke", "scale_to_batch": 4}), tmp_path / "runs"
    code, out, _ = call(capsys, "train", path, "--runs", runs, "--data", tiny_store.data)
    assert code == 0
    line = "schedule smoke at batch 4 instead of 2: lr 0.001 -> 0.002 (linear rule), iterations 4 -> 2\n"
    assert out.startswith(line)
    assert "AP50" in out
    assert "TIDE" in out
    (folder,) = [RunFolder(item.parent) for item in runs.glob("*/spec.json")]
    assert str(folder.path) in out
    assert folder.id.startswith("tiny-retinanet-baseline-")
    again, out, _ = call(capsys, "train", path, "--runs", runs, "--data", tiny_store.data, "--quiet")
    assert again == 0
    assert folder.read_status()["attempt"] == 1

    code, out, err = call(capsys, "evaluate", folder.id, "--runs", runs, "--data", tiny_store.data, "--check")
    assert code == 0, err
    assert "AP equals result.json" in out
    out_file = tmp_path / "stock.json"
    code, _, err = call(
        capsys,
        "evaluate",
        "--config",
        folder.config,
        "--checkpoint",
        folder.student,
        "--data",
        tiny_store.data / "scenes",
        "--runs",
        runs,
        "--out",
        out_file,
    )
    assert code == 0, err
    assert json.loads(out_file.read_text())["AP"] == read_json(folder.result)["AP"]

    spec = read_json(folder.spec)
    folder.spec.write_text(json.dumps({**spec, "seed": 5}))
    code, _, err = call(capsys, "train", path, "--runs", runs, "--data", tiny_store.data)
    assert code == 2
    assert "holds another spec" in err


def test_evaluate_refuses_other_weights_and_classes(
    tiny_store: TinyStore, teacher: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from c2d.training.train import train

    folder = tiny_store.create_run(seed=21)
    train(folder, tiny_store.options())
    stock = ["--config", folder.config, "--data", tiny_store.data / "scenes", "--runs", tmp_path / "runs"]
    code, _, err = call(capsys, "evaluate", *stock, "--checkpoint", teacher.classifier)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    text = folder.config.read_text()
    first = read_json(tiny_store.data / "scenes" / "card.json")["classes"][0]
    other = tmp_path / "other.py"
    other.write_text(text.replace(f"'{first}'", "'unicorn'"))
    code, _, err = call(
        capsys,
        "evaluate",
        "--config",
        other,
        "--checkpoint",
        folder.student,
        "--data",
        tiny_store.data / "scenes",
        "--runs",
        tmp_path / "runs",
    )
    assert code == 2
    assert "unicorn" in err
    assert call(capsys, "evaluate", "--config", folder.config)[0] == 2
    assert call(capsys, "evaluate", "nobody", "--runs", tiny_store.runs)[0] == 2


def test_methods_lists_icod_with_its_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert "icod" in call(capsys, "methods")[1]
    shown = call(capsys, "methods", "icod")[1]
    assert "lambda_kc" in shown
    assert "unverified" in shown
    assert call(capsys, "methods", "icdo")[0] == 2


def small_set(folder: Path, tiny_store: TinyStore, **changes: Any) -> Path:
    """A copy of the scenes under `folder`/data/scenes whose training annotations may be changed, with its card."""
    from c2d.data.make_card import make_card

    root = folder / "data" / "scenes"
    shutil.copytree(tiny_store.data / "scenes", root)
    train = root / "annotations" / "instances_train.json"
    train.write_text(json.dumps({**read_json(train), **changes}))
    splits = {name: (root / "annotations" / f"instances_{name}.json", root / name) for name in ("train", "val")}
    make_card(root, "scenes", read_json(root / "card.json")["classes"], splits)
    return root


def test_a_missing_image_is_found_before_the_first_step(
    tiny_store: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = small_set(tmp_path, tiny_store)
    used = {box["image_id"] for box in read_json(root / "annotations" / "instances_train.json")["annotations"]}
    images = read_json(root / "annotations" / "instances_train.json")["images"]
    lost = next(image["file_name"] for image in images if image["id"] in used)
    (root / "train" / lost).unlink()
    code, _, err = call(capsys, "train", question(tmp_path), "--runs", tmp_path / "runs", "--data", tmp_path / "data")
    assert code == 2
    assert "1 of " in err
    assert lost in err
    assert not list((tmp_path / "runs").glob("*/spec.json"))


def test_no_annotations_at_all(tiny_store: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_set(tmp_path, tiny_store, annotations=[])
    code, _, err = call(capsys, "train", question(tmp_path), "--runs", tmp_path / "runs", "--data", tmp_path / "data")
    assert code == 2
    assert "instances_train.json has no box to train on: it has no annotation" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_the_run_and_is_named(
    tiny_store: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    root = small_set(tmp_path, tiny_store)
    for path in (root / "train").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    command = ["train", question(tmp_path), "--runs", tmp_path / "runs", "--data", tmp_path / "data"]
    code, _, err = call(capsys, *command, "--workers", workers, "--quiet")
    assert code == 1
    assert "training image" in err
    assert "c2d data check" in err
    (folder,) = [RunFolder(item.parent) for item in (tmp_path / "runs").glob("*/spec.json")]
    assert folder.read_status()["state"] == "failed"
    assert "Traceback" not in err
    if workers == 0:
        assert folder.read_status()["failure_class"] == "data"


def test_data_that_changed_since_the_card(
    tiny_store: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = small_set(tmp_path, tiny_store)
    path = root / "annotations" / "instances_train.json"
    value = read_json(path)
    value["annotations"][0]["bbox"][0] += 1
    path.write_text(json.dumps(value))
    code, _, err = call(capsys, "train", question(tmp_path), "--runs", tmp_path / "runs", "--data", tmp_path / "data")
    assert code == 2
    assert "has changed since its card was made" in err

"""A student on a data card of synthesised images, named by its path: every method trains on it as on any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from c2d.cli.main import app
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import RunStore
from c2d.data.card import LoadedCard, Synthesis
from c2d.data.card_lookup import find_card, load_card
from c2d.data.make_card import make_card
from c2d.training.train import train
from tests.c2d.conftest import TinyStore

STUDENT: dict[str, Any] = {"student": "faster-rcnn-er18", "input": 64}
METHODS = ["chen", "fitnets", "pkd", "fgd", "soft_labels"]
TEACHER = "faster-rcnn-er18-baseline-0123456789ab-s0"


def impressions(folder: Path, real: LoadedCard, *, soft_labels: bool = True) -> Path:
    """Eight noise images with two targets each, as a synthesis writes them; `val` is the real one of `real`."""
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    categories = json.loads(real.annotations("val").read_text())["categories"]
    (folder / "train").mkdir(parents=True)
    for number in range(1, 9):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / "train" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
        for place in range(2):
            label = (number + place) % len(categories)
            soft = [0.0] * len(categories)
            soft[label], soft[(label + 1) % len(categories)] = 0.75, 0.25
            row = {"id": len(rows) + 1, "image_id": number, "category_id": categories[label]["id"], "iscrowd": 0}
            row |= {"bbox": [4 + 30 * place, 10 + number, 24, 30], "area": 720}
            rows.append(row | ({"soft_label": soft} if soft_labels else {}))
    (folder / "annotations").mkdir()
    file = folder / "annotations" / "train.json"
    file.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    made = Synthesis(images_from="optimised", run="", schedule="moi", teacher=TEACHER, teacher_sha256="ab" * 32,
                     soft_labels=soft_labels)  # fmt: skip
    files = {"train": (file, folder / "train"), "val": (real.annotations("val"), real.images("val"))}
    make_card(folder, folder.name, real.card.classes, files, synthesis=made)
    return folder


def command(tiny_store: TinyStore, spec: Path, values: dict[str, Any]) -> RunFolder:
    """`c2d train SPEC.yaml` of two iterations; returns the run."""
    schedule = {"name": "smoke", "values": {"iterations": 2, "batch": 4}}
    spec.write_text(json.dumps(STUDENT | {"schedule": schedule} | values))
    before = {path.parent.name for path in tiny_store.runs.glob("*/spec.json")}
    result = CliRunner().invoke(
        app, ["train", str(spec), "--runs", str(tiny_store.runs), "--data", str(tiny_store.data)]
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    (name,) = {path.parent.name for path in tiny_store.runs.glob("*/spec.json")} - before
    return RunFolder(tiny_store.runs / name)


@pytest.fixture(scope="module")
def real(tiny_store: TinyStore) -> LoadedCard:
    return load_card("scenes", tiny_store.data)


@pytest.fixture(scope="module")
def detector(tiny_store: TinyStore) -> RunFolder:
    """A detector teacher of two iterations on the real images."""
    folder: RunFolder = tiny_store.create_run(2, **STUDENT)
    train(folder, tiny_store.options())
    return folder


def test_methods_train_on_synthesised_images_that_are_named_by_their_path(
    tiny_store: TinyStore, real: LoadedCard, detector: RunFolder, tmp_path: Path
) -> None:
    folder = impressions(tmp_path / "made", real)
    run = command(
        tiny_store,
        tmp_path / "spec.yaml",
        {"dataset": str(folder), "data_free": True, "teachers": {"detector": detector.id}, "method": METHODS},
    )
    spec, result = read_json(run.spec), read_json(run.result)
    assert spec["dataset"] == {"name": "made", "digest": load_card(str(folder)).card.digest}
    assert spec["data_free"] is True
    assert result["AP"] is not None
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    for name in METHODS:
        terms = {key: value for key, value in last.items() if key.startswith(f"loss_kd_{name}_")}
        assert any(value > 0 for value in terms.values()), (name, last)
    assert last["kd_soft_labels_positives"] > 0
    # Measured on the real images: the detections have the ids of the real split.
    ids = {row["id"] for row in json.loads(real.annotations("val").read_text())["images"]}
    assert {row["image_id"] for row in read_json(run.detections)} <= ids
    assert str(real.annotations("val").resolve()) in run.config.read_text()
    assert str(folder / "train") in run.train_config.read_text()


def test_the_store_keeps_the_place_of_such_a_data_set(tiny_store: TinyStore, real: LoadedCard, tmp_path: Path) -> None:
    folder = impressions(tmp_path / "elsewhere", real)
    planned = tiny_store.create_run(2, **STUDENT, dataset=str(folder), data_free=True)
    digest = read_json(planned.spec)["dataset"]["digest"]
    assert read_json(RunStore(tiny_store.runs).dataset(digest)) == {"format": 1, "folder": str(folder)}
    assert find_card("elsewhere", digest, tiny_store.data, tiny_store.runs).root == folder
    with pytest.raises(InputError, match="unknown data set 'elsewhere'"):
        find_card("elsewhere", digest, tiny_store.data)
    folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"data set elsewhere was given by its path, and .*elsewhere has it no longer"):
        train(planned, tiny_store.options())
    tiny_store.create_run(2, **STUDENT, dataset=str(tmp_path / "moved"), data_free=True)
    assert find_card("elsewhere", digest, tiny_store.data, tiny_store.runs).root == tmp_path / "moved"
    RunStore(tiny_store.runs).dataset(digest).write_text('{"format": 1, "folder": "not/absolute"}')
    with pytest.raises(InputError, match="has no folder of a data set"):
        find_card("elsewhere", digest, tiny_store.data, tiny_store.runs)


def test_a_data_set_of_the_data_root_has_no_kept_place(tiny_store: TinyStore, real: LoadedCard) -> None:
    run = tiny_store.create_run(2, **STUDENT, dataset=str(real.root), seed=4)
    assert not RunStore(tiny_store.runs).dataset(read_json(run.spec)["dataset"]["digest"]).exists()


def test_soft_labels_need_a_data_set_that_has_them(tiny_store: TinyStore, real: LoadedCard, tmp_path: Path) -> None:
    folder = impressions(tmp_path / "hard", real, soft_labels=False)
    planned = tiny_store.create_run(2, **STUDENT, dataset=str(folder), data_free=True, method=["soft_labels"])
    with pytest.raises(
        InputError, match="soft_labels teaches the soft labels of the training boxes, and this data set"
    ):
        train(planned, tiny_store.options())
    assert not planned.metrics.exists()


def test_inspect_and_suggest_weight_need_no_teacher(tiny_store: TinyStore, real: LoadedCard, tmp_path: Path) -> None:
    from c2d.preflight.suggest_weight import measure_gradients
    from c2d.preflight.visualize import draw_methods
    from c2d.training.build import build_from_name

    folder = impressions(tmp_path / "drawn", real)
    planned = tiny_store.create_run(2, **STUDENT, dataset=str(folder), data_free=True, method=["soft_labels"])
    lines = draw_methods(build_from_name(planned.id, tiny_store.runs, tiny_store.data), 2, tmp_path / "seen.png")
    assert lines == ["soft_labels: positives"]
    assert Image.open(tmp_path / "seen.png").size[0] > 100
    found = measure_gradients(build_from_name(planned.id, tiny_store.runs, tiny_store.data), 2, 1, lambda *_: None)
    assert [(one.method, one.term, one.parameter) for one in found] == [("soft_labels", "soft", "lambda_soft")]
    assert all(ratio > 0 for ratio in found[0].ratios)

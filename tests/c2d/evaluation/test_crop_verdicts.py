"""Verdicts of a classifier teacher on boxes: the pixels inside them, in the teacher's own normalisation and size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from c2d.configs.run_config import write_run_config
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.data.card_lookup import load_card
from c2d.data.decoding.decoder import read_image
from c2d.evaluation.crops.crop_verdicts import BEST, classify_crops, main
from c2d.specs.spec import parse_spec
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.networks import build_network
from c2d.training.config import resolve
from tests.c2d.conftest import TinyStore

BOXES = [[9.0, 21.0, 48.0, 48.0], [42.0, 30.0, 48.0, 48.0], [3.0, 3.0, 1.0, 40.0]]
"""The student sees 96 px as 64: there, two squares of the crop's own size on whole pixels, so that a crop is a copy;
and a box that is too thin."""


@pytest.fixture(scope="module")
def teacher(tiny_store: TinyStore) -> RunFolder:
    """The files of a finished classifier run, which was not trained."""
    values = {"iterations": 1, "batch": 4, "warmup": {"iterations": 0}}
    folder: RunFolder = tiny_store.create_run(
        network="resnet18", input=32, schedule={"name": "demo-classifier", "values": values}
    )
    classes = load_card("scenes", tiny_store.data).card.classes
    torch.manual_seed(0)
    torch.save(build_network("resnet18", len(classes), 32).state_dict(), folder.classifier)
    atomic_write_json(folder.result, {"format": 1, "top1": 1.0, "classes": list(classes)})
    return folder


@pytest.fixture(scope="module")
def student(tiny_store: TinyStore, teacher: RunFolder) -> RunFolder:
    """A run with its configs; nothing of it is trained either."""
    folder: RunFolder = tiny_store.create_run(
        iterations=1, method=[{"icod": {"max_positives": 4}}], teachers={"classifier": teacher.id}
    )
    configs = resolve(
        parse_spec(read_json(folder.spec), str(folder.spec)), load_card("scenes", tiny_store.data), folder
    )
    write_run_config(folder, configs.student, configs.train)
    return folder


def first_image(store: TinyStore) -> tuple[int, Path]:
    card = load_card("scenes", store.data)
    image = read_json(card.annotations("val"))["images"][0]
    return image["id"], card.images("val") / image["file_name"]


@pytest.fixture(scope="module")
def verdicts(tiny_store: TinyStore, student: RunFolder) -> dict[str, Any]:
    image, _ = first_image(tiny_store)
    return classify_crops(student, {image: BOXES}, tiny_store.data, None, "cpu")


def test_a_verdict_is_the_softmax_of_the_pixels_inside(
    tiny_store: TinyStore, verdicts: dict[str, Any], teacher: RunFolder
):
    image, path = first_image(tiny_store)
    assert (verdicts["runs"], verdicts["size"], verdicts["context"]) == ([teacher.id], 32, 0.0)
    ((of_image, rows),) = verdicts["images"]
    assert of_image == image
    assert rows[2] is None
    frozen = ClassifierTeacher.from_run(teacher.path)
    seen = cv2.resize(read_image(path), (64, 64), interpolation=cv2.INTER_LINEAR)
    pixels = seen[..., ::-1].astype(np.float32)
    assert frozen.normalization.order == "rgb"
    scaled = (pixels - np.array(frozen.normalization.mean)) / np.array(frozen.normalization.std)
    for (x, y, w, h), row in zip(BOXES, rows[:2], strict=False):
        left, top, right, bottom = (round(side * 2 / 3) for side in (x, y, x + w, y + h))
        inside = scaled[top:bottom, left:right]
        assert inside.shape == (32, 32, 3)
        with torch.no_grad():
            shares = frozen.logits(torch.from_numpy(inside).permute(2, 0, 1)[None].float()).softmax(1)[0]
        best = shares.topk(BEST)
        assert [int(cls) for cls in row[0::2]] == best.indices.tolist()
        assert row[1::2] == pytest.approx(best.values.tolist(), abs=1e-3)


def test_the_step_reads_and_writes_files(
    tiny_store: TinyStore, student: RunFolder, verdicts: dict[str, Any], tmp_path: Path, capsys: Any
):
    image, _ = first_image(tiny_store)
    request: dict[str, Any] = {
        "run": str(student.path), "teacher": None, "data": str(tiny_store.data), "device": "cpu",
        "images": [[image, BOXES]],
    }  # fmt: skip
    (tmp_path / "request.json").write_text(json.dumps(request))
    assert main([str(tmp_path / "request.json"), str(tmp_path / "answer.json")]) == 0
    assert capsys.readouterr().out == ""
    assert read_json(tmp_path / "answer.json") == json.loads(json.dumps(verdicts))


def test_a_run_without_a_classifier_teacher_is_refused(tiny_store: TinyStore, teacher: RunFolder):
    plain = tiny_store.create_run(iterations=1)
    with pytest.raises(InputError, match="has no classifier teacher; give the id of a classifier run"):
        classify_crops(plain, {}, tiny_store.data, None, "cpu")

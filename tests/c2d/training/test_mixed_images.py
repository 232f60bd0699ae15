"""A training on mixed images with a closing phase: exact resume, what is recorded, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.configs.student_config import STUDENTS
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, read_json
from c2d.data.card_lookup import find_card
from c2d.specs.spec import parse_spec
from c2d.training import config
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TINY, TinyStore

ICOD = [{"icod": {"max_positives": 8}}]
STUDENT = """
_base_ = {base!r}
_load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
_end = [dict(type="Resize", scale=(64, 64)), dict(type="PackDetInputs")]
train_pipeline = [
    *_load,
    dict(type="CachedMosaic", img_scale=(64, 64), max_cached_images=10),
    dict(type="RandomAffine", border=(-32, -32)),
    dict(type="CachedMixUp", img_scale=(64, 64), max_cached_images=10, prob=0.5),
    *_end,
]
closing_pipeline = [*_load, *_end]
closing_share = 1 / 3
input_size = 64
model = dict(data_preprocessor=dict(batch_augments=[
    dict(type="BatchSyncRandomResize", random_size_range=(64, 128), size_divisor=32, interval=2)]))
"""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("student") / "mixed-retinanet.py"
    path.write_text(STUDENT.format(base=str(TINY)))
    return str(path)


def test_a_killed_run_continues_exactly(
    tiny_store: TinyStore, teacher: RunFolder, student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question: dict[str, Any] = {"student": student, "method": ICOD, "teachers": {"classifier": teacher.id}, "seed": 2}
    whole = tiny_store.create_run(**question)
    result = train(whole, tiny_store.options())
    assert result["image_mixing"] == [
        {"type": "Mosaic", "partner_steps": 2, "prob": 1.0},
        {"type": "MixUp", "partner_steps": 4, "prob": 0.5},
    ]
    assert result["closing_iterations"] == 2
    log = whole.log.read_text()
    assert "mixes images: Mosaic (images after 2 steps, prob 1), MixUp (images after 4 steps, prob 0.5)" in log
    assert "never from a cache" in log
    assert "from iteration 4 on the closing pipeline is used, without mixed images" in log
    assert "batches are resized to 64-128 px every 2 iterations" in log

    other = tiny_store.with_empty_store(tmp_path)
    other.runs.mkdir()
    os.symlink(teacher.path, other.runs / teacher.id)
    broken = other.create_run(**question)
    from c2d.training.metrics_logger import MetricsLogger

    def die(self: Any, iteration: int, *_: Any) -> None:
        if iteration > 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLogger, "log_step", die)
        with pytest.raises(KeyboardInterrupt):
            train(broken, other.options(checkpoint_every=1))
    train(broken, other.options(workers=2))
    first, second = (safe_load.load(folder.student) for folder in (whole, broken))
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert read_json(whole.detections) == read_json(broken.detections)


def test_logits_of_mixed_crops_are_not_cached(
    tiny_store: TinyStore, teacher: RunFolder, student: str, tmp_path: Path
) -> None:
    folder = tiny_store.create_run(student=student, method=ICOD, teachers={"classifier": teacher.id}, seed=5)
    with pytest.raises(InputError, match="the training ends with a closing_pipeline"):
        train(folder, tiny_store.options(cache_teacher=tmp_path / "kept"))
    overrides = {"train_dataloader.dataset.pipeline.3": {"type": "Mosaic", "img_scale": [64, 64]}}
    folder = tiny_store.create_run(method=ICOD, teachers={"classifier": teacher.id}, seed=5, overrides=overrides)
    with pytest.raises(InputError, match="the training pipeline has Mosaic"):
        train(folder, tiny_store.options(cache_teacher=tmp_path / "kept"))


def test_yolox_adds_its_l1_loss_in_the_closing_phase(tiny_store: TinyStore, tmp_path: Path) -> None:
    text = STUDENT.format(base=str(STUDENTS / "yolox-q.py"))
    (tmp_path / "mixed-yolox.py").write_text(text)
    folder = tiny_store.create_run(iterations=3, student=str(tmp_path / "mixed-yolox.py"))
    train(folder, tiny_store.options())
    events = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert ["loss_l1" in event for event in events] == [False, False, True]
    assert (
        "from iteration 2 on the closing pipeline is used, without mixed images; the head adds its L1 loss there"
        in (folder.log.read_text())
    )


def test_a_classifier_mixes_images_by_overrides_alone(tiny_store: TinyStore) -> None:
    cached = {"type": "CachedMixUp", "img_scale": [64, 64]}
    folder = tiny_store.create_run(
        network="resnet18", schedule="demo-classifier", overrides={"train_dataloader.dataset.pipeline.2": cached}
    )
    spec = parse_spec(read_json(folder.spec), "test")
    card = find_card(spec.dataset.name, spec.dataset.digest, tiny_store.data)
    mixed = config.resolve(spec, card, folder).train["train_dataloader"]["dataset"]["pipeline"][2]
    assert mixed == {"type": "MixUp", "img_scale": (64, 64), "partner_steps": 2}


def test_sizes_in_an_overridden_pipeline_are_pairs(tiny_store: TinyStore) -> None:
    """mmcv refuses a list of two numbers, and YAML has no tuples; a list of sizes stays a list."""
    resize = {"type": "Resize", "scale": [64, 48], "keep_ratio": True}
    choice = {"type": "RandomChoice", "transforms": [[{"type": "RandomChoiceResize", "scales": [[64, 48], [96, 64]]}]]}
    overrides = {"train_dataloader.dataset.pipeline": [{"type": "LoadImageFromFile"}, resize, choice]}
    folder = tiny_store.create_run(overrides=overrides)
    spec = parse_spec(read_json(folder.spec), "test")
    card = find_card(spec.dataset.name, spec.dataset.digest, tiny_store.data)
    pipeline = config.resolve(spec, card, folder).train["train_dataloader"]["dataset"]["pipeline"]
    assert pipeline[1]["scale"] == (64, 48)
    assert pipeline[2]["transforms"][0][0]["scales"] == [(64, 48), (96, 64)]


@pytest.mark.parametrize("given", [None, 5, "Resize", []])
def test_an_overridden_pipeline_is_a_list_of_steps(given: Any, tiny_store: TinyStore) -> None:
    folder = tiny_store.create_run(overrides={"train_dataloader.dataset.pipeline": given})
    spec = parse_spec(read_json(folder.spec), "test")
    card = find_card(spec.dataset.name, spec.dataset.digest, tiny_store.data)
    with pytest.raises(InputError, match="as its pipeline; write the list of its steps"):
        config.resolve(spec, card, folder)

"""Cached logits: equal losses with and without, one teacher pass per crop, an error where crops would change."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.teachers.logit_cache import LogitCache, check_deterministic, weights_digest
from c2d.training.train import train
from tests.c2d.conftest import TinyStore

PREPROCESSOR = {"type": "DetDataPreprocessor"}
STILL = {"train_dataloader.dataset.pipeline.3.prob": 0.0}
"""The tiny student's only random transform, its flip, off."""


def of(*names: str | dict[str, Any]) -> dict[str, Any]:
    return {"type": "CocoDataset", "pipeline": [{"type": n} if isinstance(n, str) else n for n in names]}


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [str(path) for path in paths]


class CountingTeacher:
    """A teacher whose logits are the index of the row; `rows` records its calls."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    def __call__(self, rows: list[int]) -> Tensor:
        self.rows.append(rows)
        return torch.tensor(rows)[:, None] * torch.ones(1, 3)


BOXES = torch.tensor([[0.0, 0, 8, 8], [1, 1, 9, 9], [0, 0, 8, 8]])


def test_a_crop_is_requested_once(tmp_path: Path, images: list[str]) -> None:
    compute, cache = CountingTeacher(), LogitCache(tmp_path / "kept", {"teacher": "t"}, 3)
    paths = [images[0], images[0], images[1]]  # the third box is the first, in another image
    first = cache.logits(paths, BOXES, "32 px", compute)
    again = cache.logits(paths, BOXES.flip(0).flip(0), "32 px", compute)
    assert compute.rows == [[0, 1, 2]]
    assert first.tolist() == again.tolist() == [[0.0] * 3, [1.0] * 3, [2.0] * 3]
    moved = BOXES + torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 0.001], [0, 0, 0, 0]])
    cache.logits(paths, moved, "32 px", compute)
    cache.logits(paths[:1], BOXES[:1], "48 px", compute)
    assert compute.rows[1:] == [[1], [0]]
    assert (cache.hits, cache.requests) == (3 + 2, 3 + 3 + 3 + 1)
    assert "5 of 10 crops found (50.0%), 5 stored" in cache.summary()


def test_another_process_finds_it_and_another_context_does_not(tmp_path: Path, images: list[str]) -> None:
    folder, compute = tmp_path / "kept", CountingTeacher()
    LogitCache(folder, {"teacher": "t"}, 3).logits(images, BOXES[:2], "", compute)
    assert len(LogitCache(folder, {"teacher": "t"}, 3)) == 2
    assert len(LogitCache(folder, {"teacher": "other"}, 3)) == 0
    Path(images[0]).write_bytes(b"another picture under the same name")
    LogitCache(folder, {"teacher": "t"}, 3).logits(images, BOXES[:2], "", compute)
    assert compute.rows == [[0, 1], [0]]


def test_a_truncated_file_loses_only_its_last_entry(tmp_path: Path, images: list[str]) -> None:
    folder = tmp_path / "kept"
    LogitCache(folder, {}, 3).logits(images, BOXES[:2], "", CountingTeacher())
    (path,) = folder.rglob("*.logits")
    raw = path.read_bytes()
    path.write_bytes(raw[:-5])
    assert len(LogitCache(folder, {}, 3)) == 1
    path.write_bytes(raw[:40] + bytes([raw[40] ^ 1]) + raw[41:])  # a bit of the first entry's logits
    assert len(LogitCache(folder, {}, 3)) == 1


def test_no_boxes(tmp_path: Path) -> None:
    found = LogitCache(tmp_path / "kept", {}, 3).logits([], BOXES[:0], "", CountingTeacher())
    assert found.shape == (0, 3)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("dataset", "preprocessor", "message"),
    [
        (of("LoadImageFromFile", "RandomFlip"), PREPROCESSOR, "RandomFlip, which changes crops"),
        (of("LoadImageFromFile", {"type": "RandomFlip", "prob": 0.5}), PREPROCESSOR, "RandomFlip with prob 0"),
        (of("PhotoMetricDistortion"), PREPROCESSOR, "PhotoMetricDistortion"),
        (of("MinIoURandomCrop"), PREPROCESSOR, "MinIoURandomCrop"),
        (of("Expand"), PREPROCESSOR, "Expand"),
        (of("RandomResize"), PREPROCESSOR, "RandomResize"),
        (of("somebody.Transform"), PREPROCESSOR, "somebody.Transform"),
        (of({"type": "PackDetInputs", "meta_keys": ("img_id",)}), PREPROCESSOR, "drops img_path"),
        (of("Resize"), {"batch_augments": [{"type": "BatchSyncRandomResize"}]}, "batch_augments"),
        ({"type": "MultiImageMixDataset", "pipeline": []}, PREPROCESSOR, "MultiImageMixDataset"),
    ],
)
def test_what_changes_crops_is_refused(dataset: Any, preprocessor: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_deterministic(dataset, preprocessor)


def test_what_is_the_same_each_time_is_allowed() -> None:
    flip = {"type": "RandomFlip", "prob": 0.0}
    dataset = of("LoadImageFromFile", "LoadAnnotations", "Resize", flip, "Pad", "PackDetInputs")
    check_deterministic(dataset, PREPROCESSOR)


def test_digest_of_weights() -> None:
    torch.manual_seed(0)
    one, two = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    assert weights_digest(one) == weights_digest(two)
    assert two.running_mean is not None
    two.running_mean.add_(1e-6)
    assert weights_digest(one) != weights_digest(two)


def losses(folder: RunFolder) -> list[dict[str, float]]:
    events = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [{k: v for k, v in event.items() if "loss" in k or k.startswith("kd_")} for event in events]


@pytest.mark.parametrize("features", [True, False])
def test_equal_losses_with_and_without(
    tiny_store: TinyStore, teacher: RunFolder, tmp_path: Path, features: bool
) -> None:
    """19 images with boxes, batch 4, 6 steps: 5 images are seen twice. The second run finds all crops on disk."""
    method = [{"icod": {"max_positives": 8} if features else {"lambda_kl": 0, "lambda_l": 0}}]
    spec: dict[str, Any] = {
        "iterations": 6, "method": method, "teachers": {"classifier": teacher.id}, "overrides": STILL, "seed": 7
    }  # fmt: skip
    found = {}
    for name, cache in (("plain", None), ("cold", tmp_path / "kept"), ("warm", tmp_path / "kept")):
        store = TinyStore(tiny_store.data, tmp_path / name)
        store.runs.mkdir()
        (store.runs / teacher.id).symlink_to(teacher.path)
        folder = store.create_run(**spec)
        train(folder, store.options(cache_teacher=cache))
        found[name] = losses(folder), folder.log.read_text()
    assert len(found["plain"][0]) == 6
    for name in ("cold", "warm"):
        for plain, kept in zip(found["plain"][0], found[name][0], strict=True):
            assert kept == pytest.approx(plain, rel=1e-6, abs=1e-7)
    assert "teacher cache" not in found["plain"][1]
    hits, requested, stored = _numbers(found["cold"][1])
    assert 0 < hits == requested - stored
    assert _numbers(found["warm"][1]) == [requested, requested, stored]
    assert "(100.0%)" in found["warm"][1]


def _numbers(log: str) -> list[int]:
    """(found, requested, stored) of the last line on the cache in the log."""
    return [int(n) for n in re.findall(r"(\d+) of (\d+) crops found \([\d.]+%\), (\d+) stored", log)[-1]]


def test_a_run_with_flips_is_refused_and_writes_nothing(
    tiny_store: TinyStore, teacher: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.c2d.cli.test_commands import call, question

    path = question(tmp_path, method=[{"icod": {}}], teachers={"classifier": teacher.id}, seed=77)
    before = {item.name for item in tiny_store.runs.iterdir()} | {"students"}
    options = ["--runs", tiny_store.runs, "--data", tiny_store.data, "--cache-teacher", tmp_path / "kept"]
    code, _, err = call(capsys, "train", path, *options)
    assert code == 2
    assert "RandomFlip, which changes crops" in err
    assert {item.name for item in tiny_store.runs.iterdir()} | {"students"} == before
    code, _, err = call(capsys, "train", question(tmp_path, seed=77), *options)
    assert code == 2
    assert "no method of this run uses them" in err
    assert not (tmp_path / "kept").exists()

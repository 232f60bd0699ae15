"""Detections do not depend on loader processes and ranks: they equal a plain loop to the last bit."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image

from c2d.core.errors import RunError
from c2d.core.run_folder import atomic_write_json
from c2d.evaluation import loader_processes
from c2d.evaluation.detect import detect
from c2d.evaluation.rank_shares import main_rank_weights, run_on_ranks
from tests.c2d.evaluation.forked_ranks import run_ranks
from tests.c2d.tiny_detectors import build

IMAGES = 7


class RandomShift:
    """A random transform: it would give other pixels in another process, were it not seeded by the image."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        results["img"] = results["img"] + np.uint8(np.random.randint(100))
        return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of different sizes, with ids that are no indices."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    images = []
    for number in range(IMAGES):
        height, width = (int(side) for side in draw.integers(40, 90, 2))
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        images.append({"id": 50 - 3 * number, "file_name": f"{number}.png", "width": width, "height": height})
    categories = [{"id": id_, "name": name} for id_, name in ((4, "ant"), (9, "bee"), (7, "fly"))]
    atomic_write_json(folder / "coco.json", {"images": images, "annotations": [], "categories": categories})
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of loader processes that were started; here one pays from the first image on."""
    numbers: list[int] = []
    init = torch.utils.data.DataLoader.__init__

    def record(self: Any, *args: Any, **options: Any) -> None:
        numbers.append(options["num_workers"])
        init(self, *args, **options)

    monkeypatch.setattr(torch.utils.data.DataLoader, "__init__", record)
    monkeypatch.setattr(loader_processes, "IMAGES_A_WORKER", 1)
    return numbers


def images_of(folder: Path, count: int = IMAGES, transform: Any = None) -> Any:
    from mmdet.registry import DATASETS

    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (96, 64), "keep_ratio": True},
        {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")},
    ]
    dataset = DATASETS.build(
        {
            "type": "CocoDataset", "ann_file": str(folder / "coco.json"), "data_prefix": {"img": str(folder)},
            "metainfo": {"classes": ("ant", "bee", "fly")}, "test_mode": True, "pipeline": pipeline, "indices": count,
        }
    )  # fmt: skip
    if transform is not None:
        dataset.pipeline.transforms.insert(1, transform)
    return dataset


@torch.no_grad()
def plain_loop(model: Any, dataset: Any) -> list[dict[str, Any]]:
    """One image after the other, in this process."""
    model.eval()
    results = []
    for index in range(len(dataset)):
        (sample,) = model.test_step(pseudo_collate([dataset[index]]))
        found = sample.pred_instances
        for (x1, y1, x2, y2), score, label in zip(
            found.bboxes.double().tolist(), found.scores.double().tolist(), found.labels.tolist(), strict=True
        ):
            box = [x1, y1, max(0.0, x2 - x1), max(0.0, y2 - y1)]
            results.append(
                {"image_id": sample.img_id, "category_id": dataset.cat_ids[label], "bbox": box, "score": score}
            )
    return results


@pytest.mark.parametrize("name", ["retinanet", "faster", "fcos", "ssd"])
def test_loader_processes_change_nothing(name: str, folder: Path, started: list[int]) -> None:
    model, dataset = build(name), images_of(folder)
    expected = plain_loop(model, dataset)
    model.train()
    beats: list[int] = []
    for workers in (0, 2):
        assert detect(model, dataset, lambda: beats.append(1), workers) == expected
    assert expected
    assert model.training
    assert len(beats) == 2 * IMAGES
    assert started == [0, 2]


@pytest.mark.parametrize(("world", "count", "workers"), [(2, IMAGES, 0), (3, IMAGES, 1), (3, 1, 2)])
def test_ranks_change_nothing(world: int, count: int, workers: int, folder: Path, tmp_path: Path) -> None:
    """Three ranks for one image too; the other ranks begin with other weights and statistics, and have them after."""
    dataset = images_of(folder, count)
    expected = plain_loop(build("faster", seed=0), dataset)

    def rank_result(rank: int) -> Any:
        model = build("faster", seed=rank)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        loader_processes.IMAGES_A_WORKER = 1
        found = detect(model, dataset, workers=workers)
        return found, all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    results = run_ranks(world, rank_result, tmp_path)
    assert results == [(expected, True)] + [([], True)] * (world - 1)
    assert expected


def test_random_transforms_follow_from_the_image(folder: Path, tmp_path: Path, started: list[int]) -> None:
    model, dataset = build("retinanet"), images_of(folder, transform=RandomShift())
    state = pickle.dumps(np.random.get_state())
    alone = detect(model, dataset)
    assert pickle.dumps(np.random.get_state()) == state
    assert detect(model, dataset, workers=2) == alone != plain_loop(model, dataset)
    assert run_ranks(2, lambda _: detect(model, dataset), tmp_path)[0] == alone


def test_a_broken_image_is_named_in_one_line(folder: Path, tmp_path: Path, started: list[int]) -> None:
    dataset, model = images_of(folder), build("retinanet")
    dataset.get_data_info(4)  # serialized data: the file itself is replaced
    broken = folder / "4.png"
    content = broken.read_bytes()
    broken.write_bytes(b"no image")
    try:
        for workers in (0, 2):
            with pytest.raises(RunError, match=rf"^evaluation image {broken}: .*; run `c2d data check`") as caught:
                detect(model, dataset, workers=workers)
            assert caught.value.failure_class == "data"
            assert "\n" not in str(caught.value)
        # Image 4 of three ranks is the second one of rank 1: all of them report it, and none of them waits.
        errors = run_ranks(3, lambda _: detect(model, dataset), tmp_path)
    finally:
        broken.write_bytes(content)
    assert [type(error) for error in errors] == [RunError] * 3
    assert str(errors[0]).startswith(f"rank 1: evaluation image {broken}: ")
    assert str(errors[1]).startswith(f"evaluation image {broken}: ")
    assert all(error.failure_class == "data" for error in errors)


def test_a_rank_that_dies_is_an_error_and_no_hang(tmp_path: Path) -> None:
    beats: list[int] = []

    def rank_result(rank: int) -> Any:
        def share(_: int, __: int) -> int:
            if rank == 1:
                signal.raise_signal(signal.SIGKILL)
            return rank

        return run_on_ranks(share, lambda: beats.append(1))

    results = run_ranks(3, rank_result, tmp_path)
    assert results[1] is None
    for error in (results[0], results[2]):
        assert isinstance(error, RunError)
        assert "another rank ended during the evaluation" in str(error)
        assert error.failure_class == "hang"


def test_rank_0_has_a_heartbeat_while_it_waits(tmp_path: Path) -> None:
    import time

    def rank_result(rank: int) -> Any:
        beats: list[float] = []

        def share(own: int, world: int) -> tuple[int, int]:
            time.sleep(0.3 * own)
            return own, world

        return run_on_ranks(share, lambda: beats.append(time.monotonic())), len(beats)

    (values, beats), other = run_ranks(2, rank_result, tmp_path)
    assert values == [(0, 2), (1, 2)]
    assert beats >= 5
    assert other[0] == []


def test_weights_of_all_types_and_layouts_are_those_of_rank_0(tmp_path: Path) -> None:
    def model_of(rank: int) -> Any:
        model: Any = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
        model.to(memory_format=torch.channels_last)
        model.register_buffer("fp16", torch.full((3,), rank + 0.5, dtype=torch.float16))
        model.register_buffer("flags", torch.tensor([rank == 0] * 3))
        model.register_buffer("empty", torch.zeros(0))
        torch.nn.init.constant_(model[0].weight, rank)
        model[1].num_batches_tracked.fill_(rank)
        return model

    def rank_result(rank: int) -> Any:
        model = model_of(rank)
        before = model[0].weight.clone()
        with main_rank_weights(model):
            inside = {key: value.clone() for key, value in model.state_dict().items()}
        return inside, torch.equal(model[0].weight, before)

    (first, _), (second, restored) = run_ranks(2, rank_result, tmp_path)
    assert restored
    for key, value in first.items():
        assert value.dtype == second[key].dtype
        assert torch.equal(value, second[key]), key
    assert float(second["fp16"][0]) == 0.5
    assert bool(second["flags"].all())


def test_a_killed_loader_process_is_named(folder: Path, started: list[int]) -> None:
    class Killer:
        def __call__(self, results: dict[str, Any]) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"^a loader process ended: DataLoader worker .*use fewer workers") as caught:
        detect(build("retinanet"), images_of(folder, transform=Killer()), workers=1)
    assert caught.value.failure_class in ("host-oom", "killed")  # torch may not see the signal


def test_a_signal_to_the_process_group_leaves_loader_processes_alive(folder: Path, started: list[int]) -> None:
    """The run saves its state at such a signal; the end of a loader process would make it fail first."""

    class Signalled:
        def __call__(self, results: dict[str, Any]) -> Any:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            return results

    model = build("retinanet")
    assert detect(model, images_of(folder, transform=Signalled()), workers=1) == plain_loop(model, images_of(folder))


def test_few_images_start_few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    each = loader_processes.IMAGES_A_WORKER
    assert [loader_processes.worthwhile_workers(4, n) for n in (0, each - 1, each, 3 * each, 1000 * each)] == [
        0,
        0,
        1,
        3,
        4,
    ]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for ranks, expected in (("", 7), ("2", 3), ("8", 0), ("16", 0)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert loader_processes.available_workers() == expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(256)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert loader_processes.available_workers() == 16

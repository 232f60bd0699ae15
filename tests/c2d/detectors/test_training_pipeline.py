"""Mixed images: mmdet's bytes, the same for any processes and after a resume, a cache's distribution without one."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine import Config

from c2d.configs.image_mixing import resolve_mixing
from c2d.core.errors import InputError, RunError
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.detectors.training_pipeline import MixingStep, Partners
from c2d.evaluation.datasets import build_dataset
from c2d.ops.seeding import temporary_seed
from c2d.training.loop import seeded, training_loader
from c2d.training.sampler import ResumableSampler
from tests.c2d.conftest import TinyStore

READ: list[Any] = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True}]
PACK: list[Any] = [{"type": "PackDetInputs"}]
SIZE = (64, 64)
CLASSES = ("banded", "spotted", "chequered", "saddled", "striped", "ringed", "chevroned", "paired")
MIXUP = {"type": "MixUp", "img_scale": SIZE, "ratio_range": (0.8, 1.6), "pad_val": 114.0}
YOLOX: list[Any] = [
    {"type": "Mosaic", "img_scale": SIZE, "pad_val": 114.0},
    {"type": "RandomAffine", "scaling_ratio_range": (0.1, 2), "border": (-32, -32)},
    MIXUP,
    {"type": "YOLOXHSVRandomAug"},
    {"type": "RandomFlip", "prob": 0.5},
    *PACK,
]
RTMDET: list[Any] = [
    {"type": "CachedMosaic", "img_scale": SIZE, "pad_val": 114.0, "max_cached_images": 20, "random_pop": False},
    {"type": "RandomResize", "scale": (128, 128), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    {"type": "RandomCrop", "crop_size": SIZE},
    {"type": "Pad", "size": SIZE, "pad_val": {"img": (114, 114, 114)}},
    {"type": "CachedMixUp", "img_scale": SIZE, "ratio_range": (1.0, 1.0), "max_cached_images": 10, "prob": 0.5},
    *PACK,
]
FIXED: list[Any] = [*READ, {"type": "Resize", "scale": SIZE}]
CLOSING = [*READ, {"type": "Resize", "scale": SIZE}, *PACK]


def dataset(folder: Path, pipeline: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """Config of the tiny scenes."""
    config = {
        "type": "CocoDataset",
        "ann_file": str(folder / "annotations" / "instances_train.json"),
        "data_prefix": {"img": str(folder / "train")},
        "metainfo": {"classes": CLASSES},
        **more,
    }
    return config if pipeline is None else config | {"pipeline": resolve_mixing(pipeline, "'x'")}


def training(batch: int = 4, iterations: int = 6, **train_cfg: Any) -> Config:
    return Config(
        {"seed": 3, "train_cfg": {"max_iters": iterations, **train_cfg}, "train_dataloader": {"batch_size": batch}}
    )


def contents(item: Any) -> tuple[bytes, bytes, list[int]]:
    truth = item["data_samples"].gt_instances
    return item["inputs"].numpy().tobytes(), truth.bboxes.tensor.numpy().tobytes(), truth.labels.tolist()


@pytest.fixture(scope="module")
def scenes(tiny_store: TinyStore) -> Path:
    return tiny_store.data / "scenes"


@pytest.mark.parametrize(
    ("inside", "outside"), [(READ, YOLOX), (FIXED, [{"type": "CopyPaste", "paste_by_box": True}, *PACK])]
)
def test_items_are_those_of_mmdets_own_wrapper(scenes: Path, inside: list[Any], outside: list[Any]) -> None:
    ours = build_dataset(dataset(scenes, [*inside, *outside]))
    with mmdet_scope():
        from mmdet.registry import DATASETS

        inner = dataset(scenes) | {"pipeline": copy.deepcopy(inside)}
        stock = DATASETS.build({"type": "MultiImageMixDataset", "dataset": inner, "pipeline": copy.deepcopy(outside)})
    boxes = 0
    for index in range(6):
        with temporary_seed(index):
            found = ours[index]
        with temporary_seed(index):
            assert contents(found) == contents(stock[index])
        boxes += len(found["data_samples"].gt_instances)
    assert boxes > 20


def test_the_stream_is_the_same_for_any_processes_and_after_a_resume(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build_dataset(dataset(scenes, [*READ, *RTMDET], closing_pipeline=CLOSING))
    config = training(closing_share=0.34)

    def stream(workers: int = 0, start: int = 0, rank: int = 0, world: int = 1) -> list[Any]:
        monkeypatch.setattr("c2d.training.loop.get_dist_info", lambda: (rank, world))
        batches = list(training_loader(built, config, workers, start))
        places = [
            dict(zip(batch, each, strict=True)) for batch in batches for each in zip(*batch.values(), strict=True)
        ]
        return [contents(item) for item in places]

    whole = stream()
    assert len(whole) == 24
    assert len({pixels for pixels, _, _ in whole[:16]}) == 16
    assert stream(workers=2) == whole
    assert stream(start=2) == whole[8:]
    halves = [stream(rank=rank, world=2) for rank in (0, 1)]
    assert [item for step in range(6) for half in halves for item in half[2 * step : 2 * step + 2]] == whole
    # The last third of the run is closed: single images, resized.
    items = seeded(build_dataset(dataset(scenes, CLOSING)), training())
    assert [contents(items[key]) for key in ResumableSampler(len(built), 3, 4, 0, 1, 4, 6)] == whole[16:]


@pytest.mark.parametrize(("name", "chosen", "prob"), [("Mosaic", [3, 1, 4], 1.0), ("MixUp", 2, 1 - 1e-12)])
def test_a_cached_transform_computes_the_same_from_the_same_images(
    scenes: Path, name: str, chosen: Any, prob: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mmdet_scope():
        from mmdet.registry import TRANSFORMS

        plain, cached = (TRANSFORMS.build({"type": kind, "img_scale": SIZE}) for kind in (name, f"Cached{name}"))
        images = build_dataset(dataset(scenes) | {"pipeline": READ})
    for transform in (plain, cached):
        monkeypatch.setattr(transform, "get_indexes", lambda _: chosen)
    # Both cached ones draw for their share, as Mosaic does itself and the step does for MixUp.
    step, cached.results_cache = MixingStep(plain, prob, lambda: images), [images[index] for index in range(6)]
    for seed in range(6):
        with temporary_seed(seed):
            found = step(images[7])
        with temporary_seed(seed):
            expected = cached(images[7])
        assert np.array_equal(found["img"], expected["img"])
        assert torch.equal(found["gt_bboxes"].tensor, expected["gt_bboxes"].tensor)
        assert found["gt_bboxes_labels"].tolist() == expected["gt_bboxes_labels"].tolist()
        assert len(found["gt_bboxes"]) > 0


class Draws:
    """A transform that asks for three images, as Mosaic does, and counts them."""

    def __init__(self) -> None:
        self.images: Counter[int] = Counter()

    def get_indexes(self, dataset: Any) -> list[int]:
        return [int(np.random.randint(0, len(dataset))) for _ in range(3)]

    def __call__(self, results: dict[str, Any]) -> Any:
        self.images.update(results["mix_results"])
        return results


def chi_square(counts: Counter[int], images: int) -> float:
    expected = counts.total() / images
    return sum((counts[image] - expected) ** 2 / expected for image in range(images))


def test_further_images_are_uniform_as_those_of_a_cache_are() -> None:
    images, items = 10, 2000
    with mmdet_scope():
        from mmdet.registry import TRANSFORMS

        cached = TRANSFORMS.build({"type": "CachedMosaic", "img_scale": SIZE, "max_cached_images": 5})
    drawn, from_cache, newest = Draws(), Counter[int](), 0
    step = MixingStep(drawn, 1.0, lambda: list(range(images)))  # type: ignore[arg-type, return-value]
    applied = MixingStep(Draws(), 0.25, lambda: list(range(images)))  # type: ignore[arg-type, return-value]
    cache: list[int] = []
    with temporary_seed(0):
        for item in range(items):
            if item % images == 0:
                order = np.random.permutation(images)
            # The last five images, as with random_pop=False.
            cache = [*cache, int(order[item % images])][-5:]
            if len(cache) > 4:
                places = cached.get_indexes(cache)
                from_cache.update(cache[place] for place in places)
                newest += 4 in places
            step({})
            applied({})
    # Quantile 0.999 of chi-square with 9 degrees of freedom: 27.9.
    assert chi_square(drawn.images, images) < 27.9
    assert chi_square(from_cache, images) < 27.9
    assert newest == 0  # numpy's randint excludes its end: a cache never gives the item itself, the data set may
    assert applied.transform.images.total() / 3 / items == pytest.approx(0.25, abs=0.03)


def test_an_image_is_read_once_and_another_in_the_place_of_a_refused_one() -> None:
    read: list[int] = []

    class Images:
        max_refetch = 2

        def __len__(self) -> int:
            return 4

        def _rand_another(self) -> int:
            return 3

    def steps(info: Any) -> Any:
        read.append(info)
        return None if info == 1 else info

    partners = Partners(Images(), lambda index: index, steps)  # type: ignore[arg-type, return-value]
    assert [partners[2], partners[2], partners[1], len(partners)] == [2, 2, 3, 4]
    assert read == [2, 1, 3]
    with pytest.raises(RunError, match="refused 3 images"):
        Partners(Images(), lambda index: 1, steps)[0]  # type: ignore[arg-type, return-value]


def test_a_step_inside_another_mixes(scenes: Path) -> None:
    inside: Any = {"type": "RandomApply", "transforms": [YOLOX[0]], "prob": 0.5}
    built = build_dataset(dataset(scenes, [*READ, inside, *PACK]))
    shapes = Counter()
    for index in range(12):
        with temporary_seed(index):
            shapes[tuple(built[index]["inputs"].shape[1:])] += 1
    assert set(shapes) == {(96, 96), (128, 128)}


def test_an_image_that_cannot_be_read_is_named(scenes: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    broken = copied / "train" / "train_000005.png"
    broken.write_bytes(broken.read_bytes()[:20])
    items = seeded(build_dataset(dataset(copied, [*READ, *YOLOX])), training())
    with pytest.raises(RunError, match=f"training image {broken}") as caught:
        _ = [items[position, 0] for position in range(40)]  # of another image, until the broken one is drawn
    assert caught.value.failure_class == "data"


def test_a_wrong_option_is_an_error(scenes: Path) -> None:
    with pytest.raises(InputError, match=r"step 2 of the pipeline: .*max_cached_images"):
        build_dataset(dataset(scenes, [*READ, MIXUP | {"max_cached_images": 3}, *PACK]))

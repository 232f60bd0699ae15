"""Batch sizes and YOLOX's L1 loss follow from the iteration, with mmdet's pixels and mmdet's distribution."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import nn

from c2d.detectors.iteration_state import has_l1_switch, resize_by_iteration, set_l1_loss
from c2d.detectors.mmdet_scope import mmdet_scope


def student(seed: int) -> tuple[Any, Any, list[str]]:
    """(the module that resizes, a stock one, notes)."""
    with mmdet_scope():
        from mmdet.registry import MODELS

        config = {"type": "BatchSyncRandomResize", "random_size_range": (64, 128), "size_divisor": 32, "interval": 10}
        stock, own = MODELS.build(config), MODELS.build(config)
    holder = SimpleNamespace(data_preprocessor=SimpleNamespace(batch_augments=nn.ModuleList([own])))
    notes = resize_by_iteration(holder, seed)
    return holder.data_preprocessor.batch_augments[0], stock, notes


def batch() -> tuple[torch.Tensor, list[Any]]:
    with mmdet_scope():
        from mmdet.structures import DetDataSample
    sample = DetDataSample(metainfo={"img_shape": (96, 192), "pad_shape": (96, 192)})
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[8.0, 16, 96, 48]]), labels=torch.tensor([1]))
    return torch.rand(1, 3, 96, 192, generator=torch.Generator().manual_seed(0)), [sample]


def test_a_size_follows_from_seed_and_iteration() -> None:
    own, _, notes = student(seed=0)
    again, other = student(seed=0)[0], student(seed=1)[0]
    assert notes == [
        "batches are resized to 64-128 px every 10 iterations; the size follows from seed and iteration (mmdet's "
        "BatchSyncRandomResize draws it and keeps it)"
    ]
    assert {own.size(iteration, 96, 192) for iteration in range(10)} == {(96, 192)}  # as they come
    sizes = [own.size(iteration, 96, 192) for iteration in range(0, 3000, 10)]
    assert [again.size(iteration + 9, 96, 192) for iteration in range(0, 3000, 10)] == sizes
    assert [other.size(iteration, 96, 192) for iteration in range(0, 3000, 10)] != sizes
    counts = Counter(sizes[1:])
    assert set(counts) == {(64, 128), (96, 192), (128, 256)}
    assert all(count == pytest.approx(100, abs=35) for count in counts.values())  # 4 standard deviations


def test_a_batch_is_resized_as_mmdet_does_it() -> None:
    own, stock, _ = student(seed=0)
    hub = MessageHub.get_current_instance()
    iteration = next(step for step in range(10, 3000, 10) if own.size(step, 96, 192) == (128, 256))
    for step in (iteration, iteration + 9, iteration):  # the last of an interval draws the next size in mmdet
        hub.update_info("iter", step)
        pixels, samples = own(*batch())
        stock._input_size = (128, 256)
        expected, theirs = stock(*batch())
        assert torch.equal(pixels, expected)
        assert pixels.shape == (1, 3, 128, 256)
        assert torch.equal(samples[0].gt_instances.bboxes, theirs[0].gt_instances.bboxes)
        assert samples[0].batch_input_shape == theirs[0].batch_input_shape == (128, 256)


def test_only_heads_with_the_switch_have_it() -> None:
    model: Any = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    assert not has_l1_switch(model)
    model[1].use_l1 = False  # as YOLOXHead has it
    assert has_l1_switch(model)
    set_l1_loss(model, True)
    assert model[1].use_l1 is True
    assert not hasattr(model[0], "use_l1")

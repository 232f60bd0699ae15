"""A model on two processes: the gradient of one process with all images, ranks without a box, SyncBN on CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from c2d.detectors.families import DENSE_FAMILIES, IDLE_WITHOUT_POSITIVES
from c2d.distillation.wrapper import Distillation, TeacherSet
from c2d.evaluation.distributed import data_parallel
from tests.c2d import tiny_detectors
from tests.c2d.evaluation.forked_ranks import run_ranks


def student(name: str) -> Distillation:
    """A tiny student with fixed batch statistics, trained in the weights that a batch with boxes gives a gradient."""
    model = Distillation(tiny_detectors.build(name), {}, TeacherSet(), tiny_detectors.NUM_CLASSES, 0)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
    found = gradients(model, model, *tiny_detectors.sample(1, 64, 4))
    for key, weight in model.named_parameters():
        weight.requires_grad_(key in found)  # the tiny backbone has stages that no neck reads
    return model


def gradients(model: nn.Module, wrapped: nn.Module, inputs: Any, samples: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    total, _ = model.parse_losses(wrapped(inputs, samples, mode="loss"))  # type: ignore[operator]
    total.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("name", ["fcos", "atss", "gfl"])
def test_two_processes_have_the_gradient_of_one_with_both_images(name: str, tmp_path: Path) -> None:
    """Heads that divide by the positives of all ranks: one image with five boxes and one with a single box."""
    inputs, samples = tiny_detectors.sample(2, 64, [5, 1])
    alone = student(name)
    expected = gradients(alone, alone, inputs, samples)

    def rank_gradients(rank: int) -> dict[str, torch.Tensor]:
        model = student(name)
        own = inputs[rank : rank + 1], [samples[rank]]
        return gradients(model, data_parallel(model), *own)

    for found in run_ranks(2, rank_gradients, tmp_path):
        assert not isinstance(found, Exception), found
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()) + 1e-7)


@pytest.mark.parametrize("name", ["yolof", "retinanet"])
def test_a_rank_without_a_box_does_not_stop_the_others(name: str, tmp_path: Path) -> None:
    inputs, samples = tiny_detectors.sample(2, 64, [3, 0])

    def two_steps(rank: int) -> bool:
        model = student(name)
        wrapped = data_parallel(model)
        assert wrapped.find_unused_parameters == (name in IDLE_WITHOUT_POSITIVES)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(2):  # DDP reports a weight without gradient at the step after
            gradients(model, wrapped, inputs[rank : rank + 1], [samples[rank].clone()])
            optimizer.step()
        return all(bool(weight.isfinite().all()) for weight in model.parameters())

    assert run_ranks(2, two_steps, tmp_path) == [True, True]


@pytest.mark.parametrize("name", sorted(DENSE_FAMILIES))
def test_families_whose_weights_may_have_no_part_are_listed(name: str) -> None:
    inputs, samples = tiny_detectors.sample(1, 64, 0)
    model = student(name)
    found = gradients(model, model, inputs, samples)
    trained = {key for key, weight in model.named_parameters() if weight.requires_grad}
    assert (found.keys() != trained) == (name in IDLE_WITHOUT_POSITIVES)


def test_syncbn_is_batch_norm_on_cpus(tmp_path: Path) -> None:
    inputs, samples = tiny_detectors.sample(2, 64, 2)

    def step(rank: int) -> tuple[int, bool]:
        model = student("rtmdet")
        model.student.neck = nn.SyncBatchNorm.convert_sync_batchnorm(model.student.neck)
        count = sum(isinstance(part, nn.SyncBatchNorm) for part in model.modules())
        found = gradients(model, data_parallel(model), inputs[rank : rank + 1], [samples[rank]])
        left = any(isinstance(part, nn.SyncBatchNorm) for part in model.modules())
        return count, left or not found

    counts = run_ranks(2, step, tmp_path)
    assert counts[0] == counts[1]
    assert counts[0][0] > 0
    assert not counts[0][1]

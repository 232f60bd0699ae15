"""Optimizer and schedulers of a run: learning rates by formula, equal after a resume; iteration and epoch for heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine import Config
from mmengine.logging import MessageHub
from torch import nn

from c2d.core.attempt import Interrupted
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.specs.schedule import Schedule
from c2d.training.optimization import build_optimizer, optimization_config
from c2d.training.train import train
from tests.c2d import tiny_detectors
from tests.c2d.conftest import TinyStore

TOTAL, LR = 12, 0.1


def built(schedule: dict[str, Any], model: nn.Module | None = None) -> tuple[Any, list[Any]]:
    values = {"iterations": TOTAL, "batch": 2, "optimizer": {"type": "SGD", "lr": LR}, **schedule}
    wrapper, schedulers = optimization_config(Schedule.model_validate(values))
    config = Config(
        {"optim_wrapper": wrapper, "param_scheduler": schedulers, "train_cfg": {"max_iters": TOTAL}},
    )
    with mmdet_scope():
        return build_optimizer(nn.Linear(2, 2) if model is None else model, config)


def rates(optimizer: Any, schedulers: list[Any], steps: int) -> list[float]:
    """Learning rate of each step."""
    found = []
    for _ in range(steps):
        found.append(optimizer.get_lr()["lr"][0])
        optimizer.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


STEP = {"policy": "step", "milestones": [6, 9], "gamma": 0.5, "warmup": {"iterations": 4, "factor": 0.1}}
COSINE = {"policy": "cosine", "warmup": {"iterations": 0}}


def test_learning_rates_follow_warmup_and_milestones() -> None:
    found = rates(*built(STEP), TOTAL)
    warmup = [LR * (0.1 + 0.9 * step / 3) for step in range(4)]  # mmengine reaches the full rate at end - 1
    assert found == pytest.approx([*warmup, *[LR] * 2, *[LR / 2] * 3, *[LR / 4] * 3])


def test_weights_that_levels_share_are_in_one_group_of_the_optimizer() -> None:
    shared = nn.Conv2d(2, 2, 1)
    model = nn.ModuleList([nn.Sequential(shared, nn.BatchNorm2d(2)), nn.Sequential(shared, nn.BatchNorm2d(2))])
    values = {"iterations": TOTAL, "batch": 2, "optimizer": {"type": "AdamW", "lr": LR, "norm_weight_decay": False}}
    wrapper, _ = optimization_config(Schedule.model_validate(values))
    config = Config({"optim_wrapper": wrapper, "param_scheduler": [], "train_cfg": {"max_iters": TOTAL}})
    with mmdet_scope():
        groups = build_optimizer(model, config)[0].optimizer.param_groups
    weights = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(weights) == sorted(id(weight) for weight in model.parameters())  # parameters() has each once


def test_a_cosine_falls_to_zero_at_the_end() -> None:
    found = rates(*built(COSINE), TOTAL)
    assert found == pytest.approx(
        [LR * (1 + torch.cos(torch.tensor(torch.pi * i / TOTAL)).item()) / 2 for i in range(TOTAL)]
    )


@pytest.mark.parametrize("schedule", [STEP, COSINE])
def test_resumed_schedulers_continue_the_curve(schedule: dict[str, Any]) -> None:
    whole = rates(*built(schedule), TOTAL)
    optimizer, schedulers = built(schedule)
    first = rates(optimizer, schedulers, 5)
    state = optimizer.state_dict(), [scheduler.state_dict() for scheduler in schedulers]
    optimizer, schedulers = built(schedule)
    optimizer.load_state_dict(state[0])
    for scheduler, saved in zip(schedulers, state[1], strict=True):
        scheduler.load_state_dict(saved)
    assert [*first, *rates(optimizer, schedulers, TOTAL - 5)] == whole


def test_heads_read_iteration_and_epoch_from_the_message_hub(tiny_store: TinyStore) -> None:
    """TOOD's head switches its assigner by `epoch`, BoxInst's warms up by `iter`; mmengine's Runner writes both."""
    folder = tiny_store.create_run(iterations=8, seed=31)
    for stop, epoch in ((2, 0), (6, 1)):  # 20 images in batches of 4: a pass has five steps
        with pytest.raises(Interrupted):
            train(folder, tiny_store.options(stop_after=stop))
        hub = MessageHub.get_current_instance()
        assert (hub.get_info("epoch"), hub.get_info("iter"), hub.get_info("max_iters")) == (epoch, stop - 1, 8)


def test_a_layer_that_levels_share_is_optimized_once(capfd: pytest.CaptureFixture[str]) -> None:
    """RTMDet's head names the convolutions of its levels apart, and they are the same."""
    student = tiny_detectors.build("rtmdet")
    optimizer, _ = built({"optimizer": {"type": "SGD", "lr": LR, "norm_weight_decay": False}}, student)
    given = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert len(given) == len({id(weight) for weight in given})
    assert {id(weight) for weight in student.parameters()} < {id(weight) for weight in given}  # and mmengine's own one
    assert "duplicate" not in "".join(capfd.readouterr())

"""A run that learns no box stops after 50 steps, whatever its head; a run with few positives goes on."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.attempt import Interrupted
from c2d.core.errors import RunError
from c2d.core.run_folder import read_json
from c2d.distillation.wrapper import Distillation, TeacherSet
from c2d.training.box_loss_check import BoxLossCheck
from c2d.training.train import train
from tests.c2d import tiny_detectors
from tests.c2d.conftest import TinyStore

KEYS = {
    "dense": ["loss_cls", "loss_bbox"],
    "RoI": ["loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"],
    "cascade": ["s0.loss_cls", "s0.loss_bbox"],
    "DETR": ["loss_cls", "loss_bbox", "loss_iou", "d0.loss_cls", "d0.loss_bbox", "d0.loss_iou"],
    "YOLOv3": ["loss_cls", "loss_conf", "loss_xy", "loss_wh"],
    "CenterNet": ["loss_center_heatmap", "loss_wh", "loss_offset"],
    "RepPoints": ["loss_cls", "loss_pts_init", "loss_pts_refine"],
    "VFNet": ["loss_cls", "loss_bbox", "loss_bbox_rf"],
    "CornerNet": ["det_loss", "pull_loss", "push_loss", "off_loss"],
    "distilled": ["loss_cls", "loss_bbox", "loss_kd_ld_bbox"],
}


def _samples(*counts: int) -> list[Any]:
    """Data samples with that many boxes of 4 x 4 px."""
    return [SimpleNamespace(gt_instances=SimpleNamespace(bboxes=torch.tensor([[0.0, 0, 4, 4]] * n))) for n in counts]


def _losses(keys: list[str], box: float) -> dict[str, torch.Tensor]:
    """A log of one step: `box` in the student's box terms, 1 in all others."""
    others = ("cls", "conf", "heatmap", "det", "pull", "push", "kd")
    return {key: torch.tensor(1.0 if any(word in key for word in others) else box) for key in keys}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_zero_box_loss_stops_at_step_50(keys: list[str]) -> None:
    check = BoxLossCheck(nn.Linear(1, 1), 10)
    for _ in range(49):
        check.check(_losses(keys, 0.0), _samples(2, 0))
    assert check.warning() == "warning: the box loss was exactly 0 in all 49 steps with boxes: no box was learned"
    passing = copy.deepcopy(check)
    passing.check(_losses(keys, 1e-30), _samples(1))
    assert passing.passed
    assert passing.warning() is None
    message = r"the box loss \(.*\) was exactly 0 in the first 50 steps with boxes: .* 4 to 4 px .*`c2d data check`"
    with pytest.raises(RunError, match=message) as stopped:
        check.check(_losses(keys, 0.0), _samples(1))
    assert stopped.value.failure_class == "data"


def test_steps_without_boxes_do_not_count() -> None:
    check = BoxLossCheck(nn.Linear(1, 1), 1000)
    for _ in range(400):
        check.check(_losses(KEYS["dense"], 0.0), _samples(0, 0))
    assert (check.zero_steps, check.empty_steps) == (0, 400)
    check.check(_losses(KEYS["dense"], 0.5), _samples(1))
    assert check.passed


def test_a_pass_without_any_box_stops() -> None:
    """A transform that removes every box leaves classification of background."""
    check = BoxLossCheck(nn.Linear(1, 1), 60)
    for _ in range(59):
        check.check(_losses(KEYS["dense"], 0.0), _samples(0))
    with pytest.raises(RunError, match="no image had a box in the first 60 steps"):
        check.check(_losses(KEYS["dense"], 0.0), _samples(0))


def test_a_head_without_box_loss_passes_with_the_first_boxes() -> None:
    check = BoxLossCheck(nn.Linear(1, 1), 60)
    check.check({"loss_ce": torch.tensor(0.0), "loss_mask_iou": torch.tensor(0.0)}, _samples(3))
    assert check.passed


def test_a_box_loss_of_weight_zero_is_a_choice() -> None:
    model = nn.Module()
    model.loss_bbox = nn.Module()
    model.loss_bbox.loss_weight = 0.0  # type: ignore[assignment]
    check = BoxLossCheck(model, 60)
    check.check(_losses(KEYS["RoI"], 0.0), _samples(3))
    assert check.passed


def test_counts_go_on_after_a_resume() -> None:
    check = BoxLossCheck(nn.Linear(1, 1), 60)
    for _ in range(30):
        check.check(_losses(KEYS["dense"], 0.0), _samples(1))
    resumed = BoxLossCheck(nn.Linear(1, 1), 60)
    resumed.load_state_dict(check.state_dict())
    assert resumed.zero_steps == 30
    resumed.load_state_dict({})  # a checkpoint from before this check existed
    assert (resumed.zero_steps, resumed.passed) == (0, False)


@pytest.mark.parametrize("family", tiny_detectors.NAMES)
def test_the_first_step_of_every_family_passes(family: str) -> None:
    student = tiny_detectors.build(family)
    model = Distillation(student, {}, TeacherSet(), tiny_detectors.NUM_CLASSES, seed=0)
    inputs, samples = tiny_detectors.sample(2, 96, 3, seed=0)
    _, log = model.parse_losses(model.loss(inputs, copy.deepcopy(samples)))
    check = BoxLossCheck(model, 10)
    check.check(log, samples)
    assert check.passed
    assert check._terms(log)


def test_a_run_stops_and_stays_stopped_after_a_resume(
    tiny_store: TinyStore, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box loss that is multiplied by 0 in the student, which no weight of the config explains."""
    monkeypatch.setattr("c2d.training.box_loss_check.PATIENCE", 4)
    monkeypatch.setattr(Distillation, "loss", _without_box_loss(Distillation.loss))
    folder = tiny_store.with_empty_store(tmp_path).create_run(seed=5)
    with pytest.raises(Interrupted, match="stopped after iteration 2"):
        train(folder, tiny_store.options(stop_after=2))
    for _ in range(2):
        with pytest.raises(RunError, match="was exactly 0 in the first 4 steps"):
            train(folder, tiny_store.options())
    status = read_json(folder.status)
    assert (status["state"], status["iteration"]) == ("failed", 2)


def _without_box_loss(loss: Any) -> Any:
    def wrapped(self: Any, inputs: Any, data_samples: Any) -> Any:
        found = loss(self, inputs, data_samples)
        return {key: [0 * part for part in value] if "bbox" in key else value for key, value in found.items()}

    return wrapped

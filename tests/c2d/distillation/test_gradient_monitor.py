"""Gradients of terms beside the task's: known ratios are found, and looking changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from c2d.distillation.gradient_monitor import GradientMonitor, gradients
from c2d.preflight.suggest_weight import TermGradient, _rows, _term_gradient, suggest, table
from tests.c2d.methods.tiny_setup import stage


def planted(ratio: float, angle: float) -> dict[str, torch.Tensor]:
    """A linear student whose task gradient is (1, 0) and whose term's has that length and that angle to it."""
    student = nn.Linear(2, 1, bias=False)
    task = student.weight[0, 0]
    term = ratio * (math.cos(angle) * student.weight[0, 0] + math.sin(angle) * student.weight[0, 1])
    return gradients(student, task, {"kd_x_y": (term, 0.5)}, scale=2.0**10)


@pytest.mark.parametrize(("ratio", "angle"), [(25.0, 0.0), (0.04, math.pi / 3), (3.0, math.pi)])
def test_a_planted_ratio_and_angle_are_found(ratio: float, angle: float) -> None:
    found = {key: float(value) for key, value in planted(ratio, angle).items()}
    assert found["kd_task_grad"] == pytest.approx(1)
    assert found["kd_x_y_grad"] == pytest.approx(ratio, rel=1e-5)
    assert found["kd_x_y_grad_weighted"] == pytest.approx(ratio / 2, rel=1e-5)
    assert found["kd_x_y_cosine"] == pytest.approx(math.cos(angle), abs=1e-5)


@pytest.mark.parametrize("ratio", [25.0, 0.04])
def test_the_suggested_grid_gives_the_planted_problem_the_pulls_it_promises(ratio: float) -> None:
    found = {key: float(value) for key, value in planted(ratio, 0.0).items()}
    measured = found["kd_x_y_grad"] / found["kd_task_grad"]
    gradient = TermGradient("x", "y", "lam", 0.5, (measured,) * 3, (1.0,) * 3)
    proposal = suggest(gradient)
    assert [weight * ratio for weight in proposal.grid] == pytest.approx([0.1, 0.3, 1.0], rel=0.05)
    assert proposal.share == pytest.approx(0.5 * ratio, rel=1e-4)
    assert f"try  method.x.lam: [{', '.join(f'{w:g}' for w in proposal.grid)}]" in table([proposal])


@pytest.mark.parametrize("common", [1.0, 0.1])
def test_the_grid_holds_beside_the_common_weight(common: float) -> None:
    play = stage("cwd", weight=common)
    play.model.gradient_monitor = GradientMonitor(1)
    _, log = play.model.parse_losses(play.losses())
    found = {key: float(value.detach()) for key, value in log.items()}
    ((name, row),) = _rows(found)
    gradient = _term_gradient(play.model, name, [row])
    assert gradient.weight == 10
    assert suggest(gradient).share == pytest.approx(found["kd_cwd_cwd_grad_weighted"] / found["kd_task_grad"], rel=1e-4)
    unit = row["ratio"] * common
    assert [weight * unit for weight in suggest(gradient).grid] == pytest.approx([0.1, 0.3, 1.0], rel=0.05)


def test_terms_without_gradient_and_opposed_terms_are_reported() -> None:
    assert "no weight makes it teach" in table([suggest(TermGradient("x", "y", "lam", 1.0, (0.0,), (0.0,)))])
    assert "pulls against the task" in table([suggest(TermGradient("x", "y", "lam", 1.0, (1.0,), (-0.9,)))])


def test_monitoring_does_not_change_the_training() -> None:
    weights = []
    for monitor in (None, GradientMonitor(2)):
        play = stage({"fkd": {}, "mgd": {}})
        play.model.gradient_monitor = monitor
        optimizer = torch.optim.SGD(play.model.parameters(), lr=1e-3, momentum=0.9)
        for step in range(4):
            play.model.iteration = step
            losses = play.losses(seed=step)
            total, _ = play.model.parse_losses(losses)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            looked = {key for key in losses if key.endswith(("_grad", "_cosine"))}
            assert bool(looked) == (monitor is not None and step % 2 == 0)
        weights.append([weight.clone() for weight in play.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_observations_never_enter_the_sum() -> None:
    play = stage("fitnets")
    plain, _ = play.model.parse_losses(play.losses())
    play.model.gradient_monitor = GradientMonitor(1)
    losses = play.losses()
    looked, _ = play.model.parse_losses(losses)
    assert torch.equal(plain, looked)
    terms = {key: value for key, value in losses.items() if key.startswith("kd_fitnets_hint")}
    assert set(terms) == {f"kd_fitnets_hint_{what}" for what in ("raw", "grad", "grad_weighted", "cosine")}
    assert -1 <= float(terms["kd_fitnets_hint_cosine"]) <= 1

"""What holds for every method without a classifier teacher: DDP, frozen teachers, a clean student, one pass."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.methods import DISTILLERS
from tests.c2d.evaluation.forked_ranks import run_ranks
from tests.c2d.methods.ddp_worker import STUDENTS, deviation
from tests.c2d.methods.tiny_setup import Stage, stage
from tests.c2d.methods.training_set import samples_like

RIVALS = [name for name, kind in DISTILLERS.items() if "classifier" not in kind.TEACHERS]


def of(name: str, **more: Any) -> Stage:
    return stage(name, STUDENTS.get(name, "retinanet"), start=0, ramp=0, samples=samples_like(), **more)


def hooks(module: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules())


def test_all_methods_are_tested() -> None:
    assert set(RIVALS) == {
        "at", "bckd", "chen", "crosskd", "cwd", "defeat", "detrdistill", "dkd", "fgd", "fgfi", "fitnets", "fkd", "frs",
        "gid", "gkd", "ld", "maskd", "mgd", "pgd", "pkd", "soft_labels", "tadf",
    }  # fmt: skip


def test_two_processes_take_the_mean_gradient(tmp_path: Path) -> None:
    for found in run_ranks(2, lambda rank: {name: deviation(name, rank) for name in RIVALS}, tmp_path, timeout_s=300):
        assert isinstance(found, dict), found
        assert set(found) == set(RIVALS)
        assert {name: value for name, value in found.items() if value > 1e-5} == {}


@pytest.mark.parametrize("name", RIVALS)
def test_twenty_steps_leave_teacher_and_student_as_they_should_be(name: str) -> None:
    play = of(name)
    network = play.model.teachers.detector.network
    before = {key: value.clone() for key, value in network.state_dict().items()}
    student = play.model.student
    keys, clean = list(student.state_dict()), hooks(student)
    own = {id(m): set(vars(m)) for m in student.modules()}
    optimizer = torch.optim.SGD([w for w in play.model.parameters() if w.requires_grad], lr=1e-3)
    for step in range(20):
        play.model.iteration = step
        total, _ = play.model.parse_losses(play.losses(seed=step))
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(play.model.parameters(), 1.0)
        optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not network.training
    assert all(not w.requires_grad and w.grad is None for w in network.parameters())
    assert not any("teacher" in key for key in play.model.state_dict())
    assert list(student.state_dict()) == keys
    assert hooks(student) == clean
    assert hooks(network) == 0
    assert {id(m): set(vars(m)) for m in student.modules()} == own
    assert set(play.model.gradient_check.passed) | {f"loss_kd_{name}_{term}" for term in DISTILLERS[name].GATED} >= {
        key for key in play.losses() if key.startswith("loss_kd_")
    }


@pytest.mark.parametrize("name", RIVALS)
def test_the_students_own_losses_are_untouched(name: str) -> None:
    play = of(name)
    taught = play.losses(seed=3)
    torch.manual_seed(3)
    alone = play.model.student.loss(play.inputs, copy.deepcopy(play.samples))
    for key, value in alone.items():
        pairs = zip(value, taught[key], strict=True) if isinstance(value, list) else [(value, taught[key])]
        assert all(torch.equal(a, b) for a, b in pairs), key


def test_methods_compose_without_touching_each_other_and_the_teacher_runs_once() -> None:
    together = stage({"fkd": {}, "mgd": {}, "frs": {"ramp": 0}, "fgd": {}}, "retinanet")
    backbone, calls = together.model.teachers.detector.network.backbone, []
    handle = backbone.register_forward_hook(lambda *_: calls.append(1))
    losses = together.losses()
    handle.remove()
    assert len(calls) == 1
    for name in ("fkd", "mgd", "fgd"):
        alone = stage(name, "retinanet").losses()
        shared = [key for key in alone if key.startswith(("loss_kd_", "kd_"))]
        assert shared
        for key in shared:
            assert torch.equal(alone[key], losses[key]), key


def test_a_neck_method_does_not_run_the_teachers_head() -> None:
    play = stage("pkd", "retinanet")
    play.model.teachers.detector.network.bbox_head.forward = None
    assert torch.isfinite(play.losses()["loss_kd_pkd_pkd"])


@pytest.mark.parametrize("name", RIVALS)
def test_under_autocast_the_terms_stay_fp32_and_close(name: str) -> None:
    play = of(name)
    exact = play.terms()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = play.losses()
    for term, value in exact.items():
        found = losses[f"kd_{name}_{term}_raw"]
        assert found.dtype == torch.float32
        assert torch.isfinite(found)
        if term not in DISTILLERS[name].GATED and name not in ("gid", "tadf", "chen", "defeat"):  # these select
            assert float(found) == pytest.approx(float(value.detach()), rel=0.25, abs=1e-4)

"""MasKD: masks by pencil, the slow reference, how the tokens are learnt and fixed, images without boxes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.methods.maskd import TokenMasks, masked_distance, mean_dice
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import deviation, stage, touched, without_adapters
from tests.reference import maskd_reference as literal

SMALL: dict[str, Any] = {"size": 32, "levels": (8, 16), "tokens": 3, "wide": False}


def sharper(play: Any) -> Any:
    """Tokens that select cells; the first ones give 0.5 everywhere."""
    torch.manual_seed(0)
    for one in play.method.tokens:
        torch.nn.init.normal_(one.token, std=0.5)
    return play


def literal_shares(one: TokenMasks, maps: torch.Tensor) -> list[list[torch.Tensor]]:
    exact = copy.deepcopy(one).double()
    assert exact.context.bias is not None
    assert exact.share.bias is not None
    return literal.shares(maps, exact.context.weight, exact.context.bias, exact.share.weight, exact.share.bias)


def parity(student: str = "retinanet", custom_from: int = 10) -> float:
    """Larger relative deviation of feat and its gradient in production from the literal one in fp64."""
    play = sharper(stage("maskd", student, **SMALL, custom_from=custom_from))
    view = play.view()
    value = play.method(view)[0]["feat"].value
    raw = [s.detach().double().requires_grad_() for s in view.student.neck[1:]]
    parts = []
    for phi, one, s, t in zip(play.method.phi.phi, play.method.tokens, raw, view.teacher.neck[1:], strict=True):
        adapted, exact = copy.deepcopy(phi).double()(s), t.double()
        token = one.token.detach().double()
        parts.append(literal.feat(adapted, exact, token, literal_shares(one, exact), custom_from == 0))
    return deviation(value, view.student.neck[1:], torch.stack(parts).sum(), raw)


@pytest.mark.parametrize("custom_from", [0, 10])
def test_feat_equals_the_reference_in_value_and_gradient(custom_from: int) -> None:
    assert parity(custom_from=custom_from) < 1e-5


def test_the_loss_of_the_tokens_equals_the_reference_in_value_and_gradient() -> None:
    """Dice by loops; the teacher's loss is that of mmdet, on maps that the reference has masked."""
    play = sharper(stage("maskd", **SMALL, mu=0.5))
    view, network = play.view(), play.model.teachers.detector.network
    value = play.method(view)[0]["tokens"].value
    tokens = [one.token.detach().double().requires_grad_() for one in play.method.tokens]
    maps, dice = [view.teacher.neck[0].double()], []
    for one, token, t in zip(play.method.tokens, tokens, view.teacher.neck[1:], strict=True):
        maps.append(literal.masked(t.double(), token, literal_shares(one, t.double())))
        dice.append(literal.dice(t.double(), token))
    exact = copy.deepcopy(network).double()
    exact.extract_feat = lambda _: tuple(maps)
    losses = exact.loss(play.inputs.double(), copy.deepcopy(play.samples))
    task = torch.stack([torch.stack(part).sum() for part in losses.values()]).sum()
    theirs = task + 0.5 * torch.stack(dice).sum()
    assert deviation(value, [one.token for one in play.method.tokens], theirs, tokens) < 1e-4


def test_distance_and_dice_by_pencil() -> None:
    """Masks of 0.5 on four cells with a unit difference: 0.25 * 4 / (0.5 * 4) = 0.5; equal masks have Dice 1."""
    student, masks = torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2, 2), 0.5)
    value = masked_distance(student + 1, student, masks, torch.tensor([[0.25, 0.75]]))
    assert float(value) == pytest.approx(0.5)
    assert float(mean_dice(masks)) == pytest.approx(1)
    apart = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    assert float(mean_dice(apart)) == 0
    assert float(mean_dice(torch.tensor([[[[1.0, 1.0]], [[1.0, 0.0]]]]))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_and_its_teacher_teaches_the_tokens(name: str) -> None:
    play = stage("maskd", name)
    terms = play.terms()
    reached = touched(play.model, terms["feat"])
    assert any(n.startswith("student.backbone") for n in reached)
    assert not any("head" in n or "tokens" in n for n in reached)
    learnt = touched(play.model, terms["tokens"])
    assert {n.split(".")[3] for n in learnt} == {"0", "1", "2"}
    assert all(n.startswith("distillers.maskd.tokens.") for n in learnt)
    assert all(w.grad is None for w in play.model.teachers.detector.network.parameters())
    p = play.method.params
    assert p.lambda_kd == {"fcos": 10.0, "faster": 1.0, "cascade": 1.0}.get(name, 7.0)


@pytest.mark.parametrize("name", ["fcos", "faster"])
def test_images_without_boxes_are_finite_and_every_weight_takes_part(name: str) -> None:
    play = stage("maskd", name, counts=(0, 0))
    torch.stack(list(play.terms().values())).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in play.method.parameters() if w.requires_grad)


def test_student_equals_teacher_is_zero() -> None:
    play = without_adapters(stage("maskd", same=True, pad=0))
    play.model.eval()  # one network, one mode
    assert float(play.terms()["feat"].detach()) == pytest.approx(0, abs=1e-10)


def test_tokens_are_learnt_then_fixed_whatever_the_optimiser_does() -> None:
    play = stage("maskd", token_iterations=3, **SMALL)
    optimizer = torch.optim.SGD([w for w in play.model.parameters() if w.requires_grad], lr=0.1, weight_decay=0.1)
    seen = []
    for iteration in range(6):
        play.model.iteration = iteration
        total, _ = play.model.parse_losses(play.losses())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(play.model.parameters(), 1.0)
        optimizer.step()
        seen.append(
            (bool(play.method.is_fixed), play.method.fixed[0].token.clone(), play.method.tokens[0].token.clone())
        )
    assert [fixed for fixed, _, _ in seen] == [False] * 3 + [True] * 3
    assert not torch.equal(seen[0][2], seen[1][2])
    assert torch.equal(seen[3][1], seen[2][2])  # those of the last learning step
    assert torch.equal(seen[3][1], seen[5][1])
    assert float(play.losses()["loss_kd_maskd_tokens"].detach()) == 0
    assert "distillers.maskd.fixed.0.token" in play.model.state_dict()  # an interrupted run keeps them


def test_iterations_are_counted_from_the_start_of_the_method() -> None:
    play = stage("maskd", start=4, token_iterations=3, **SMALL)
    fixed = []
    for iteration in (4, 6, 7):
        play.model.iteration = iteration
        play.losses()
        fixed.append(bool(play.method.is_fixed))
    assert fixed == [False, False, True]


def test_the_teachers_loss_changes_neither_the_teacher_nor_other_random_numbers() -> None:
    play = stage("maskd", "faster")
    network, view = play.model.teachers.detector.network, play.view()
    before, attributes = torch.get_rng_state(), set(vars(network))
    values = [float(play.model.teachers.detector.losses_on_maps(view.teacher.neck, view.batch, s)) for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]  # other RoIs are sampled
    assert torch.equal(torch.get_rng_state(), before)
    assert set(vars(network)) == attributes
    assert not network.training


def test_masks_are_shown() -> None:
    shown = stage("maskd", levels=(8, 16)).method.visualize(stage("maskd", levels=(8, 16)).view())
    assert [v.name for v in shown] == ["tokens' mask, stride 8", "tokens' mask, stride 16"]
    assert [tuple(v.heat.shape) for v in shown] == [(2, 12, 12), (2, 6, 6)]
    assert all(0.3 < float(v.heat.mean()) < 0.7 for v in shown)


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match="that of YOLOV3 cannot be computed; choose a teacher of a dense"):
        stage("maskd", "retinanet", "yolov3", wide=False)
    with pytest.raises(InputError, match=r"teaches the tokens alone; give method.maskd.lambda_kd a value above 0"):
        stage("maskd", lambda_kd=0.0)

"""FKD: masks, the non-local block's cheaper form, the slow reference, what every term reaches."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.methods.base import Context
from c2d.methods.fkd import (
    FKD,
    FKDParams,
    NonLocal,
    channel_attention,
    channel_mask,
    masked_distance,
    non_local_mean,
    norm,
    spatial_attention,
    spatial_mask,
)
from c2d.training.ema import EMA
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import Stage, deviation, stage, touched, without_adapters
from tests.reference import fkd_reference

TERMS = {"am", "at_channel", "at_spatial", "nl"}


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def disturbed(play: Stage) -> Stage:
    """Layers away from their starting point, whose zeros would hide half of a non-local block."""
    numbers = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in play.method.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=numbers))
    return play


def literal(block: Any, place: int) -> fkd_reference.Parts:
    def non_local(layer: Any) -> fkd_reference.NonLocal:
        parts = ((name, getattr(layer, name)) for name in ("theta", "phi", "g", "out"))
        weights = {f"{n}_{k}": getattr(conv, k).flatten(1) if k == "weight" else conv.bias
                   for n, conv in parts for k in ("weight", "bias")}  # fmt: skip
        return fkd_reference.NonLocal(**weights, gamma=layer.bn.weight, beta=layer.bn.bias, sub_sample=(8, 4, 2)[place])

    return fkd_reference.Parts(
        block.lin.weight, block.lin.bias, block.conv.weight[0, 0], block.conv.bias[0], non_local(block.nl_s),
        non_local(block.nl_t), block.phi_nl.weight.flatten(1), block.phi_nl.bias,
    )  # fmt: skip


def parity(student: str = "retinanet") -> float:
    """Largest relative deviation of the terms and their gradients in production from the literal ones in fp64."""
    play = disturbed(stage("fkd", student, size=48, wide=student == "faster"))  # m_c needs equal widths
    view = play.view()
    terms, _ = play.method(view)
    exact = copy.deepcopy(play.method).double()
    raw = [s.detach().double().requires_grad_() for s in view.student.neck]
    adapted = [phi(s) for phi, s in zip(exact.phi.phi, raw, strict=True)]
    p = play.method.params
    theirs = fkd_reference.fkd(
        raw, adapted, [t.double() for t in view.teacher.neck],
        [literal(block, place) for place, block in enumerate(exact.blocks)],
        temperature=p.T, use_channel_mask=p.channel_mask, eps=1e-12,
    )  # fmt: skip
    assert set(terms) == set(theirs) == TERMS
    return max(deviation(terms[name].value, view.student.neck, theirs[name], raw) for name in TERMS)


@pytest.mark.parametrize("student", ["retinanet", "faster"])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


def test_masks_sum_to_their_sizes_and_are_one_on_constants() -> None:
    maps = rand(2, 5, 4, 6)
    torch.testing.assert_close(spatial_attention(maps, 0.1).sum((1, 2)), torch.full((2,), 24.0, dtype=torch.float64))
    torch.testing.assert_close(channel_attention(maps, 0.5).sum(1), torch.full((2,), 5.0, dtype=torch.float64))
    flat = torch.full((2, 5, 4, 6), -3.0)
    assert torch.equal(spatial_mask(flat, 2 * flat, 0.5), torch.ones(2, 4, 6))
    torch.testing.assert_close(channel_mask(flat, 2 * flat, 0.5), torch.ones(2, 5))
    raw = maps.clone().requires_grad_()
    assert not spatial_mask(raw, maps, 0.5).requires_grad
    assert not channel_mask(raw, maps, 0.5).requires_grad
    assert torch.equal(channel_mask(maps[:, :3], maps, 0.5), channel_attention(maps, 0.5))  # widths differ


def test_distance_is_linear_in_the_difference_and_calm_at_equality() -> None:
    t, d, m_s, m_c = rand(2, 3, 4, 4), rand(2, 3, 4, 4, seed=1), rand(2, 4, 4, seed=2).exp(), rand(2, 3, seed=3).exp()
    for mask in (None, m_c):
        one, three = (float(masked_distance(t + k * d, t, m_s, mask)) for k in (1, 3))
        assert three == pytest.approx(3 * one)
    same = t.clone().requires_grad_()
    (grad,) = torch.autograd.grad(masked_distance(same, t, m_s, m_c) + norm(same - t), same)
    assert not grad.any()


def test_related_is_the_mean_over_all_pairs() -> None:
    theta, phi, g = rand(2, 3, 20), rand(2, 3, 7, seed=1), rand(2, 3, 7, seed=2)
    torch.testing.assert_close(non_local_mean(theta, phi, g), g @ (theta.mT @ phi / 7).mT)


def test_the_non_local_block_is_the_identity_at_first_and_trains_its_gamma() -> None:
    torch.manual_seed(0)
    block: Any = NonLocal(4, 2, 2)
    x = rand(2, 4, 6, 6).float()
    assert torch.equal(block(x), x)
    (block(x) * rand(2, 4, 6, 6, seed=1)).sum().backward()
    assert block.bn.weight.grad.abs().sum() > 0
    assert block.out.weight.grad is not None
    assert not block.out.weight.grad.any()  # behind a gamma of 0


def test_a_block_without_its_batch_norm_would_be_another_one() -> None:
    block, x = NonLocal(4, 2, 2), rand(2, 4, 6, 6).float()
    with torch.no_grad():
        block.bn.weight.fill_(0.7)
    phi, g = (F.max_pool2d(layer(x), 2).flatten(2) for layer in (block.phi, block.g))
    y = block.out(non_local_mean(block.theta(x).flatten(2), phi, g).unflatten(2, (6, 6)))
    normalised = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(block(x), x + 0.7 * normalised)
    assert not torch.allclose(block(x), x + y, rtol=0.1)


def test_one_value_a_channel_is_its_own_mean_and_keeps_every_gradient() -> None:
    block: Any = NonLocal(4, 2, 2)
    x = rand(1, 4, 1, 1).float().requires_grad_()
    with torch.no_grad():
        block.bn.weight.fill_(0.5)
        block.bn.bias.fill_(0.25)
    torch.testing.assert_close(block(x), x + 0.25)
    block(x).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in block.parameters())
    assert float(block.bn.num_batches_tracked) == 0
    assert block.bn.running_var.isfinite().all()


def test_running_statistics_follow_training_and_survive_a_checkpoint_and_its_average() -> None:
    play = disturbed(stage("fkd"))
    average = EMA(play.model, 0.5)
    for _ in range(2):
        play.losses()
        average.update(play.model)
    kept = {key: value.clone() for key, value in play.model.state_dict().items() if ".bn.running_" in key}
    blocks = 3 * 2  # levels, student and teacher
    assert len(kept) == 2 * blocks
    assert all(int(block[f"nl_{who}"].bn.num_batches_tracked) == 2 for block in play.method.blocks for who in "st")
    assert all(value.isfinite().all() for value in average.state_dict().values())
    other = stage("fkd", seed=3)
    other.model.load_state_dict(copy.deepcopy(play.model.state_dict()))
    assert all(torch.equal(other.model.state_dict()[key], value) for key, value in kept.items())
    # Training normalises by the batch, evaluation by what was collected: no step of a run does that.
    block, x = play.method.blocks[0]["nl_t"], play.view().teacher.neck[0]
    trained = block(x)
    assert not torch.allclose(block.eval()(x), trained, rtol=1e-3)


def test_student_equals_teacher_with_identities_gives_the_root_of_eps() -> None:
    play = without_adapters(stage("fkd", same=True, pad=0))
    for block in play.method.blocks:
        with torch.no_grad():
            for name in ("lin", "phi_nl"):
                nn.init.zeros_(block[name].bias)
                block[name].weight.copy_(torch.eye(16).view_as(block[name].weight))
            block["conv"].bias.zero_()
            block["conv"].weight.copy_(F.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1)))
    play.model.eval()  # one network, one mode
    assert all(float(value.detach()) < 1e-4 for value in play.terms().values())


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("fkd", name)
    terms = play.terms()
    assert set(terms) == TERMS
    for value in terms.values():
        found = touched(play.model, value)
        assert any(n.startswith("student.backbone") for n in found)
        assert not any("head" in n for n in found)
    p = play.method.params
    two = name in ("faster", "cascade")
    assert (p.T, p.alpha, p.channel_mask) == ((0.5, 7e-5, False) if two else (0.1, 4.2e-4, True))


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
@pytest.mark.parametrize("params", [{}, {"alpha": 0.0}, {"beta": 0.0}, {"gamma": 0.0}])
def test_every_weight_takes_part_and_terms_without_weight_do_not(counts: Any, params: dict[str, Any]) -> None:
    play = stage("fkd", counts=counts, **params)
    terms = play.terms()
    assert set(terms) == {term for term, name in FKD.WEIGHTS.items() if name not in params}
    torch.stack(list(terms.values())).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in play.method.parameters())
    assert all(w.grad is None for w in play.model.teachers.detector.network.parameters())


def test_other_families_and_sizes_are_paired() -> None:
    assert set(stage("fkd", "faster", "retinanet").terms()) == TERMS
    play = stage("fkd")
    view = play.view()
    view.teacher = replace(view.teacher, neck=tuple(t[..., :-1, :-2] for t in view.teacher.neck))
    assert all(term.value.isfinite() for term in play.method(view)[0].values())
    assert any("teacher's alone" in note for note in play.method.notes)
    assert [tuple(s.heat.shape) for s in play.method.visualize(play.view())] == [(2, 24, 24), (2, 12, 12), (2, 6, 6)]


def test_small_maps_are_pooled_by_their_own_size() -> None:
    assert all(value.isfinite() for value in stage("fkd", size=32).terms().values())


def test_errors_name_the_fix() -> None:
    with pytest.raises(InputError, match=r"fkd: no level of stride 128 .* closest that both have: .*stride 16"):
        stage("fkd", levels=(128,))
    with pytest.raises(InputError, match="fkd needs a detector teacher"):
        FKD(FKDParams(), Context(3))

"""The literal FitNets, FKD, AT, CWD, PKD, FGD and MGD against worked numbers and against torch's own operations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference import (
    at_reference,
    cwd_reference,
    fgd_reference,
    fitnets_reference,
    fkd_reference,
    mgd_reference,
    pkd_reference,
)

B, M, H, W = 2, 4, 4, 6


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pair(seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Two levels of student maps that ask for gradients, and of teacher maps."""
    sizes = ((H, W), (2, 3))
    student = [rand(B, M, *size, seed=10 * seed + i).requires_grad_() for i, size in enumerate(sizes)]
    return student, [rand(B, M, *size, seed=10 * seed + 5 + i) for i, size in enumerate(sizes)]


def eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


def close(a: Tensor | float, b: Tensor | float) -> bool:
    a, b = (x.detach() if isinstance(x, Tensor) else x for x in (a, b))
    return math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-12)


# ---------------------------------------------------------------------------------------------------- FitNets


def test_fitnets_is_zero_at_equality_and_half_for_a_unit_difference():
    _, teacher = pair()
    assert fitnets_reference.hint(teacher, teacher) == 0
    assert close(fitnets_reference.hint([t + 1 for t in teacher], teacher), 0.5)


def test_fitnets_gradient_and_plain_mse():
    student, teacher = pair()
    loss = fitnets_reference.hint(student, teacher)
    assert close(loss, sum(F.mse_loss(s, t) / 2 for s, t in zip(student, teacher, strict=True)) / 2)
    (grad,) = torch.autograd.grad(loss, [student[0]])
    torch.testing.assert_close(grad, (student[0] - teacher[0]).detach() / student[0].numel() / 2)


def test_normalised_hint_is_two_minus_two_cosines():
    student, teacher = pair()
    cosine = F.cosine_similarity(student[0].flatten(1), teacher[0].flatten(1))
    loss = fitnets_reference.normalised_hint_of_level(student[0], teacher[0])
    assert close(loss, (2 - 2 * cosine).mean())
    assert close(
        fitnets_reference.normalised_hint_of_level(student[0], teacher[0], per_element=True), loss / (M * H * W)
    )
    assert close(fitnets_reference.normalised_hint([3 * t for t in teacher], teacher), 0)


# -------------------------------------------------------------------------------------------------------- FKD


def non_local_block(channels: int, inner: int, sub_sample: int, *, zero: bool = False) -> fkd_reference.NonLocal:
    return fkd_reference.NonLocal(
        theta_weight=rand(inner, channels, seed=1),
        theta_bias=rand(inner, seed=5),
        phi_weight=rand(inner, channels, seed=2),
        phi_bias=rand(inner, seed=6),
        g_weight=rand(inner, channels, seed=3),
        g_bias=rand(inner, seed=7),
        out_weight=rand(channels, inner, seed=4),
        out_bias=rand(channels, seed=8),
        gamma=zeros(channels) if zero else rand(channels, seed=9),
        beta=zeros(channels) if zero else rand(channels, seed=10),
        sub_sample=sub_sample,
    )


def identity_parts() -> fkd_reference.Parts:
    kernel = zeros(3, 3)
    kernel[1, 1] = 1
    block = non_local_block(M, 2, 1, zero=True)
    return fkd_reference.Parts(eye(M), zeros(M), kernel, zeros(1)[0], block, block, eye(M), zeros(M))


def test_fkd_masks_sum_to_their_sizes_and_are_one_on_constants():
    x = rand(M, H, W)
    assert close(fkd_reference.spatial_mask(x, 0.5).sum(), H * W)
    assert close(fkd_reference.channel_mask(x, 0.1).sum(), M)
    constant = torch.full((M, H, W), -3.0, dtype=torch.float64)
    torch.testing.assert_close(fkd_reference.spatial_mask(constant, 0.5), torch.ones_like(constant[0]))
    torch.testing.assert_close(fkd_reference.channel_mask(constant, 0.5), torch.ones_like(constant[:, 0, 0]))
    torch.testing.assert_close(
        fkd_reference.spatial_mask(x, 0.5), H * W * (x.abs().mean(0) / 0.5).flatten().softmax(0).reshape(H, W)
    )


def test_fkd_is_zero_at_equality_with_identities():
    _, teacher = pair()
    terms = fkd_reference.fkd(teacher, teacher, teacher, [identity_parts()] * 2, temperature=0.5, use_channel_mask=True)
    assert all(close(term, 0) for term in terms.values())
    assert close(fkd_reference.weighted(terms, am=7e-5, at=4e-3, nl=7e-5), 0)


@pytest.mark.parametrize("use_channel_mask", [False, True])
def test_fkd_am_is_linear_in_the_difference(use_channel_mask: bool):
    _, teacher = pair()
    t, d = teacher[0], rand(B, M, H, W, seed=9)
    one, three = (
        fkd_reference.am_of_level(t, t + k * d, t, temperature=0.5, use_channel_mask=use_channel_mask) for k in (1, 3)
    )
    assert close(three, 3 * one)


def test_fkd_am_of_constants_is_the_norm_and_its_masks_are_detached():
    t = torch.full((B, M, H, W), 2.0, dtype=torch.float64)
    raw = torch.full_like(t, 5.0).requires_grad_()
    student = (t + rand(B, M, H, W)).requires_grad_()
    loss = fkd_reference.am_of_level(raw, student, t, temperature=0.5, use_channel_mask=True)
    assert close(loss, (student - t).norm())
    assert torch.autograd.grad(loss, [raw], allow_unused=True) == (None,)


def test_fkd_attention_terms_against_torch():
    raw, t = rand(B, 3, H, W, seed=1), rand(B, M, H, W, seed=2)
    weight, bias = rand(M, 3, seed=3), rand(M, seed=4)
    expected = (t.mean((2, 3)) - F.linear(raw.mean((2, 3)), weight, bias)).norm()
    assert close(fkd_reference.at_channel_of_level(raw, t, weight, bias), expected)
    kernel, offset = rand(3, 3, seed=5), rand(1, seed=6)
    conv = F.conv2d(raw.mean(1, keepdim=True), kernel[None, None], offset, padding=1)
    assert close(fkd_reference.at_spatial_of_level(raw, t, kernel, offset[0]), (t.mean(1, keepdim=True) - conv).norm())


def test_fkd_non_local_is_the_reassociated_product_and_the_identity_at_the_start():
    x = rand(B, M, H, W)
    block = non_local_block(M, 2, 2)

    def conv(name: str) -> Tensor:
        return F.conv2d(x, getattr(block, f"{name}_weight")[:, :, None, None], getattr(block, f"{name}_bias"))

    theta = conv("theta").flatten(2).mT
    phi, g = (F.max_pool2d(conv(name), 2).flatten(2).mT for name in ("phi", "g"))
    y = (theta @ (phi.mT @ g) / phi.shape[1]).mT.reshape(B, 2, H, W)
    out = F.conv2d(y, block.out_weight[:, :, None, None], block.out_bias)
    expected = x + F.batch_norm(out, None, None, block.gamma, block.beta, training=True)
    torch.testing.assert_close(fkd_reference.non_local(x, block), expected)
    torch.testing.assert_close(fkd_reference.non_local(x, non_local_block(M, 2, 2, zero=True)), x)


def test_fkd_gradients_reach_the_raw_student_and_the_teachers_block():
    raw, t = rand(B, M, H, W).requires_grad_(), rand(B, M, H, W, seed=1).requires_grad_()
    student_block, teacher_block = non_local_block(M, 2, 2), non_local_block(M, 2, 2)
    teacher_block.g_weight.requires_grad_()
    loss = fkd_reference.nl_of_level(raw, t, student_block, teacher_block, eye(M), zeros(M))
    to_raw, to_teacher, to_block = torch.autograd.grad(loss, [raw, t, teacher_block.g_weight], allow_unused=True)
    assert to_raw.abs().sum() > 0
    assert to_block.abs().sum() > 0
    assert to_teacher is None
    same = fkd_reference.am_of_level(t, raw * 0 + t.detach(), t, temperature=0.5, use_channel_mask=False, eps=1e-8)
    assert close(same, 1e-4)
    assert torch.isfinite(torch.autograd.grad(same, raw)[0]).all()


# --------------------------------------------------------------------------------------------------------- AT


def test_at_is_invariant_to_scale_and_channel_order():
    student, teacher = pair()
    loss = at_reference.at(student, teacher)
    scale = torch.tensor([0.3, 7.0], dtype=torch.float64)[:, None, None, None]
    assert close(loss, at_reference.at([s * scale for s in student], teacher))
    assert close(loss, at_reference.at([s[:, [2, 0, 3, 1]] for s in student], teacher))
    assert close(at_reference.at(teacher, teacher), 0)


def test_at_against_torch_with_other_channel_counts():
    s, t = rand(B, 3, H, W, seed=1), rand(B, M, H, W, seed=2)
    q_s, q_t = (F.normalize((f**2).mean(1).flatten(1)) for f in (s, t))
    assert close(at_reference.at_of_level(s, t), F.mse_loss(q_s, q_t))
    one_hot, other = zeros(1, 1, 2, 2), zeros(1, 1, 2, 2)
    one_hot[0, 0, 0, 0], other[0, 0, 1, 1] = 3, 5
    assert close(at_reference.at_of_level(one_hot, other), 2 / 4)  # the mean form divides by h w


# -------------------------------------------------------------------------------------------------------- CWD


def test_cwd_is_invariant_to_channel_constants_and_joint_permutations():
    student, teacher = pair()
    loss = cwd_reference.cwd(student, teacher, tau=2.0)
    shifted = [s + rand(B, M, seed=3)[:, :, None, None] for s in student]
    assert close(loss, cwd_reference.cwd(shifted, teacher, tau=2.0))
    flipped = [[f.flip(2, 3) for f in maps] for maps in (student, teacher)]
    assert close(loss, cwd_reference.cwd(flipped[0], flipped[1], tau=2.0))


def test_cwd_forms():
    student, teacher = pair()
    s, t, tau = student[0], teacher[0], 4.0
    kl = cwd_reference.cwd_of_level(s, t, tau=tau)
    log_q, p = (s / tau).flatten(2).log_softmax(2), (t / tau).flatten(2).softmax(2)
    assert close(kl, tau**2 / (B * M) * F.kl_div(log_q, p, reduction="sum"))
    ce = cwd_reference.cwd_of_level(s, t, tau=tau, form="ce")
    entropy = -(tau**2) / (B * M) * (p * p.log()).sum()
    assert close(ce, kl + entropy)
    torch.testing.assert_close(torch.autograd.grad(kl, s), torch.autograd.grad(ce, s))
    assert close(cwd_reference.cwd_of_level(t, t, tau=tau), 0)
    assert close(cwd_reference.cwd_of_level(t, t, tau=tau, form="ce"), entropy)
    uniform = zeros(1, 1, H, W)
    assert close(cwd_reference.cwd_of_level(uniform, uniform, form="ce"), math.log(H * W))


# -------------------------------------------------------------------------------------------------------- PKD


def test_pkd_is_invariant_to_positive_affine_maps_and_known_at_its_ends():
    student, teacher = pair()
    loss = pkd_reference.pkd(student, teacher, eps=0)
    slope, shift = rand(M, 1, 1, seed=3).abs() + 0.1, rand(M, 1, 1, seed=4)
    assert close(loss, pkd_reference.pkd([s * slope + shift for s in student], teacher, eps=0))
    assert close(loss, pkd_reference.pkd(student, [t * slope + shift for t in teacher], eps=0))
    assert close(pkd_reference.pkd(teacher, teacher), 0)
    n = B * H * W
    assert close(pkd_reference.pkd_of_level(-teacher[0], teacher[0], eps=0), 2 * (n - 1) / n)


def test_pkd_is_one_minus_pearson():
    student, teacher = pair()
    n = B * H * W
    correlations = [
        torch.corrcoef(torch.stack([student[0][:, m].flatten().detach(), teacher[0][:, m].flatten()]))[0, 1]
        for m in range(M)
    ]
    expected = sum((1 - float(r)) * (n - 1) / n for r in correlations) / M
    assert close(pkd_reference.pkd_of_level(student[0], teacher[0], eps=0), expected)


def test_pkd_resizes_the_student_and_survives_a_dead_channel():
    s, t = rand(B, M, 3, 4), rand(B, M, H, W, seed=1)
    for size in ((H, W), (2, 3), (5, 2)):
        expected = F.interpolate(s, size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(pkd_reference.resize(s, *size), expected)
    resized = F.interpolate(s, (H, W), mode="bilinear", align_corners=False)
    assert close(pkd_reference.pkd_of_level(s, t), pkd_reference.pkd_of_level(resized, t))
    dead = (t * 0).requires_grad_()
    loss = pkd_reference.pkd_of_level(dead, t)
    n = B * H * W
    assert math.isclose(float(loss.detach()), (n - 1) / n / 2, rel_tol=1e-5)
    assert torch.isfinite(torch.autograd.grad(loss, dead)[0]).all()


# -------------------------------------------------------------------------------------------------------- FGD


def context_block(seed: int, *, zero: bool = False) -> fgd_reference.GlobalContext:
    inner = M // 2
    return fgd_reference.GlobalContext(
        mask_weight=rand(M, seed=seed),
        mask_bias=rand(1, seed=seed)[0],
        reduce_weight=rand(inner, M, seed=seed + 1),
        reduce_bias=rand(inner, seed=seed + 2),
        norm_weight=rand(inner, seed=seed + 3),
        norm_bias=rand(inner, seed=seed + 4),
        expand_weight=zeros(M, inner) if zero else rand(M, inner, seed=seed + 5),
        expand_bias=zeros(M) if zero else rand(M, seed=seed + 6),
    )


def test_fgd_masks_of_the_worked_boxes():
    box = torch.tensor([[8.0, 8, 23, 31]])
    fg = fgd_reference.foreground_mask(box, (64, 64), (8, 8))
    assert int((fg > 0).sum()) == 12
    assert close(fg.max(), 1 / 12)
    assert close(fg.sum(), 1)
    assert (fg[1:5, 1:4] > 0).all()
    bg = fgd_reference.background_mask(fg)
    assert int((bg > 0).sum()) == 52
    assert close(bg.max(), 1 / 52)
    assert not ((fg > 0) & (bg > 0)).any()
    border = fgd_reference.foreground_mask(torch.tensor([[32.0, 32, 64, 64]]), (64, 64), (8, 8))
    assert int((border > 0).sum()) == 16
    assert close(border.max(), 1 / 25)
    assert close(border.sum(), 0.64)


def test_fgd_masks_overlap_frame_and_no_boxes():
    both = torch.tensor([[0.0, 0, 63, 63], [8, 8, 23, 31]])
    fg = fgd_reference.foreground_mask(both, (64, 64), (8, 8))
    assert close(fg[2, 2], 1 / 12)
    assert close(fg[6, 6], 1 / 81)
    assert not fgd_reference.background_mask(fg).any()
    none = fgd_reference.foreground_mask(zeros(0, 4), (64, 64), (8, 8))
    assert not none.any()
    assert close(fgd_reference.background_mask(none)[3, 3], 1 / 64)
    box = torch.tensor([[8.0, 8, 23, 31]])
    unpadded = fgd_reference.foreground_mask(box, (64, 32), (8, 8))  # x is stretched: 2 to 5.75
    assert (unpadded[1:5, 2:7] > 0).all()
    assert close(unpadded.max(), 1 / 20)


def test_fgd_feature_terms_of_constants_count_their_masks():
    t = torch.full((B, M, 8, 8), 2.0, dtype=torch.float64)  # the attention is one everywhere
    boxes = [torch.tensor([[8.0, 8, 23, 31]]), zeros(0, 4)]
    block = [context_block(1, zero=True)]
    arguments = ([t + 1], [t], boxes, [(64, 64), (64, 64)], block, block)
    terms = fgd_reference.fgd(*arguments, temperature=0.5)
    assert close(terms["fg"], M * 1 / B)
    assert close(terms["bg"], M * 2 / B)
    assert close(terms["att"], 0)
    assert close(terms["rel"], B * M * 64 / B)
    assert close(fgd_reference.weighted(terms, fg=1, bg=0.5, att=1, rel=0), M / B * (1 + 1))
    fixed = fgd_reference.fgd(*arguments, temperature=0.5, padded=(64, 64))
    assert all(close(fixed[key], terms[key]) for key in terms)


def test_fgd_attention_term_and_gradients():
    student, teacher = pair()
    s, t, temperature = student[0], teacher[0], 0.5
    sums = []
    for f in (s, t):
        spatial = H * W * (f.abs().mean(1).flatten(1) / temperature).softmax(1)
        sums.append((spatial, M * (f.abs().mean((2, 3)) / temperature).softmax(1)))
    expected = ((sums[0][0] - sums[1][0]).abs().sum() + (sums[0][1] - sums[1][1]).abs().sum()) / B
    loss = fgd_reference.attention_of_level(s, t, temperature=temperature)
    assert close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, s), torch.autograd.grad(expected, s))
    mask = rand(B, H, W, seed=5).abs()
    weight = mask[:, None] * sums[1][0].reshape(B, 1, H, W) * sums[1][1][:, :, None, None]
    feature = fgd_reference.feature_of_level(s, t, list(mask), temperature=temperature)
    assert close(feature, (weight * (s - t) ** 2).sum() / B)


def test_fgd_global_context_against_torch_and_relation_at_the_start():
    student, teacher = pair()
    s, t, block = student[0].detach(), teacher[0], context_block(1)
    attention = (torch.einsum("m,bmhw->bhw", block.mask_weight, s) + block.mask_bias).flatten(1).softmax(1)
    context = torch.einsum("bn,bmn->bm", attention, s.flatten(2))
    hidden = F.linear(context, block.reduce_weight, block.reduce_bias)
    hidden = F.layer_norm(hidden, (M // 2,), block.norm_weight, block.norm_bias).relu()
    expected = s + F.linear(hidden, block.expand_weight, block.expand_bias)[:, :, None, None]
    torch.testing.assert_close(torch.stack([fgd_reference.global_context(x, block) for x in s]), expected)
    start = fgd_reference.relation_of_level(s, t, context_block(1, zero=True), context_block(2, zero=True))
    assert close(start, ((s - t) ** 2).sum() / B)


# -------------------------------------------------------------------------------------------------------- MGD


def identity_generator() -> mgd_reference.Generator:
    weight = zeros(M, M, 3, 3)
    weight[:, :, 1, 1] = eye(M)
    return mgd_reference.Generator(weight, zeros(M), weight, zeros(M))


def test_mgd_is_zero_without_a_mask_and_not_with_one():
    t = [rand(B, M, H, W).abs(), rand(B, M, 2, 3).abs()]  # the ReLU lets them through
    ones, generators = [torch.ones(B, *x.shape[-2:]) for x in t], [identity_generator()] * 2
    assert close(mgd_reference.mgd(t, t, ones, generators), 0)
    ones[0][1, 2, 3] = 0  # one cell of one image, all channels
    assert close(mgd_reference.mgd(t, t, ones, generators), (t[0][1, :, 2, 3] ** 2).sum() / B)


def test_mgd_against_torch():
    s, t = rand(B, M, H, W, seed=1).requires_grad_(), rand(B, M, H, W, seed=2)
    mask = (rand(B, H, W, seed=3) > 0).double()
    generator = mgd_reference.Generator(
        rand(M, M, 3, 3, seed=4), rand(M, seed=5), rand(M, M, 3, 3, seed=6), rand(M, seed=7)
    )
    hidden = F.conv2d(s * mask[:, None], generator.first_weight, generator.first_bias, padding=1).relu()
    expected = ((F.conv2d(hidden, generator.second_weight, generator.second_bias, padding=1) - t) ** 2).sum() / B
    loss = mgd_reference.mgd_of_level(s, t, mask, generator)
    assert close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, s), torch.autograd.grad(expected, s))

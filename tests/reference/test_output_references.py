"""The literal GKD, FRS, Chen and LD against numbers worked by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tests.reference import chen_reference as chen
from tests.reference import frs_reference as frs
from tests.reference import gkd_reference as gkd
from tests.reference import ld_reference as ld


def _t(*values: object) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------------------- GKD


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.0, (0.8, 0.4)), (1.0, (0.66667, 0.53333)), (10.0, (0.60952, 0.59048)), (1e9, (0.6, 0.6))],
)
def test_gkd_pursuit_weights(alpha: float, expected: tuple[float, float]) -> None:
    w_a, w_b = gkd.pursuit_weights(_t(0.8), _t(0.4), alpha)
    assert (float(w_a), float(w_b)) == pytest.approx(expected, abs=5e-6)


def test_gkd_pursuit_picks_each_orthonormal_candidate_once_and_the_objective_falls() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    picks, errors = gkd.matching_pursuit(eye, eye, range(4), 4)
    assert sorted(picks) == [0, 1, 2, 3]
    assert errors == pytest.approx([6, 4, 2, 0])

    a, b = gkd.normalised(_random(7, 3)), gkd.normalised(_random(7, 5, seed=1))
    _, errors = gkd.matching_pursuit(a, b, range(7), 12)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(errors))
    assert errors[0] <= 14


def test_gkd_pursuit_agrees_with_its_gain_form() -> None:
    alpha = 10.0
    a, b = gkd.normalised(_random(8, 4)), gkd.normalised(_random(8, 6, seed=1))
    candidates = [0, 2, 3, 5, 6]
    gram_a, gram_b = a @ a.T, b @ b.T  # row n: instance, column k: candidate
    dots_a, dots_b = gram_a.clone(), gram_b.clone()
    picks = []
    for _ in range(6):
        gain = ((dots_a**2 + dots_b**2 + alpha * (dots_a + dots_b) ** 2) / (1 + 2 * alpha)).sum(0)
        k = max(candidates, key=lambda c: float(gain[c]))
        w_a, w_b = gkd.pursuit_weights(dots_a[:, k].clone(), dots_b[:, k].clone(), alpha)
        dots_a -= w_a[:, None] * gram_a[k]
        dots_b -= w_b[:, None] * gram_b[k]
        picks.append(k)
    assert gkd.matching_pursuit(a, b, candidates, 6, alpha)[0] == picks


def test_gkd_density_keeps_what_is_strictly_above_in_both_spaces() -> None:
    assert gkd.density_bound([4.0, 1.0, 2.0, 3.0], 0.4) == 2.0  # place int(1.6)
    assert gkd.density_bound([5.0, 1.0, 2.0, 3.0, 4.0], 0.4) == 3.0
    crowd = [[1.0, 0.0], [1.0, 0.01], [1.0, -0.01], [0.0, 1.0], [-1.0, 0.3], [0.0, -1.0]]
    split = [[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [1.0, -0.01], [-1.0, 0.3], [0.0, -1.0]]
    assert gkd.density(_t(crowd))[3:] == pytest.approx([1, 1, 1])  # the entry int(2.4) of the sorted six is 1
    assert gkd.dense_instances(_t(crowd), _t(crowd)) == [0, 1, 2]
    assert gkd.dense_instances(_t(crowd), _t(split)) == [0, 1]
    stored, _, picks = gkd.prototypes(3 * _t(crowd), _t(split), count=2)
    assert set(picks) <= {0, 1}
    assert torch.equal(stored, 3 * _t(crowd)[picks])


def test_gkd_reliability() -> None:
    omega = gkd.reliability(_t([[1, 0]]), _t([[0, 2]]), [0], _t([[1, 1]]), _t([[0, 1]]), [0])
    assert float(omega[0]) == pytest.approx(0.7071, abs=5e-5)
    tables = (_t([[1, 1], [9, 0]]), _t([[0, 1], [1, 0]]))
    same_class = gkd.reliability(_t([[1, 0]]), _t([[0, 2]]), [0], *tables, [0, 0])
    assert float(same_class[0]) == pytest.approx(1)  # the student's second prototype now fits it wholly
    assert float(gkd.reliability(_t([[1, 0]]), _t([[0, 2]]), [0], *tables, [0, 1])[0]) == pytest.approx(2**-0.5)
    assert float(gkd.reliability(_t([[5, 0]]), _t([[0, 7]]), [0], *tables, [0, 1])[0]) == pytest.approx(2**-0.5)
    opposite = gkd.reliability(_t([[-1, -1]]), _t([[0, 1]]), [0], *tables, [0, 1])
    assert float(opposite[0]) == 0  # 1 - |-1 - 1| is -1 before the clamp
    f, table = _random(3, 4), _random(2, 4, seed=1)
    assert torch.allclose(gkd.reliability(f, f, [0, 1, 0], table, table, [0, 1]), _t([1, 1, 1]))


def test_gkd_levels() -> None:
    boxes = _t(
        [[0, 0, 55, 55], [8, 8, 40, 24], [0, 0, 111, 111], [0, 0, 112, 112], [10, 20, 300, 200], [0, 0, 447, 447]]
    )
    assert [gkd.level_of(b, 5) for b in boxes] == [0, 0, 1, 1, 2, 3]


def test_gkd_masks() -> None:
    (mask,) = gkd.masks([(16, 16)], [_t([[8, 8, 40, 24]])], [_t([0.5])], [4])
    assert mask[0, 2:6, 2:10].eq(0.5).all()
    assert float(mask.sum()) == 32 * 0.5
    boxes = _t([[8, 8, 40, 24], [9, 9, 11, 30], [8, 8, 16, 12], [63, 63, 64, 64]])
    (mask,) = gkd.masks([(16, 16)], [boxes], [_t([0.5, 0.25, 0.125, 1])], [4])
    assert float(mask[0, 2, 2]) == 0.125  # the degenerate box left 0.5, the later one overwrote it
    (mask,) = gkd.masks([(16, 16)], [_t([[8, 8, 40, 24], [9, 9, 11, 30], [64, 64, 64, 64]])], [_t([0.5, 0.25, 1])], [4])
    assert float(mask[0, 2, 2]) == 0.5
    assert float(mask[0, 15, 15]) == 1
    two = gkd.masks([(32, 32), (16, 16)], [_t([[0, 0, 128, 128]])], [_t([1])], [4, 8])
    assert float(two[0].sum()) == 0
    assert float(two[1].sum()) == 256


def test_gkd_pooling() -> None:
    feature = torch.arange(16, dtype=torch.float64).reshape(1, 4, 4)
    for pool in (gkd.pool_pgm, gkd.pool_rdm):
        assert float(pool(feature, _t([4, 0, 11, 3]), 4)) == 1.5  # columns 1 and 2 of row 0
        assert float(pool(feature, _t([8, 8, 16, 16]), 4)) == 12.5  # clipped to the last two rows and columns
    vectors, levels = gkd.instance_vectors([feature[None], feature[None, :, :2, :2]], [_t([[4, 0, 11, 3]])], [4, 8])
    assert levels == [0]
    assert float(vectors) == 1.5


def test_gkd_point_losses() -> None:
    student, teacher = [_random(1, 2, 3, 3)], [_random(1, 2, 3, 3, seed=1)]
    mask = torch.zeros(1, 3, 3, dtype=torch.float64)
    mask[0, 0, :2] = 0.5
    assert [float(v) for v in gkd.point_losses(teacher, teacher, [mask])] == [0, 0]
    foreground, background = gkd.point_losses([teacher[0] + 1], teacher, [mask])
    assert float(foreground) == pytest.approx(0.5)  # (2 cells x 2 channels x 0.5) over twice itself
    assert float(background) == pytest.approx(0.5)
    mask[0, 0, :2] = 0.1
    foreground, _ = gkd.point_losses([teacher[0] + 1], teacher, [mask])
    assert float(foreground) == pytest.approx(0.4)  # twice the sum is 0.8, below 1
    leaf = student[0].requires_grad_()
    nothing, _ = gkd.point_losses([leaf], teacher, [torch.zeros_like(mask)])
    assert float(nothing.detach()) == 0
    assert nothing.requires_grad


def test_gkd_soft_label() -> None:
    z = _random(3, 4)
    for kind in ("softmax", "sigmoid"):
        assert float(gkd.soft_label(z, z, _t([1, 1, 1]), kind=kind)) == pytest.approx(0)
        assert float(gkd.soft_label(z[:0], z[:0], _t([]), kind=kind)) == 0
    student, teacher, omega = _random(3, 4).requires_grad_(), _random(3, 4, seed=1), _t([0.2, 0, 1])
    loss = gkd.soft_label(student, teacher, omega)
    p, log_q = (teacher / 2).softmax(1), (student / 2).log_softmax(1)
    torch.testing.assert_close(loss, (omega * 4 * (p * (p.log() - log_q)).mean(1)).mean())
    (gradient,) = torch.autograd.grad(loss, student)  # T (p_s - p_t), over classes and rows
    torch.testing.assert_close(gradient, omega[:, None] * 2 * ((student / 2).softmax(1) - p).detach() / 12)


def test_gkd_global_pair() -> None:
    f, table = _random(3, 4), _random(5, 4, seed=1)
    assert float(gkd.global_pair(f, f, _t([1, 1, 1]), table, table)) == 0
    # cosines 1 and 0 against 0 and 1: both differences are 0.5 after omega
    value = gkd.global_pair(_t([[2, 0]]), _t([[0, 3]]), _t([0.5]), torch.eye(2).double(), torch.eye(2).double())
    assert float(value) == pytest.approx(5 * 0.125)
    assert float(gkd.smooth_l1(_t(-2))) == 1.5
    squared = gkd.global_squared(_t([[1, 0], [0, 0]]), _t([[0, 1], [0, 0]]), _t([0.5, 1]))
    assert float(squared) == pytest.approx((0.5 + 0.5) / 4)


def test_gkd_attenuation() -> None:
    assert gkd.attenuation(0, 24) == 1
    assert gkd.attenuation(23, 24) == pytest.approx(1 / 24)


# --------------------------------------------------------------------------------------------------------------- FRS


def test_frs_feature_of_a_unit_difference_is_the_number_of_channels() -> None:
    teacher = [_random(2, 3, 4, 5), _random(2, 3, 2, 3, seed=1)]
    masks = [frs.richness(_random(2, 6, 4, 5, seed=2)), frs.richness(_random(2, 6, 2, 3, seed=3))]
    student = [t + 1 for t in teacher]
    assert float(frs.feature_of_level(student[0], teacher[0], masks[0])) == pytest.approx(3)
    assert float(frs.l_feat(student, teacher, masks)) == pytest.approx(6)
    other = [_random(2, 3, 4, 5, seed=4), _random(2, 3, 2, 3, seed=5)]
    torch.testing.assert_close(frs.l_feat(other, teacher, [7 * m for m in masks]), frs.l_feat(other, teacher, masks))
    assert float(frs.l_feat(teacher, teacher, masks)) == 0
    assert float(frs.l_feat(student, teacher, [0 * m for m in masks])) == 0


def test_frs_classification_of_equal_scores_is_their_entropy() -> None:
    z = _t([[[[math.log(0.3 / 0.7)]]]])
    mask = frs.richness(z)
    assert float(mask) == pytest.approx(0.3)
    assert float(frs.l_cls([z], [z], [mask])) == pytest.approx(0.6109, abs=5e-5)
    assert float(frs.l_cls([z], [z], [mask], subtract_entropy=True)) == pytest.approx(0, abs=1e-15)
    student, teacher = _random(2, 3, 2, 2).requires_grad_(), _random(2, 3, 2, 2, seed=1)
    mask = frs.richness(teacher)
    loss = frs.l_cls([student], [teacher], [mask])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="none")
    torch.testing.assert_close(loss, (mask[:, None] * entropy).sum() / mask.sum())
    (gradient,) = torch.autograd.grad(loss, student)
    expected = mask[:, None] * (student.sigmoid() - teacher.sigmoid()) / mask.sum()
    torch.testing.assert_close(gradient, expected.detach())


def test_frs_mask_is_the_greatest_score() -> None:
    z = torch.full((1, 4, 2, 2), -60.0, dtype=torch.float64)
    z[0, 2, 1, 0] = math.log(0.9 / 0.1)
    mask = frs.richness(z)
    assert float(mask[0, 1, 0]) == pytest.approx(0.9)
    assert float(mask.sum()) == pytest.approx(0.9)
    assert torch.equal(frs.richness(z.flip(-1)), mask.flip(-1))
    two_anchors = _t([0.2, 0.1, 0.7, 0.05, 0.25, 0.7]).log().reshape(1, 6, 1, 1)
    assert float(frs.richness(two_anchors, "softmax", classes=2)) == pytest.approx(0.25)
    assert frs.warm_up(0) == 0
    assert frs.warm_up(125) == 0.25
    assert frs.warm_up(9000) == 1


# -------------------------------------------------------------------------------------------------------------- Chen


def test_chen_bound() -> None:
    target = _t([[0, 0, 0, 0]])
    student, teacher = _t([[1, 0, 0, 0]]), _t([[1, 1, 0, 0]])  # squared errors 1 and 2
    assert float(chen.bounded_regression(student, teacher, target, margin=0.5)) == 0
    assert float(chen.bounded_regression(student, teacher, target, margin=1.0)) == 0  # equal is not greater
    assert float(chen.bounded_regression(student, teacher, target, margin=1.5)) == 1
    assert float(chen.bounded_regression(teacher, student, target, margin=0.0)) == 2
    assert float(chen.bounded_regression(target, teacher, target, margin=2.0)) == 0
    leaf = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(chen.bounded_regression(leaf, teacher, target, margin=1.5), leaf)
    assert torch.equal(gradient, 2 * student)
    assert float(chen.regression(_t(1), _t(3))) == 2.5


def test_chen_soft_classification() -> None:
    z = _t([0.2, 0.3, 0.5]).log()[None]
    entropies = [-p * math.log(p) for p in (0.2, 0.3, 0.5)]
    assert float(chen.soft_classification(z, z, background_weight=1)) == pytest.approx(sum(entropies))
    expected = entropies[0] + entropies[1] + 1.5 * entropies[2]
    assert float(chen.soft_classification(z, z)) == pytest.approx(expected)
    assert float(chen.soft_classification(z, z, average=4)) == pytest.approx(expected / 4)
    leaf = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(chen.soft_classification(leaf, z, background_weight=1), leaf)
    assert float(gradient.abs().max()) < 1e-12  # least at the teacher's distribution when all weights are equal
    assert float(chen.classification(_t(1), _t(3))) == 2


def test_chen_objectness_is_two_classes() -> None:
    student, teacher = _t([0.3, -2]), _t([1.2, -0.4])
    p, q = teacher.sigmoid(), student.sigmoid()
    expected = -(1.5 * (1 - p) * (1 - q).log() + p * q.log()).mean()
    torch.testing.assert_close(chen.soft_objectness(student, teacher), expected)


def test_chen_hint() -> None:
    teacher = [_random(2, 3, 2, 2), _random(2, 3, 1, 1, seed=1)]
    assert float(chen.hint(teacher, teacher)) == 0
    assert float(chen.hint([t + 1 for t in teacher], teacher)) == pytest.approx(0.5)
    assert float(chen.hint([t + 1 for t in teacher], teacher, over_levels="sum")) == pytest.approx(1)


# ---------------------------------------------------------------------------------------------------------------- LD


def test_ld_localisation() -> None:
    teacher, weight = _random(2, 4, 17), _t([0.5, 0.25])
    assert float(ld.localisation(teacher, teacher, weight)) == 0
    student = _random(2, 4, 17, seed=1)
    loss = ld.localisation(student, teacher, weight)
    shifted = student.clone()
    shifted[0, 2] += 3
    torch.testing.assert_close(ld.localisation(shifted, teacher, weight), loss)
    p, log_q = (teacher / 10).softmax(-1), (student / 10).log_softmax(-1)
    expected = (weight[:, None] * 100 * (p * (p.log() - log_q)).mean(-1)).sum() / 4
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ld.vlr_region(student, teacher, weight), expected / 4)
    logits = _t([[0, -1], [-3, math.log(1 / 3)]])
    torch.testing.assert_close(ld.main_weights(logits), _t([0.5, 0.25]))
    torch.testing.assert_close(ld.main_region(student, teacher, logits), expected)
    assert float(ld.classification([logits, logits[:0]], [logits, logits[:0]])) == 0


def test_ld_diou() -> None:
    assert ld.iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert ld.diou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3 - 1 / 13)
    assert ld.diou((0, 0, 1, 1), (2, 0, 3, 1)) == pytest.approx(-4 / 10)
    assert ld.released_diou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 2 - 1 / 13)
    assert ld.released_diou((1, 1, 2, 2), (0, 0, 4, 4)) == pytest.approx(1 - 0.5 / 32)  # DIoU: 1 / 16 less the same


def test_ld_region() -> None:
    anchors = []
    for stride in (8, 16):
        points = _t([[x + stride / 2, y + stride / 2] for y in range(0, 64, stride) for x in range(0, 64, stride)])
        anchors.append(ld.anchors_of_points(points, stride, scale=4))
    boxes = _t([[5, 7, 44, 40], [30, 30, 60, 62]])
    thresholds = [ld.atss_threshold(anchors, box) for box in boxes]
    weights = ld.vlr_weights(anchors, boxes)
    inside = 0
    for row, weight in zip(torch.cat(anchors).tolist(), weights.tolist(), strict=True):
        own = [
            ld.iou(tuple(row), tuple(box))
            for box, t in zip(boxes.tolist(), thresholds, strict=True)
            if 0.25 * t <= ld.diou(tuple(row), tuple(box)) < t
        ]
        assert weight == max(own, default=0.0)
        inside += bool(own)
    assert 0 < inside < len(weights)
    assert torch.equal(ld.vlr_weights(anchors, boxes[:0]), torch.zeros_like(weights))


def test_ld_threshold() -> None:
    one_level = [_t([[0, 0, 2, 2], [1, 0, 3, 2], [50, 50, 52, 52]])]
    # two candidates: IoU 1 and 1/3; mean 2/3, deviation sqrt(2 (1/3)^2)
    assert ld.atss_threshold(one_level, _t([0, 0, 2, 2]), top=2) == pytest.approx(2 / 3 + math.sqrt(2) / 3)

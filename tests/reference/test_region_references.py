"""The slow references of DeFeat, FGFI, GID and TADF against numbers worked by hand. No production code runs here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.reference import defeat_reference as defeat
from tests.reference import fgfi_reference as fgfi
from tests.reference import gid_reference as gid
from tests.reference import tadf_reference as tadf

STRIDES = [4, 8, 16, 32, 64]
SIZES = [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


def _boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


def _maps(value: float | None = None, batch: int = 1, channels: int = 2) -> list[Tensor]:
    shapes = [(batch, channels, h, w) for h, w in SIZES]
    if value is None:
        return [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    return [torch.full(shape, value, dtype=torch.float64) for shape in shapes]


def _close(a: Tensor | float, b: float, tolerance: float = 1e-9) -> bool:
    value = float(a.detach()) if isinstance(a, Tensor) else a
    return value == pytest.approx(b, abs=tolerance)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------------------------------- levels and rasters

LEVELS = [
    ((0, 0, 55, 55), 0),
    ((8, 8, 40, 24), 0),
    ((0, 0, 111, 111), 1),
    ((0, 0, 112, 112), 1),
    ((10, 20, 300, 200), 2),
    ((0, 0, 447, 447), 3),
]


@pytest.mark.parametrize("reference", [defeat, fgfi, tadf])
@pytest.mark.parametrize(("box", "level"), LEVELS)
def test_level_of_a_box(reference, box, level):
    assert reference.level_of(torch.tensor(box, dtype=torch.float64), 5) == level


@pytest.mark.parametrize("reference", [defeat, fgfi, tadf])
def test_level_is_clamped_and_takes_a_base(reference):
    assert reference.level_of(_boxes((0, 0, 4000, 4000))[0], 5) == 4
    assert reference.level_of(_boxes((0, 0, 111, 111))[0], 5, base=112) == 0


@pytest.mark.parametrize("reference", [defeat, tadf])
def test_raster(reference):
    mask = reference.raster(_boxes((8, 8, 40, 24))[0], 4, 16, 16)
    assert mask.sum() == 32
    assert mask[2:6, 2:10].all()
    thin = reference.raster(_boxes((9, 9, 11, 30))[0], 4, 16, 16)
    assert thin.nonzero().tolist() == [[2, 2]]
    border = reference.raster(_boxes((64, 64, 64, 64))[0], 4, 16, 16)  # begins on the far border
    assert border.nonzero().tolist() == [[15, 15]]


# ------------------------------------------------------------------------------------------------------- DeFeat


def test_defeat_neck_numbers():
    one, two = _boxes((8, 8, 40, 24)), _boxes((8, 8, 40, 24), (0, 0, 111, 111))
    obj, bg = defeat.neck(_maps(1.0), _maps(0.0), [one], STRIDES)
    assert _close(obj, 0.1)
    assert _close(bg, 0.5)
    assert _close(defeat.neck(_maps(1.0), _maps(0.0), [two], STRIDES)[0], 0.2)


def test_defeat_neck_invariances():
    student, teacher, box = _maps(), _maps(), _boxes((8, 8, 40, 24))
    obj, bg = (float(v) for v in defeat.neck(student, teacher, [box], STRIDES))
    assert defeat.neck(teacher, teacher, [box], STRIDES) == (0, 0)
    tripled = [t + 3 * (s - t) for s, t in zip(student, teacher, strict=True)]
    assert _close(defeat.neck(tripled, teacher, [box], STRIDES)[0], 9 * obj)
    assert _close(defeat.neck(student, teacher, [box.repeat(2, 1)], STRIDES)[0], obj)
    twice = [[torch.cat([m, m]) for m in maps] for maps in (student, teacher)]
    both = defeat.neck(twice[0], twice[1], [box, box], STRIDES)
    assert _close(both[0], obj)
    assert _close(both[1], bg)


def test_defeat_without_boxes():
    student, teacher = [m.requires_grad_() for m in _maps()], _maps()
    obj, bg = defeat.neck(student, teacher, [_boxes()], STRIDES)
    half = sum(float(((s - t) ** 2).mean().detach()) / 2 for s, t in zip(student, teacher, strict=True)) / 5
    assert obj == 0
    assert obj.requires_grad
    assert _close(bg, half)


def test_defeat_backbone_draws_every_box_on_the_finest_grid():
    student, teacher = _maps(1.0)[1:3], _maps(0.0)[1:3]
    obj, bg = defeat.backbone(student, teacher, [_boxes((0, 0, 64, 128))], 4, (32, 32))
    assert _close(obj, 0.5)
    assert _close(bg, 0.5)
    drawn = defeat.raster(_boxes((0, 0, 64, 128))[0], 4, 32, 32)[None]
    assert defeat.nearest(drawn, 8, 8)[0, :, :4].all()
    assert defeat.nearest(drawn, 8, 8).sum() == 32


def test_defeat_proposals():
    student, teacher = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    positive = torch.tensor([True, True, False, False, False, True])
    obj, bg = defeat.proposals(student, teacher, positive, 2.0, 2.0)
    swapped = defeat.proposals(student, teacher, ~positive, 2.0, 2.0)
    assert (swapped[0], swapped[1]) == (bg, obj)
    order = torch.randperm(6)
    assert _close(defeat.proposals(student[order], teacher[order], positive[order], 2.0, 2.0)[0], float(obj))
    assert defeat.proposals(teacher, teacher, positive) == (0, 0)
    kl = torch.nn.functional.kl_div((student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="none")
    assert _close(obj, float(4 * kl[positive].sum() / 3))
    assert defeat.proposals(student, teacher, torch.ones(6, dtype=torch.bool))[1] == 0


# --------------------------------------------------------------------------------------------------------- FGFI


def _grid(height: int, width: int, stride: float, side: float) -> Tensor:
    centres = [((c + 0.5) * stride, (r + 0.5) * stride) for r in range(height) for c in range(width)]
    return _boxes(*[(x - side / 2, y - side / 2, x + side / 2, y + side / 2) for x, y in centres])


@pytest.mark.parametrize(("psi", "active"), [(0.5, 1), (0.3, 5), (0.1, 9), (1.0, 0)])
def test_fgfi_mask_and_loss(psi, active):
    anchors = _grid(3, 3, 16, 32)
    mask = fgfi.masks([anchors], [(3, 3)], [anchors[4:5]], psi)
    assert int(mask[0].sum()) == active
    student = torch.ones(1, 7, 3, 3, dtype=torch.float64, requires_grad=True)
    loss = fgfi.imitation([student], [torch.zeros(1, 7, 3, 3, dtype=torch.float64)], mask)
    assert _close(loss, 3.5 if active else 0.0)
    assert loss.requires_grad
    assert fgfi.imitation([student], [student], mask) == 0


def test_fgfi_overlaps():
    anchors = _grid(3, 3, 16, 32).tolist()
    assert fgfi.iou(anchors[4], anchors[4]) == 1
    assert fgfi.iou(anchors[4], anchors[1]) == pytest.approx(1 / 3)
    assert fgfi.iou(anchors[4], anchors[0]) == pytest.approx(1 / 7)
    assert fgfi.iou([0, 0, 1, 1], [1, 0, 2, 1]) == 0
    assert fgfi.iou([0, 0, 1, 1], [1, 0, 2, 1], plus_one=True) == pytest.approx(1 / 3)


def test_fgfi_shift_moves_the_mask():
    anchors, box = _grid(8, 8, 16, 32), _boxes((20, 30, 61, 66))
    first = fgfi.masks([anchors], [(8, 8)], [box], 0.5)[0]
    second = fgfi.masks([anchors], [(8, 8)], [box + torch.tensor([16, 0, 16, 0])], 0.5)[0]
    assert first.any()
    assert torch.equal(second[0, :, 1:], first[0, :, :-1])


def test_fgfi_levels_and_padding():
    anchors = [_grid(8, 8, 16, 32), _grid(4, 4, 32, 128)]
    small = _boxes((16, 16, 48, 48), (0, 0, 0, 0))
    own = fgfi.masks(anchors, [(8, 8), (4, 4)], [small])
    every = fgfi.masks(anchors, [(8, 8), (4, 4)], [small], every_level=True)
    assert [bool(m.any()) for m in own] == [True, False]
    assert [bool(m.any()) for m in every] == [True, True]
    ones = [torch.ones(1, 3, 8, 8), torch.full((1, 3, 4, 4), 2.0)]
    zeros = [torch.zeros_like(m) for m in ones]
    n = [int(m.sum()) for m in every]
    assert _close(fgfi.imitation(ones, zeros, every), (3 * n[0] + 12 * n[1]) / (2 * sum(n)), 1e-5)
    assert not fgfi.masks(anchors, [(8, 8), (4, 4)], [small[1:]], every_level=True)[0].any()


def test_fgfi_any_anchor_of_a_cell():
    both = torch.stack([_grid(3, 3, 16, 4), _grid(3, 3, 16, 32)], dim=1).reshape(-1, 4)
    assert int(fgfi.masks([both], [(3, 3)], [_grid(3, 3, 16, 32)[4:5]], 0.3)[0].sum()) == 5


# ---------------------------------------------------------------------------------------------------------- GID


def test_gid_scores():
    teacher = torch.tensor([[2.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    student = torch.tensor([[-1.0, 2.0], [0.0, -2.0]], dtype=torch.float64)
    paper, code = gid.scores(student, teacher)[0], gid.scores(student, teacher, "code")[0]
    assert _close(paper[0], float(torch.tensor(2.0).sigmoid() - torch.tensor(-1.0).sigmoid()), 1e-6)
    assert code[0] == 0
    assert code[1] == 0
    assert paper[1] > 0
    equal, side = gid.scores(student, student)
    assert not equal.any()
    assert not side.any()


def test_gid_only_anchor_that_differs_comes_first():
    logits = torch.randn(20, 3, dtype=torch.float64)
    other = logits.clone()
    other[13, 1] += 3
    values, side = gid.scores(logits, other)
    corner = torch.rand(20, 2, dtype=torch.float64) * 60
    boxes = torch.cat([corner, corner + 30], dim=1)
    chosen = gid.boxes_of(boxes, boxes + 1, side)
    numbers, kept = gid.select([values[:12], values[12:]], [chosen[:12], chosen[12:]], (200, 200), keep=50)
    assert numbers[0] == 13
    assert side.nonzero().flatten().tolist() in ([13], [])
    assert torch.equal(kept[0], chosen[13])
    assert len(kept) <= 20
    pairs = [gid.iou(a, b) for i, a in enumerate(kept.tolist()) for b in kept.tolist()[:i]]
    assert max(pairs) <= 0.3


def test_gid_selection_clips_drops_and_keeps():
    boxes = _boxes(
        (-50, 0, 20, 20), (0, 0, 10, 30), (92, 0, 140, 50), (40, 40, 60, 60), (41, 41, 61, 61), (0, 60, 30, 90)
    )
    values = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=torch.float64)
    numbers, kept = gid.select([values], [boxes], (100, 100))
    assert numbers == [0, 3, 5]
    assert kept[0].tolist() == [0, 0, 20, 20]
    assert gid.select([values], [boxes], (100, 100), keep=2)[0] == [0, 3]
    assert gid.select([values], [boxes], (100, 100), candidates=2)[0] == [0]
    assert gid.select([values[:0]], [boxes[:0]], (100, 100))[1].shape == (0, 4)
    assert [gid.pooling_level(b) for b in _boxes((0, 0, 224, 224), (0, 0, 20, 20), (0, 0, 448, 448))] == [4, 3, 5]


def test_gid_feature():
    teacher = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    student = torch.ones(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert _close(gid.feature(student, teacher), 12**0.5)
    assert _close(gid.feature(student, teacher, "code"), 3.0)
    same = gid.feature(student, student)
    same.backward()
    assert same == 0
    assert student.grad is not None
    assert not student.grad.any()
    assert gid.feature(student[:0], teacher[:0]) == 0


def test_gid_relation():
    teacher = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    student = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64, requires_grad=True)
    loss = gid.relation(student, teacher)
    loss.backward()
    assert _close(loss, 0.125 / 6)
    assert _close(loss, 0.0208333, 1e-7)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert _close(gid.relation(10 * teacher + 5, teacher), 0)
    assert gid.relation(student[:2], teacher[:2]) == 0
    assert gid.relation(torch.zeros(3, 1), torch.zeros(3, 1)) == 0


def test_gid_response():
    logits = torch.randn(4, 3, dtype=torch.float64)
    deltas = torch.randn(4, 4, dtype=torch.float64)
    matched = torch.tensor([True, False, True, False])
    q = logits.sigmoid()
    entropy = float(-(q * q.log() + (1 - q) * (1 - q).log())[matched].sum() / 2)
    cls, reg = gid.response(logits, logits, deltas, deltas, matched)
    assert _close(cls, entropy)
    assert reg == 0
    assert _close(gid.response(logits, logits, deltas, deltas, matched, subtract_entropy=True)[0], 0)
    moved = deltas + 0.05
    assert _close(gid.response(logits, logits, moved, deltas, matched)[1], 4 * 0.05)
    assert _close(gid.response(logits, logits, moved, deltas, matched, smooth_beta=0.1)[1], 4 * 0.0125)
    nothing = gid.response(logits, logits, moved, deltas, torch.zeros(4, dtype=torch.bool))
    assert nothing == (0, 0)
    assert _close(gid.weighted_response(cls, reg + 2, 0.1, 1.0), 0.1 * entropy + 2)


def test_gid_response_gradient_does_not_depend_on_the_entropy():
    teacher, matched = torch.randn(2, 3, dtype=torch.float64), torch.tensor([True, True])
    deltas = torch.zeros(2, 4, dtype=torch.float64)
    gradients = []
    for subtract in (False, True):
        student = torch.tensor([[0.0, 1.0, -2.0], [3.0, -40.0, 0.0]], dtype=torch.float64, requires_grad=True)
        gid.response(student, teacher, deltas, deltas, matched, subtract_entropy=subtract)[0].backward()
        assert student.grad is not None
        gradients.append(student.grad)
        assert torch.allclose(student.grad, (student.detach().sigmoid() - teacher.sigmoid()) / 2)
    assert torch.equal(gradients[0], gradients[1])


# --------------------------------------------------------------------------------------------------------- TADF


def test_tadf_gaussian():
    assert tadf.gaussian(5, 4, 5, 4, 6, 2) == 1
    assert tadf.gaussian(8, 4, 5, 4, 6, 2) == pytest.approx(0.6065, abs=5e-5)
    assert tadf.gaussian(5, 5, 5, 4, 6, 2) == pytest.approx(0.6065, abs=5e-5)
    assert tadf.gaussian(8, 5, 5, 4, 6, 2) == pytest.approx(0.3679, abs=5e-5)


def test_tadf_masks():
    box = _boxes((8, 8, 28, 28))  # five cells of stride 4: columns 2..6
    mask = tadf.gaussian_masks([box], STRIDES, SIZES)
    assert mask[0][0, 4, 4] == 1
    assert _close(mask[0][0, 4, 6], tadf.gaussian(2, 0, 0, 0, 5, 5))
    assert int((mask[0] > 0).sum()) == 25
    assert not any(bool(m.any()) for m in mask[1:])
    shifted = tadf.gaussian_masks([_boxes((6, 6, 26, 26))], STRIDES, SIZES)[0]  # edges on cell centres
    assert shifted[0, 1, 1] == pytest.approx(0.3679, abs=5e-5)
    one, other = box, _boxes((16, 8, 36, 28))
    both = tadf.gaussian_masks([torch.cat([one, other])], STRIDES, SIZES)[0]
    apart = [tadf.gaussian_masks([b], STRIDES, SIZES)[0] for b in (one, other)]
    assert torch.equal(both, torch.maximum(*apart))
    point = tadf.gaussian_masks([_boxes((9, 9, 9, 9))], STRIDES, SIZES)[0]
    assert int((point > 0).sum()) == 1
    assert torch.isfinite(point).all()


def test_tadf_feature():
    two = [_boxes((8, 8, 28, 28), (0, 0, 111, 111))]
    masks = tadf.gaussian_masks(two, STRIDES, SIZES)
    ones, zeros = _maps(1.0, channels=3), _maps(0.0, channels=3)
    assert _close(tadf.feature(ones, zeros, masks), 2 * 1.5)
    assert _close(tadf.feature(ones, zeros, masks, per_channel=True), 2 * 0.5)
    assert _close(tadf.feature(ones, zeros, masks, per_level=False), 1.5)
    assert tadf.feature(ones, ones, masks) == 0
    student = [m.requires_grad_() for m in ones]
    for per_level in (True, False):
        empty = tadf.feature(student, zeros, tadf.gaussian_masks([_boxes()], STRIDES, SIZES), per_level=per_level)
        assert empty == 0
        assert empty.requires_grad


def test_tadf_classification():
    student, teacher = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 0])
    p_s, p_t = student.softmax(1), teacher.softmax(1)
    gate = (p_t > p_s)[torch.arange(5), labels]
    rows = torch.nn.functional.binary_cross_entropy(p_s, p_t, reduction="none").sum(1)
    assert torch.equal(tadf.classification_gate(student, teacher, labels), gate)
    assert _close(tadf.classification(student, teacher, labels), float(rows[gate].sum() / 5))
    kept = tadf.classification(student, teacher, labels, normaliser="kept", mean_over_classes=True)
    assert _close(kept, float(rows[gate].mean() / 4))
    assert _close(tadf.classification(student, teacher, labels, gated=False), float(rows.mean()))
    assert tadf.classification(teacher, teacher, labels) == 0
    assert tadf.classification(student[:0], teacher[:0], labels[:0]) == 0


def test_tadf_box():
    target = _boxes((0, 0, 10, 10), (0, 0, 10, 10))
    proposal, decoded = _boxes((0, 0, 10, 8), (0, 0, 10, 8)), _boxes((0, 0, 10, 9), (0, 0, 10, 8))
    gate = tadf.box_gate(decoded, proposal, target)
    assert gate.tolist() == [True, False]
    student = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[1.0, 2.0, 3.0, 4.0], [9.0, 9.0, 9.0, 9.0]], dtype=torch.float64)
    assert _close(tadf.box(student, teacher, gate), 1.25)
    assert _close(tadf.box(student, teacher, gate, normaliser="kept"), 2.5)
    closed = tadf.box(student, teacher, ~gate & gate)
    assert closed == 0
    assert closed.requires_grad
    assert tadf.box(teacher, teacher, gate) == 0


def test_tadf_decay_and_total():
    assert tadf.decay(1, 12) == 1
    assert tadf.decay(12, 12) == pytest.approx(1 / 12)
    assert _close(tadf.total([torch.tensor(1.0), torch.tensor(2.0)], [3.0, 0.5], 0.5), 2.0)

"""LD: paper and pencil, the slow reference, student equals teacher, an image without boxes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.outputs import DenseOutputs, Needs
from c2d.detectors.recording.layout import probe_layout
from c2d.detectors.recording.record_forward import record_forward
from c2d.distillation.build_methods import build_methods
from c2d.methods.base import Context
from c2d.methods.ld import LD, LDParams, classification_loss, localization_loss, tempered_kl
from c2d.methods.parts.ld_region import vlr_weights
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import Stage, deviation, stage, touched
from tests.reference import ld_reference as literal

MEASURES = {"defined": literal.diou, "released": literal.released_diou}


def rand(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def grid(sizes: list[tuple[int, int]], strides: tuple[int, ...]) -> list[Tensor]:
    """The anchors of every level, written down by hand: squares around the upper left corners of the cells."""
    found = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        points = torch.tensor([(col * stride, row * stride) for row in range(height) for col in range(width)])
        found.append(literal.anchors_of_points(points.double(), stride))
    return found


def parity(student: str = "gfl") -> float:
    """Largest relative deviation of the trained terms and their gradients from the reference."""
    play = stage("ld", student, size=64, counts=(3, 2))
    play.samples[0].gt_instances.bboxes[0] = torch.tensor([2.0, 6.0, 60.0, 58.0])  # its positives are on a coarse level
    view = play.view()
    dense, teacher, (found,) = view.student.dense, view.teacher.dense, view.positives
    assert dense is not None
    assert teacher is not None
    deltas, scores = ([m.detach().requires_grad_() for m in maps] for maps in (dense.deltas, dense.scores))
    view.student = replace(view.student, dense=replace(dense, deltas=tuple(deltas), scores=tuple(scores)))
    terms, _ = play.method(view)

    def flat(maps: Any, width: int) -> Tensor:
        return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in maps], 1)

    exact, exact_scores = ([m.detach().double().requires_grad_() for m in maps] for maps in (deltas, scores))
    rows_s, rows_t = (flat(maps, 36).double().unflatten(2, (4, 9)) for maps in (exact, teacher.deltas))
    # Where a positive lies is found again by its logits.
    logits = flat(exact_scores, 3)
    same = (flat(dense.scores, 3)[found.image] == found.logits[:, None]).all(2)
    assert torch.equal(same.sum(1), torch.ones_like(found.image))
    place = (found.image, same.long().argmax(1))
    logits = logits[place]
    cells = [s.shape[-2] * s.shape[-1] for s in dense.scores]
    level_of = torch.repeat_interleave(torch.arange(len(cells)), torch.tensor(cells))[place[1]]
    assert len(level_of.unique()) > 1  # with one level alone a mean over all would do

    def by_level(rows: Tensor) -> list[Tensor]:
        return [rows[level_of == level] for level in range(len(cells))]

    anchors = grid([tuple(s.shape[-2:]) for s in dense.scores], dense.strides)  # type: ignore[misc]
    weights = [literal.vlr_weights(anchors, boxes) for boxes in view.batch.boxes]
    assert all((w > 0).any() for w in weights)
    theirs = {
        "main": literal.main_region(rows_s[place], rows_t[place], logits),
        "vlr": torch.stack([literal.vlr_region(rows_s[i], rows_t[i], w) for i, w in enumerate(weights)]).sum(),
        "cls": literal.classification(by_level(logits), by_level(flat(teacher.scores, 3).double()[place])),
    }
    worst = 0.0
    for name, fast, slow in (("main", deltas, exact), ("vlr", deltas, exact), ("cls", scores, exact_scores)):
        value, reference = terms[name].value, theirs[name]
        assert value.dtype == torch.float32
        assert float(value.detach()) > 0
        worst = max(worst, deviation(value, fast, reference, slow))
    return worst


def test_what_is_trained_equals_the_reference() -> None:
    assert parity() < 1e-5


def test_the_released_ring_is_another_region_of_the_same_step() -> None:
    seen = {ring: stage("ld", "gfl", ring=ring) for ring in MEASURES}
    anchors = {ring: float(play.method(play.view())[1]["vlr_anchors"]) for ring, play in seen.items()}
    assert anchors["released"] > anchors["defined"] > 0


def test_two_bins_by_hand() -> None:
    student, teacher = torch.zeros(1, 4, 2), torch.tensor([10 * math.log(3.0), 0.0]).expand(1, 4, 2)
    kl = 100 / 2 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))  # T^2, mean over two bins
    assert float(tempered_kl(student, teacher, 10.0)[0, 0]) == pytest.approx(kl, rel=1e-6)
    assert float(localization_loss(student, teacher, torch.tensor([0.5]), 10.0)) == pytest.approx(
        0.5 * 4 * kl, rel=1e-6
    )


def test_losses_equal_the_reference_in_value_and_gradient() -> None:
    s, t, w = rand(5, 4, 9).requires_grad_(), rand(5, 4, 9, seed=1), rand(5, seed=2).abs()
    ours, theirs = localization_loss(s, t, w, 10.0) / 16, literal.localisation(s, t, w, 10.0, 16.0)
    assert deviation(ours, [s], theirs, [s]) < 1e-10
    z, y = rand(6, 3, seed=3).requires_grad_(), rand(6, 3, seed=4)
    counts = [1, 0, 5]
    ours = classification_loss(z, y, 2.0, counts)
    theirs = literal.classification(z.split(counts), y.split(counts), 2.0)
    assert deviation(ours, [z], theirs, [z]) < 1e-10


def test_class_distillation_is_a_mean_of_each_level_and_the_levels_are_summed() -> None:
    # Two classes: teacher (3/4, 1/4), student (1/2, 1/2) or the teacher itself. Per row T^2 / 2 KL.
    teacher = torch.tensor([2 * math.log(3.0), 0.0]).expand(4, 2)
    student = torch.stack([torch.zeros(2), torch.zeros(2), *teacher[:2]])
    kl = 4 / 2 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    # Level 0 has one row (kl), level 1 none, level 2 three rows (kl, 0, 0): kl + kl / 3, where one mean gives kl / 2.
    assert float(classification_loss(student, teacher, 2.0, [1, 0, 3])) == pytest.approx(4 / 3 * kl, rel=1e-6)
    assert float(classification_loss(student, teacher, 2.0, [4])) == pytest.approx(kl / 2, rel=1e-6)
    assert float(classification_loss(student[:0], teacher[:0], 2.0, [0, 0, 0])) == 0


def test_a_constant_on_an_edge_changes_nothing() -> None:
    s, t, w = rand(5, 4, 17), rand(5, 4, 17, seed=1), torch.ones(5).double()
    torch.testing.assert_close(
        localization_loss(s + rand(5, 4, 1, seed=2), t, w, 10.0), localization_loss(s, t, w, 10.0)
    )
    assert float(localization_loss(t, t, w, 10.0)) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("ring", MEASURES)
@pytest.mark.parametrize("seed", range(3))
def test_the_region_equals_the_reference(seed: int, ring: Any) -> None:
    anchors = grid([(16, 12), (8, 6), (4, 3), (1, 1)], (8, 16, 32, 64))
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(4, 2, dtype=torch.float64, generator=random) * 60
    boxes = torch.cat([corner, corner + 4 + torch.rand(4, 2, dtype=torch.float64, generator=random) * 100], 1)
    ours = vlr_weights(anchors, boxes, ring=ring)
    theirs = literal.vlr_weights(anchors, boxes, measure=MEASURES[ring])
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
    # Every anchor of the region lies in the ring of a ground truth.
    thresholds = [literal.atss_threshold(anchors, box) for box in boxes]
    for row in torch.cat(anchors)[ours > 0]:
        distances = [MEASURES[ring](tuple(row.tolist()), tuple(box.tolist())) for box in boxes]
        assert any(0.25 * t <= d < t for t, d in zip(thresholds, distances, strict=True))


def test_a_region_by_hand() -> None:
    # Two anchors in all, IoU 1 and 1/3 (shifted by half a side): t = 2/3 + sqrt(2)/3 = 1.138, so both lie below it.
    anchors = [torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 0.0, 12.0, 8.0]])]
    weights = vlr_weights(anchors, anchors[0][:1])
    # DIoU of the second: 1/3 - 16 / (144 + 64) = 0.256 is less than 0.25 t = 0.285.
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(vlr_weights(anchors, anchors[0][:1], gamma=0.2), torch.tensor([1.0, 1 / 3]))
    assert torch.equal(vlr_weights(anchors, torch.zeros(0, 4)), torch.zeros(2))


def test_the_released_ring_holds_small_anchors_that_the_defined_one_does_not() -> None:
    # An object of 32 px; an anchor of 8 px inside, 10 px off its centre: IoU 1 / 16, covered share 1.
    truth, small = torch.tensor([[0.0, 0.0, 32.0, 32.0]]), torch.tensor([[12.0, 2.0, 20.0, 10.0]])
    anchors = [torch.cat([torch.tensor([[0.0, 0.0, 32.0, 32.0]]), small])]
    # t = mean + deviation of 1 and 1 / 16 = 1.194. DIoU of the small one: 1 / 16 - 100 / 2048 = 0.014 < 0.25 t;
    # with its own area below the line 1 - 100 / 2048 = 0.951.
    assert vlr_weights(anchors, truth).tolist() == [1, 0]
    assert vlr_weights(anchors, truth, ring="released").tolist() == [1, 1 / 16]


@pytest.mark.parametrize("term", ["main", "vlr", "cls"])
def test_which_weights_a_term_touches(term: str) -> None:
    play = stage("ld", "gfl")
    found = touched(play.model, play.terms()[term])
    mine, other = ("gfl_cls", "gfl_reg") if term == "cls" else ("gfl_reg", "gfl_cls")
    assert any(mine in n for n in found)
    assert not any(other in n for n in found)
    assert any(n.startswith("student.backbone") for n in found)


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes(counts: tuple[int, ...]) -> None:
    play = stage("ld", "gfl", counts=counts)
    losses = play.losses()
    terms = {name: losses[f"loss_kd_ld_{name}"] for name in ("main", "vlr", "cls")}
    for name, value in terms.items():
        assert torch.isfinite(value)
        assert (float(value.detach()) > 0) == (sum(counts) > 0)
        grads = torch.autograd.grad(value, list(play.model.parameters()), retain_graph=True, allow_unused=True)
        assert all(torch.isfinite(g).all() for g in grads if g is not None)
        weight = 10 if name == "cls" else 0.25
        assert float(value.detach()) == pytest.approx(weight * float(losses[f"kd_ld_{name}_raw"]))
    assert (float(losses["kd_ld_positives"]) > 0) == (sum(counts) > 0)


def test_student_equals_teacher_gives_zero() -> None:
    play = stage("ld", "gfl", same=True, pad=0)
    assert all(float(value.detach()) == pytest.approx(0, abs=1e-6) for value in play.terms().values())


@pytest.mark.parametrize("off", ["lambda_main", "lambda_vlr", "lambda_cls"])
def test_weight_zero_computes_nothing(off: str) -> None:
    switched: dict[str, Any] = {off: 0.0}
    play = stage("ld", "gfl", **switched)
    assert set(play.terms()) == {"main", "vlr", "cls"} - {off.removeprefix("lambda_")}
    assert not stage("ld", "gfl", lambda_main=0.0, lambda_cls=0.0).method.needs.positives
    nothing = stage("ld", "gfl", lambda_main=0.0, lambda_vlr=0.0, lambda_cls=0.0)
    assert nothing.terms() == {}
    assert not nothing.method.needs.detector


def test_sights_are_the_region_and_the_boxes_of_the_positives() -> None:
    play = stage("ld", "gfl")
    view = play.view()
    *levels, boxes = play.method.visualize(view)
    assert [(sight.name, sight.heat.shape) for sight in levels] == [
        ("VLR, stride 4", (2, 24, 24)), ("VLR, stride 8", (2, 12, 12)), ("VLR, stride 16", (2, 6, 6))
    ]  # fmt: skip
    assert all(float(sight.heat[1].sum()) == 0 for sight in levels)
    assert tuple(len(one) for one in boxes.boxes) == view.positives[0].per_image


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"two GFL heads, and the teacher is 'atss', whose .* give a GFL teacher"):
        stage("ld", "gfl", "atss")
    for student in ("retinanet", "fcos", "atss"):
        with pytest.raises(
            InputError,
            match=rf"ld does not teach {student} students; it teaches gfl \(it compares edge distributions.*bckd",
        ):
            stage("ld", student, "gfl")
    with pytest.raises(InputError, match="needs a detector teacher"):
        build_methods([{"ld": {}}], Context(3), 0)


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("box_channels", (68,) * 3, "boxes in 36 numbers.*boxes in 68 numbers.*reg_max"),
        ("classes", 5, "3 sigmoid logits.*5 sigmoid logits"),
    ],
)
def test_other_layouts_are_refused(what: str, value: Any, message: str) -> None:
    setup = context(stage("ld", "gfl"))
    other = replace(setup.teacher_layout, dense=replace(setup.teacher_layout.dense, **{what: value}))
    with pytest.raises(InputError, match=message):
        LD(LDParams(), setup._replace(teacher_layout=other))


def context(play: Stage) -> Any:
    student, teacher = play.model.student, play.model.teachers.detector
    return Context(3, None, teacher, student, probe_layout(student), probe_layout(teacher.network))


@pytest.mark.parametrize("name", ["ssd", "retinanet", "atss", "gfl", "fcos"])
def test_a_positive_has_the_index_of_its_prior(name: str) -> None:
    play = stage("fitnets", name, counts=(3, 2))
    student = play.model.student
    batch = batch_from_mmdet(play.inputs, play.samples, play.model.normalization, 3)
    with record_forward(student, Needs(positives=True, dense=True)) as recorder:
        student.loss(play.inputs, play.samples)
    (found,) = recorder.positives(batch)
    dense = recorder.outputs().dense
    assert isinstance(dense, DenseOutputs)
    assert len(found.image) > 0
    assert torch.equal(tiny_detectors.flat_scores(dense)[found.image, found.prior], found.logits)

"""CrossKD: paper and pencil, the slow reference through a written-out head, gradients, student equals teacher."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.outputs import HeadTowers
from c2d.detectors.recording.layout import probe_layout
from c2d.methods.base import Context
from c2d.methods.crosskd import CrossKD, CrossKDParams, edge_kl, quality_focal
from tests.c2d import tiny_detectors
from tests.c2d.methods.literal_boxes import boxes_of, rows
from tests.c2d.methods.tiny_setup import Stage, deviation, stage, touched
from tests.reference import crosskd_reference as literal

STUDENTS = ("retinanet", "atss", "gfl", "fcos")
PREDICTORS = {"RetinaHead": "retina", "ATSSHead": "atss", "GFLHead": "gfl", "FCOSHead": "conv"}


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny heads with three stacked convolutions in place of one."""
    monkeypatch.setitem(tiny_detectors.TOWER, "stacked_convs", 3)


def test_numbers_by_hand() -> None:
    # p 0.5, p_t 0.8: 0.3^2 log 2 and 0.3 log 2. The second class agrees.
    z, z_t = torch.tensor([[0.0, -1.0]]), torch.tensor([[math.log(4.0), -1.0]])
    assert float(quality_focal(z, z_t, 2.0)) == pytest.approx(0.09 * math.log(2), rel=1e-5)
    assert float(quality_focal(z, z_t, 1.0)) == pytest.approx(0.3 * math.log(2), rel=1e-5)
    # One location, two bins: each of the four edges (1/2, 1/2) against (3/4, 1/4).
    flat, sure = torch.zeros(1, 1, 8), torch.tensor([math.log(3.0), 0.0]).repeat(4)[None, None]
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(edge_kl(flat, sure, 1.0)) == pytest.approx(4 * kl, rel=1e-6)
    assert float(edge_kl(flat, 2 * sure, 2.0)) == pytest.approx(16 * kl, rel=1e-6)


def layers(convs: Any) -> list[literal.Layer]:
    """The convolutions of a branch as the reference takes them."""
    norms = [conv.norm if conv.with_norm else None for conv in convs]
    return [
        literal.Layer(
            conv.conv.weight.double(),
            None if conv.conv.bias is None else conv.conv.bias.double(),
            None if norm is None else (norm.num_groups, norm.weight.double(), norm.bias.double()),
        )
        for conv, norm in zip(convs, norms, strict=True)
    ]


def crossed(head: Any, branch: str, maps: list[Tensor], position: int) -> list[Tensor]:
    """Predictions of one branch of the teacher's head on maps f_i, written out."""
    convs, name = (head.cls_convs, "cls") if branch == "cls" else (head.reg_convs, "reg")
    final = getattr(head, f"{PREDICTORS[type(head).__name__]}_{name}")
    found = []
    for level, m in enumerate(maps):
        out = literal.rest_of_branch(m, layers(convs[position:]), final.weight.double(), final.bias.double())
        if branch == "reg" and type(head).__name__ != "RetinaHead":
            out = out * head.scales[level].scale.double().detach()
            out = out.exp() if type(head).__name__ == "FCOSHead" else out
        found.append(out)
    return found


def parity(student: str = "retinanet", teacher: str | None = None, position: int | None = None) -> float:
    """Largest relative deviation of the trained terms and their gradients from the reference."""
    play = stage("crosskd", student, teacher, size=32, pad=0, counts=(2,), position=position)
    at = play.method.position
    assert at == (len(play.model.student.bbox_head.cls_convs) - 1 if position is None else position)
    view = play.view()
    inside, head = view.student.towers, play.model.teachers.detector.network.bbox_head
    assert inside is not None
    towers = {"cls": inside.classification, "reg": inside.regression}
    leaves = {name: [m.detach().requires_grad_() for m in tower[at]] for name, tower in towers.items()}
    changed = [(*tower[:at], tuple(leaves[name]), *tower[at + 1 :]) for name, tower in towers.items()]
    view.student = replace(view.student, towers=HeadTowers(*changed))
    terms, seen = play.method(view)
    exact = {name: [m.detach().double().requires_grad_() for m in maps] for name, maps in leaves.items()}
    adapted = {
        name: [copy.deepcopy(phi).double()(m) for m in exact[name]]
        for name, phi in zip(("cls", "reg"), play.method.phi, strict=True)
    }
    scores, deltas = (crossed(head, name, adapted[name], at) for name in ("cls", "reg"))
    target = view.teacher.dense
    assert target is not None
    positives = len(view.positives[-1].image)
    theirs = literal.quality_focal(rows(scores, 3), rows([m.double() for m in target.scores], 3)) / positives
    found = deviation(terms["cls"].value, leaves["cls"], theirs, exact["cls"])
    by_teacher = [m.double() for m in target.deltas]
    if (teacher or student) == "gfl":
        theirs = literal.distribution_term(*(rows(m, 36).unflatten(1, (4, 9)) for m in (deltas, by_teacher)))
    else:
        theirs = literal.box_term(boxes_of(head, deltas), boxes_of(head, by_teacher))
    assert float(seen["positives"]) == positives > 0
    assert float(seen["locations"]) == len(rows(scores, 3))
    return max(found, deviation(terms["reg"].value, leaves["reg"], theirs, exact["reg"]))


@pytest.mark.parametrize(
    ("student", "teacher", "position"),
    [
        ("retinanet", "retinanet", 2),
        ("atss", "atss", None),
        ("gfl", "gfl", 1),
        ("fcos", "fcos", 0),
        ("gfl", "retinanet", 3),
    ],
)
def test_what_is_trained_equals_the_reference(student: str, teacher: str, position: int | None, deep: None) -> None:
    assert parity(student, teacher, position) < 1e-4


@pytest.mark.parametrize("student", STUDENTS)
def test_student_equals_teacher_gives_zero(student: str) -> None:
    values = stage("crosskd", student, same=True).terms()
    assert {name: float(value.detach()) for name, value in values.items()} == {"cls": 0.0, "reg": 0.0}


def parts_of(play: Stage, term: str) -> set[str]:
    return {
        name.removeprefix("student.bbox_head.") for name in touched(play.model, play.terms()[term]) if "head" in name
    }


@pytest.mark.parametrize(("term", "branch"), [("cls", "cls_convs"), ("reg", "reg_convs")])
def test_gradients_end_at_the_i_th_convolution(term: str, branch: str, deep: None) -> None:
    play = stage("crosskd", "gfl", position=2)
    assert {name[:11] for name in parts_of(play, term)} == {f"{branch}.0", f"{branch}.1"}
    assert any(name.startswith("student.backbone") for name in touched(play.model, play.terms()[term]))
    assert parts_of(stage("crosskd", "gfl", position=0), term) == set()  # f_0 is the neck's


def test_an_adapter_is_trained_where_channels_differ(deep: None) -> None:
    play = stage("crosskd", "retinanet", position=0)
    found = [touched(play.model, play.terms()[term]) for term in ("cls", "reg")]
    assert {name for names in found for name in names if "phi" in name} == {
        f"distillers.crosskd.phi.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")
    }
    assert (
        play.method.notes[0] == "f_0 of the class tower into the teacher's head, 16 -> 24 channels by a 1x1 convolution"
    )
    assert [len(list(phi.parameters())) for phi in stage("crosskd", "retinanet", position=2).method.phi] == [0, 0]
    idle = stage("crosskd", "retinanet", position=0, lambda_reg=0.0)
    assert [all(w.requires_grad for w in phi.parameters()) for phi in idle.method.phi] == [True, False]


def test_the_teachers_head_is_as_before_and_has_no_gradient(deep: None) -> None:
    play = stage("crosskd", "atss", position=2)
    head = play.model.teachers.detector.network.bbox_head
    before = {id(m): set(vars(m)) for m in head.modules()}
    total = torch.stack(list(play.terms().values())).sum()
    total.backward()
    assert {id(m): set(vars(m)) for m in head.modules()} == before
    assert all(w.grad is None for w in head.parameters())


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes(counts: tuple[int, ...]) -> None:
    play = stage("crosskd", "fcos", counts=counts)
    terms = play.terms()
    assert (float(terms["cls"].detach()) > 0) == (sum(counts) > 0)
    assert float(terms["reg"].detach()) > 0  # every location learns the teacher's boxes
    for value in terms.values():
        grads = torch.autograd.grad(value, list(play.model.parameters()), retain_graph=True, allow_unused=True)
        assert all(torch.isfinite(g).all() for g in grads if g is not None)


def test_the_papers_divisor_counts_every_location() -> None:
    play, paper = (stage("crosskd", "gfl", divisor=kind) for kind in ("positives", "locations"))
    terms, seen = play.method(play.view())
    wanted = float(terms["cls"].value.detach()) * float(seen["positives"]) / (2 * (24 * 24 + 12 * 12 + 6 * 6))
    assert float(paper.terms()["cls"].detach()) == pytest.approx(wanted, rel=1e-5)
    assert not paper.method.needs.positives


@pytest.mark.parametrize("off", ["lambda_cls", "lambda_reg"])
def test_weight_zero_leaves_a_term_out(off: str) -> None:
    switched: dict[str, Any] = {off: 0.0}
    assert set(stage("crosskd", "retinanet", **switched).terms()) == {"cls", "reg"} - {off.removeprefix("lambda_")}


def test_visualizations_are_the_differences_of_scores() -> None:
    play = stage("crosskd", "retinanet")
    drawn = play.method.visualize(play.view())
    assert [(one.name, one.heat.shape) for one in drawn] == [
        (f"cross-head difference, stride {stride}", (2, side, side)) for stride, side in ((4, 24), (8, 12), (16, 6))
    ]
    assert all(0 < float(one.heat.max()) < 1 for one in drawn)


def test_refusals() -> None:
    with pytest.raises(InputError, match="the teacher is 'faster-rcnn'; give a teacher of retinanet, fcos"):
        stage("crosskd", "retinanet", "faster")
    with pytest.raises(InputError, match=r"convolution 2 of .* head has 1; set .*position to 0, \.\.\., 1"):
        stage("crosskd", "retinanet", position=2)
    play = stage("crosskd", "retinanet")
    student, teacher = play.model.student, play.model.teachers.detector
    teacher.network = tiny_detectors.build(
        "retinanet", anchor_generator={**tiny_detectors.OCTAVE, "strides": [8, 16, 32]}
    )
    layouts = probe_layout(student), probe_layout(student)
    with pytest.raises(InputError, match=r"strides differ: student \(4, 8, 16\), teacher \(8, 16, 32\)"):
        CrossKD(CrossKDParams(), Context(3, None, teacher, student, *layouts))
    teacher.network = tiny_detectors.build("retinanet", loss_cls={"type": "CrossEntropyLoss", "use_sigmoid": False})
    with pytest.raises(InputError, match="use a sigmoid head"):
        CrossKD(CrossKDParams(), Context(3, None, teacher, student, *layouts))
    teacher.network = tiny_detectors.build("retinanet", stacked_convs=0)
    with pytest.raises(InputError, match="has no two towers of stacked convolutions"):
        CrossKD(CrossKDParams(), Context(3, None, teacher, student, *layouts))

"""FGFI: the worked grid, the slow reference, student equals teacher, images without boxes, what it touches."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.outputs import DetectorOutputs
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context
from c2d.methods.fgfi import FGFI, FGFIParams, active_cells, imitation_loss, imitation_masks
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import Stage, deviation, stage, touched, without_adapters
from tests.reference import fgfi_reference as reference


def grid(side: int, stride: float, anchor: float) -> Tensor:
    """Square anchors, one in the middle of every cell."""
    at = (torch.arange(side) + 0.5) * stride
    y, x = torch.meshgrid(at, at, indexing="ij")
    centre = torch.stack([x, y], 2).reshape(-1, 2)
    return torch.cat([centre - anchor / 2, centre + anchor / 2], 1)


def anchors_of(play: Stage, view: Any) -> list[Tensor]:
    sizes = [tuple(m.shape[-2:]) for m in view.student.neck]
    return play.method.priors.anchors(sizes, torch.device("cpu"))


def parity(student: str = "retinanet", **params: Any) -> float:
    """Largest relative deviation of the term and its gradient, as trained, from the literal one in fp64."""
    play = stage("fgfi", student, size=64, **({"base_px": 20.0} | params))
    with torch.no_grad():
        for weight in play.method.parameters():  # away from zero, where no student map matters
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    view, phi = play.view(), play.method.phi
    leaves = [m.detach().double().requires_grad_() for m in view.student.neck]
    teacher = DetectorOutputs(neck=tuple(m.double() for m in view.teacher.neck))
    pairs = copy.deepcopy(phi).double()(DetectorOutputs(neck=tuple(leaves)), teacher)
    sizes = [tuple(t.shape[-2:]) for _, t in pairs]
    masks = reference.masks(
        anchors_of(play, view), sizes, view.batch.boxes, play.method.params.psi, base=20.0,
        every_level=play.method.params.all_levels,
    )  # fmt: skip
    theirs = reference.imitation([s for s, _ in pairs], [t for _, t in pairs], masks)
    return deviation(play.method(view)[0]["imit"].value, view.student.neck, theirs, leaves)


@pytest.mark.parametrize("student", ["retinanet", "gfl", "faster"])
def test_equals_the_reference_in_value_and_gradient(student: str) -> None:
    assert parity(student) < 1e-5


def test_boxes_on_every_level_equal_the_reference() -> None:
    assert parity(all_levels=True, psi=0.8) < 1e-5


@pytest.mark.parametrize(("psi", "cells"), [(0.5, 1), (0.3, 5), (0.1, 9), (1.0, 0)])
def test_cells_around_a_box_that_is_an_anchor(psi: float, cells: int) -> None:
    anchors = grid(3, 16, 32)
    mask = active_cells(anchors, anchors[4:5], torch.tensor([True]), psi, 9)
    assert int(mask.sum()) == cells
    assert not active_cells(anchors, anchors[4:5], torch.tensor([False]), psi, 9).any()
    student = torch.ones(1, 7, 3, 3, requires_grad=True)
    value = imitation_loss([(student, torch.zeros(1, 7, 3, 3))], [mask.view(1, 1, 3, 3).float()])
    value.backward()
    assert float(value.detach()) == (3.5 if cells else 0)
    assert student.grad is not None


def test_a_shift_by_one_stride_moves_the_mask_and_empty_boxes_do_nothing() -> None:
    batch = replace(stage("fgfi").view().batch, boxes=(torch.tensor([[20.0, 30, 61, 66], [0, 0, 0, 0]]),))
    (first,) = imitation_masks(batch, [grid(8, 16, 32)], [(8, 8)], 0.5, 224.0)
    moved = replace(batch, boxes=(batch.boxes[0] + torch.tensor([16.0, 0, 16, 0]) * (batch.boxes[0] > 0),))
    (second,) = imitation_masks(moved, [grid(8, 16, 32)], [(8, 8)], 0.5, 224.0)
    assert first.any()
    assert torch.equal(second[..., 1:], first[..., :-1])


def test_student_equals_teacher_gives_zero() -> None:
    play = without_adapters(stage("fgfi", same=True, pad=0))
    play.model.eval()  # one network, one mode
    assert float(play.terms()["imit"].detach()) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("name", [*tiny_detectors.NAMES, *tiny_detectors.NEWER])
def test_every_detector_is_taught_through_its_neck(name: str) -> None:
    play = stage("fgfi", name)
    terms, seen = play.method(play.view())
    assert terms["imit"].weight == 0.01
    assert 0 < float(seen["cells"]) < 2 * (24**2 + 12**2 + 6**2)
    found = touched(play.model, terms["imit"].value)
    assert any(n.startswith("student.backbone") for n in found)
    assert any(n.startswith("distillers.fgfi.phi") for n in found)
    assert not any("head" in n for n in found)
    assert any("no anchors" in note for note in play.method.notes) == (
        name in ("fcos", "rtmdet", "yolox", "vfnet", "centernet-update")
    )


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_images_without_boxes_give_a_finite_value(counts: Any) -> None:
    play = stage("fgfi", counts=counts)
    value = play.terms()["imit"]
    value.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in play.method.parameters())
    assert (float(value.detach()) > 0) == any(counts)


def test_begins_after_400_iterations_and_without_weight_trains_nothing() -> None:
    assert FGFIParams().start == 400
    play = stage("fgfi", lambda_imit=0.0)
    assert play.terms() == {}
    assert play.method.visualize(play.view()) == []
    assert not list(play.method.parameters())


def test_another_family_teaches_and_sights_are_masks() -> None:
    play = stage("fgfi", "faster", "retinanet", levels=(8, 16))
    view = play.view()
    masks = play.method.visualize(view)
    assert [m.heat.shape for m in masks] == [(2, 12, 12), (2, 6, 6)]
    assert float(sum(m.heat.sum() for m in masks)) == float(play.method(view)[1]["cells"])
    assert "below 64 px belong to stride 8" in play.method.notes[-1]


def test_maps_of_other_size_take_the_mask_of_the_teachers_cells() -> None:
    play = stage("fgfi", "retinanet")
    view = play.view()
    smaller = tuple(m[..., :-1] for m in view.teacher.neck)
    masks = play.method.masks(view)
    view.teacher = replace(view.teacher, neck=smaller)
    for cut, whole in zip(play.method.masks(view), masks, strict=True):
        assert cut.shape[-1] == whole.shape[-1] - 1
    assert float(play.method(view)[0]["imit"].value.detach()) > 0


def test_errors_name_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"fgfi: no level of stride 128 .*closest that both have: .*stride 16"):
        stage("fgfi", levels=(128,))
    with pytest.raises(InputError, match="fgfi needs a detector teacher"):
        FGFI(FGFIParams(), Context(3))
    original = Priors.__init__

    def coarse(self: Priors, head: Any) -> None:
        original(self, head)
        self.strides = (8, 16)

    monkeypatch.setattr(Priors, "__init__", coarse)
    with pytest.raises(InputError, match=r"no anchors for neck\[0\] .*only for strides 8, 16; list the levels"):
        stage("fgfi")

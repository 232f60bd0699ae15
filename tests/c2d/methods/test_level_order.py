"""Necks that return the coarsest map first: methods see the same levels, whatever the order of the maps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from c2d.detectors.recording.layout import probe_layout
from c2d.methods import DISTILLERS
from tests.c2d import tiny_detectors
from tests.c2d.methods.ddp_worker import STUDENTS
from tests.c2d.methods.tiny_setup import Stage, stage
from tests.c2d.methods.training_set import samples_like

from mmdet.models.necks import FPN  # isort: skip
from mmdet.registry import MODELS  # isort: skip

# mmdet's second stages read their maps finest first themselves, so that no such detector has another order; a decoder
# reads all levels at once.
OTHER_HEADS = ("chen", "tadf", "dkd", "detrdistill")
DENSE = [name for name, kind in DISTILLERS.items() if kind.TEACHERS == ("detector",) and name not in OTHER_HEADS]
SAME_HEADS = ("frs", "gid", "gkd", "ld", "bckd", "crosskd")
"""They compare heads prior by prior, so that the teacher has the student's order."""


class CoarseFirstFPN(FPN):
    """An FPN whose maps are in the opposite order."""

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return super().forward(inputs)[::-1]


@pytest.fixture(autouse=True)
def _coarse_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """`coarse-NAME`: the same detector, weight by weight, with neck and head in the opposite order."""
    monkeypatch.setitem(MODELS.module_dict, "CoarseFirstFPN", CoarseFirstFPN)
    for name in ("retinanet", "gfl"):
        config = tiny_detectors.config(name)
        config.neck.type = "CoarseFirstFPN"
        config.bbox_head.anchor_generator.strides = tiny_detectors.STRIDES[::-1]
        monkeypatch.setitem(tiny_detectors._CONFIGS, f"coarse-{name}", config.to_dict)


def taught(method: str, order: str = "", **more: Any) -> Stage:
    student = "gfl" if STUDENTS.get(method) == "gfl" else "retinanet"
    teacher = order + student if method in SAME_HEADS else student
    return stage(method, order + student, teacher, start=0, ramp=0, samples=samples_like(), wide=False, **more)


@pytest.mark.parametrize("method", DENSE)
def test_the_order_of_the_maps_moves_no_term(method: str) -> None:
    usual, coarse = (taught(method, order) for order in ("", "coarse-"))
    assert [level.stride for level in probe_layout(coarse.model.student).neck] == [16, 8, 4]
    first, second = (
        {name: float(value.detach()) for name, value in play.losses().items() if name.startswith("loss_kd_")}
        for play in (usual, coarse)
    )
    assert first
    assert second == pytest.approx(first, rel=1e-4)
    assert [sight.name for sight in usual.method.visualize(usual.view()) if "stride" in sight.name] == sorted(
        (sight.name for sight in coarse.method.visualize(coarse.view()) if "stride" in sight.name),
        key=lambda name: int(name.split("stride ")[1]),
    )


NECKS = ("fitnets", "at", "defeat", "fkd", "cwd", "pkd", "fgd", "mgd")


@pytest.mark.parametrize("method", NECKS)
def test_a_yolov3_student_is_taught_level_by_level(method: str) -> None:
    play = stage(method, "yolov3", "retinanet")
    assert [level.stride for level in probe_layout(play.model.student).neck] == [16, 8, 4]
    phi = getattr(play.method, "phi", None) or play.method.maps
    assert [(pair.stride, pair.s, pair.t) for pair in phi.pairs] == [(4, 2, 0), (8, 1, 1), (16, 0, 2)]
    total = torch.stack(list(play.terms().values())).sum()
    total.backward()
    assert torch.isfinite(total)


def test_the_masks_of_a_yolov3_student_are_those_of_any_other() -> None:
    ours, others = (stage("defeat", name, "retinanet") for name in ("yolov3", "retinanet"))
    assert ours.method.base_px == 56  # 14 px times the finest stride, which is not the first
    pairs = zip(ours.method.masks(ours.view()), others.method.masks(others.view()), strict=True)
    assert all(torch.equal(mask, other) for mask, other in pairs)


def test_fkd_sub_samples_the_finest_levels_of_a_yolov3_student() -> None:
    play = stage("fkd", "yolov3", "retinanet")
    assert [block["nl_s"].step for block in play.method.blocks] == [8, 4, 2]
    assert [block["nl_s"].theta.in_channels for block in play.method.blocks] == [8, 16, 32]

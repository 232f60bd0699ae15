"""Maps inside a dense head: recorded as they are, and a head continued from its own maps predicts what it predicted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.head_towers import depth, head_towers, predict_from, record_towers, tower_channels
from c2d.detectors.recording.record_forward import read_dense_outputs, record_forward
from tests.c2d import tiny_detectors

PREDICTORS = {
    "retinanet": "retina_cls", "atss": "atss_cls", "gfl": "gfl_cls", "fcos": "conv_cls", "paa": "atss_cls",
}  # fmt: skip
OTHERS = ("rtmdet", "yolox", "vfnet")
"""Convolutions of their own on each level, scores that are products with objectness, boxes that are refined."""


@pytest.mark.parametrize("name", [*PREDICTORS, *OTHERS])
def test_a_head_goes_on_from_its_own_maps(name: str) -> None:
    student: Any = tiny_detectors.build(name, stacked_convs=3)
    inputs, samples = tiny_detectors.sample(2, 64, 2)
    with record_forward(student, Needs(neck=True, dense=True, towers=True)) as recorder:
        student.loss(inputs, samples)
    outputs = recorder.outputs()
    inside, dense = outputs.towers, outputs.dense
    assert inside is not None
    assert dense is not None
    assert len(inside.classification) == len(inside.regression) == 4
    head = student.bbox_head
    for level, neck in enumerate(outputs.neck):
        assert torch.equal(inside.classification[0][level], neck)
        if name in PREDICTORS:
            predicted = getattr(head, PREDICTORS[name])(inside.classification[3][level])
            assert torch.equal(predicted, dense.scores[level])
    for position in range(4):
        again = read_dense_outputs(
            head, predict_from(head, inside.classification[position], inside.regression[position], position)
        )
        assert all(torch.equal(a, b) for a, b in zip(again.scores, dense.scores, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(again.deltas, dense.deltas, strict=True))
        assert all("forward" not in vars(conv) for tower in head_towers(head) for convs in tower for conv in convs)


def test_each_tower_has_its_own_maps_and_widths() -> None:
    head: Any = tiny_detectors.build("retinanet", stacked_convs=2, feat_channels=8).bbox_head
    assert [tower_channels(head, position) for position in (0, 1, 2)] == [(16, 16), (8, 8), (8, 8)]
    maps = [torch.randn(1, 8, side, side) for side in (4, 2, 1)]
    scores, deltas = predict_from(head, [0 * m for m in maps], maps, 2)
    assert all(torch.equal(s, head.retina_cls(0 * m)) for s, m in zip(scores, maps, strict=True))
    assert all(torch.equal(d, head.retina_reg(m)) for d, m in zip(deltas, maps, strict=True))


def test_a_head_without_towers_is_refused() -> None:
    with pytest.raises(InputError, match="head SSDHead has no two towers of stacked convolutions"):
        depth(tiny_detectors.build("ssd").bbox_head)


def test_of_a_teacher_the_last_maps_are_kept() -> None:
    head: Any = tiny_detectors.build("rtmdet", stacked_convs=2).bbox_head
    maps = [torch.randn(2, 16, side, side) for side in (4, 2, 1)]
    with record_towers(head) as whole, record_towers(head, last=True) as last:
        head(maps)
    assert [len(whole.outputs().regression), len(last.outputs().regression)] == [3, 1]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.outputs().regression[2], last.outputs().regression[0], strict=True)
    )
    assert all(not module._forward_hooks for module in head.modules())

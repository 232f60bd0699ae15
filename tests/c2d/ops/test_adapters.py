"""Levels pair by stride across families; what cannot work names layers, shapes and the closest that would."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.detectors.outputs import DetectorOutputs
from c2d.detectors.recording.layout import DetectorLayout, Level, probe_layout
from c2d.methods import DISTILLERS
from c2d.methods.base import Context
from c2d.ops.adapters import FeatureAdapter, conv_adapter, conv_adapter_if_needed, pair_levels
from tests.c2d import tiny_detectors
from tests.c2d.methods.tiny_setup import WIDE, stage, teaching


def levels(*strides: int, channels: int = 16) -> list[Level]:
    return [Level(f"neck[{i}]", s, channels, (256 // s, 256 // s)) for i, s in enumerate(strides)]


@pytest.mark.parametrize("name", tiny_detectors.NAMES)
def test_a_probe_finds_strides_and_channels_and_does_not_change_the_detector(name: str) -> None:
    detector = tiny_detectors.build(name)
    modes = [m.training for m in detector.modules()]
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    found = probe_layout(detector)
    wanted = {"faster": "faster-rcnn", "cascade": "cascade-rcnn"}.get(name, name)
    assert found.detector == wanted
    assert found.stages == ("two-stage" if wanted.endswith("rcnn") else "one-stage")
    assert [level.stride for level in found.neck] == [4, 8, 16]
    assert [level.channels for level in found.neck] == ([8, 16, 32] if name == "ssd" else [16] * 3)
    assert [level.stride for level in found.backbone] == [4, 8, 16]
    assert found.dense is not None
    assert found.dense.layer == ("rpn_head" if wanted.endswith("rcnn") else "bbox_head")
    assert found.dense.classes == {"ssd": 4}.get(name, 1 if wanted.endswith("rcnn") else 3)
    assert found.dense.box_channels[0] == (36 if name == "gfl" else 4)
    assert [m.training for m in detector.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


def test_levels_pair_by_stride_not_by_place() -> None:
    pairs = pair_levels("cwd", levels(4, 8, 16, 32), levels(8, 16, 32, 64))
    assert [(pair.stride, pair.s, pair.t) for pair in pairs] == [(8, 1, 0), (16, 2, 1), (32, 3, 2)]
    assert [pair.stride for pair in pair_levels("cwd", levels(4, 8), levels(4, 8), [8])] == [8]
    coarse, fine = levels(32, 16, 8), levels(4, 8, 16, 32)  # YOLOv3's neck, an FPN
    assert [(pair.stride, pair.s, pair.t) for pair in pair_levels("cwd", coarse, fine)] == [
        (8, 2, 1),
        (16, 1, 2),
        (32, 0, 3),
    ]
    assert [pair.stride for pair in pair_levels("pkd", coarse, fine, None, 2)] == [8, 16]
    assert [pair.stride for pair in pair_levels("pkd", coarse, fine, [32, 8, 16], 2)] == [8, 16, 32]  # as asked for


@pytest.mark.parametrize(("method", "one_stage"), [("pkd", 4), ("fgd", 5), ("mgd", 5), ("cwd", 5), ("fkd", 5)])
def test_methods_use_the_number_of_levels_that_their_weights_belong_to(method: str, one_stage: int) -> None:
    """Released: PKD four levels for both kinds, FGD and MGD four for Faster R-CNN, CWD and FKD five for both."""
    four = method in ("pkd", "fgd", "mgd")
    for detector, wanted in (("retinanet", one_stage), ("faster-rcnn", 4 if four else 5)):
        neck = tuple(levels(4, 8, 16, 32, 64))
        layout = DetectorLayout(detector, neck, neck, None)
        kind: Any = DISTILLERS[method]
        distiller = kind(kind.Params(), Context(3, student_layout=layout, teacher_layout=layout))
        assert distiller.phi.strides == [4, 8, 16, 32, 64][:wanted]


def test_impossible_pairs_are_named() -> None:
    with pytest.raises(InputError, match=r"cwd: no level of stride 4 in the teacher; student: neck\[0\] \(16 channels, "
                       r"stride 4, 64x64\).*teacher: .*closest that both have: stride 8, stride 16"):  # fmt: skip
        pair_levels("cwd", levels(4, 8, 16), levels(8, 16, 32), [4])
    with pytest.raises(InputError, match="no stride in common"):
        pair_levels("cwd", levels(4), levels(8))


def test_maps_have_the_teachers_channels_and_size_and_notes_name_the_layers() -> None:
    pairs = pair_levels("x", levels(8), [Level("neck[2]", 8, 5, (31, 32))])
    phi = FeatureAdapter(pairs, conv_adapter(1), "by a 1x1 convolution")
    assert phi.notes == [
        "stride 8: student neck[0] -> teacher neck[2], 16 -> 5 channels by a 1x1 convolution, resized bilinearly"
    ]
    maps = DetectorOutputs(neck=(torch.randn(2, 16, 32, 32),)), DetectorOutputs(neck=(torch.randn(2, 5, 31, 32),))
    ((ours, theirs),) = phi(*maps)
    assert ours.shape == theirs.shape == (2, 5, 31, 32)
    assert isinstance(conv_adapter_if_needed()(4, 4), nn.Identity)


def test_the_small_initialisation_is_small() -> None:
    layer = conv_adapter(3, init="small")(4, 6)
    assert isinstance(layer, nn.Conv2d)
    assert 0 < float(layer.weight.detach().abs().max()) <= 2e-4
    assert float(layer.bias.detach().abs().max()) == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(("student", "teacher"), [("faster", "retinanet"), ("ssd", "fcos"), ("fcos", "cascade")])
def test_a_teacher_of_another_family_teaches_necks(student: str, teacher: str) -> None:
    play = stage("fitnets", student, teacher)
    assert torch.isfinite(play.terms()["hint"])
    assert any(f"-> {WIDE} channels" in note for note in play.method.notes)


def test_first_weights_of_a_method_do_not_depend_on_other_methods() -> None:
    alone, beside = stage("fitnets"), stage({"fgd": {}, "fitnets": {}})
    ours, theirs = alone.method.state_dict(), beside.model.distillers["fitnets"].state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    network: Any = teaching("retinanet", True, 1)
    assert network.neck.out_channels == WIDE


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("retinanet", 1.0),  # octave base scale 4, as stock
        ("atss", 1.0),  # 8, as stock
        ("fcos", 0.5),  # up to 16 px at stride 4; stock up to 64 at stride 8
        ("faster", 16 / 56),  # finest scale 16 at stride 4; stock 56
        ("ssd", 1.0),  # no attribute defines a scale
    ],
)
def test_levels_of_boxes_follow_the_students_own_scale(name: str, scale: float) -> None:
    """Objects of a student for small images would all fall on its finest level by the stock rule."""
    found = probe_layout(tiny_detectors.build(name))
    assert found.scale == pytest.approx(scale)
    assert found.base_px(4) == pytest.approx(56 * scale)


def test_the_small_students_have_half_the_stock_scale() -> None:
    from c2d.configs.student_config import load_student
    from c2d.evaluation.stock_model import build_student

    for name in ("retinanet-qr18", "gfl-qr18", "faster-rcnn-qr18", "retinanet-r50", "faster-rcnn-r50"):
        student = build_student(load_student(name, num_classes=3, pretrained=False))
        assert probe_layout(student).scale == (0.5 if "qr18" in name else 1.0), name

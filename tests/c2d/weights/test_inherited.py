"""Neck and heads from a teacher: a layer whole or not at all, an account of every key, the backbone untouched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from c2d.core.errors import InputError
from c2d.weights.inherited import inherit_neck_and_heads


def detector(seed: int, lateral: int = 3, classes: int = 2, **parts: nn.Module) -> Any:
    """A module with the top-level names of an mmdet detector."""
    torch.manual_seed(seed)
    neck = nn.ModuleDict({"lateral": nn.Conv2d(lateral, 4, 1), "fpn": nn.Conv2d(4, 4, 1), "bn": nn.BatchNorm2d(4)})
    head = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 1), "cls": nn.Conv2d(4, classes, 1)})
    return nn.ModuleDict({"backbone": nn.Conv2d(3, 3, 1), "neck": neck, "bbox_head": head, **parts})


def test_every_key_that_fits_is_copied() -> None:
    student, teacher = detector(0), detector(1)
    backbone = student["backbone"].weight.clone()
    audit = inherit_neck_and_heads(student, teacher, "teacher t")
    assert (audit.loaded, audit.wanted) == (13, 13)
    assert (audit.missing, audit.unexpected, audit.mismatched, audit.dropped) == ((), (), (), ())
    assert torch.equal(student["backbone"].weight, backbone)
    own, given = student.state_dict(), teacher.state_dict()
    assert all(torch.equal(own[key], given[key]) for key in own if not key.startswith("backbone."))
    assert audit.summary() == "neck and heads from teacher t: 13 of 13 keys loaded"


def test_a_layer_is_inherited_whole_or_not_at_all() -> None:
    """A teacher of a wider backbone, more classes, a second tower and no mask: each key has its place."""
    student, teacher = detector(0, mask_head=nn.Linear(1, 1)), detector(1, lateral=6, classes=5, tower=nn.Linear(1, 1))
    bias = student["neck"]["lateral"].bias.clone()
    audit = inherit_neck_and_heads(student, teacher, "teacher t")
    assert audit.mismatched == (
        ("neck.lateral.weight", (4, 6, 1, 1), (4, 3, 1, 1)),
        ("bbox_head.cls.weight", (5, 4, 1, 1), (2, 4, 1, 1)),
        ("bbox_head.cls.bias", (5,), (2,)),
    )
    assert audit.dropped == ("neck.lateral.bias",)
    assert torch.equal(student["neck"]["lateral"].bias, bias)
    assert audit.missing == ("mask_head.weight", "mask_head.bias")
    assert audit.unexpected == ("tower.weight", "tower.bias")
    assert (audit.loaded, audit.wanted) == (9, 15)
    assert torch.equal(student["bbox_head"]["conv"].weight, teacher["bbox_head"]["conv"].weight)
    assert audit.loaded + len(audit.mismatched) + len(audit.dropped) + len(audit.missing) == audit.wanted


def test_a_teacher_of_another_kind_is_refused() -> None:
    student, teacher = detector(0), nn.ModuleDict({"backbone": nn.Conv2d(3, 3, 1), "roi_head": nn.Linear(2, 2)})
    with pytest.raises(InputError, match=r"no layer .* neck and heads fits teacher t \(not in the teacher"):
        inherit_neck_and_heads(student, teacher, "teacher t")


def test_a_teacher_that_diverged_is_refused() -> None:
    student, teacher = detector(0), detector(1)
    with torch.no_grad():
        teacher["neck"]["fpn"].bias.fill_(float("nan"))
    with pytest.raises(InputError, match=r"teacher weights teacher t: 1 of 13 tensors hold NaN"):
        inherit_neck_and_heads(student, teacher, "teacher t")

"""ICOD against the literal reference of tests/reference, on every head family: positives, values and gradients.

The reference finds the positives again by calling mmdet's assigners itself, and computes every term in float64 by
loops. The classifier has another normalisation than the student, and one image of the batch has no boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2d.detectors.batch import batch_from_mmdet
from c2d.detectors.recording.record_positives import record_positives
from tests.c2d import tiny_detectors as tiny
from tests.c2d.methods.icod_parity import (
    LAYERS,
    STUDENT,
    VARIANTS,
    Setting,
    expected,
    produced,
    relative,
    setting,
    stages_of,
)

NORMALISERS = {"exact": "exact", "per_image_floor": "per_image"}  # the production's name: the reference's
TOLERANCE = 1e-5


def flat(gradients: tuple[Tensor | None, ...], like: list[nn.Parameter]) -> Tensor:
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(gradients, like, strict=True)]
    )


def differences(name: str, stage: int, layers: tuple[str, ...], normaliser: str = "exact") -> Mapping[str, float]:
    """Largest relative differences: term -> value, and term.logits, term.boxes, term.student for the gradients."""
    s = setting(name)
    ours = produced(s.batch, [s.production[stage]], layers, normaliser=normaliser)
    case, theirs = expected(name, stage, layers, NORMALISERS[normaliser])
    positives, found, match = s.production[stage], s.reference[stage], s.match[stage]
    assert set(ours) == set(theirs)
    out = {}
    for term in ours:
        assert float(theirs[term].detach()) > 1e-3, f"{term} is too small to say anything"
        out[term] = relative(ours[term].detach(), theirs[term].detach())
        got = torch.autograd.grad(ours[term], [positives.logits, positives.boxes], retain_graph=True, allow_unused=True)
        want = torch.autograd.grad(theirs[term], [case.logits, case.boxes], retain_graph=True, allow_unused=True)
        reached = 0 if term == "cls" else 1
        assert want[reached] is not None
        for which, leaf in enumerate(("logits", "boxes")):
            g, w = got[which], want[which]
            if which != reached:
                assert g is None or not g.any(), f"{term} must not reach the {leaf}"
                continue
            assert g is not None
            assert w is not None
            out[f"{term}.{leaf}"] = relative(g, w[match])
        head = (found.logits, found.boxes)[reached]
        upstream = want[reached]
        assert upstream is not None
        through = torch.autograd.grad(head, s.parameters, upstream.to(head), retain_graph=True, allow_unused=True)
        mine = torch.autograd.grad(ours[term], s.parameters, retain_graph=True, allow_unused=True)
        out[f"{term}.student"] = relative(flat(mine, s.parameters), flat(through, s.parameters))
    return out


def assert_same_positives(s: Setting) -> None:
    for ours, theirs, match in zip(s.production, s.reference, s.match, strict=True):
        assert ours.kind == theirs.kind
        assert ours.image.tolist() == [theirs.image[m] for m in match]
        assert ours.gt.tolist() == [theirs.gt[m] for m in match]
        assert ours.per_image == tuple(theirs.image.count(i) for i in range(len(s.batch.boxes)))
        assert ours.per_image[0] > 1
        assert ours.per_image[1] == 0
        assert relative(ours.boxes.detach(), theirs.boxes.detach()[match]) < TOLERANCE
        assert relative(ours.logits.detach(), theirs.logits.detach()[match]) < TOLERANCE


@pytest.mark.parametrize("name", tiny.NAMES)
def test_the_same_positives(name: str) -> None:
    s = setting(name)
    assert [p.kind for p in s.production] == ["softmax" if name in ("ssd", "faster", "cascade") else "sigmoid"] * len(
        stages_of(name)
    )
    assert_same_positives(s)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_positives_of_variants(name: str) -> None:
    s = setting(name, (4, 0, 5))
    assert_same_positives(s)
    assert max(len(set(p.gt[p.image == 2].tolist())) for p in s.production) > 1
    if name == "crowd":
        assert len(s.batch.boxes[0]) == 3


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("name", tiny.NAMES)
def test_value_and_gradients_agree_on_every_head_family(name: str, layers: str) -> None:
    for stage in stages_of(name) if layers == "l0" else stages_of(name)[-1:]:
        found = differences(name, stage, LAYERS[layers])
        assert len(found) == 9  # value, gradient at the head's output, gradient in the student: of three terms
        assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize("name", ["ssd", "retinanet", "faster"])
def test_a_floor_of_one_positive_per_image_agrees(name: str) -> None:
    found = differences(name, 0, ("crop",), normaliser="per_image_floor")
    assert max(found.values()) < TOLERANCE, found
    exact = produced(setting(name).batch, setting(name).production[:1], ("crop",))["cls"]
    floored = produced(setting(name).batch, setting(name).production[:1], ("crop",), normaliser="per_image_floor")[
        "cls"
    ]
    count = len(setting(name).reference[0].image)
    assert float((floored / exact).detach()) == pytest.approx(count / (count + 1))  # one image has no positives


def test_all_stages_of_a_cascade_are_their_mean() -> None:
    s = setting("cascade")
    ours = produced(s.batch, s.production, LAYERS["l0"], roi_stages="all")
    for term, value in ours.items():
        theirs = torch.stack(
            [expected("cascade", stage, LAYERS["l0"], "exact")[1][term].detach() for stage in stages_of("cascade")]
        )
        assert relative(value.detach(), theirs.mean()) < TOLERANCE


@pytest.mark.parametrize("name", tiny.NAMES)
def test_a_batch_without_boxes_is_an_attached_zero(name: str) -> None:
    student: Any = tiny.build(name)
    inputs, samples = tiny.sample(2, 64, 0)
    with record_positives(student, roi_stages="all") as record:
        student.loss(inputs, samples)
    batch = batch_from_mmdet(inputs, samples, STUDENT, tiny.NUM_CLASSES)
    terms = produced(batch, record.positives(batch), LAYERS["l0"])
    assert set(terms) == {"cls", "crop", "feat"}
    assert all(float(value.detach()) == 0 and value.requires_grad for value in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    reached = [p.grad for p in student.parameters() if p.grad is not None]
    assert reached
    assert all(not g.any() for g in reached)

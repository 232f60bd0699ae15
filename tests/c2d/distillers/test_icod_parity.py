"""ICOD against the literal reference of tests/reference, on every head family: positives, values and gradients.

The reference finds the positives again by calling mmdet's assigners itself, and computes every term in float64 by
loops. The classifier has another normalisation than the student, and one image of the batch has no boxes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from c2d import batch as batches
from c2d import pixels
from c2d.distillers.base import Context, View
from c2d.distillers.icod import ICOD, Params
from c2d.positives import Positives, recording
from tests.c2d import tiny_detectors as tiny
from tests.reference import icod_reference as literal
from tests.reference import positives_reference as by_hand

SIZE = 16  # side of the crops: l0 is 8 x 8 and l1 is 6 x 6, so pooling to 8 and 4 has uneven and repeated windows
T = 2.0
BOXES = (2, 0, 1)  # ground truths of the images
LAYERS = {"l0": ("crop", "l0"), "l1": ("crop", "l0", "l1")}
POOLING = {"crop": 4, "l0": 8, "l1": 4}
NORMALISERS = {"exact": "exact", "per_image_floor": "per_image"}
TOLERANCE = 1e-5
STUDENT = pixels.Normalisation.of_preprocessor(tiny.build("ssd").data_preprocessor)
TEACHER = pixels.Normalisation((100.0, 110.0, 120.0), (50.0, 60.0, 70.0), "bgr")


class Network(nn.Module):
    """A small classifier with smooth activations, so that both precisions see the same pieces of the function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.Tanh())
        self.stage = nn.Sequential(nn.Conv2d(6, 5, 3), nn.SiLU())
        self.head = nn.Linear(5, tiny.NUM_CLASSES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Everything there is: logits, l0, l1."""
        l0 = self.stem(x)
        l1 = self.stage(l0)
        return {"logits": 20 * self.head(l1.mean((2, 3))), "l0": l0, "l1": l1}


class Classifier:
    """The production teacher's interface around `Network`."""

    classes = ("a", "b", "c")
    size = SIZE
    layers = ("l0", "l1")
    pixels = TEACHER

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.network = Network()
        self.network.stem[1].running_mean.uniform_(-0.3, 0.3)
        self.network.eval().requires_grad_(False)

    def normalise(self, crops: Tensor, src: pixels.Normalisation) -> Tensor:
        return pixels.convert(crops, src, self.pixels)

    def logits(self, crops: Tensor) -> Tensor:
        return self.network(crops)["logits"]

    def features(self, crops: Tensor, layers: list[str]) -> dict[str, Tensor]:
        return {name: self.network(crops)[name] for name in layers}

    def logits_and_features(self, crops: Tensor, layers: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.logits(crops), self.features(crops, layers)


def literal_convert(crops: Tensor) -> Tensor:
    """I_t = (I * sd_s + mu_s - mu_t) / sd_t after swapping the channels, one channel at a time."""
    out = []
    for channel in range(3):
        other = 2 - channel  # the student's pixels are RGB, the teacher's BGR
        value = crops[:, other] * STUDENT.std[other] + STUDENT.mean[other]
        out.append((value - TEACHER.mean[channel]) / TEACHER.std[channel])
    return torch.stack(out, dim=1)


@dataclass
class Setting:
    """One family: the production's positives beside those found by hand, stage by stage, each with its graph."""

    student: Any
    batch: batches.Batch
    production: list[Positives]
    reference: list[by_hand.Found]
    match: list[Tensor]  # row of the reference for every row of the production

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.student.parameters() if p.requires_grad]


def easier(student: Any) -> None:
    """More proposals count as positive, so that the RoI sampler has to draw and predictions differ from the truth."""
    roi = student.roi_head
    many = isinstance(roi.bbox_assigner, list)
    for assigner, sampler in zip(
        roi.bbox_assigner if many else [roi.bbox_assigner],
        roi.bbox_sampler if many else [roi.bbox_sampler],
        strict=True,
    ):
        assigner.pos_iou_thr = assigner.neg_iou_thr = assigner.min_pos_iou = 0.2
        sampler.num = 12


@cache
def setting(name: str) -> Setting:
    student = tiny.build(name, seed=1)
    if hasattr(student, "roi_head"):
        easier(student)
    inputs, samples = tiny.sample(len(BOXES), (64, 80), BOXES, seed=5, pad=8)
    torch.manual_seed(11)
    with recording(student, roi_stages="all") as record:
        student.loss(inputs, copy.deepcopy(samples))
    batch = batches.from_mmdet(inputs, samples, STUDENT, tiny.NUM_CLASSES)
    production = record.positives(batch)
    torch.manual_seed(11)
    reference = by_hand.find(student, inputs, samples, all_stages=True)
    assert len(production) == len(reference)
    pairs = zip(production, reference, strict=True)
    return Setting(student, batch, production, reference, [matched(p, r) for p, r in pairs])


def matched(production: Positives, reference: by_hand.Found) -> Tensor:
    """The order of positives is nobody's business: pair them up by everything that identifies them."""

    def key(image: Tensor, gt: Tensor, boxes: Tensor, logits: Tensor) -> Tensor:
        return torch.cat([1e4 * image[:, None], 1e4 * gt[:, None], boxes.detach(), logits.detach()], dim=1).double()

    image, gt = torch.tensor(reference.image), torch.tensor(reference.gt)
    ours = key(production.image, production.gt, production.boxes, production.logits)
    distance = torch.cdist(ours, key(image, gt, reference.boxes, reference.logits), compute_mode="donot_use_mm_for_euclid_dist")
    match = distance.argmin(1)
    assert sorted(match.tolist()) == list(range(len(reference.image))), "not one to one"
    return match


def stages_of(name: str) -> list[int]:
    return [0, 1, 2] if name == "cascade" else [0]


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def produced(s: Setting, stage: int, layers: tuple[str, ...], normaliser: str) -> dict[str, Tensor]:
    teacher: Any = Classifier()
    params = Params(T=T, layers=layers, pooling={k: POOLING[k] for k in layers}, normaliser=normaliser)
    distiller = ICOD(params, Context(tiny.NUM_CLASSES, teacher))
    view = View(s.batch, [s.production[stage]], teacher, None, torch.Generator())
    terms, _ = distiller(view)
    assert {name: term.weight for name, term in terms.items()} == {"cls": 0.4, "crop": 0.15, "feat": 0.15}
    return {name: term.value for name, term in terms.items()}


def expected(s: Setting, stage: int, layers: tuple[str, ...], normaliser: str) -> tuple[literal.Case, dict[str, Tensor]]:
    """The reference's terms in float64, on leaves of its own: logits and boxes of the case."""
    found = s.reference[stage]
    case = literal.Case(
        images=s.batch.images.double(),
        gt_boxes=[b.double() for b in s.batch.boxes],
        logits=found.logits.detach().double().requires_grad_(),
        boxes=found.boxes.detach().double().requires_grad_(),
        image=found.image,
        gt=found.gt,
        kind=found.kind,
    )
    network = copy.deepcopy(Classifier().network).double()
    terms = {
        "cls": literal.kd_cls(case, network, temperature=T, size=SIZE, normaliser=normaliser, convert=literal_convert),
        **literal.kd_loc(case, network, layers=layers, pooled=POOLING, size=SIZE, normaliser="exact", convert=literal_convert),
    }
    return case, terms


def flat(gradients: tuple[Tensor | None, ...], like: list[nn.Parameter]) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(gradients, like, strict=True)])


def differences(name: str, stage: int, layers: tuple[str, ...], normaliser: str = "exact") -> Mapping[str, float]:
    """Largest relative differences: term -> value, and term.logits, term.boxes, term.student for the gradients."""
    s = setting(name)
    ours = produced(s, stage, layers, normaliser)
    case, theirs = expected(s, stage, layers, NORMALISERS[normaliser])
    positives, found, match = s.production[stage], s.reference[stage], s.match[stage]
    assert set(ours) == set(theirs) == {"cls", "crop", "feat"}
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


@pytest.mark.parametrize("name", tiny.NAMES)
def test_the_same_positives(name: str) -> None:
    s = setting(name)
    for stage in stages_of(name):
        ours, theirs, match = s.production[stage], s.reference[stage], s.match[stage]
        assert ours.kind == theirs.kind == ("softmax" if name in ("ssd", "faster", "cascade") else "sigmoid")
        assert ours.image.tolist() == [theirs.image[m] for m in match]
        assert ours.gt.tolist() == [theirs.gt[m] for m in match]
        assert ours.per_image == tuple(theirs.image.count(i) for i in range(len(BOXES)))
        assert ours.per_image[0] > 1
        assert ours.per_image[1] == 0
        assert relative(ours.boxes.detach(), theirs.boxes.detach()[match]) < TOLERANCE
        assert relative(ours.logits.detach(), theirs.logits.detach()[match]) < TOLERANCE


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("name", tiny.NAMES)
def test_value_and_gradients_agree_on_every_head_family(name: str, layers: str) -> None:
    for stage in stages_of(name):
        found = differences(name, stage, LAYERS[layers])
        assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize("name", ["ssd", "faster"])
def test_a_floor_of_one_positive_per_image_agrees(name: str) -> None:
    found = differences(name, 0, LAYERS["l0"], normaliser="per_image_floor")
    assert max(found.values()) < TOLERANCE, found

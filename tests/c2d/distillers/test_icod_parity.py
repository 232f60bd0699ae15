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
from c2d.distillers.base import Context, View
from c2d.distillers.icod import ICOD
from c2d.distillers.icod import ICODParams as Params
from c2d.pixels import Normalisation, convert
from c2d.positives import Positives, recording
from c2d.teachers.classifier import ClassifierTeacher
from c2d.teachers.networks import build_network
from tests.c2d import tiny_detectors as tiny
from tests.reference import icod_reference as literal
from tests.reference import positives_reference as by_hand

SIZE = 10  # side of the crops: l0 is 5 x 5 and l1 is 3 x 3, so that pooling has uneven and repeated windows
T = 2.0
BOXES = (2, 0, 1)  # ground truths of the images
LAYERS = {"l0": ("crop", "l0"), "l1": ("crop", "l0", "l1")}
POOLING = {"crop": 4, "l0": 8, "l1": 2}
NORMALISERS = {"exact": "exact", "per_image_floor": "per_image"}
TOLERANCE = 1e-5
STUDENT = Normalisation.of_preprocessor(tiny.build("ssd").data_preprocessor)
TEACHER = Normalisation((100.0, 110.0, 120.0), (50.0, 60.0, 70.0), "bgr")


class Network(nn.Module):
    """A small classifier with smooth activations, so that both precisions see the same pieces of the function."""

    def __init__(self) -> None:
        super().__init__()
        self.norm: Any = nn.BatchNorm2d(6)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), self.norm, nn.Tanh())
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

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(3)
        self.network = Network()
        nn.init.uniform_(self.network.norm.running_mean, -0.3, 0.3)
        self.network.to(dtype).eval().requires_grad_(False)

    def normalise(self, crops: Tensor, src: Normalisation) -> Tensor:
        return convert(crops, src, self.pixels)

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


# Students that write their targets or boxes in another way: name -> family and what replaces its box head's config.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "anchors inside the image": ("retinanet", {}),
    "crowd": ("retinanet", {}),
    "softmax anchors": ("retinanet", {"loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False}}),
    "boxes for the loss": ("retinanet", {"reg_decoded_bbox": True, "loss_bbox": {"type": "GIoULoss"}}),
    "distances in strides": ("fcos", {"norm_on_bbox": True, "center_sampling": True}),
    "one box for all classes": ("faster", {"reg_class_agnostic": True}),
    "a box for each class": ("cascade", {"reg_class_agnostic": False}),
}


def crowded(sample: Any) -> None:
    """The second box becomes a crowd region: ignored, no ground truth."""
    truth, second = sample.gt_instances, torch.tensor([False, True, False, False])
    sample.ignored_instances = truth[second]
    sample.gt_instances = truth[~second]


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
def setting(name: str, counts: tuple[int, ...] = BOXES) -> Setting:
    family, options = VARIANTS.get(name, (name, {}))
    student: Any = tiny.build(family, seed=1, **options)
    if hasattr(student, "roi_head"):
        easier(student)
    if name == "anchors inside the image":
        student.bbox_head.train_cfg["allowed_border"] = 0
    inputs, samples = tiny.sample(len(counts), (64, 80), counts, seed=5, pad=8)
    if name == "crowd":
        crowded(samples[0])
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
    distance = torch.cdist(
        ours, key(image, gt, reference.boxes, reference.logits), compute_mode="donot_use_mm_for_euclid_dist"
    )
    match = distance.argmin(1)
    assert sorted(match.tolist()) == list(range(len(reference.image))), "not one to one"
    return match


def stages_of(name: str) -> list[int]:
    return [0, 1, 2] if name == "cascade" else [0]


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def produced(
    batch: batches.Batch, positives: list[Positives], layers: tuple[str, ...], **more: Any
) -> dict[str, Tensor]:
    teacher: Any = Classifier(batch.images.dtype)
    params = Params(T=T, layers=layers, pooling={k: POOLING[k] for k in layers}, **more)
    distiller = ICOD(params, Context(tiny.NUM_CLASSES, teacher))
    terms, _ = distiller(View(batch, positives, teacher, None, torch.Generator()))
    weights = {"cls": 0.4, "crop": 0.15, "feat": 0.15}
    assert {name: term.weight for name, term in terms.items()} == {name: weights[name] for name in terms}
    return {name: term.value for name, term in terms.items()}


def terms_of(case: literal.Case, layers: tuple[str, ...], normaliser: str = "exact") -> dict[str, Tensor]:
    network = Classifier(torch.float64).network
    common: Any = {"size": SIZE, "convert": literal_convert}
    cls = literal.kd_cls(case, network, temperature=T, normaliser=normaliser, **common)
    return {"cls": cls, **literal.kd_loc(case, network, layers=layers, pooled=POOLING, normaliser="exact", **common)}


@cache
def expected(name: str, stage: int, layers: tuple[str, ...], normaliser: str) -> tuple[literal.Case, dict[str, Tensor]]:
    """The reference's terms in float64, on leaves of its own: logits and boxes of the case."""
    s = setting(name)
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
    return case, terms_of(case, layers, normaliser)


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
    with recording(student, roi_stages="all") as record:
        student.loss(inputs, samples)
    batch = batches.from_mmdet(inputs, samples, STUDENT, tiny.NUM_CLASSES)
    terms = produced(batch, record.positives(batch), LAYERS["l0"])
    assert set(terms) == {"cls", "crop", "feat"}
    assert all(float(value.detach()) == 0 and value.requires_grad for value in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    reached = [p.grad for p in student.parameters() if p.grad is not None]
    assert reached
    assert all(not g.any() for g in reached)


OUTSIDE = [
    [-9.0, -4.0, 11.5, 30.0],  # over the top left corner
    [20.3, 18.1, 90.0, 77.0],  # over the bottom right corner
    [50.0, 5.0, 61.0, 12.0],  # beyond the right side
    [4.0, -20.0, 17.0, -3.0],  # above the image
    [12.2, 9.7, 12.2, 9.7],  # a point
    [30.1, 21.4, 22.6, 15.3],  # inside out
    [3.7, 2.2, 25.9, 19.4],
]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "scores"])
def test_boxes_outside_and_without_area_agree(kind: str) -> None:
    """Handmade positives in float64 on both sides, also for the other form for sigmoid students."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 32, 40, generator=generator, dtype=torch.float64)
    truth = torch.tensor([[2.0, 3.0, 21.0, 18.0], [15.5, 12.5, 39.0, 44.0]], dtype=torch.float64)
    image, gt = [0, 1, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 1, 0]
    logits = torch.randn(len(OUTSIDE), 3 + (kind == "softmax"), generator=generator, dtype=torch.float64)
    boxes = torch.tensor(OUTSIDE, dtype=torch.float64)
    case = literal.Case(
        images, [truth, truth[1:]], logits.clone().requires_grad_(), boxes.clone().requires_grad_(), image, gt, kind
    )
    theirs = terms_of(case, LAYERS["l1"])
    logits.requires_grad_(), boxes.requires_grad_()
    positives = Positives(
        logits, boxes, torch.tensor(image), torch.tensor(gt), "softmax" if kind == "softmax" else "sigmoid", (4, 3)
    )
    labels = (torch.tensor([0, 2]), torch.tensor([1]))
    batch = batches.Batch(images, (truth, truth[1:]), labels, ((32, 40), (30, 40)), STUDENT, tiny.NUM_CLASSES)
    ours = produced(batch, [positives], LAYERS["l1"], sigmoid_kd="l1" if kind == "scores" else "bernoulli")
    for term, leaf, twin in (("cls", logits, case.logits), ("crop", boxes, case.boxes), ("feat", boxes, case.boxes)):
        assert relative(ours[term].detach(), theirs[term].detach()) < 1e-9
        (got,) = torch.autograd.grad(ours[term], leaf, retain_graph=True)
        (want,) = torch.autograd.grad(theirs[term], twin, retain_graph=True)
        assert relative(got, want) < 1e-6  # a sliver's gradient is 1e-3 px of rounding in 40 px


def test_the_shipped_teacher_agrees_with_the_whole_network() -> None:
    """A ResNet through `ClassifierTeacher`, which runs a rewritten copy and only as deep as needed."""
    torch.manual_seed(2)
    network: Any = build_network("resnet18", tiny.NUM_CLASSES).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)  # type: ignore[arg-type]
    network.fc.weight.data *= 10

    def whole(x: Tensor) -> dict[str, Tensor]:
        l0 = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        l1 = network.layer1(l0)
        deep = network.layer4(network.layer3(network.layer2(l1)))
        return {"logits": network.fc(network.avgpool(deep).flatten(1)), "l0": l0, "l1": l1}

    size, pooled = 24, {"crop": 4, "l0": 8, "l1": 4}
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(1, 3, 12, 16, generator=generator, dtype=torch.float64).repeat_interleave(3, 2)
    truth = torch.tensor([[1.0, 2.0, 13.0, 27.0], [4.5, 6.5, 15.5, 35.0]], dtype=torch.float64)
    boxes = torch.tensor([[2.3, 1.1, 12.6, 29.0], [3.2, 7.9, 14.1, 33.3], [-2.0, 4.2, 9.6, 30.7]], dtype=torch.float64)
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    case = literal.Case(
        images, [truth], logits.clone().requires_grad_(), boxes.clone().requires_grad_(), [0] * 3, [0, 1, 0], "softmax"
    )
    common: Any = {"size": size, "normaliser": "exact", "convert": literal_convert}
    theirs = {
        "cls": literal.kd_cls(case, whole, temperature=T, **common),
        **literal.kd_loc(case, whole, layers=LAYERS["l1"], pooled=pooled, **common),
    }

    teacher = ClassifierTeacher(network, ("a", "b", "c"), size, TEACHER)
    positives = Positives(
        logits.requires_grad_(), boxes.requires_grad_(), torch.zeros(3).long(), torch.tensor([0, 1, 0]), "softmax", (3,)
    )
    batch = batches.Batch(images, (truth,), (torch.tensor([0, 2]),), ((36, 16),), STUDENT, tiny.NUM_CLASSES)
    options: dict[str, Any] = {"T": T, "layers": LAYERS["l1"], "pooling": pooled}
    distiller = ICOD(Params(**options), Context(tiny.NUM_CLASSES, teacher))
    terms, _ = distiller(View(batch, [positives], teacher, None, torch.Generator()))
    for term, leaf, twin in (("cls", logits, case.logits), ("crop", boxes, case.boxes), ("feat", boxes, case.boxes)):
        assert relative(terms[term].value.detach(), theirs[term].detach()) < 1e-9
        (got,) = torch.autograd.grad(terms[term].value, leaf, retain_graph=True)
        (want,) = torch.autograd.grad(theirs[term], twin, retain_graph=True)
        assert relative(got, want) < 1e-9

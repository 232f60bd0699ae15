"""Both sides of the ICOD parity tests: a tiny student of each head family, a tiny classifier, and what each side makes
of them. The production's positives come from a recording, the reference's are found by hand.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from c2d.detectors.batch import Batch, batch_from_mmdet
from c2d.detectors.normalization import Normalization, renormalize
from c2d.detectors.recording.positives import Positives
from c2d.detectors.recording.record_positives import record_positives
from c2d.methods.base import Context, View
from c2d.methods.icod import ICOD, ICODParams
from tests.c2d import tiny_detectors as tiny
from tests.reference import icod_reference as literal
from tests.reference import positives_reference

SIZE = 10  # side of the crops: l0 is 5 x 5 and l1 is 3 x 3, so that pooling has uneven and repeated windows
T = 2.0
BOXES = (2, 0, 1)  # ground truths of the images
LAYERS = {"l0": ("crop", "l0"), "l1": ("crop", "l0", "l1")}
POOLING = {"crop": 4, "l0": 8, "l1": 2}
STUDENT = Normalization.from_preprocessor(tiny.build("ssd").data_preprocessor)
TEACHER = Normalization((100.0, 110.0, 120.0), (50.0, 60.0, 70.0), "bgr")


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
    normalization = TEACHER
    context = 0.0

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(3)
        self.network = Network()
        nn.init.uniform_(self.network.norm.running_mean, -0.3, 0.3)
        self.network.to(dtype).eval().requires_grad_(False)

    def normalize(self, crops: Tensor, src: Normalization) -> Tensor:
        return renormalize(crops, src, self.normalization)

    def logits(self, crops: Tensor) -> Tensor:
        return self.network(crops)["logits"]

    def features(self, crops: Tensor, layers: list[str]) -> dict[str, Tensor]:
        return {name: self.network(crops)[name] for name in layers}

    def logits_and_features(self, crops: Tensor, layers: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.logits(crops), self.features(crops, layers)

    def map_sides(self, layers: tuple[str, ...], _size: int) -> dict[str, int]:
        return {layer: {"l0": 5, "l1": 3}[layer] for layer in layers}


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
    """One family: positives of c2d beside those of the plain reference, stage by stage, each with its graph."""

    student: Any
    batch: Batch
    production: list[Positives]
    reference: list[positives_reference.ReferencePositives]
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
    with record_positives(student, roi_stages="all") as record:
        student.loss(inputs, copy.deepcopy(samples))
    batch = batch_from_mmdet(inputs, samples, STUDENT, tiny.NUM_CLASSES)
    production = record.positives(batch)
    torch.manual_seed(11)
    reference = positives_reference.reference_positives(student, inputs, samples, all_stages=True)
    assert len(production) == len(reference)
    pairs = zip(production, reference, strict=True)
    return Setting(student, batch, production, reference, [matched(p, r) for p, r in pairs])


def matched(production: Positives, reference: positives_reference.ReferencePositives) -> Tensor:
    """Pair positives by all that identifies them; their order is not defined."""

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


def produced(batch: Batch, positives: list[Positives], layers: tuple[str, ...], **more: Any) -> dict[str, Tensor]:
    teacher: Any = Classifier(batch.images.dtype)
    params = ICODParams(T=T, layers=layers, pooling={k: POOLING[k] for k in layers}, **more)
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

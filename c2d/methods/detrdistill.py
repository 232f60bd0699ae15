"""DETRDistill: A Universal Knowledge Distillation Framework for DETR-families. Chang and others, ICCV 2023.

https://arxiv.org/abs/2211.10156. Predictions of a DETR are a set. The student's are matched to the teacher's as DETR
matches them to the ground truth, and then learn them; its maps learn where the teacher's good queries look.

    pos    the teacher's queries that match the ground truth are targets with its class and box: matched to the student,
           (1/n) sum [ l_cls D(p_s, p_t) + l_1 |b_s - b_t|_1 + l_giou (1 - GIoU(b_s, b_t)) ]
    neg    all others are background, so boxes alone are matched and learnt:
           (1/n) sum [ l_1 |b_s - b_t|_1 + l_giou (1 - GIoU(b_s, b_t)) ]
    feat   (1 / (B M h w)) sum psi^2 (phi(S) - T)^2
           psi = max(0, mean over matched queries i of q_i cos(Q_i, T)),   q_i = c_i^gamma IoU(b_i, g_i)^(1 - gamma)

pos and neg: every decoder layer of the student under one of the teacher, summed; n counts the pairs of the batch in a
layer. In L1 boxes are cxcywh as shares of the image. feat: every level of the neck, summed; Q_i is the teacher's last
decoder output, c_i its score of the object's class, phi a 1x1 convolution where the widths differ.

Departures from the paper or the released code:
  * The released code has no licence that we found and was not used; forms and values that no text confirms are ours,
    and marked in docs/methods-spec.md.
  * Query-prior assignment distillation is left out: it runs the student's decoder once more, on the teacher's queries.
  * feat reads the neck's maps; the paper the encoder's output where there is an encoder.
  * D is the quality focal loss with the teacher's scores as targets, for softmax heads KL.
  * Other numbers of layers: the student's layer k of L learns from the teacher's layer ceil(k L_t / L), from 1.
  * Denoising queries, and proposals of an encoder, are not taught.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.outputs import Needs, QueryOutputs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.methods.parts.detrdistill_matching import (
    Predictions,
    Weights,
    box_cost,
    box_losses,
    class_losses,
    match,
    match_targets,
)
from c2d.ops.adapters import FeatureAdapter, conv_adapter_if_needed, pair_levels
from c2d.ops.boxes import broadcast_iou

OURS = unverified("no text at hand gives the paper's value")


class DETRDistillParams(Params):
    """Weights within pos and neg are those of the detector's own losses and costs (mmdet's stock configs)."""

    BY_DETECTOR: ClassVar = {"one-stage": {"lambda_cls": 2.0}, "detr": {"lambda_cls": 1.0}}

    alpha: float = Field(default=1.0, ge=0, description="weight of pos", json_schema_extra=OURS)
    beta: float = Field(default=1.0, ge=0, description="weight of neg", json_schema_extra=OURS)
    lambda_feat: float = Field(default=1.0, ge=0, description="weight of feat", json_schema_extra=OURS)
    gamma: float = Field(
        default=0.5, ge=0, le=1, description="exponent of the class score in q; that of the IoU is 1 - gamma",
        json_schema_extra=OURS,
    )  # fmt: skip
    lambda_cls: float | None = Field(
        default=None, ge=0, description="l_cls, of the cost and of the loss; null: 2, of DETR with softmax 1"
    )
    lambda_l1: float = Field(default=5.0, ge=0, description="l_1, of the cost and of the loss")
    lambda_giou: float = Field(default=2.0, ge=0, description="l_giou, of the cost and of the loss")
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels of feat, e.g. [8, 16, 32]; null: all that both have"
    )


class DETRDistill(Distiller):
    """Student and teacher of the DETR family. Terms `pos`, `neg` and `feat`."""

    NAME = "detrdistill"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = DETRDistillParams
    WEIGHTS: ClassVar = {"pos": "alpha", "neg": "beta", "feat": "lambda_feat"}
    GATED = ("feat",)  # psi may be 0 where no query looks like a cell
    DETECTORS = ("detr", "conditional-detr", "dab-detr", "deformable-detr", "dino")
    COST = "teacher to its last decoder layer; three assignments (CPU) for each layer and image"
    SOURCE = "abstract and secondary sources; values are ours"

    def __init__(self, params: DETRDistillParams, context: Context) -> None:
        """Check that both predict for queries in the same way, and pair the levels.

        Raises:
            InputError: there is no detector teacher, it has no queries that can be read, its logits are of another
                kind, or its neck is not as wide as its queries.
        """
        student, teacher = context.layouts(self.NAME)
        super().__init__(params.with_detector_values(student))
        p = self.params
        network = context.detector.network
        ours, theirs = heads.query_head(context.student), heads.query_head(network)
        kinds = heads.loss_kind(ours), heads.loss_kind(theirs)
        if kinds[0] != kinds[1]:
            raise InputError(
                f"detrdistill compares class scores; the student's are {kinds[0]}, the teacher's {kinds[1]}; choose a "
                "teacher with the student's loss_cls"
            )
        self.weights = Weights(p.lambda_cls, p.lambda_l1, p.lambda_giou)
        self.needs = Needs(queries=True, neck=p.lambda_feat > 0)
        if p.lambda_feat > 0:
            pairs = pair_levels(self.NAME, student.neck, teacher.neck, p.levels)
            widths = {pair.teacher.channels for pair in pairs}
            if widths != {theirs.embed_dims}:
                raise InputError(
                    f"detrdistill compares the teacher's queries ({theirs.embed_dims} channels) with its neck "
                    f"({', '.join(map(str, sorted(widths)))}); choose another teacher, or leave the term out: "
                    "method.detrdistill.lambda_feat: 0"
                )
            self.phi = FeatureAdapter(pairs, conv_adapter_if_needed(1), "by a 1x1 convolution")
            self.notes += self.phi.notes

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute pos, neg and feat.

        Args:
            view: one training step: decoder layers and neck maps (B, M, h, w) of both, and the ground truth.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0; observed: the teacher's positives per image, and
            their mean quality.
        """
        p = self.params
        student, teacher = view.queries()
        per_layer = [self._layer(student, layer, teacher, partner, view)
                     for layer, partner in enumerate(partners(len(student.logits), len(teacher.logits)))]  # fmt: skip
        sums = [torch.stack(column).sum() for column in zip(*per_layer, strict=True)]
        terms = {"pos": Term(sums[0], p.alpha), "neg": Term(sums[1], p.beta)}
        chosen = [self._positives(teacher, -1, image, view) for image in range(len(view.batch.boxes))]
        quality = [self._quality(teacher, image, *rows, view) for image, rows in enumerate(chosen)]
        if p.lambda_feat > 0:
            maps = zip(self.phi(view.student, view.teacher), self._masks(view, chosen, quality), strict=True)
            parts = [masked_distance(s, t, mask) for (s, t), mask in maps]
            terms["feat"] = Term(torch.stack(parts).sum(), p.lambda_feat)
        count = sum(len(q) for q in quality)
        seen = {"positives": teacher.boxes.new_tensor(count / len(quality)),
                "quality": torch.cat(quality).sum() / max(count, 1)}  # fmt: skip
        return {name: term for name, term in terms.items() if term.weight > 0}, seen

    def visualize(self, view: View) -> list[Visualization]:
        """Show psi of every level."""
        if self.params.lambda_feat == 0:
            return []
        teacher = view.queries()[1]
        chosen = [self._positives(teacher, -1, image, view) for image in range(len(view.batch.boxes))]
        quality = [self._quality(teacher, image, *rows, view) for image, rows in enumerate(chosen)]
        named = zip(self.phi.strides, self._masks(view, chosen, quality), strict=True)
        return [Visualization(f"target-aware mask, stride {stride}", heat=mask) for stride, mask in named]

    def _layer(
        self, student: QueryOutputs, layer: int, teacher: QueryOutputs, partner: int, view: View
    ) -> tuple[Tensor, Tensor]:
        """Values of pos and neg of one decoder layer of the student."""
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for image, size in enumerate(view.batch.sizes):
            s, t = predictions(student, layer, image), predictions(teacher, partner, image)
            queries, _ = self._positives(teacher, partner, image, view)
            targets = t.rows(queries)
            if len(queries) and self.params.alpha > 0:
                rows, columns = match_targets(s, targets.boxes, targets.scores().argmax(1), size, self.weights)
                pair = s.rows(rows), targets.rows(columns)
                found[0].append(
                    self.weights.classes * class_losses(*pair)
                    + box_losses(pair[0].boxes, pair[1].boxes, size, self.weights)
                )
            others = torch.ones(len(t.boxes), dtype=torch.bool, device=t.boxes.device)
            others[queries] = False
            if others.any() and self.params.beta > 0:
                boxes = t.boxes[others]
                rows, columns = match(box_cost(s.boxes.detach(), boxes, size, self.weights))
                found[1].append(box_losses(s.boxes[rows], boxes[columns], size, self.weights))
        # A zero on the student's graph where there is no pair.
        zero = 0 * (student.logits[layer].sum() + student.boxes[layer].sum())
        pos, neg = (torch.cat(rows).mean() if rows else zero for rows in found)
        return pos, neg

    @torch.no_grad()
    def _positives(self, teacher: QueryOutputs, layer: int, image: int, view: View) -> tuple[Tensor, Tensor]:
        """The teacher's queries that match the ground truth of an image, and their ground truth: both (K,) long."""
        batch = view.batch
        if not len(batch.boxes[image]):
            none = batch.labels[image][:0]
            return none, none
        found = predictions(teacher, layer, image)
        return match_targets(found, batch.boxes[image], batch.labels[image], batch.sizes[image], self.weights)

    @torch.no_grad()
    def _quality(self, teacher: QueryOutputs, image: int, queries: Tensor, truths: Tensor, view: View) -> Tensor:
        """q (K,) of the teacher's matched queries in its last layer."""
        found, gamma = predictions(teacher, -1, image).rows(queries), self.params.gamma
        score = found.scores()[torch.arange(len(queries), device=queries.device), view.batch.labels[image][truths]]
        return score.pow(gamma) * broadcast_iou(found.boxes, view.batch.boxes[image][truths]).pow(1 - gamma)

    @torch.no_grad()
    def _masks(self, view: View, chosen: list[tuple[Tensor, Tensor]], quality: list[Tensor]) -> list[Tensor]:
        """psi (B, h, w) of each level."""
        features = view.queries()[1].features[-1]
        queries = [features[image][rows] for image, (rows, _) in enumerate(chosen)]
        maps = [t for _, t in self.phi.raw(view.student, view.teacher)]
        return [torch.stack([target_mask(q, share, one[image]) for image, (q, share) in
                             enumerate(zip(queries, quality, strict=True))]) for one in maps]  # fmt: skip


def partners(student: int, teacher: int) -> list[int]:
    """Index of the teacher's decoder layer for each of the student's; the last learns from the last."""
    return [math.ceil((layer + 1) * teacher / student) - 1 for layer in range(student)]


def predictions(outputs: QueryOutputs, layer: int, image: int) -> Predictions:
    """Logits (Q, C) and boxes (Q, 4) of one decoder layer for one image."""
    return Predictions(outputs.logits[layer, image], outputs.boxes[layer, image], outputs.kind)


def target_mask(queries: Tensor, quality: Tensor, maps: Tensor) -> Tensor:
    """psi (h, w) of one image: queries (K, M), q (K,), map (M, h, w); zeros without queries."""
    likeness = torch.einsum("km,mhw->khw", normalize(queries, dim=1), normalize(maps, dim=0))
    return ((quality[:, None, None] * likeness).sum(0) / max(len(quality), 1)).clamp(min=0)


def masked_distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """feat of one level: a scalar, of maps (B, M, h, w) and psi (B, h, w)."""
    return (mask.square()[:, None] * (student - teacher).square()).mean()

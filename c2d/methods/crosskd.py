"""CrossKD: Cross-Head Knowledge Distillation for Object Detection. Wang, Chen, Zheng, Li, Cheng, Hou, CVPR 2024.

https://arxiv.org/abs/2306.11369. Annotations and a teacher often want different things of one prediction. So the
student's own predictions learn the annotations alone; a map f_i from inside its head goes through the rest of the
teacher's frozen head, and the predictions p^ that come out learn the teacher's:

    f_i   the output of the i-th stacked convolution of a tower; f_0 is the pyramid's map
    cls   L_cls = 1/K sum over locations and classes of |p_t - p^|^beta BCE(p^, p_t)
    reg   L_reg = mean over locations of 1 - GIoU(b^, b_t); where the teacher's head predicts edge distributions (GFL):
          of the sum over the four edges of T^2 KL(p_t || p^), p = sm(z / T)
    L = L_det + lambda_cls L_cls + lambda_reg L_reg

Gradients pass through the teacher's layers into the student's head up to f_i, its neck and its backbone. As only the
teacher's head predicts, student and teacher may be of different families; their levels need the same strides.

Departures from the paper; the authors' code is non-commercial and was not opened:
  * The paper divides both sums by all locations and writes no weights. On images of 800 px, with weight 1, that class
    term is hundreds of times smaller than the student's own, which is divided by the positives. Here K is the student's
    positives, and a batch without any teaches no classes; `divisor: locations` is the paper's equation.
  * Every level, all anchors and padding count, S(r) = 1 as in the paper. Centerness is not distilled.
  * Where channels differ, a 1x1 convolution a tower (ours), shared by the levels as the head is.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.outputs import DenseOutputs, Needs
from c2d.detectors.recording import head_towers
from c2d.detectors.recording.anchors import Priors
from c2d.detectors.recording.record_forward import read_dense_outputs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import conv_adapter_if_needed
from c2d.ops.boxes import broadcast_giou

Maps = tuple[Tensor, ...]


class CrossKDParams(Params):
    """The paper's symbols; its equations have no weights."""

    lambda_cls: float = Field(
        default=1.0, ge=0, description="weight of cls", json_schema_extra=unverified("no weight is written")
    )
    lambda_reg: float = Field(
        default=1.0, ge=0, description="weight of reg", json_schema_extra=unverified("no weight is written")
    )
    position: int | None = Field(
        default=None,
        ge=0,
        description="i; null: the last but one of the stacked convolutions, 3 in stock heads, the paper's best",
        json_schema_extra=unverified("heads of another depth than four"),
    )
    beta: float = Field(
        default=2.0, ge=1, description="exponent in cls", json_schema_extra=unverified("that of GFL's focal loss")
    )
    T: float = Field(
        default=1.0, gt=0, description="temperature of reg under GFL teachers",
        json_schema_extra=unverified("no value is known; LD has 10"),
    )  # fmt: skip
    divisor: Literal["positives", "locations"] = Field(
        default="positives", description="of cls: the student's positives (ours), or all locations as the paper writes",
        json_schema_extra=unverified("the literal form leaves cls without effect at weight 1"),
    )  # fmt: skip


class CrossKD(Distiller):
    """Students and teachers with stacked convolutions in two towers; terms `cls`, `reg`."""

    NAME = "crosskd"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = CrossKDParams
    WEIGHTS: ClassVar = {"cls": "lambda_cls", "reg": "lambda_reg"}
    DETECTORS = ("retinanet", "fcos", "atss", "gfl", "rtmdet", "yolox", "paa", "vfnet")
    COST = "teacher to its head; the last part of its head again, forward and backward; every box decoded twice"
    SOURCE = "the paper's abstract and readers' notes with its equations; weights, beta and T unverified"

    def __init__(self, params: CrossKDParams, context: Context) -> None:
        """Check that the student's maps fit into the teacher's head.

        Raises:
            InputError: a head has no such towers, is not deep enough, has a softmax, or levels of other strides.
        """
        super().__init__(params)
        _, teacher = context.layouts(self.NAME)
        if teacher.detector not in self.DETECTORS:
            raise InputError(
                f"crosskd runs the student's maps through the teacher's head, and the teacher is '{teacher.detector}'; "
                f"give a teacher of {', '.join(self.DETECTORS)}"
            )
        head, teaching = heads.dense_head(context.student), heads.dense_head(context.detector.network)
        if heads.strides(head) != heads.strides(teaching):
            raise InputError(
                f"crosskd runs each level of the student through the teacher's head, and the strides differ: student "
                f"{heads.strides(head)}, teacher {heads.strides(teaching)}; choose a teacher with the student's strides"
            )
        if heads.logit_kind(teaching) != "sigmoid":
            raise InputError(
                "crosskd compares sigmoid scores, and the teacher's head has a softmax; use a sigmoid head"
            )
        depth = min(head_towers.depth(one) for one in (head, teaching))
        self.position = depth - 1 if params.position is None else params.position
        if self.position > depth:
            raise InputError(
                f"crosskd takes the output of convolution {self.position} of a tower, and the shallower head has "
                f"{depth}; set method.crosskd.position to 0, ..., {depth}"
            )
        widths = [head_towers.tower_channels(one, self.position) for one in (head, teaching)]
        layers = conv_adapter_if_needed(1)
        self.phi = nn.ModuleList(layers(s, t) for s, t in zip(*widths, strict=True))
        # A tower without a weight gives no gradient, which DDP would wait for.
        for one, weight in zip(self.phi, (params.lambda_cls, params.lambda_reg), strict=True):
            one.requires_grad_(weight > 0)
        by = ["as it is" if isinstance(one, nn.Identity) else "by a 1x1 convolution" for one in self.phi]
        self.notes += [
            f"f_{self.position} of the {tower} tower into the teacher's head, {s} -> {t} channels {how}"
            for tower, s, t, how in zip(("class", "box"), *widths, by, strict=True)
        ]
        self.distributions = teacher.detector == "gfl"
        self.priors = Priors(teaching)
        of_positives = params.divisor == "positives" and params.lambda_cls > 0
        self.needs = Needs(positives=of_positives, dense=True, towers=True)

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Run the student's maps through the teacher's head, and compute `cls` and `reg`.

        Args:
            view: one training step: the student's maps (B, M, h, w) inside its head, the teacher's class logits
                (B, A * C, h, w) and box numbers per level, and the student's positives where `cls` is divided by them.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, and the observed numbers of positives and of
            locations.
        """
        p, (crossed, teacher) = self.params, self.cross_head(view)
        locations = sum(s.shape[0] * s.shape[2] * s.shape[3] * s.shape[1] // teacher.classes for s in teacher.scores)
        seen = {"locations": float(locations)}
        terms = {}
        if p.lambda_cls > 0:
            share = 1 / locations
            if self.needs.positives:
                seen["positives"] = float(len(view.positives[-1].image))
                share = 1 / seen["positives"] if seen["positives"] else 0.0
            pairs = zip(crossed.scores, teacher.scores, strict=True)
            total = torch.stack([quality_focal(z, z_t, p.beta) for z, z_t in pairs]).sum()
            terms["cls"] = Term(total * share, p.lambda_cls)
        if p.lambda_reg > 0:
            terms["reg"] = Term(self.box_term(crossed, teacher) / locations, p.lambda_reg)
        return terms, {name: teacher.scores[0].new_tensor(value) for name, value in seen.items()}

    def cross_head(self, view: View) -> tuple[DenseOutputs, DenseOutputs]:
        """Predictions of the teacher's head on the student's maps, with their graph, and the teacher's own without."""
        inside, head = view.towers()[0], heads.dense_head(view.detector.network)
        classification, regression = (tuple(phi(level) for level in tower[self.position])
                                      for phi, tower in zip(self.phi, (inside.classification, inside.regression),
                                                            strict=True))  # fmt: skip
        predicted = head_towers.predict_from(head, classification, regression, self.position)
        return read_dense_outputs(head, predicted), view.dense()[1]

    def box_term(self, crossed: DenseOutputs, teacher: DenseOutputs) -> Tensor:
        """Scalar: sum over locations of 1 - GIoU of the decoded boxes, or of the KL of the four edge distributions."""
        if self.distributions:
            return edge_kl(crossed.flat_deltas(), teacher.flat_deltas(), self.params.T)
        boxes, target = self.priors.decode(crossed), self.priors.decode(teacher).detach()
        return (1 - broadcast_giou(boxes, target)).sum()

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show max |p_t - p^| of every level, over classes and the priors of a cell."""
        crossed, teacher = self.cross_head(view)
        levels = zip(teacher.strides, crossed.scores, teacher.scores, strict=True)
        return [
            Visualization(f"cross-head difference, stride {s}", (z_t.sigmoid() - z.sigmoid()).abs().amax(1))
            for s, z, z_t in levels
        ]


def quality_focal(z: Tensor, z_t: Tensor, beta: float) -> Tensor:
    """Sum over all entries of |p_t - p|^beta BCE(p, p_t) of logits z and the teacher's z_t, same shape."""
    p_t = z_t.detach().sigmoid()
    weight = (p_t - z.sigmoid()).abs().pow(beta)
    return (weight * F.binary_cross_entropy_with_logits(z, p_t, reduction="none")).sum()


def edge_kl(z: Tensor, z_t: Tensor, T: float) -> Tensor:
    """Sum over locations and edges of T^2 KL(p_t || p), p = sm(z / T), of edge logits (B, N, 4 * bins)."""
    # In fp64: near the teacher's distribution the difference of logs loses fp32's digits.
    log_s, log_t = ((x.unflatten(-1, (4, -1)).double() / T).log_softmax(-1) for x in (z, z_t.detach()))
    return (T**2 * (log_t.exp() * (log_t - log_s)).sum()).to(z.dtype)

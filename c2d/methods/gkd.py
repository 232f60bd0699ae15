"""GKD: Distilling Object Detectors with Global Knowledge. Tang, Zhang, Cheng, Lu, Xu, Niu, He, ECCV 2022.

https://arxiv.org/abs/2210.09022. A few instances per class, the prototypes, represent the training set in the student's
and the teacher's neck at once (`c2d.ops.matching_pursuit`, `c2d.methods.parts.gkd_prototypes`). An instance is
described by its cosines to them, and instances on which both disagree count less:

    omega   = max(0, 1 - |max_p cos(f_s, P_s[p]) - max_p cos(f_t, P_t[p])|)   over the prototypes p of its class
    fg, bg    sum m (phi(S) - T)^2 / max(1, 2 M sum m)     m: omega inside the boxes of a level, or 1 in all other cells
    soft      mean over positives of omega_k T^2 KL(sm(z_t/T) || sm(z_s/T)) / classes
    global    sum over levels of the mean over instances and prototypes of all classes of
              SmoothL1(omega cos(f_s, P_s), omega cos(f_t, P_t))

f: means of the neck, not adapted, over the cells of a box: for fg, bg and soft on the level of its size, for global on
every level. Instances are the student's positive RoIs or anchors. fg, bg and global fade as 1 - i/N. Gradients:
student's neck (fg, bg, global), its head (soft).

Departures from the paper or the released code:
  * P!=C: the released configuration switches the global term off. Here it is on, in the form that the code has when it
    is switched on: every instance on every level, a mean per level, levels summed. The factor 5 belongs to that form.
    `global_levels: own` is ours: every instance on its own level, one mean. The paper's form (squared differences of
    projection coefficients) and its weight are unverified.
  * The released student starts from a trained one (the paper's: unverified); here it starts as its spec defines. Set
    `start` to let a new one learn first: prototypes of random features mean nothing.
  * fg and bg are means over levels; the one-stage code sums them.
  * omega below 0 counts as 0, and is 1 for a class without any instance in the training set. Ours: a class without
    a large or dense instance takes its prototypes from all it has.
  * One-stage soft labels of sigmoid heads: KL of Bernoulli distributions, per class. Points count as squares.
  * Fading per iteration, prototypes once per pass over the images; both are per epoch in the code. fp32, not fp16.
  * BUG(C): the one-stage 3x3 convolutions have no padding, so their maps do not fit; padded here.
  * Cascades: the last stage. P1's base of 56 px belongs to pyramids from stride 4; others are unverified.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.heads import WITH_DENSE, dense_head
from c2d.detectors.outputs import Needs
from c2d.detectors.recording import roi_stage
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.methods.parts.gkd_instances import (
    Comparison,
    Instances,
    compare,
    cosine,
    ground_truths,
    pick_level,
    positive_priors,
    positive_rois,
    reliability,
)
from c2d.methods.parts.gkd_losses import feature_loss, global_loss, soft_label_loss
from c2d.methods.parts.gkd_prototypes import Prototypes, SelectionRule, box_means
from c2d.ops.adapters import FeatureAdapter, check_same_heads, conv_adapter, identity_adapter, pair_levels
from c2d.ops.masks import assign_levels, paint_boxes


class GKDParams(Params):
    """Values of the released configuration. For one-stage students they are unverified: there the released code sums
    the levels, which is five times the mean over five levels that is taken here for all."""

    lambda_fg: float = Field(
        default=1.0, ge=0, description="weight inside boxes", json_schema_extra=unverified("for one-stage students")
    )
    lambda_bg: float = Field(
        default=4.0, ge=0, description="weight outside boxes", json_schema_extra=unverified("for one-stage students")
    )
    lambda_soft: float = Field(default=1.0, ge=0, description="weight of the soft labels; needs like heads")
    lambda_global: float = Field(
        default=5.0, ge=0, description="weight of the global term: the factor in the code",
        json_schema_extra=unverified("the paper's weight is unknown; the released configuration has this term off"),
    )  # fmt: skip
    global_levels: Literal["all", "own"] = Field(
        default="all",
        description="levels of the global term: `all`, as released, every instance on every level and the sum over "
        "levels; `own`: every instance on the level of its size, one mean (ours)",
    )
    T: float = Field(default=2.0, gt=0, description="temperature of the soft labels")
    attenuation: bool = Field(default=True, description="fg, bg and global times 1 - i/N; the soft labels stay")
    proposals: bool = Field(default=True, description="instances: positive RoIs or anchors; false: ground-truth boxes")
    prototypes: int = Field(default=10, gt=0, description="prototypes per class and level")
    alpha: float = Field(
        default=10.0, ge=0, description="weight of the difference between student and teacher in the pursuit"
    )
    every: int | None = Field(default=None, gt=0, description="iterations between prototypes; null: once per epoch")
    images: int = Field(
        default=800, gt=0, description="maximum number of images per class in which prototypes are selected"
    )
    min_px: float = Field(default=30.0, ge=0, description="smaller sides, in px of the file, make no prototype")
    seed: int = Field(default=1, ge=0, description="of the choice of these images")
    base_px: float | None = Field(
        default=None, gt=0, description="level l takes boxes of sides from base_px * 2^l px; null: 14 times the finest "
        "stride, multiplied by the size of the student's anchors or RoI levels relative to mmdet's stock",
        json_schema_extra=unverified("56 is known for pyramids from stride 4; the rule for others is ours"),
    )  # fmt: skip
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )


class GKD(Distiller):
    """Every head family; the teacher may be of another with lambda_soft 0 (and proposals false, for two stages)."""

    NAME = "gkd"
    VERSION = 2
    TEACHERS = ("detector",)
    Params = GKDParams
    WEIGHTS: ClassVar = {"fg": "lambda_fg", "bg": "lambda_bg", "soft": "lambda_soft", "global": "lambda_global"}
    DETECTORS = WITH_DENSE
    COST = "teacher to its heads; one pass of the student over up to `images` images per class for each `every`"
    SOURCE = "the authors' released code; the paper's abstract; global term and its weight in part unverified"

    def __init__(self, params: GKDParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
        adapt = conv_adapter(3) if params.lambda_fg > 0 or params.lambda_bg > 0 else identity_adapter
        self.phi = FeatureAdapter(pairs, adapt, "by a 3x3 convolution")
        rule = SelectionRule(params.images, params.min_px, params.seed)
        self.table = Prototypes(
            pairs, context.samples, context.detector, context.num_classes, count=params.prototypes, alpha=params.alpha,
            rule=rule,
        )  # fmt: skip
        self.base_px = params.base_px or student.base_px(pairs[0].stride)
        self.notes += [*self.phi.notes, f"boxes below {2 * self.base_px:g} px belong to stride {pairs[0].stride}"]
        self.samples, self.batch, self.two_stage = context.samples, context.batch, student.stages == "two-stage"
        soft, single = params.lambda_soft > 0, not self.two_stage
        some = soft or params.proposals
        self.needs = Needs(neck=True, positives=some and single, dense=soft and single, rois=some and not single)
        if self.needs.positives:
            self.priors = Priors(dense_head(context.student))
        if self.needs.dense:
            remedy = "choose such a teacher, or set method.gkd.lambda_soft to 0"
            check_same_heads(self.NAME, student, teacher, remedy)
            if not self.priors.same_priors(Priors(dense_head(context.detector.network))):
                raise InputError(
                    f"gkd compares scores prior by prior, and the teacher's head has other anchors or points; {remedy}"
                )
        if self.needs.rois:
            roi_stage.check_roi_stages(self.NAME, context.student, context.detector, context.num_classes)
        if self.needs.rois and soft:
            both = (context.student, context.detector.network)
            self.taken = [roi_stage.extractor_levels(self.NAME, one, self.phi.strides) for one in both]

    def due(self, iteration: int) -> bool:
        """Return whether the prototypes are computed before this iteration: at `start`, then every `every`."""
        # A ramp begins with weight 0, and a method without weight is not refreshed.
        first, every = self.params.start + (1 if self.params.ramp else 0), self.params.every
        if every is None:
            every = max(1, round(len(self.samples) / self.batch)) if self.samples is not None else 1
        return iteration >= first and (iteration - first) % every == 0

    def refresh(self, student: Any) -> None:
        """Compute the prototypes with the student as it is now."""
        self.table.update(student)

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute `fg`, `bg`, `soft` and `global` with the reliability omega of every instance.

        Args:
            view: one training step: neck maps (B, M, h, w) of both; the student's positives, xyxy px of the batch
                tensor; logits (K, C or C + 1) of both at these positives.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0 (fg, bg and global times 1 - i/N), and the
            observed number of instances, the mean of omega and the sum of m.
        """
        p, terms = self.params, {}
        fading = 1 - view.progress if p.attenuation else 1.0
        selected = self._instances(view)
        compared = self._compared(view, selected)
        omega = pick_level(compared.omega, self._levels(selected))
        masks = self._masks(view, selected, omega)
        seen = {"instances": omega.new_tensor(float(len(omega))), "omega": omega.sum() / max(len(omega), 1)}
        seen |= {"mask": torch.stack([m.sum() for m in masks]).sum()}
        maps = self.phi(view.student, view.teacher)
        if p.lambda_fg > 0:
            terms["fg"] = Term(feature_loss(maps, masks), p.lambda_fg * fading)
        if p.lambda_bg > 0:
            # As released: a covered cell whose omega is 0 counts as background.
            terms["bg"] = Term(feature_loss(maps, [(m == 0).to(m.dtype) for m in masks]), p.lambda_bg * fading)
        if p.lambda_soft > 0:
            terms["soft"] = Term(self._soft(view, omega), p.lambda_soft)
        if p.lambda_global > 0:
            terms["global"] = Term(self._global(compared, self._levels(selected)), p.lambda_global * fading)
        return terms, seen

    def visualize(self, view: View) -> list[Visualization]:
        """Show the instances, and omega of the cells on every level."""
        selected = self._instances(view)
        omega = pick_level(self._compared(view, selected).omega, self._levels(selected))
        masks = self._masks(view, selected, omega)
        boxes = [selected.boxes[selected.image == number] for number in range(len(view.batch.boxes))]
        heats = [Visualization(f"omega, stride {s}", heat=m) for m, s in zip(masks, self.phi.strides, strict=True)]
        return [Visualization("instances", boxes=boxes), *heats]

    def _instances(self, view: View) -> Instances:
        return self._positives(view) if self.params.proposals else ground_truths(view.batch)

    def _positives(self, view: View) -> Instances:
        if self.two_stage:
            assert view.student.rois is not None  # `needs` names them
            return positive_rois(view.student.rois)
        return positive_priors(view.batch, view.positives[-1], self.priors, view.student.neck)

    def _levels(self, instances: Instances) -> Tensor:
        """Index (N,) of each instance's own level."""
        return assign_levels(instances.boxes, self.base_px, len(self.phi.pairs))

    def _compared(self, view: View, instances: Instances) -> Comparison:
        """Compare the instances with the prototypes, on every level."""
        maps = zip(*self.phi.raw(view.student, view.teacher), strict=True)
        means_s, means_t = (
            [box_means(m, instances.boxes, instances.image, s) for m, s in zip(one, self.phi.strides, strict=True)]
            for one in maps
        )
        tables_s, tables_t = self.table.tables()
        return compare(means_s, means_t, tables_s, tables_t, self.table.of(instances.labels))

    def _global(self, compared: Comparison, level: Tensor) -> Tensor:
        """The global term in the chosen form."""
        if self.params.global_levels == "own":
            compared = Comparison(*([pick_level(values, level)] for values in compared))
        per_level = [global_loss(*values, self.table.valid) for values in zip(*compared, strict=True)]
        return torch.stack(per_level).sum()

    def _masks(self, view: View, instances: Instances, omega: Tensor) -> list[Tensor]:
        """m inside boxes, per level (B, h, w)."""
        level, masks = self._levels(instances), []
        for index, pair in enumerate(self.phi.pairs):
            own, (height, width) = level == index, view.teacher.neck[pair.t].shape[-2:]
            shape = (len(view.batch.boxes), height, width)
            masks.append(paint_boxes(instances.boxes[own], instances.image[own], omega[own], shape, pair.stride))
        return masks

    def _soft(self, view: View, omega: Tensor) -> Tensor:
        positives = self._positives(view)
        if self.two_stage:
            # omega_k of the features that each head classifies: the means of its RoI features, on their own level.
            both: tuple[Any, Any] = (view.student.rois, view.teacher.rois)
            kept, cosines = both[0].positive, []
            for rois, tables, (finest, places) in zip(both, self.table.tables(), self.taken, strict=True):
                level = roi_stage.roi_levels(positives.boxes, finest, len(places))
                vectors = rois.features[kept].mean((2, 3))
                cosines.append(pick_level([cosine(vectors, tables[place]) for place in places], level))
            omega = reliability(cosines[0], cosines[1], self.table.of(positives.labels))
            return soft_label_loss(both[0].logits[kept], both[1].logits[kept], omega, self.params.T, "softmax")
        if not self.params.proposals:  # the given omega is that of the ground-truth boxes
            omega = pick_level(self._compared(view, positives).omega, self._levels(positives))
        heads: tuple[Any, Any] = (view.student.dense, view.teacher.dense)
        z_s, z_t = (head.gather_scores(positives.image, view.positives[-1].prior) for head in heads)
        return soft_label_loss(z_s, z_t, omega, self.params.T, heads[0].kind)

"""ICOD: Distilling Image Classifiers in Object Detectors. Guo, Alvarez, Salzmann, NeurIPS 2021.

https://arxiv.org/abs/2106.05209. The authors' code (DICOD) is non-commercial and was not read. Everything here
follows a written specification of the formulas (its sections in brackets), under this repository's licence.

An image classifier, trained on crops of the ground-truth boxes, teaches a detector during its training:

    L = L_det + lambda_kc L_kd-cls + lambda_kl L_kd-loc + lambda_l L_loc

    cls    L_kd-cls   the classifier's probabilities for the ground-truth crop of a positive  -> its class logits
    crop   L_loc      pixels inside the predicted box against those inside the true box       -> its box
    feat   L_kd-loc   the classifier's features of these two crops                            -> its box

Departures from the paper and from the released code:
  * Layer l0 is the output after the stem's max-pooling, as in the code; the paper says first convolution.
  * All four sides of a predicted box are clamped to the batch tensor, and sides are at least 1e-3 px; the code clamps
    one side each, which mirrors the crop of a box that lies outside.
  * Student and teacher may normalise differently: crops are taken from the student's tensor (outside: zero, its mean
    colour) and converted for the teacher. The crop term compares the student's pixels.
  * A teacher with `crops.context` sees crops of boxes with that context, of true and predicted boxes alike. L_loc never
    has context: it compares the pixels inside the boxes, and around them it would teach the background of the box.
  * Equal-valued, cheaper forms: folded sampling, each ground truth cropped once, the teacher run only as deep as
    needed, the ground truth pooled once, gradients taken chunk by chunk.
  * RoI heads: sampled RoIs count as constants; the RPN is not distilled. Cascades: the last stage, or the mean of all.
  * KL divergences are computed from logits, as in the paper; the code adds 1e-10 to the probabilities, which caps the
    logarithm at 23. For ordinary logits the two agree to 1e-6; with logits of 30 times that size the softmax form is
    111.2 here and 29.9 there, so a student that is very sure of a wrong class is pulled harder here.
  * Sparse R-CNN's stages count as a cascade's, its positives are the matched proposals. DETR family: the matched
    queries of the last decoder layer, or the mean of all layers; denoising queries, proposals of the encoder and
    DDQ's dense queries are not taught.
  * Logits of GFL, RTMDet, TOOD and VFNet are joint class and quality scores, those of YOLOF hold its objectness; they
    are taught as class logits. YOLOX's are its class logits, without the objectness of its scores.
  * L_loc compares pixels as the student normalises them: where they are not divided by a standard deviation (YOLOX,
    caffe-style files) it is about 58 times as large, and lambda_l has to be that much smaller.
  * `max_positives` (off by default) is ours: the localisation terms over an unbiased random subset.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeVar

import torch
from pydantic import Field, PositiveInt, field_validator
from torch import Tensor

from c2d.core.errors import InputError, unknown_name
from c2d.detectors import heads
from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.methods.parts.icod_kl import kd_cls
from c2d.methods.parts.icod_positives import WeightedPositives, join_stages, random_subset
from c2d.ops.chunked_sum import chunked_sum
from c2d.ops.crop import crop_and_resize
from c2d.teachers.crop_teacher import CROP_LAYER, CropTeacher, student_autocast_dtype

PAPER_SIZE = 112
"""Side of the crops in px, in the paper."""

Scalars = dict[str, Tensor]
Layers = TypeVar("Layers", tuple[str, ...], dict[str, int])


class ICODParams(Params):
    """The paper's symbols, with the values of its SSD300; for other students lambda_kl and lambda_l are unverified."""

    T: float = Field(default=2.0, gt=0, description="temperature of L_kd-cls; the paper uses 2 throughout")
    lambda_kc: float = Field(default=0.4, ge=0, description="weight of L_kd-cls; 0 saves the teacher's full pass")
    lambda_kl: float = Field(
        default=0.15, ge=0, description="weight of L_kd-loc", json_schema_extra=unverified("SSD300's; others unknown")
    )
    lambda_l: float = Field(
        default=0.15, ge=0, description="weight of L_loc", json_schema_extra=unverified("SSD300's; others unknown")
    )
    layers: tuple[str, ...] = Field(
        default=(CROP_LAYER, "l0"), description="layers that are compared: crop (pixels), l0, l1, ... (features)"
    )
    pooling: dict[str, PositiveInt] = Field(
        default={CROP_LAYER: 4, "l0": 8},
        description="side g of the pooled grid per layer; a layer that is not named here gets "
        "4 * 2^(place among crop, l0, l1, ...); the released code counts places in its list instead; a smaller map "
        "is enlarged by repeating its cells, which the log says",
        json_schema_extra=unverified("SSD300's full method; the paper: 4 or 8, chosen on validation"),
    )
    size: int | None = Field(
        default=None, gt=0, description="side of the crops in px; null: the teacher's, and 112 where none is needed"
    )
    max_positives: int | None = Field(
        default=None,
        gt=0,
        description="maximum number of positives (per stage) in the localisation terms, drawn at random; ours",
    )
    normaliser: Literal["exact", "per_image_floor"] = Field(
        default="exact",
        description="K of L_kd-cls: positives, or the sum of max(positives of an image, 1) as in the SSD code",
    )
    sigmoid_kd: Literal["bernoulli", "l1"] = Field(
        default="bernoulli",
        description="sigmoid students: per-class KL (the paper), or KL of scores normalised over classes",
    )
    roi_stages: Literal["last", "all"] = Field(
        default="last", description="cascades and decoders: the last stage or layer, or the mean over all"
    )

    @field_validator("layers", "pooling")
    @classmethod
    def _known_layers(cls, given: Layers) -> Layers:
        wrong = [name for name in given if name != CROP_LAYER and not (name[:1] == "l" and name[1:].isdecimal())]
        if wrong:
            raise ValueError(f"unknown layer '{wrong[0]}'; known: crop, l0, l1, l2, ... (as deep as the teacher goes)")
        if len(set(given)) < len(given):
            raise ValueError(f"a layer is listed twice in {list(given)}; name each once")
        return given

    def side(self, layer: str) -> int:
        """Pooled grid side g_l of a layer."""
        place = 0 if layer == CROP_LAYER else int(layer[1:]) + 1
        return self.pooling.get(layer, 4 * 2**place)

    @property
    def features(self) -> tuple[str, ...]:
        """Lambda: the teacher's layers of L_kd-loc; empty when it is switched off."""
        return tuple(name for name in self.layers if name != CROP_LAYER) if self.lambda_kl > 0 else ()

    @property
    def pixels(self) -> bool:
        """Whether L_loc is computed."""
        return CROP_LAYER in self.layers and self.lambda_l > 0


class ICOD(Distiller):
    """Teaches every head family that `c2d.detectors.recording.record_positives` reads; terms `cls`, `crop`, `feat`."""

    NAME = "icod"
    VERSION = 1
    TEACHERS = ("classifier",)
    TAUGHT = ("lambda_kc", "lambda_kl")
    Params = ICODParams
    WEIGHTS: ClassVar = {"cls": "lambda_kc", "crop": "lambda_l", "feat": "lambda_kl"}
    DETECTORS = heads.WITH_POSITIVES
    COST = "the classifier on every ground-truth crop, its stem forward and backward on every positive"
    SOURCE = "paper (arXiv 2106.05209, submission text); SSD300 values also in the released code"
    OWN_PRECISION = True
    CROP_LOGITS = "lambda_kc"
    # The first method of this project; the random numbers of its runs were drawn before methods had names in the seed.
    NAMED_RANDOM_STREAM = False
    ADDED = ("weight", "start", "ramp", "decay", "stop")

    needs = Needs(positives=True)

    #: Boxes per pass through the teacher (256 as released); bounds memory, does not change values. On a CPU small parts
    #: fit into its cache.
    CHUNK: ClassVar[dict[str, int]] = {"cpu": 16, "cuda": 256}

    def __init__(self, params: ICODParams, context: Context) -> None:
        """Check that the teacher fits.

        Raises:
            InputError: there is no classifier, its classes are not the student's, or it has no such layer.
        """
        super().__init__(params)
        self.roi_stages, self.size = params.roi_stages, params.size or PAPER_SIZE
        if params.lambda_kc == 0 and params.lambda_kl == 0:  # L_loc compares pixels
            return
        teacher = context.classifier
        if teacher is None:
            raise InputError("icod needs a classifier teacher and none was given; set teachers: {classifier: ...}")
        if len(teacher.classes) != context.num_classes:
            raise InputError(
                f"the classifier teacher has {len(teacher.classes)} classes, the student {context.num_classes}; "
                "icod needs the same classes in the same order: train a teacher on this data set"
            )
        if params.features and not teacher.layers:
            raise InputError(
                f"the classifier teacher has no feature maps, and icod compares {', '.join(params.features)}; set "
                "lambda_kl: 0, which leaves L_kd-loc out (c2d teacher layers NETWORK lists the layers of a network)"
            )
        for name in params.features:
            if name not in teacher.layers:
                raise unknown_name("teacher layer", name, [CROP_LAYER, *teacher.layers], "see method.icod.layers")
        self.size = params.size or int(teacher.size)
        for name, side in teacher.map_sides(params.features, self.size).items():
            if side < params.side(name):
                pooled = params.side(name)
                self.notes.append(
                    f"{name} of the classifier is {side} x {side} for crops of {self.size} px, and is pooled to "
                    f"{pooled} x {pooled} by repeating cells; pooling: {{{name}: {side}}} compares its own cells"
                )

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L_kd-cls, L_loc and L_kd-loc.

        Args:
            view: one training step: images (B, 3, H, W), ground truth, and the student's positives with logits (K,
                C or C + 1) and boxes (K, 4), xyxy px of the batch tensor.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, and the observed numbers of positives, of
            those in the localisation terms, and the teacher's top-1 on the crops, 0-1.
        """
        p, batch = self.params, view.batch
        device = batch.images.device
        stages = view.positives if p.roi_stages == "all" else view.positives[-1:]
        # Losses in fp32 in every precision of the student; only the teacher follows that precision, on CUDA.
        precision = student_autocast_dtype(device.type)
        with torch.autocast(device.type, enabled=False):
            taught = join_stages(stages, batch, p.normaliser)
            placed = random_subset(taught, p.max_positives, view.generator)
            seen = {"positives": len(taught.boxes), "positives_used": len(placed.boxes)}
            teacher = CropTeacher(view.classifier, batch, self.size, self.CHUNK.get(device.type, 64), precision)
            values, top1 = self._terms(taught, placed, teacher)
        weights = {"cls": p.lambda_kc, "crop": p.lambda_l, "feat": p.lambda_kl}
        observed = {name: torch.tensor(float(n), device=device) for name, n in seen.items()} | top1
        return {name: Term(value, weights[name]) for name, value in values.items()}, observed

    def visualize(self, view: View) -> list[Visualization]:
        """Show the crops of the ground truth, and the predicted boxes of the positives."""
        batch, last_stage = view.batch, view.positives[-1]
        images = range(len(batch.boxes))
        predicted = [last_stage.boxes[last_stage.image == i].detach() for i in images]
        context = view.classifier.context if view.classifier is not None else 0.0
        zeros = [boxes.new_zeros(len(boxes), dtype=torch.long) for boxes in batch.boxes]
        crops = [crop_and_resize(batch.images[i : i + 1], boxes, zeros[i], self.size, context=context)
                 for i, boxes in enumerate(batch.boxes)]  # fmt: skip
        return [
            Visualization("true crops", crops=crops),
            Visualization("predictions of the positives", boxes=predicted),
        ]

    def _terms(
        self, taught: WeightedPositives, placed: WeightedPositives, teacher: CropTeacher
    ) -> tuple[Scalars, Scalars]:
        """Enabled terms of the positives `taught` (classes) and `placed` (boxes), and the teacher's top-1."""
        p = self.params
        layers = {name: p.side(name) for name in ((CROP_LAYER,) if p.pixels else ()) + p.features}
        if len(taught.boxes) == 0:
            # Zeros that hang on the student's graph: under DDP every weight takes part in every step.
            parts = {"cls": p.lambda_kc > 0, "crop": p.pixels, "feat": bool(p.features)}
            of = {"cls": taught.logits}
            return {name: 0 * of.get(name, taught.boxes).float().sum() for name, on in parts.items() if on}, {}
        if not layers and p.lambda_kc == 0:
            return {}, {}
        # Many positives share a ground truth, which is cropped once. `unique` sorts, as `searchsorted` needs it.
        truths = torch.unique(taught.gt if p.lambda_kc > 0 else placed.gt)
        logits, targets = teacher.ground_truth_outputs(truths, layers, with_logits=p.lambda_kc > 0)
        values, observed = {}, {}
        if logits is not None:
            z_t = logits[torch.searchsorted(truths, taught.gt)]
            kind = "l1" if taught.kind == "sigmoid" and p.sigmoid_kd == "l1" else taught.kind
            per_row = kd_cls(taught.logits, z_t, p.T, kind)
            values["cls"] = (taught.weight_cls * per_row).sum()
            labels = torch.cat(teacher.batch.labels)[truths]
            observed["teacher_top1"] = (logits.argmax(1) == labels).float().mean()
        if layers:
            values |= localization_losses(placed, torch.searchsorted(truths, placed.gt), teacher, targets, layers)
        return values, observed


# ---------------------------------------------------------------------------------------------------------------------
# L_loc and L_kd-loc (1.4)


def localization_losses(placed: WeightedPositives, truth: Tensor, teacher: CropTeacher, targets: dict[str, Tensor],
                 layers: dict[str, int]) -> dict[str, Tensor]:  # fmt: skip
    """The crop and feature terms of predicted boxes.

    Args:
        placed: the positives, K of them.
        truth: (K,) row of each one's ground truth in `targets`.
        targets: layer -> pooled maps (U, M, g, g) of the ground-truth crops.
        layers: layer -> pooled side g; crop and Lambda.
    """
    features = [name for name in layers if name != CROP_LAYER]

    def terms(boxes: Tensor, rows: slice) -> dict[str, Tensor]:
        pooled = teacher.pooled_features(boxes, placed.image[rows], layers)
        # (1/(M g^2)) || AP(O^p) - AP(O^gt) ||_1, a mean over the pooled map; AP is linear, so it comes before the
        # difference and the ground truth is pooled once.
        distance = {name: (pooled[name] - targets[name][truth[rows]]).abs().mean((1, 2, 3)) for name in layers}
        share, sums = placed.weight[rows], {}
        if CROP_LAYER in layers:
            sums["crop"] = (share * distance[CROP_LAYER]).sum()
        if features:
            sums["feat"] = (share * torch.stack([distance[name] for name in features]).mean(0)).sum()
        return sums

    # The terms are means over K: the factor K undoes that, and 2^12 lifts small gradients above fp16's smallest number.
    return chunked_sum(terms, placed.boxes, teacher.chunk, scale=float(2**12 * len(placed.boxes)))

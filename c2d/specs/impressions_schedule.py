"""Schedule of a synthesis of images: which targets, how many steps, which priors.

In: a preset of c2d/configs/impressions, or a YAML file with its keys. The code that follows it is `c2d.impressions`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from c2d.core.yaml.strict import Strict

ImagesFrom = Literal["optimised", "noise", "procedural", "real"]
MAX_OBJECTS = 100
"""Of an image: more do not fit without overlap, and every one is drawn up to a hundred times."""
CONTROLS = ("noise", "procedural")
"""Values of `images_from` that replace the images of a finished synthesis and keep its targets."""


class TargetRecipe(Strict):
    """How pseudo-targets are sampled before the first step.

    Attributes:
        objects: smallest and largest number of objects of an image, uniform.
        boxes: `anchors`: log-uniform area and aspect ratio in the range of the teacher's anchors; `uniform`: width and
            height uniform in `side`.
        side: smallest and largest side of a box as a share of the image's side, for `uniform`; for `anchors` a limit.
        max_iou: a box that overlaps an earlier one more than this is drawn again.
        soft_labels: draw a soft label of each object from a Dirichlet distribution around its class. Otherwise 1 and 0.
        concentration: of that distribution; the larger, the closer to the similarity of the classes.
    """

    objects: tuple[int, int] = Field(strict=False)
    boxes: Literal["anchors", "uniform"]
    side: tuple[float, float] = Field(strict=False)
    max_iou: float = Field(ge=0, le=1)
    soft_labels: bool
    concentration: float = Field(gt=0)

    @model_validator(mode="after")
    def _ranges_rise(self) -> TargetRecipe:
        if not 0 <= self.objects[0] <= self.objects[1]:
            raise ValueError(f"objects {list(self.objects)} wants the smaller number first, none below 0")
        if self.objects[1] > MAX_OBJECTS:
            raise ValueError(f"objects {list(self.objects)} wants at most {MAX_OBJECTS} in an image")
        if not 0 < self.side[0] <= self.side[1] <= 1:
            raise ValueError(f"side {list(self.side)} wants shares of the image's side above 0 and up to 1")
        return self


class Stage(Strict):
    """One optimisation of the pixels.

    Attributes:
        iterations: 0 leaves the stage out.
        size: px, side of the square images; null is the teacher's input size.
        lr: of Adam on normalised pixels.
        start: `noise`: a new normal draw; `previous`: the images of the stage before, resized.
        noise: standard deviation of that draw, in normalised pixels.
    """

    iterations: int = Field(ge=0)
    size: int | None = Field(None, ge=32)
    lr: float = Field(gt=0)
    start: Literal["noise", "previous"] = "noise"
    noise: float = Field(1.0, ge=0)


class AdaptiveSampling(Strict):
    """Changes of the targets during the draft stage, to what the teacher sees in the images.

    Attributes:
        start: first iteration of the draft at which targets change.
        interval: iterations between two changes; 0: targets never change.
        min_score: score above which a detection may become a target.
        max_iou: a detection that overlaps a target more than this is not added.
        min_area, max_area: allowed area of an added box as a share of the image.
        keep_score: a target is dropped when no detection of its class above this score overlaps it by IoU 0.5.
            The last target of an image stays. 0 drops none.
    """

    start: int = Field(ge=0)
    interval: int = Field(ge=0)
    min_score: float = Field(ge=0, le=1)
    max_iou: float = Field(ge=0, le=1)
    min_area: float = Field(ge=0, le=1)
    max_area: float = Field(ge=0, le=1)
    keep_score: float = Field(ge=0, le=1)


class Priors(Strict):
    """Weights of the terms; 0 leaves a term out.

    Attributes:
        detection: of the sum of the teacher's own losses and, with soft labels, of the divergence from them.
        tv_l1, tv_l2: of the total variation, mean absolute and mean squared difference of neighbouring pixels.
        batch_norm: of the distance between batch and running statistics, sum over the layers.
        batch_norm_form: `absolute` or `relative`, see `c2d.impressions.pixels.priors.BatchNormStatistics`.
        first_batch_norm: factor of the first such layer.
        l2: of the mean square of the normalised pixels.
    """

    detection: float = Field(ge=0)
    tv_l1: float = Field(ge=0)
    tv_l2: float = Field(ge=0)
    batch_norm: float = Field(ge=0)
    batch_norm_form: Literal["absolute", "relative"] = "absolute"
    first_batch_norm: float = Field(1.0, ge=0)
    l2: float = Field(ge=0)

    @model_validator(mode="after")
    def _one_term_is_left(self) -> Priors:
        if not any((self.detection, self.tv_l1, self.tv_l2, self.batch_norm, self.l2)):
            raise ValueError("every weight is 0, so there is nothing to optimise; give one of them a value above 0")
        return self


class PixelAugmentation(Strict):
    """Random changes of image and boxes together before the teacher sees them.

    Attributes:
        jitter: px, largest shift in each direction.
        flip: flip half of the draws horizontally.
        cutout: side of a square of the mean colour as a share of the image's side; 0: none.
        interval: iterations between two draws; the teacher's targets are assigned once for each draw.
    """

    jitter: int = Field(ge=0)
    flip: bool
    cutout: float = Field(ge=0, lt=1)
    interval: int = Field(ge=1)


class ImpressionsSchedule(Strict):
    """A whole synthesis.

    Attributes:
        images: number of images.
        batch: images that are optimised together.
        images_from: `optimised`; or a control: `noise` and `procedural` keep the targets of the optimised images and
            draw other images, `real` takes training images of the data set with the teacher's detections as targets.
        draft: finds the targets (`adaptive`); its images are thrown away unless `final` starts from them.
        final: makes the images, for targets that do not change.
        rois: RoIs that a two-stage teacher samples in each image; null: as many as in its training.
        policy: of the learning rate in each stage.
        precision: of the teacher's forward pass; amp needs CUDA.
    """

    images: int = Field(gt=0)
    batch: int = Field(gt=0)
    images_from: ImagesFrom = "optimised"
    targets: TargetRecipe
    draft: Stage
    final: Stage
    adaptive: AdaptiveSampling
    priors: Priors
    augmentation: PixelAugmentation
    rois: int | None = Field(None, ge=4)
    policy: Literal["cosine", "constant"] = "cosine"
    precision: Literal["fp32", "amp-fp16", "amp-bf16"] = "fp32"

    @model_validator(mode="after")
    def _final_has_a_start(self) -> ImpressionsSchedule:
        if self.draft.start == "previous":
            raise ValueError("draft.start is 'previous', and there is no stage before it; wanted noise")
        if self.final.start == "previous" and not self.draft.iterations:
            raise ValueError("final.start is 'previous', and draft.iterations is 0; give the draft iterations")
        if self.final.iterations == 0 and self.images_from == "optimised":
            raise ValueError("final.iterations is 0, so nothing would be optimised; wanted at least 1")
        return self

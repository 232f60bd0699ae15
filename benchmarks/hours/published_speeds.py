"""Published training speeds, and what a card achieves by them: FLOPs of a step, counted by us, over its time.

Facts from the model zoos of mmdet and detectron2 and from NVIDIA's examples; nothing here was measured by us. They are
of other software (PyTorch 1.3 to 22.10's), of whole training loops, and of eight GPUs or one as the source says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MULTI_SCALE = ((1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800))
"""Sizes of the recipe of detectron2, and of mmdet where it is compared with it."""

MMDET = "github.com/open-mmlab/mmdetection, MODEL_ZOO.md of 2.0 in its docs (V100, PyTorch 1.4)"
MMDET_1 = "github.com/open-mmlab/mmdetection, MODEL_ZOO.md of 0.6 (V100, PyTorch 0.4.1, cudnn.benchmark)"
DETECTRON2 = "github.com/facebookresearch/detectron2, MODEL_ZOO.md (V100, PyTorch 1.3)"
NVIDIA_RESNET = "github.com/NVIDIA/DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5 (one GPU)"
NVIDIA_SSD = "github.com/NVIDIA/DeepLearningExamples, PyTorch/Detection/SSD (one GPU)"


@dataclass(frozen=True)
class PublishedSpeed:
    """One published training speed of a network that we can count.

    Attributes:
        card: key of `gpu_cards.CARDS`.
        precision: of the schedule, `fp32` or `amp`.
        network: name of a student, or `classifier:NAME` for a classifier on images of 224 px.
        images: on one GPU, in a step.
        seconds: of a step.
        source: where it is published.
        multi_scale: whether the images have one of `MULTI_SCALE`, and not the student's own sizes.
    """

    card: str
    precision: str
    network: str
    images: int
    seconds: float
    source: str
    multi_scale: bool = False


SPEEDS = (
    PublishedSpeed("v100", "fp32", "faster-rcnn-r50", 2, 0.216, MMDET, True),
    PublishedSpeed("v100", "fp32", "retinanet-r50", 2, 0.205, MMDET, True),
    PublishedSpeed("v100", "fp32", "faster-rcnn-r50", 2, 0.210, DETECTRON2, True),
    PublishedSpeed("v100", "fp32", "faster-rcnn-r101", 2, 0.286, DETECTRON2, True),
    PublishedSpeed("v100", "fp32", "retinanet-r50", 2, 0.200, DETECTRON2, True),
    PublishedSpeed("v100", "fp32", "retinanet-r101", 2, 0.280, DETECTRON2, True),
    PublishedSpeed("v100", "fp32", "ssd300-vgg16", 8, 0.286, MMDET_1),
    PublishedSpeed("v100", "fp32", "ssd512-vgg16", 8, 0.458, MMDET_1),
    PublishedSpeed("v100", "fp32", "classifier:resnet50", 256, 256 / 367, NVIDIA_RESNET),
    PublishedSpeed("v100", "amp", "classifier:resnet50", 256, 256 / 1200, NVIDIA_RESNET),
    PublishedSpeed("a100", "fp32", "classifier:resnet50", 256, 256 / 938, NVIDIA_RESNET),
    PublishedSpeed("a100", "amp", "classifier:resnet50", 256, 256 / 2470, NVIDIA_RESNET),
)

SSD_RESNET50 = {("v100", "fp32"): 107.22, ("v100", "amp"): 322.81, ("a100", "fp32"): 377.18, ("a100", "amp"): 724.41}
"""{(card, precision): images/s} of an SSD300 on ResNet-50 (NVIDIA_SSD), which is none of our students: ratios only."""


@dataclass(frozen=True)
class Achieved:
    """One row of the calibration.

    Attributes:
        speed: as published.
        step_flops: counted for one step.
    """

    speed: PublishedSpeed
    step_flops: float

    @property
    def tflops(self) -> float:
        """What the card achieved, in TFLOP/s."""
        return self.step_flops / self.speed.seconds / 1e12


def achieved(classes: int = 80) -> list[Achieved]:
    """Count the step of every published speed.

    Args:
        classes: of the detectors; classifiers have ImageNet's 1000.
    """
    return [Achieved(speed, _step_flops(speed, classes)) for speed in SPEEDS]


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


def _step_flops(speed: PublishedSpeed, classes: int) -> float:
    from benchmarks.hours.image_shapes import batch_shape
    from benchmarks.hours.network_flops import classifier_work, detector_flops
    from c2d.configs.student_config import load_student

    kind, _, network = speed.network.rpartition(":")
    if kind:
        return speed.images * classifier_work(network, 1000, 224)[1].flops
    config = load_student(speed.network, num_classes=classes)
    pipeline: list[Any] = config["train_pipeline"]
    if speed.multi_scale:
        resize = {"type": "RandomChoiceResize", "scales": list(MULTI_SCALE), "keep_ratio": True}
        pipeline = [resize, {"type": "PackDetInputs"}]
    model = config["model"].to_dict()
    shape = batch_shape(pipeline, config["test_pipeline"], model, speed.images)
    return speed.images * detector_flops(model, shape.height, shape.width).scaled(shape.scale).step


def main() -> None:
    """Print the calibration as a table."""
    from c2d.detectors import compat

    compat.prepare()
    print("| card | precision | network | images | s/step | counted TFLOP | TFLOP/s | source |")
    print("|---|---|---|---|---|---|---|---|")
    for row in achieved():
        one = row.speed
        print(
            f"| {one.card.upper()} | {one.precision} | {one.network} | {one.images} | {one.seconds:.3f} "
            f"| {row.step_flops / 1e12:.2f} | {row.tflops:.1f} | {one.source} |"
        )


if __name__ == "__main__":
    main()

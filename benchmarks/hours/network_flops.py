"""FLOPs of detectors and classifiers for one image or crop, forward and in training, counted on the meta device.

A network on the meta device has shapes and no numbers, so a ResNeXt-101 costs no memory and takes a second. Counted:
convolutions, matrix products and attention, with the gradients that the frozen stages of the config leave. Not counted:
normalisation, activations, RoIAlign, assignment of targets, NMS and the optimizer, whose time is in the achieved share.

What decides by numbers cannot run there. The second stage is counted on as many RoIs as its sampler draws. Detectors
with object queries take a real step on a CPU instead, on noise.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from benchmarks.flops.training_flops import Work, WorkCounter, forward_and_training_work


@dataclass(frozen=True)
class DetectorFlops:
    """FLOPs of a detector for one image.

    Attributes:
        maps: forward pass of backbone and neck.
        forward: the same with the dense head (of two-stage detectors the RPN), or with the decoder.
        training: forward and backward pass of that.
        roi_forward, roi_training: of the second stage for one RoI, all stages of a cascade; 0 without one.
        rois: RoIs that it samples in an image.
        test_rois: proposals of an image at test time.
        operators: of the forward pass.
    """

    maps: float
    forward: float
    training: float
    roi_forward: float = 0.0
    roi_training: float = 0.0
    rois: int = 0
    test_rois: int = 0
    operators: int = 0

    def scaled(self, factor: float) -> DetectorFlops:
        """Return those of images whose area is `factor` times as large; RoIs do not grow."""
        return DetectorFlops(
            self.maps * factor, self.forward * factor, self.training * factor, self.roi_forward, self.roi_training,
            self.rois, self.test_rois, self.operators,
        )  # fmt: skip

    @property
    def step(self) -> float:
        """Forward and backward pass of the whole detector."""
        return self.training + self.rois * self.roi_training

    @property
    def prediction(self) -> float:
        """Forward pass of the whole detector at test time."""
        return self.forward + self.test_rois * self.roi_forward


def detector_flops(model: dict[str, Any], height: int, width: int) -> DetectorFlops:
    """Count a detector for one image of (height, width) px.

    Args:
        model: config of the detector, with its frozen stages.
        height, width: px.
    """
    return _detector_flops(json.dumps(model, sort_keys=True, default=str), _Config(model), height, width)


class _Config:
    """A config beside its text, which tells two configs apart."""

    def __init__(self, model: dict[str, Any]) -> None:
        self.model = model

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Config)


@cache
def _detector_flops(_text: str, config: _Config, height: int, width: int) -> DetectorFlops:
    network = meta_detector(config.model).train()
    images = torch.empty(1, 3, height, width, device="meta")
    if has_queries(network):
        return _flops_of_real_step(config.model, height, width)
    maps, _ = forward_and_training_work(lambda: network.extract_feat(images))
    roi_head = getattr(network, "roi_head", None)
    head = network.rpn_head if roi_head is not None else network.bbox_head
    forward, training = forward_and_training_work(lambda: head(network.extract_feat(images)))
    if roi_head is None:
        return DetectorFlops(maps.flops, forward.flops, training.flops, operators=forward.operators)
    roi_forward, roi_training, roi_operators = _roi_flops(roi_head)
    sampler = roi_head.train_cfg[0] if isinstance(roi_head.train_cfg, list | tuple) else roi_head.train_cfg
    test_rois = int(network.test_cfg["rpn"]["max_per_img"])
    return DetectorFlops(
        maps.flops, forward.flops, training.flops, roi_forward, roi_training, int(sampler["sampler"]["num"]), test_rois,
        forward.operators + roi_operators,
    )  # fmt: skip


def meta_detector(model: dict[str, Any]) -> Any:
    """Build a detector without numbers.

    Args:
        model: its config.
    """
    from mmengine import Config

    from c2d.detectors.mmdet_scope import mmdet_scope

    with mmdet_scope():
        from mmdet.registry import MODELS

        with torch.device("meta"):
            network = MODELS.build(Config({"model": copy.deepcopy(model)})["model"])
    # Some layers (SSD's L2Norm) are made by `torch.Tensor(n)`, which ignores the device of the context.
    return network.to("meta")


def has_queries(network: Any) -> bool:
    """Return whether a detector predicts from object queries or learned proposals (DETR family, Sparse R-CNN)."""
    roi_head = getattr(network, "roi_head", None)
    return hasattr(network, "decoder") or (roi_head is not None and not hasattr(network.rpn_head, "forward_single"))


def _roi_flops(roi_head: Any) -> tuple[float, float, int]:
    """FLOPs of all stages of a second stage for one RoI, forward and in training, and operators of the first."""
    heads = roi_head.bbox_head if isinstance(roi_head.bbox_head, torch.nn.ModuleList) else [roi_head.bbox_head]
    extractor: Any = roi_head.bbox_roi_extractor
    extractor = extractor[0] if isinstance(extractor, torch.nn.ModuleList) else extractor
    side = extractor.roi_layers[0].output_size
    sides = side if isinstance(side, tuple) else (side, side)
    features = torch.empty(1, extractor.out_channels, *sides, device="meta", requires_grad=True)
    parts = [forward_and_training_work(lambda one=one: one(features)) for one in heads]  # type: ignore[misc]
    forward, training = ([part[place] for part in parts] for place in (0, 1))
    operators = sum(work.operators for work in forward)
    return sum(work.flops for work in forward), sum(work.flops for work in training), operators


def _flops_of_real_step(model: dict[str, Any], height: int, width: int) -> DetectorFlops:
    from mmengine import Config

    from benchmarks.hours.synthetic_step import noise_batch
    from c2d.evaluation.stock_model import build_student

    network = build_student(Config({"model": model})).train()
    inputs, samples = noise_batch(height, width)
    with WorkCounter() as counter:
        network.extract_feat(inputs)
        maps = counter.work()
    with WorkCounter() as counter:
        losses = network.loss(inputs, samples)
        forward = counter.work()
        total, _ = network.parse_losses(losses)
        total.backward()
        return DetectorFlops(maps.flops, forward.flops, counter.work().flops, operators=forward.operators)


@cache
def classifier_work(network: str, classes: int, side: int, text_length: int | None = None) -> tuple[Work, Work]:
    """Count a classifier for one crop; return the work of (forward, forward and backward).

    Args:
        network: name, see `c2d.teachers.networks.build_network`.
        classes: of its head.
        side: of the crop in px.
        text_length: of a zero-shot classifier.
    """
    module = meta_classifier(network, classes, side, text_length)
    # Two crops: batch norm in training wants more than one value a channel.
    crops = torch.empty(2, 3, side, side, device="meta")
    both = forward_and_training_work(lambda: module(crops))
    forward, training = (Work(work.flops / 2, work.operators) for work in both)
    return forward, training


def meta_classifier(network: str, classes: int, side: int, text_length: int | None) -> Any:
    """Build a classifier without numbers; a network that computes while it is built is built on the CPU first."""
    from c2d.teachers.networks import build_fitted_network

    def build() -> Any:
        return build_fitted_network(network, classes, side, text_length)

    return _on_meta(build).to("meta").train()


def _on_meta(build: Callable[[], Any]) -> Any:
    from c2d.core.errors import InputError

    try:
        with torch.device("meta"):
            return build()
    except (InputError, NotImplementedError, RuntimeError):
        return build()

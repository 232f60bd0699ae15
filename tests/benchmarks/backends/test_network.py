"""Network and post-processing together are mmdet's own `predict`, for every kind of detector."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.backends.network import DenseNetwork, Network, TwoStageNetwork, WholeDetector, split_network
from tests.c2d import tiny_detectors

SHAPES = [(96, 96), (64, 96)]
"""True sizes of the two images in a batch of 96 x 96; the second is padded."""


def seen() -> tuple[torch.Tensor, list[Any]]:
    """A batch as the test pipeline leaves it: images scaled by one half."""
    from mmdet.structures import DetDataSample

    inputs = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    inputs[1, :, 64:] = 0
    facts = {"batch_input_shape": (96, 96), "pad_shape": (96, 96), "scale_factor": (0.5, 0.5)}
    return inputs, [
        DetDataSample(metainfo={**facts, "img_shape": (h, w), "ori_shape": (2 * h, 2 * w)}) for h, w in SHAPES
    ]


def equal_to_predict(network: Network, detector: Any) -> None:
    inputs, samples = seen()
    with torch.no_grad():
        expected = [one.pred_instances for one in detector.predict(inputs, seen()[1], rescale=True)]
        with network.with_samples(samples):
            raw = network(inputs)
        found = network.post_process(raw, samples)
    assert all(isinstance(part, torch.Tensor) for part in raw)
    assert [len(one) for one in found] == [len(one) for one in expected]
    assert sum(len(one) for one in expected) > 10
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(getattr(one.bboxes, "tensor", one.bboxes), getattr(other.bboxes, "tensor", other.bboxes))
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)
    assert not samples[0].keys()  # nothing was written into what the caller holds


@pytest.mark.parametrize(
    ("name", "kind", "nms"),
    [
        ("ssd", DenseNetwork, "out"),
        ("retinanet", DenseNetwork, "out"),
        ("atss", DenseNetwork, "out"),
        ("gfl", DenseNetwork, "out"),
        ("fcos", DenseNetwork, "out"),
        ("faster", TwoStageNetwork, "RPN's"),
        ("cascade", WholeDetector, "in"),
    ],
)
def test_both_parts_together_equal_predict(name: str, kind: type[Network], nms: str) -> None:
    detector = tiny_detectors.build(name).eval()
    network = split_network(detector, torch.zeros(1, 3, 96, 96))
    assert type(network) is kind
    assert network.nms == nms
    equal_to_predict(network, detector)


def test_kinds_of_output_keep_their_levels() -> None:
    network = split_network(tiny_detectors.build("atss").eval(), torch.zeros(1, 3, 96, 96))
    assert isinstance(network, DenseNetwork)
    assert network.levels == (3, 3, 3)  # classes, boxes, centreness on three levels


def test_without_samples_an_image_fills_its_batch() -> None:
    network = split_network(tiny_detectors.build("faster").eval(), torch.zeros(1, 3, 96, 96))
    inputs, samples = seen()
    with network.with_samples(samples):
        pass
    with torch.no_grad():
        assert network(inputs)[0].shape[1] == 5

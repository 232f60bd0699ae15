"""What is read from a detector before any image exists: the similarity of its classes, and the range of its boxes."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import pytest
import torch

from c2d.core.errors import InputError
from c2d.impressions.sampling.box_prior import BoxPrior, box_prior
from c2d.impressions.sampling.class_similarity import class_similarity, classifier_rows
from tests.c2d import tiny_detectors

CLASS_LAYERS = {
    "retinanet": "bbox_head.retina_cls",
    "gfl": "bbox_head.gfl_cls",
    "fcos": "bbox_head.conv_cls",
    "atss": "bbox_head.atss_cls",
    "faster": "roi_head.bbox_head.fc_cls",
    "cascade": "roi_head.bbox_head.2.fc_cls",
}
# By hand: cos(a, b) = 0, cos(a, c) = -1, cos(b, c) = 0.
ROWS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
SIMILARITY = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.0]]).double()


def set_rows(layer: Any, background: bool) -> None:
    """Write ROWS in the weights of a class layer, the same for every anchor; the background is like class 0."""
    rows = torch.cat([ROWS, ROWS[:1]]) if background else ROWS
    anchors = len(layer.weight) // len(rows)
    flat = torch.zeros(len(rows), layer.weight[0].numel())
    flat[:, :2] = rows
    layer.weight.data[:] = flat.repeat(anchors, 1).reshape(layer.weight.shape)


@pytest.mark.parametrize("family", CLASS_LAYERS)
def test_similarity_is_the_cosine_of_rows_without_background(family: str) -> None:
    network = tiny_detectors.build(family)
    set_rows(network.get_submodule(CLASS_LAYERS[family]), background=family in ("faster", "cascade"))
    assert [len(rows) for rows in classifier_rows(network)] == [3]
    assert torch.allclose(class_similarity(network), SIMILARITY)


def test_ssd_has_rows_on_every_level_and_a_background() -> None:
    network: Any = tiny_detectors.build("ssd")
    for level in network.bbox_head.cls_convs:
        set_rows(level[-1], background=True)
    assert [tuple(rows.shape) for rows in classifier_rows(network)] == [(3, 72), (3, 144), (3, 288)]
    assert torch.allclose(class_similarity(network), SIMILARITY)


def test_rows_of_several_anchors_are_averaged() -> None:
    network: Any = tiny_detectors.build("retinanet")
    layer = network.bbox_head.retina_cls
    assert len(layer.weight) == 9
    (rows,) = classifier_rows(network)
    literal = torch.stack([(layer.weight[c] + layer.weight[3 + c] + layer.weight[6 + c]) / 3 for c in range(3)])
    assert torch.allclose(rows, literal.double().reshape(3, -1), atol=1e-7)


def test_rows_belong_to_the_logits_of_their_class() -> None:
    """The channels of one class, found by the outputs: a change of its rows changes its logits alone."""
    network: Any = tiny_detectors.build("retinanet").eval()
    image = torch.randn(1, 3, 64, 64)
    before = network._forward(image)[0][0]
    network.bbox_head.retina_cls.weight.data.view(3, 3, -1)[:, 1] += 1  # anchor, class
    changed = (network._forward(image)[0][0] - before).permute(0, 2, 3, 1).reshape(-1, 3).abs().amax(0) > 1e-6
    assert changed.tolist() == [False, True, False]


def test_one_class_is_similar_to_itself() -> None:
    assert class_similarity(tiny_detectors.build("retinanet", num_classes=1)).tolist() == [[1.0]]


def test_equal_rows_are_all_similar() -> None:
    network: Any = tiny_detectors.build("gfl")
    network.bbox_head.gfl_cls.weight.data[:] = 1.0
    assert class_similarity(network).tolist() == [[1.0] * 3] * 3


def test_an_unknown_class_layer_is_refused() -> None:
    network: Any = tiny_detectors.build("gfl")
    del network.bbox_head.gfl_cls
    with pytest.raises(InputError, match=r"set targets\.soft_labels to false"):
        class_similarity(network)
    with pytest.raises(InputError, match="supported families"):
        class_similarity(tiny_detectors.build("yolov3"))


@pytest.mark.parametrize(
    ("family", "side_px", "ratio"),
    [
        ("retinanet", (16, 64), (0.5, 2)),  # 4 strides, strides 4, 8, 16
        ("faster", (16, 64), (0.5, 2)),
        ("cascade", (16, 64), (0.5, 2)),
        ("ssd", (12, sqrt(48 * 80)), (1 / 3, 3)),
        ("gfl", (4, 96), (0.5, 2)),  # one square a cell is a point: from a cell of stride 4 to the image
        ("atss", (4, 96), (0.5, 2)),
        ("fcos", (4, 96), (0.5, 2)),
    ],
)
def test_range_of_each_family(family: str, side_px: tuple[float, float], ratio: tuple[float, float]) -> None:
    prior = box_prior(tiny_detectors.build(family), 96)
    assert [96 * side for side in prior.side] == pytest.approx(side_px)
    assert prior.ratio == pytest.approx(ratio)


def test_anchors_that_do_not_fit_are_left_out() -> None:
    network = tiny_detectors.build("retinanet")
    assert [48 * side for side in box_prior(network, 48).side] == pytest.approx((16, 32))
    # Only the tall and the wide anchor of 16 px are larger than 20 px.
    assert box_prior(network, 20) == BoxPrior((0.8, 0.8), (1.0, 1.0))
    with pytest.raises(InputError, match=r"fits into an image of 10 px, the smallest is 16 px"):
        box_prior(network, 10)


def test_regression_ranges_bound_the_boxes_of_points() -> None:
    network: Any = tiny_detectors.build("fcos")
    network.bbox_head.regress_ranges = ((10, 16), (16, 20), (20, 30))
    assert [96 * side for side in box_prior(network, 96).side] == pytest.approx((10, 60))
    network.bbox_head.regress_ranges = ((120, 200), (200, 300), (300, inf))
    with pytest.raises(InputError, match=r"targets\.boxes to uniform"):
        box_prior(network, 96)

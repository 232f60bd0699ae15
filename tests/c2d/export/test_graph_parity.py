"""The comparison of a graph with the stock student, on boxes written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from c2d.core.errors import RunError
from c2d.export.exported_facts import without_places
from c2d.export.graph_parity import ImageDetections, ResizedImage, compare
from c2d.export.runtimes import Detect

BOXES = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 30], [0, 50, 30, 90.0]])
SCORES, LABELS = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 1, 2])
IMAGE = ResizedImage(np.zeros((96, 96, 3), np.uint8), ImageDetections(BOXES, SCORES, LABELS))


def graph(boxes: np.ndarray = BOXES, scores: np.ndarray = SCORES, labels: np.ndarray = LABELS) -> Detect:
    return lambda _image: (boxes, scores, labels)


def test_equal_up_to_the_order() -> None:
    order = [2, 0, 3, 1]
    found = compare("model.onnx", graph(BOXES[order], SCORES[order], LABELS[order]), [IMAGE])
    assert (found.detections, found.unmatched, found.box_px, found.score) == (4, 0, 0.0, 0.0)


def test_the_largest_difference_is_of_partners() -> None:
    moved = BOXES.copy()
    moved[1, 2] += 0.25
    found = compare("model.onnx", graph(moved, SCORES - 0.001), [IMAGE, IMAGE])
    assert (found.images, found.detections, found.unmatched, found.box_px) == (2, 8, 0, 0.25)
    assert found.score == pytest.approx(0.001)


@pytest.mark.parametrize(
    "other",
    [
        graph(BOXES + 0.6),
        graph(scores=SCORES - 0.003),
        graph(labels=LABELS + 1),
        graph(BOXES[:1], SCORES[:1], LABELS[:1]),
        graph(np.repeat(BOXES, 2, 0), np.repeat(SCORES, 2), np.repeat(LABELS, 2)),
    ],
)
def test_what_differs_is_refused(other: Detect) -> None:
    with pytest.raises(RunError, match=r"does not agree with the stock student"):
        compare("model.onnx", other, [IMAGE])


def test_paths_keep_their_last_part() -> None:
    given = {"source": "/home/anna/zoo/net.pth", "list": ["package:efficientnet-lite0", "C:\\data\\me\\x.pth", "a/b"]}
    assert without_places(given) == {"source": "net.pth", "list": ["package:efficientnet-lite0", "x.pth", "a/b"]}
    assert without_places("from https://example.org/a/b.pth") == "from https://example.org/a/b.pth"

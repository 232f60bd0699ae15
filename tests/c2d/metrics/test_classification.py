"""Classifier scores by paper and pencil."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from c2d.core.errors import InputError
from c2d.metrics.classification import BINS, score


def test_four_samples_computed_by_hand():
    # Two classes, p(first) = 3/4 for all: three of four are right, so confidence and accuracy agree.
    logits = np.tile([math.log(3.0), 0.0], (4, 1))
    result = score(logits, np.array([0, 0, 0, 1]))
    assert result["n"] == 4
    assert result["top1"] == 0.75
    assert result["top5"] is None
    assert result["nll"] == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4)
    assert result["ece"] == pytest.approx(0, abs=1e-12)
    full = [b for b in result["bins"] if b["n"]]
    assert len(full) == 1
    assert full[0]["low"] < 0.75 <= full[0]["high"]
    assert result["per_class"] == {"0": {"n": 3, "top1": 1.0}, "1": {"n": 1, "top1": 0.0}}


def test_overconfidence_is_the_calibration_error():
    logits = np.array([[50.0, 0, 0], [50.0, 0, 0]])
    result = score(logits, np.array([0, 1]), ["cat", "dog", "owl"])
    assert result["ece"] == pytest.approx(0.5)
    assert result["per_class"]["owl"] == {"n": 0, "top1": None}
    assert len(result["bins"]) == BINS
    assert result["bins"][-1] == {
        "low": pytest.approx(14 / 15),
        "high": 1.0,
        "n": 2,
        "confidence": 1.0,
        "accuracy": 0.5,
    }


def test_top5_and_equal_logits():
    logits = np.arange(6, dtype=float)[None].repeat(2, axis=0)
    assert score(logits, np.array([1, 0]))["top5"] == 0.5  # the true class is fifth, then sixth
    assert score(np.zeros((1, 6)), np.array([0]))["top1"] == 0  # a tie is no hit
    assert score(np.zeros((1, 6)), np.array([0]))["ece"] == pytest.approx(1 / 6)


def test_ece_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (500, 7)), rng.integers(0, 7, 500)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = [math.exp(v - max(row)) for v in row]
        best = max(range(7), key=row.__getitem__)
        confidence = p[best] / sum(p)
        bins.setdefault(math.ceil(confidence * 15), []).append((confidence, best == label))
    expected = sum(abs(sum(c for c, _ in b) - sum(h for _, h in b)) for b in bins.values()) / 500
    result = score(logits, labels)
    assert result["ece"] == pytest.approx(expected, abs=1e-12)
    assert result["top1"] == (logits.argmax(1) == labels).mean()
    json.dumps(result, allow_nan=False)


def test_no_samples_are_undefined_and_huge_logits_do_not_overflow():
    empty = score(np.zeros((0, 5)), np.zeros(0, int))
    assert empty["n"] == 0
    assert empty["top1"] is empty["top5"] is empty["nll"] is empty["ece"] is None
    assert score(np.array([[1e4, -1e4]]), np.array([1]))["nll"] == pytest.approx(2e4)


@pytest.mark.parametrize(
    ("logits", "labels", "names", "message"),
    [
        (np.zeros((2, 3)), np.zeros(3, int), None, r"logits \(2, 3\) and labels \(3,\) do not fit"),
        (np.zeros((1, 3)), np.array([3]), None, r"labels run from 3 to 3; the logits have classes 0..2"),
        (np.zeros((1, 3)), np.array([0.0]), None, r"labels are float64"),
        (np.array([[0.0, math.nan]]), np.array([0]), None, r"logits of sample 0 are not finite"),
        (np.zeros((1, 3)), np.array([0]), ["a", "b"], r"2 class names \(2 different\) for 3 columns"),
    ],
)
def test_input_that_does_not_fit_is_refused(logits, labels, names, message):
    with pytest.raises(InputError, match=message):
        score(logits, labels, names)

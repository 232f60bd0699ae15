"""Calibration of the scores of a detector: how often a detection with score s is correct.

A detection is correct where COCO's matching at the IoU threshold gives it an object. Scores are put into bins of equal
width (low < score <= high, the first with 0). Missed objects are in no bin: a score says nothing about them.

  D-ECE   sum over bins of n_bin / N x |precision - mean score|, all classes together. Küppers, Kronenberger, Shantia
          and Haselhoff, "Multivariate Confidence Calibration for Object Detection", CVPR Workshops 2020, with the
          confidence as the only dimension.
  LaECE   mean over classes of the sum over bins of n_bin / N_class x |mean score - precision x mean IoU of the correct
          ones|. Oksuz, Joy and Dokania, "Towards Building Self-Aware Object Detectors via Reliable Uncertainty
          Quantification and Calibration", CVPR 2023: a score should be the precision times the quality of the box.
          Classes without a detection have no term. With 25 bins, as in the paper, which takes IoU 0.1.

Both depend on the bins, the IoU threshold and on which detections are stored: most have low scores, and dominate N.
So numbers of two papers can be compared only where these are equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from c2d.metrics.coco_data import Array
from c2d.metrics.operating_points import ScoredMatches

BINS = 20
LAECE_BINS = 25


def calibration(matches: ScoredMatches, min_score: float = 0.0) -> dict[str, Any]:
    """Compute the reliability diagram, D-ECE and LaECE.

    Args:
        matches: of `c2d.metrics.operating_points.scored_matches`.
        min_score: smallest score of a detection that counts.

    Returns:
        A dict that JSON can hold: `n` detections; `d_ece` and `la_ece` in 0-1 (None without detections); `bins`, 20 of
        {low, high, n, score, precision} (means, None in an empty bin).
    """
    keep = matches.score >= min_score
    score, correct, cls = matches.score[keep], matches.correct[keep], matches.cls[keep]
    edges, n, mean_score, precision = _bins(score, correct.astype(float), BINS)
    full = n > 0
    errors = [_la_ece(score[cls == k], correct[cls == k], matches.iou[keep][cls == k]) for k in np.unique(cls)]
    gaps = n[full] * np.abs(precision[full] - mean_score[full])
    return {
        "n": len(score),
        "d_ece": float(gaps.sum() / len(score)) if len(score) else None,
        "la_ece": float(np.mean(errors)) if errors else None,
        "bins": [
            {"low": float(edges[b]), "high": float(edges[b + 1]), "n": int(n[b]),
             "score": float(mean_score[b]) if full[b] else None,
             "precision": float(precision[b]) if full[b] else None}
            for b in range(BINS)
        ],
    }  # fmt: skip


def _la_ece(score: Array, correct: Array, iou: Array) -> float:
    """Error of one class; precision x mean IoU of the correct ones is the sum of their IoU over all of the bin."""
    _, n, mean_score, quality = _bins(score, np.where(correct, iou, 0.0), LAECE_BINS)
    full = n > 0
    return float((n[full] * np.abs(mean_score[full] - quality[full])).sum() / len(score))


def _bins(score: Array, value: Array, count: int) -> tuple[Array, Array, Array, Array]:
    """Return edges (count + 1,), and of each bin the number, mean score and mean value; means are NaN in empty ones."""
    edges = np.linspace(0.0, 1.0, count + 1)
    place = np.clip(np.searchsorted(edges, score, side="left") - 1, 0, count - 1)
    n = np.bincount(place, minlength=count)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights, minlength=count) / n for weights in (score, value)]
    return edges, n, means[0], means[1]

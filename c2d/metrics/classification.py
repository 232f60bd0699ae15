"""Accuracy, likelihood and calibration of a classifier.

Calibration follows Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017): 15 bins of equal width over the
confidence of the predicted class; the expected calibration error weighs |accuracy - confidence| by the bin's share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2d.core.errors import InputError

BINS = 15


def score(logits: ArrayLike, labels: ArrayLike, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Compute accuracy, likelihood and calibration of softmax probabilities.

    Args:
        logits: (n, C) finite numbers before the softmax.
        labels: (n,) true classes, integers in 0..C-1.
        classes: C names for `per_class`; positions as text if left out.

    Returns:
        A dict that JSON can hold: `n`; `top1`, `top5` (None below five classes) in 0-1, where an equal logit of another
        class counts against the true one; `nll`, mean negative log likelihood in nats; `ece` in 0-1; `bins`, 15 of
        {low, high, n, confidence, accuracy} (a bin holds low < confidence <= high; means are None in an empty bin);
        `per_class` {name: {n, top1}}. Means over no sample (n is 0, an absent class) are None.

    Raises:
        InputError: shapes that do not fit, labels outside 0..C-1, logits that are not finite, names that do not fit.
    """
    z, y = _check(logits, labels)
    n, count = z.shape
    names = [str(k) for k in range(count)] if classes is None else [str(name) for name in classes]
    if len(names) != count or len(set(names)) != count:
        raise InputError(f"{len(names)} class names ({len(set(names))} different) for {count} columns of logits")
    # The largest logit becomes 0, so that exp cannot overflow.
    log_p = z - z.max(axis=1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    true = z[np.arange(n), y][:, None]
    rank = (z >= true).sum(axis=1)  # 1 when the true class alone has the largest logit
    hit = rank <= 1
    confidence = np.exp(log_p.max(axis=1))
    bins = _bins(confidence, hit)
    gaps = [b["n"] * abs(b["accuracy"] - b["confidence"]) for b in bins if b["n"]]
    return {
        "n": n,
        "top1": _mean(hit),
        "top5": _mean(rank <= 5) if count >= 5 else None,
        "nll": _mean(-log_p[np.arange(n), y]),
        "ece": float(sum(gaps) / n) if n else None,
        "bins": bins,
        "per_class": {name: {"n": int((y == k).sum()), "top1": _mean(hit[y == k])} for k, name in enumerate(names)},
    }


def _bins(confidence: NDArray[Any], hit: NDArray[Any]) -> list[dict[str, Any]]:
    edges = np.linspace(0.0, 1.0, BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    return [
        {
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "n": int((place == b).sum()),
            "confidence": _mean(confidence[place == b]),
            "accuracy": _mean(hit[place == b]),
        }
        for b in range(BINS)
    ]


def _mean(values: NDArray[Any]) -> float | None:
    return float(np.mean(values)) if values.size else None


def _check(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if z.ndim != 2 or y.shape != z.shape[:1] or z.shape[1] == 0:
        raise InputError(f"logits {z.shape} and labels {y.shape} do not fit; expected (n, classes) and (n,)")
    if y.size and not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"labels are {y.dtype}; expected integers 0..{z.shape[1] - 1}")
    y = y.astype(np.int64)
    if y.size and (y.min() < 0 or y.max() >= z.shape[1]):
        raise InputError(f"labels run from {y.min()} to {y.max()}; the logits have classes 0..{z.shape[1] - 1}")
    if not np.isfinite(z).all():
        row = int(np.flatnonzero(~np.all(np.isfinite(z), axis=1))[0])
        raise InputError(f"logits of sample {row} are not finite: {z[row].tolist()!r:.80}")
    return z, y

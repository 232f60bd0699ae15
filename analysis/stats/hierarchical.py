"""Two methods, several seeds each, one set of images: is one better for other seeds and for other images?

A comparison over seeds alone (`analysis.stats.seed_statistics`) takes the images as fixed; one over images alone
(`analysis.stats.bootstrap`) takes the seeds as fixed. Here both are random. The difference of seed s is d_s. Its mean
over n seeds has an error because seeds differ, because images differ, and because seeds differ more on some images than
on others. Three variances measure it:

    S   seeds          variance of the d_s / n; holds the seeds' own part and 1/n of the interaction
    B   images         variance of the mean difference under the bootstrap over images (c2d.metrics.resampling, the same
                       draws for every seed); holds the images' own part and 1/n of the interaction, too
    C   interaction    mean variance of a single d_s under the same bootstrap, less B, / (n - 1): that 1/n, held twice

    variance = S + T,  T = max(B - C, 0)     mean ± t(df) sqrt(S + T),   df = (n - 1) (S + T) / S for many images

A percentile bootstrap over 3 or 5 seeds and images covers too little, because so few seeds cannot show their spread;
so the interval is a t interval. Satterthwaite's degrees of freedom, (n - 1) ((S + T) / S)^2, grow too much where S is
small by chance: with 3 seeds they cover 92 % where 90 % of the variance is from seeds. With one power less the interval
covers 94 to 96 % whatever the shares of seeds and images (docs/results/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.bootstrap import FEW_IMAGES, RESAMPLES, Detections, full_set_values, matched_curves
from analysis.stats.permutation import LEVEL
from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array
from c2d.metrics.resampling.resampled_ap import resampled

ImageVariance = tuple[float, float]
"""Variance over images of the mean of all seeds' differences, and the mean variance of a single seed's."""


@dataclass(frozen=True)
class SeedImageDifference:
    """One method minus another over seeds and images, in 0-1.

    Attributes:
        mean: mean of the seeds' differences.
        sd: sample standard deviation of the seeds' differences (ddof 1).
        n: number of seeds.
        images: number of images.
        low, high: 95 % interval of the mean; None where nothing varies.
        p: two-sided p value; None where nothing varies.
        seed_variance, image_variance: the parts S and T of the variance of `mean`; their roots are standard errors.
        df: degrees of freedom of t; None where nothing varies.
        interval, test: names of both, or why there is none.
    """

    mean: float
    sd: float
    n: int
    images: int
    low: float | None
    high: float | None
    p: float | None
    seed_variance: float
    image_variance: float
    df: float | None
    interval: str
    test: str

    def interval_at(self, level: float) -> tuple[float, float]:
        """Return the t interval (low, high) of another level (0-1) of a difference that has a test."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.df, 0.5 + level / 2)) * math.sqrt(self.seed_variance + self.image_variance)
        return self.mean - half, self.mean + half


def compare_over_seeds_and_images(
    targets: Mapping[str, Any] | None,
    a: Sequence[Detections],
    b: Sequence[Detections],
    metric: str = "AP",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SeedImageDifference:
    """Compare two methods, a - b, over seeds and images.

    Args:
        targets: COCO ground truth, or None where all detections are `CocoData` already.
        a, b: one entry a seed, the same seeds in the same order: a COCO results list or a `CocoData`.
        metric: AP, AP50 or AP75.
        resamples: number of draws of the images.
        seed: of the draws.

    Raises:
        InputError: fewer than 2 seeds, or not as many on both sides; else as
            `analysis.stats.bootstrap.compare_over_images`.
    """
    if len(a) != len(b):
        raise InputError(f"{len(a)} seeds against {len(b)}: give the same seeds, in the same order, on both sides")
    _enough(len(a))
    n = len(a)
    curves = matched_curves(targets, [*a, *b], metric)
    values = np.array(full_set_values(curves))
    drawn = resampled(curves, resamples, seed)
    d = drawn[:n] - drawn[n:]
    return combine(values[:n] - values[n:], lambda: bootstrap_variance(d), curves[0].images)


def bootstrap_variance(drawn: Array) -> ImageVariance:
    """Return the two variances over images.

    Args:
        drawn: (seeds, resamples) float64, differences in 0-1 under the same draws of images. Draws without any object
            are NaN and left out.
    """
    defined = drawn[:, ~np.isnan(drawn).any(axis=0)]
    return float(defined.mean(axis=0).var(ddof=1)), float(defined.var(axis=1, ddof=1).mean())


def combine(differences: Array, image_variance: Callable[[], ImageVariance], images: int) -> SeedImageDifference:
    """Compute interval and test from the seeds' differences and the variances over images.

    Args:
        differences: (n,) float64, one value a seed, on all images.
        image_variance: returns the two variances over images; `compare_over_seeds_and_images` takes them from its
            bootstrap.
        images: number of images.

    Raises:
        InputError: fewer than 2 seeds.
    """
    from scipy.special import stdtr, stdtrit

    d = np.asarray(differences, float)
    n = len(d)
    _enough(n)
    mean, sd = float(d.mean()), float(d.std(ddof=1))
    together, single = image_variance()
    seeds = sd**2 / n
    # Both differences are estimates of variances; by chance they can come out below 0.
    over = max(together - max(single - together, 0.0) / (n - 1), 0.0)
    total = seeds + over
    few = "; n = 2 covers 90 to 97 %" if n == 2 else ""  # by simulation, docs/results/statistics.md
    few += f"; {images} images are few: covers less than 95 %" if images < FEW_IMAGES else ""
    name = f"over {n} seeds and {images} images"
    if total == 0:
        reason = f"none: no spread {name}"
        return SeedImageDifference(mean, sd, n, images, None, None, None, 0.0, 0.0, None, reason, reason)
    # Harmonic mean of n - 1 and images - 1, weighted by the shares of S and T: one power less than Satterthwaite's.
    df = total / (seeds / (n - 1) + over / (images - 1))
    half = float(stdtrit(df, 0.5 + LEVEL / 2)) * math.sqrt(total)
    p = float(2 * stdtr(df, -abs(mean) / math.sqrt(total)))
    return SeedImageDifference(
        mean, sd, n, images, mean - half, mean + half, p, seeds, over, df,
        f"95 % t of variance components {name}{few}", f"t of variance components {name}",
    )  # fmt: skip


def _enough(n: int) -> None:
    if n < 2:
        raise InputError(
            f"{n} seed on each side cannot show how seeds differ; give 2 or more, "
            "or compare the two checkpoints over images (analysis.stats.bootstrap.compare_over_images)"
        )

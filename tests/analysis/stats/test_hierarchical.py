"""Seeds and images together: by paper and pencil, at its two ends, and on detections."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats import hierarchical
from analysis.stats.seed_statistics import paired
from c2d.core.errors import InputError
from c2d.metrics import coco
from c2d.metrics.resampling.resampled_ap import Curves, resampled
from tests.analysis.toy_detectors import two_detectors


def test_by_paper_and_pencil():
    # Seeds 1, 2, 3: S = 1/3. Images: B = 0.5 and 0.7 for a single seed, so C = 0.2 / 2 = 0.1 and T = 0.4.
    found = hierarchical.combine(np.array([1.0, 2.0, 3.0]), lambda: (0.5, 0.7), 1_000_000)
    assert (found.mean, found.sd, found.n, found.images) == (2.0, 1.0, 3, 1_000_000)
    assert found.seed_variance == pytest.approx(1 / 3)
    assert found.image_variance == pytest.approx(0.4)
    assert found.df == pytest.approx(2 * (1 / 3 + 0.4) / (1 / 3), rel=1e-5)  # 4.4
    assert found.high == pytest.approx(2 + 2.680 * math.sqrt(1 / 3 + 0.4), abs=2e-3)
    assert found.low == pytest.approx(2 - 2.680 * math.sqrt(1 / 3 + 0.4), abs=2e-3)
    assert found.interval == "95 % t of variance components over 3 seeds and 1000000 images"


def test_images_that_add_nothing_leave_the_paired_t_test():
    d = np.array([0.01, 0.03, 0.02, 0.05])
    found, expected = hierarchical.combine(d, lambda: (0.0, 0.0), 500), paired(d, np.zeros(4))
    ends = (found.low, found.high, found.p)
    assert ends == pytest.approx((expected.low, expected.high, expected.p))
    # All that images do may be interaction, which the seeds' spread holds already.
    same = hierarchical.combine(d, lambda: (0.001, 0.004), 500)
    assert same.image_variance == 0
    assert same.p == found.p


def test_seeds_that_are_alike_leave_a_normal_interval_over_images():
    found = hierarchical.combine(np.array([0.3, 0.3, 0.3]), lambda: (0.01, 0.01), 100_000)
    assert found.seed_variance == 0
    assert found.high == pytest.approx(0.3 + 1.96 * 0.1, abs=1e-4)


def test_nothing_varies_and_one_seed():
    found = hierarchical.combine(np.array([0.3, 0.3]), lambda: (0.0, 0.0), 100)
    assert (found.mean, found.p, found.low) == (0.3, None, None)
    assert found.test == "none: no spread over 2 seeds and 100 images"
    a, b = two_detectors(np.random.default_rng(0), 20)
    with pytest.raises(InputError, match=r"1 seed .*compare the two checkpoints over images"):
        hierarchical.compare_over_seeds_and_images(None, [a], [b])
    with pytest.raises(InputError, match="1 seeds against 2"):
        hierarchical.compare_over_seeds_and_images(None, [a], [b, b])


def test_on_detections():
    # Seeds of two methods on the same images: the same objects, detected anew for each seed.
    runs = [two_detectors(np.random.default_rng(5), 60, jitter=(0.06, 0.1), repeat=s) for s in range(3)]
    a, b = zip(*runs, strict=True)
    found = hierarchical.compare_over_seeds_and_images(None, a, b, "AP50", resamples=200)
    d = [coco.evaluate(x)["AP50"] - coco.evaluate(y)["AP50"] for x, y in runs]
    assert found.mean == pytest.approx(np.mean(d), abs=1e-12)
    assert found.sd == pytest.approx(np.std(d, ddof=1))
    assert found.seed_variance == pytest.approx(np.var(d, ddof=1) / 3)
    drawn = resampled([Curves(x, "AP50") for x in (*a, *b)], 200, seed=0)
    drawn = drawn[:3] - drawn[3:]
    together, single = drawn.mean(axis=0).var(ddof=1), drawn.var(axis=1, ddof=1).mean()
    assert 0 < together < single
    assert found.image_variance == pytest.approx(max(together - (single - together) / 2, 0))
    assert found.p is not None
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)  # type: ignore[operator]
    assert found == hierarchical.compare_over_seeds_and_images(None, a, b, "AP50", resamples=200)

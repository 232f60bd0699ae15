"""Simulate the intervals of `c2d compare`: how often they hold the true differences. `make simulate`, minutes each.

    python -m tests.analysis.comparison.simulate_intervals [--repeats 400] [--images 8 25 100 ...]

Two simulated detectors on the same simulated images (`tests.analysis.toy_detectors`). With equal settings both are
exchangeable, so every true difference is 0; with others the truth is that of 160,000 other images. AP, AP50 and AP75
each have an interval of their own; those of classes, sizes and TIDE errors have to hold all rows of their table at
once. Results: docs/results/statistics.md.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from analysis.comparison.comparison import Change
from analysis.comparison.image_differences import ImageDifferences, image_differences
from tests.analysis.toy_detectors import two_detectors

SETTINGS: dict[str, dict[str, Any]] = {
    "equal": {},
    "different": {"jitter": (0.09, 0.07), "found": (0.8, 0.85)},
}
TABLES = ("per_class", "per_size", "tide")
IMAGES, CLASSES = (15, 25, 50, 100, 200), (3, 10)


def differences(found: ImageDifferences) -> dict[str, float | None]:
    """All differences by table and name."""
    return {f"{table}.{one.name}": one.difference for table in ("overall", *TABLES) for one in getattr(found, table)}


def population(settings: dict[str, Any], sets: int = 8, images: int = 20_000) -> dict[str, float]:
    """The differences on so many images that what is left of chance does not matter."""
    rng = np.random.default_rng(99)
    found = [differences(image_differences(*two_detectors(rng, images, **settings), 0.5, 1, 0)) for _ in range(sets)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def coverage(
    settings: dict[str, Any], images: int, truth: dict[str, float], repeats: int, samples: int
) -> dict[str, list[bool]]:
    """Whether each interval of `overall` holds, and whether each table does with all its rows, in every repeat."""
    rng = np.random.default_rng([images, settings.get("classes", 3)])
    held: dict[str, list[bool]] = {}

    def holds(table: str, one: Change) -> bool:
        assert one.low is not None
        assert one.high is not None
        return one.low <= truth.get(f"{table}.{one.name}", 0.0) <= one.high

    for repeat in range(repeats):
        a, b = two_detectors(rng, images, **settings)
        if not len(a.gt_image):
            continue
        found = image_differences(a, b, 0.5, samples, repeat)
        for one in found.overall:
            if one.low is not None:
                held.setdefault(one.name, []).append(holds("overall", one))
        for table in TABLES:
            rows = [one for one in getattr(found, table) if one.low is not None]
            if rows:
                held.setdefault(table, []).append(all(holds(table, one) for one in rows))
    return held


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--samples", type=int, default=500, help="resamples of the images")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--detectors", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    options = parser.parse_args()
    clock = time.process_time()
    columns = ("AP", "AP50", "AP75", *TABLES)
    print("| detectors | classes | images | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 3) + "|")
    for name in options.detectors:
        settings = SETTINGS[name]
        for classes in options.classes:
            named = {"classes": classes, **settings}
            truth = population(named) if settings else {}
            for images in options.images:
                held = coverage(named, images, truth, options.repeats, options.samples)
                shown = " | ".join(f"{100 * np.mean(held[one]):.1f}" if one in held else "" for one in columns)
                print(f"| {name} | {classes} | {images} | {shown} |", flush=True)
    print(f"\n{options.repeats} repeats, {options.samples} resamples, {time.process_time() - clock:.0f} s of a core")


if __name__ == "__main__":
    main()

"""Speed on a set of COCO's size. Slow: run with `pytest -m slow tests/analysis/test_scale.py -s`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.scenes import synthetic

# In a fresh process: pytest's collected objects make Python's garbage collector, and so reading JSON, slower.
MEASURE = """
import json, sys, time
from analysis import coco, tide
from analysis.inputs import prepare
clock = [time.perf_counter()]
def lap():
    clock.append(time.perf_counter())
targets, detections = (json.load(open(path)) for path in sys.argv[1:])
lap()
data = prepare(targets, detections)
lap()
numbers = coco.evaluate(data)
lap()
totals = tide.evaluate(data, per_class=False, per_size=False)
lap()
fine = tide.evaluate(data, None, "own", ious=tide.IOUS)
lap()
names = "read prepare coco tide_totals tide_class_size_ious".split()
print(json.dumps({
    "seconds": {n: round(b - a, 2) for n, a, b in zip(names, clock, clock[1:])},
    "AP50": [numbers["AP50"], totals["AP"], fine["AP"]],
    "gap": max(abs(totals["dAP"][e] - fine["dAP"][e]) for e in fine["dAP"]),
    "counts": totals["counts"] == fine["counts"],
}))
"""


@pytest.mark.slow
def test_five_thousand_images_with_480_000_detections(tmp_path: Path) -> None:
    paths = [tmp_path / "targets.json", tmp_path / "detections.json"]
    for path, content in zip(paths, synthetic(5000, 80, 7, 96), strict=True):
        path.write_text(json.dumps(content))
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True, check=True, env=env
    )
    found = json.loads(done.stdout)
    print(found)
    seconds = found["seconds"]
    assert found["counts"]
    assert found["gap"] <= 1e-12
    assert found["AP50"] == pytest.approx([found["AP50"][0]] * 3, abs=1e-12)
    # Wide limits: a shared machine may be several times slower. The printed figures are what counts.
    assert seconds["prepare"] + seconds["coco"] + seconds["tide_totals"] < 15
    assert seconds["tide_class_size_ious"] < 60

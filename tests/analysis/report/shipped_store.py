"""The store of "A report of eight sweeps" in docs/results/benchmarks.md: those sweeps, synthetic and finished.

python -m tests.analysis.report.shipped_store runs
time c2d report --runs runs --out report --cache cache
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.suite import synthetic_run
from benchmarks.suite.synthetic_store import plain_value
from tests.analysis.planned_store import planned

SWEEPS = ("icod-students", "icod-weight-temperature", "icod-teacher", "icod-crop-size", "icod-pooling", "icod-layers",
          "icod-detectors", "rivals")  # fmt: skip


def make_shipped_store(runs: Path) -> int:
    """Write the store; its files get a time of one hour ago, as those of finished runs have.

    A run that several sweeps share is written once. The student is named by the start of the run's id.

    Args:
        runs: a folder that does not exist.

    Returns:
        The number of detector runs.
    """
    count = 0
    for name in SWEEPS:
        record, _ = planned(name)
        synthetic_run.write_json(runs / "sweeps" / f"{name}.json", record)
        for teacher in record["teachers"]:
            synthetic_run.write_teacher(runs, teacher)
        for cell in record["cells"]:
            path = runs / cell["run"]
            if path.exists():
                continue
            labels = {"method": cell["labels"]["method"], "model": "-".join(path.name.split("-")[:2])}
            teacher, *_ = record["needs"].get(path.name, [""])
            value = plain_value(cell["labels"], cell["seed"])
            synthetic_run.write_student(path, labels, cell["seed"], "done", value, teacher, {})
            count += 1
    before = time.time_ns() - 3600 * 10**9
    for path in [*runs.rglob("*"), runs]:
        os.utime(path, ns=(before, before))
    return count


if __name__ == "__main__":
    print(f"{make_shipped_store(Path(sys.argv[1]))} detector runs in {sys.argv[1]}")

"""Part `many`: `status` and `report` on a store of 100,000 run folders."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.trust.many_runs import PART, make_many_runs
from tests.trust.part import Outcome, Row, measure

COUNT = int(os.environ.get("C2D_TRUST_STORE", "100000"))
STATUS_GOAL_S, REPORT_GOAL_S = 10.0, 60.0
LIMIT_S, NO_GOAL_S = 400, 400.0
READ = "read"
READ_ALL = """
import gc, sys
from pathlib import Path
from analysis.loading.load import read_study
gc.freeze(); gc.set_threshold(100_000, 20, 50)
read_study(Path(sys.argv[1]), (), Path(sys.argv[2]))
"""


def rows(scratch: Path) -> Iterator[Row]:
    """Make the store, then time each command in a process of its own."""
    runs = make_many_runs(scratch / "many", COUNT)
    options = ["--runs", str(runs)]
    cache = str(scratch / "cache")
    out = ["--out", str(scratch / "out"), "--cache", cache]
    commands: list[tuple[str, list[str], float]] = [
        (f"status of a sweep of {PART} runs", ["sweep", "status", "part", *options], STATUS_GOAL_S),
        (f"status of a sweep of all {COUNT}", ["sweep", "status", "all", *options], STATUS_GOAL_S),
        (
            f"report of a sweep of {PART}, nothing in the cache",
            ["report", "--sweep", "part", *options, *out],
            REPORT_GOAL_S,
        ),
        (f"report of a sweep of {PART} again", ["report", "--sweep", "part", *options, *out], REPORT_GOAL_S),
        (f"all {COUNT} read for a report, 94 kB a result, nothing in the cache", [READ, str(runs), cache], NO_GOAL_S),
        (f"all {COUNT} read for a report again", [READ, str(runs), cache], REPORT_GOAL_S),
    ]
    for name, words, goal in commands:
        wanted = f"less than {goal:.0f} s in a store of {COUNT:,} run folders" if goal < NO_GOAL_S else "no goal"
        yield measure("many", name, wanted, lambda w=words, g=goal: _timed(w, g))  # type: ignore[misc]


def _timed(words: list[str], goal_s: float) -> Outcome:
    begun = time.monotonic()
    command = [sys.executable, *(["-c", READ_ALL] if words[0] == READ else ["-m", "c2d", words[0]]), *words[1:]]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return False, f"more than {LIMIT_S} s"
    seconds, usage = time.monotonic() - begun, ended.returncode
    last = (ended.stderr or ended.stdout).strip().splitlines()[-1:] if usage else []
    return usage == 0 and seconds < goal_s, f"{seconds:.1f} s{': ' if last else ''}{' '.join(last)[:120]}"

"""Part `core`: a few cases of each part of the campaign, in half a minute; `make test` runs it too.

It runs in a process of its own: a fork of a process that has imported everything costs nothing, and libfaketime has to
be there from the start.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.trust.clock_faults import JUMPS, LIBRARY, ClockTrial, environment_of_clock, patch_sleep
from tests.trust.disk_faults import DiskTrial, cannot_mount, tmpfs
from tests.trust.killed_training import PHASES, KilledTraining, import_everything, make_tiny_store
from tests.trust.kills import EXPECTED, kill_in_phases, phase_row
from tests.trust.part import Row, measure, rows_of_process
from tests.trust.writers import Writers

KILLS = [*PHASES, "checkpoint", "evaluation"]
FREE_KIB = 120


def rows(scratch: Path) -> Iterator[Row]:
    """Run `main` in a process of its own and return its rows."""
    yield from rows_of_process("core", "tests.trust.core", scratch, environment_of_clock(scratch))


def main(scratch: Path) -> None:
    """Write one line for each row to rows.jsonl."""
    patch_sleep()
    import_everything()
    store = make_tiny_store(scratch / "store")
    with (scratch / "rows.jsonl").open("a") as stream:
        for row in _rows(scratch, KilledTraining(store, scratch / "whole")):
            stream.write(json.dumps(asdict(row)) + "\n")
            stream.flush()
    os._exit(0)  # libraries of torch print pages at the exit


def _rows(scratch: Path, whole: KilledTraining) -> Iterator[Row]:
    kills = kill_in_phases(whole.store, scratch / "kills", KILLS, random.Random(1), kinds=("alone",))
    for phase in PHASES:
        found = [kill for kill in kills if kill["phase"] == phase]
        yield phase_row("core", phase, found, EXPECTED, 0.0)
    if not cannot_mount():
        disk = DiskTrial(whole.store, scratch)
        with tmpfs(scratch / "disk", 24) as place:
            yield measure("core", "full disk", "one line, then equal", lambda: disk.full(place, FREE_KIB))
    clock = ClockTrial(scratch, whole)  # it trains `whole`
    yield measure("core", "two writers", "one trains", lambda: Writers(scratch, whole).trainings(killed=True, rounds=1))
    if LIBRARY.exists():
        yield measure("core", "clock", "equal", lambda: clock.jump("training", JUMPS["ten years forward"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

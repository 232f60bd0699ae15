"""Part `kills-commands`: 25 kills of `c2d report` and 25 of `c2d sweep submit`, side by side in two processes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.trust import killed_report, killed_submission
from tests.trust.forks import Started, start_fork, wait
from tests.trust.kills import KILLS, phase_row
from tests.trust.part import Row

Kills = list[dict[str, Any]]
EXPECTED = {
    "report": "whole files only, the next report into the same folder equal byte for byte, no draft left",
    "submission": "whole files only, `status` right at once, in the end every run submitted exactly once",
}


def rows(scratch: Path) -> Iterator[Row]:
    """One row for the reports, one for the submissions."""
    killed_report.import_everything()
    killed_submission.import_everything()
    begun = time.monotonic()
    works: dict[str, Callable[[Path, int, random.Random], Kills]] = {
        "report": killed_report.kill_reports,
        "submission": killed_submission.kill_submissions,
    }
    started = {name: _start(name, function, scratch) for name, function in works.items()}
    for name, fork in started.items():
        ended = wait(fork, scratch / f"{name}.out")
        if ended.code:
            raise RuntimeError(f"the kills of {name} ended with {ended.code}: {ended.output[-2000:]}")
        kills = json.loads((scratch / f"{name}.json").read_text())
        yield phase_row("kills-commands", name, kills, EXPECTED[name], time.monotonic() - begun)


def _start(name: str, function: Callable[[Path, int, random.Random], Kills], scratch: Path) -> Started:
    def work() -> None:
        (scratch / f"{name}.json").write_text(json.dumps(function(scratch / name, KILLS, random.Random(name))))

    return start_fork(work, scratch / f"{name}.out")

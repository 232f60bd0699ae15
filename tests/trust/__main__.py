"""Run the campaign: `python -m tests.trust [PART...]`; without a name all parts that have no result yet.

Results of the parts are in build/trust until all is done; then they and the tables of docs/results/trust.md are written
(`--page` alone writes them now). An interrupted campaign continues with the part that was interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.trust.page import write_tables
from tests.trust.part import read_part, run_part

ROOT = Path(__file__).parents[2]
RESULTS, PAGE, WORK = (
    ROOT / "docs" / "results" / "trust",
    ROOT / "docs" / "results" / "trust.md",
    ROOT / "build" / "trust",
)
PARTS: dict[str, tuple[str, str]] = {
    "core": ("tests.trust.core", "The core, as in `make test`"),
    "kills": ("tests.trust.kills", "Kills of a training"),
    "kills-commands": ("tests.trust.killed_commands", "Kills of a report and of a submission"),
    "disk": ("tests.trust.disk_faults", "Full, read-only and vanished disks"),
    "clock": ("tests.trust.clock_faults", "Clocks that are set"),
    "writers": ("tests.trust.writers", "Two writers, late files"),
    "planted": ("tests.trust.planted", "Files placed into a run folder between two attempts"),
    "many": ("tests.trust.store_size", "100,000 run folders"),
    "soak": ("tests.trust.soak", "Soak"),
    "odd-data": ("tests.trust.odd_data", "Odd data sets: sizes, counts, names, links, traps"),
    "fuzz": ("tests.trust.fuzz.rows", "Fuzzed parsers"),
}
"""{part: (module with `rows`, heading on the page)}, in the order in which they run."""


def main(arguments: list[str]) -> int:
    """Run parts one after the other, each in a process of its own; return 1 if a row of one has not passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--fresh", action="store_true", help="forget the results of an interrupted campaign")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page from the results that exist")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if given.inside:
        module = importlib.import_module(PARTS[given.inside][0])
        passed = run_part(given.inside, module.rows(Path.cwd()), WORK / f"{given.inside}.json")
        os._exit(0 if passed else 1)  # libraries of torch print pages at the exit of a process that froze its objects
    if given.fresh:
        shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for name in [] if given.page else given.parts or [name for name in PARTS if not _is_complete(name)]:
        print(f"{(time.monotonic() - begun) / 60:5.1f} min  {name}: {PARTS[name][1]}", flush=True)
        _run_inside(name)
    for path in WORK.glob("*.json"):
        RESULTS.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, RESULTS / path.name)
    write_tables(PAGE, RESULTS, {name: title for name, (_, title) in PARTS.items()})
    rows = [row for name in PARTS for row in (read_part(WORK / f"{name}.json") or {"rows": []})["rows"]]
    wrong = [row for row in rows if not row["passed"]]
    print(f"{len(rows)} rows, {len(rows) - len(wrong)} passed, {(time.monotonic() - begun) / 60:.1f} min; {PAGE}")
    for row in wrong:
        print(f"not passed: {row['part']}: {row['name']}: {row['seen']}")
    missing = [name for name in given.parts or PARTS if not given.page and not _is_complete(name)]
    if missing:
        print(f"did not come to its end: {', '.join(missing)}; the same command runs it again")
    return 1 if wrong or missing else 0


def _is_complete(name: str) -> bool:
    value = read_part(WORK / f"{name}.json")
    return value is not None and bool(value["complete"])


def _run_inside(name: str) -> None:
    """Run one part in its own process and folder; /tmp, because paths of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="c2dt", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        environment = {
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "MPLCONFIGDIR": str(Path(tempfile.gettempdir()) / "c2d-trust-matplotlib"),
            **os.environ,
            "PYTHONPATH": str(ROOT),
        }
        subprocess.run(
            [sys.executable, "-m", "tests.trust", "--inside", name], cwd=scratch, env=environment, check=False
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

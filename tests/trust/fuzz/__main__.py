"""`python -m tests.trust.fuzz [TARGET...] --inputs N --seed S`: a row for each target, from a process of its own."""

from __future__ import annotations

import argparse
import sys

from tests.trust.fuzz.run_target import TargetRow, run_targets
from tests.trust.fuzz.targets import TARGETS


def main(arguments: list[str]) -> int:
    """Print the rows; return 1 if a target has a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=1, help="processes")
    parser.add_argument(
        "--keep", action="store_true", help="add inputs that failed or reach new branches to the corpus"
    )
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.targets if name not in TARGETS]:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    print(TargetRow.heading(), flush=True)
    failed = False
    for row in run_targets(given.targets or list(TARGETS), given.inputs, given.seed, given.at_once, given.keep):
        print(row.text(), flush=True)
        for place, data in row.outcome.failures.items():
            failed = True
            print(f"    {place}: {bytes.fromhex(data)[:200]!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

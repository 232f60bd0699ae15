"""The part `fuzz` of the campaign: 100,000 inputs for each parser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.trust.fuzz.campaign import LIMIT_MIB, LIMIT_S
from tests.trust.fuzz.run_target import run_targets
from tests.trust.fuzz.targets import TARGETS
from tests.trust.part import Row, measure

INPUTS, AT_ONCE = 100_000, 2
EXPECTED = f"no traceback, nothing over {LIMIT_S:.0f} s or {LIMIT_MIB / 1024:.0f} GB"


def rows(scratch: Path) -> Iterator[Row]:
    """Yield a row for each parser."""
    for found in run_targets(list(TARGETS), INPUTS, seed=0, at_once=AT_ONCE):
        outcome = found.outcome
        reached = "" if found.coverage is None else f", {found.coverage:.0f} % of the parser's lines and branches"
        seen = (
            f"{len(outcome.failures)} distinct failures; slowest {outcome.slowest_s:.2f} s, {outcome.peak_mib:.0f} MiB"
            f"{reached}; hypothesis, {found.engine}"
        )
        facts = {
            "inputs": outcome.inputs, "failures": outcome.failures, "slowest_s": outcome.slowest_s,
            "peak_mib": outcome.peak_mib, "coverage": found.coverage, "engine": found.engine,
        }  # fmt: skip
        passed = not outcome.failures and outcome.inputs >= INPUTS
        row = measure("fuzz", f"{found.target}: {outcome.inputs:,} inputs", EXPECTED, lambda: (passed, seen, facts))  # noqa: B023
        yield replace(row, seconds=round(outcome.seconds, 1))

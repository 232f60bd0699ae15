"""The core of the campaign: kills in every phase, a full disk, two writers, a clock that is set."""

from __future__ import annotations

import pytest

from tests.trust import core
from tests.trust.clock_faults import LIBRARY
from tests.trust.disk_faults import cannot_mount
from tests.trust.killed_training import PHASES
from tests.trust.part import Row


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    return {row.name: row for row in core.rows(tmp_path_factory.mktemp("core"))}


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_that_is_killed_in_a_phase_ends_as_an_undisturbed_one(found: dict[str, Row], phase: str) -> None:
    row = next((row for name, row in found.items() if name.endswith(f"kills in {phase}")), None)
    assert row is not None, found
    assert row.passed, row.seen
    assert len(row.facts["kills"]) == core.KILLS.count(phase)


def test_a_full_disk_is_one_line_and_loses_nothing(found: dict[str, Row]) -> None:
    if why := cannot_mount():
        pytest.skip(why)
    assert found["full disk"].passed, found["full disk"].seen


def test_two_that_take_over_a_killed_run_train_it_once(found: dict[str, Row]) -> None:
    assert found["two writers"].passed, found["two writers"].seen


def test_a_clock_that_is_set_changes_no_result(found: dict[str, Row]) -> None:
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}")
    assert found["clock"].passed, found["clock"].seen

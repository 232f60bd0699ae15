"""The teacher of a run, in the store of its student."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.specs.teacher_runs import teacher_run

RUNS = ("net-classifier-0123456789ab-s10", "net-classifier-0123456789ab-s2", "other-baseline-ba9876543210-s0")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in RUNS:
        atomic_write_json(RunFolder(tmp_path / name).spec, {})
    return tmp_path


def test_a_teacher_is_looked_up_in_the_students_store(store: Path) -> None:
    student = RunFolder(store / RUNS[2])
    assert teacher_run(RUNS[1], student).path == store / RUNS[1]
    with pytest.raises(InputError, match="is not in"):
        teacher_run("net-classifier-0123456789ab-s1", student)

"""Names of runs: a beginning is enough where it fits one run; a whole id never stands for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2d.errors import InputError
from c2d.question import find_run, teacher_run
from c2d.runfolder import RunFolder, atomic_write_json

RUNS = ("net-classifier-0123456789ab-s10", "net-classifier-0123456789ab-s2", "other-baseline-ba9876543210-s0")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in RUNS:
        atomic_write_json(RunFolder(tmp_path / name).spec, {})
    return tmp_path


def test_a_beginning_that_fits_one_run(store: Path) -> None:
    assert find_run("other", store).id == RUNS[2]
    assert find_run(str(store / RUNS[1]), store).id == RUNS[1]


def test_a_beginning_that_fits_two(store: Path) -> None:
    with pytest.raises(InputError, match="fits 2 runs"):
        find_run("net", store)


def test_a_whole_id_is_no_beginning_of_another(store: Path) -> None:
    assert find_run(RUNS[0], store).id == RUNS[0]
    with pytest.raises(InputError, match="unknown run"):
        find_run("net-classifier-0123456789ab-s1", store)


def test_a_teacher_is_looked_up_in_the_students_store(store: Path) -> None:
    student = RunFolder(store / RUNS[2])
    assert teacher_run(RUNS[1], student).path == store / RUNS[1]
    with pytest.raises(InputError, match="is not in"):
        teacher_run("net-classifier-0123456789ab-s1", student)

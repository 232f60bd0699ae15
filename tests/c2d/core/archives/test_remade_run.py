"""A finished run without weights that is made again: it is done where its numbers are equal, and fails otherwise."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from c2d.core.archives.remade_run import LOST, check_remade, reopen
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.sweep_manifest import planned_runs, read_manifest
from c2d.specs.teacher_runs import teacher_result
from sweeps.state.plan import Row, plan_rows

STORE = Path(__file__).parents[3] / "fixtures" / "runs"
TEACHER = "resnet18-classifier-8b26211ff2a3-s0"


@pytest.fixture
def teacher(tmp_path: Path) -> RunFolder:
    run = RunFolder(Path(shutil.copytree(STORE, tmp_path / "runs")) / TEACHER)
    run.classifier.unlink()
    return run


def plan(runs: Path) -> dict[str, Row]:
    manifest = read_manifest(runs, "tiny")
    assert isinstance(manifest, dict)
    return {row.run.id: row for row in plan_rows(planned_runs(manifest), runs, {}, queue_answered=True)}


def test_a_student_cannot_learn_from_it_and_is_told_how(teacher: RunFolder) -> None:
    with pytest.raises(InputError, match=f"c2d runs reopen {TEACHER}"):
        teacher_result(teacher, "classifier")


def test_it_is_new_only_while_a_run_is_to_be_launched(teacher: RunFolder) -> None:
    row = plan(teacher.path.parent)[TEACHER]
    assert (row.state, row.reason, row.launch) == ("new", LOST, True)
    teacher.classifier.write_bytes(b"x")
    assert plan(teacher.path.parent)[TEACHER].state == "done"
    teacher.classifier.unlink()
    for run in [row.run for row in plan(teacher.path.parent).values() if row.launch and row.run.id != TEACHER]:
        shutil.copy(STORE / "tiny-retinanet-icod-da918d770025-s0" / "status.json", run.path)
        shutil.copy(STORE / "tiny-retinanet-icod-da918d770025-s0" / "result.json", run.path)
    assert plan(teacher.path.parent)[TEACHER].state == "done"  # its numbers are enough


def test_a_teacher_that_another_sweep_plans_blocks_its_students(teacher: RunFolder) -> None:
    manifest = read_manifest(teacher.path.parent, "tiny")
    assert isinstance(manifest, dict)
    students = [replace(one) for one in planned_runs(manifest) if one.run != TEACHER]
    rows = plan_rows(students, teacher.path.parent, {}, queue_answered=True)
    assert {row.state for row in rows if row.needs} <= {"done", "blocked", "failed"}
    assert any("its weights are not here" in row.reason for row in rows)


def test_equal_numbers_end_it_and_others_name_both(teacher: RunFolder) -> None:
    result = read_json(teacher.result)
    check_remade(teacher, {**result, "top1": 0.9})  # no run that is made again: nothing is compared
    reopen(teacher)
    assert teacher.read_status()["state"] == "waiting"
    teacher.classifier.write_bytes(b"other weights")
    with pytest.raises(RunError, match=rf"top1 {result['top1']:.6g} in its result\.json, 0\.987 now") as found:
        check_remade(teacher, {**result, "top1": 0.987})
    assert found.value.failure_class == "config"
    assert not teacher.can_teach
    teacher.classifier.write_bytes(b"the weights")
    check_remade(teacher, {**result, "seconds": {"train": 1.0}, "memory_mib": 99.0})  # what it cost may differ
    assert teacher.can_teach
    check_remade(teacher, {**result, "top1": 0.9})  # it is done


def test_a_run_with_weights_or_without_an_end_is_not_reopened(teacher: RunFolder) -> None:
    teacher.classifier.write_bytes(b"x")
    with pytest.raises(InputError, match="nothing to make again"):
        reopen(teacher)
    reopened = RunFolder(teacher.path.parent / "tiny-retinanet-icod-906672b67f51-s1")
    with pytest.raises(InputError, match="continues it"):
        reopen(reopened)

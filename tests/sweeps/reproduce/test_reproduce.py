"""`c2d reproduce`: the frozen run ids of published sweeps, the steps, and what stops them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from c2d.cli.main import main
from c2d.core.errors import InputError
from c2d.specs.teachers import needed_runs
from sweeps.actions.row_filters import filter_grid
from sweeps.actions.submit import resolve
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import definition_names, read_definition
from sweeps.definition.profile import load_profile
from sweeps.reproduce import frozen_reference as frozen
from sweeps.reproduce.reproduce import Reproduction, run_steps, steps
from sweeps.reproduce.shipped_reports import reported_sweeps, shipped_report, shipped_reports

FROZEN = sorted(path.stem for path in frozen.FOLDER.glob("*.json"))
REFERENCE = frozen.FrozenReference("a", [0, 1], {"m=x": "x-1", "m=y": "y-2", "m=z": "y-2"}, ["t-s0"])


def test_every_reported_sweep_on_a_shipped_card_is_frozen() -> None:
    assert sorted(filter(frozen.can_be_frozen, reported_sweeps())) == FROZEN
    assert {"icod-students", "icod-detectors", "icod-teacher", "icod-pooling"} <= set(FROZEN)


@pytest.mark.parametrize("sweep", FROZEN)
def test_a_reported_sweep_plans_the_runs_of_its_frozen_reference(sweep: str) -> None:
    """If this change is meant: VERSION of the method, CHANGELOG, then `make freeze`."""
    assert frozen.frozen_reference(sweep).differences(frozen.planned_reference(sweep)) == []


def test_a_reference_counts_equal_cells_once() -> None:
    assert REFERENCE.n_runs == 4


@pytest.mark.parametrize(
    ("now", "lines"),
    [
        (REFERENCE, []),
        (replace(REFERENCE, seeds=[0]), ["seeds [0] instead of [0, 1]"]),
        (replace(REFERENCE, cells={"m=x": "x-9", "m=y": "y-2"}), ["m=z is missing", "m=x is x-9 instead of x-1"]),
        (replace(REFERENCE, cells={**REFERENCE.cells, "m=w": "w"}), ["m=w is new"]),
        (replace(REFERENCE, teachers=[]), ["teachers none instead of t-s0"]),
    ],
)
def test_every_difference_is_named(now: frozen.FrozenReference, lines: list[str]) -> None:
    assert REFERENCE.differences(now) == lines


def test_reports_of_one_table_belong_together_and_have_a_definition() -> None:
    assert shipped_report("icod-table1").companions == (
        "icod-table1",
        "icod-table1-cost",
        "icod-table1-errors",
        "icod-table1-recall",
    )
    assert all(report.sweep in definition_names() for report in shipped_reports().values())
    with pytest.raises(InputError, match="did you mean 'icod-table1'"):
        shipped_report("icod-tabl1")
    with pytest.raises(InputError, match=r"icod-students is a sweep; give one of its tables: .*icod-table1"):
        shipped_report("icod-students")
    with pytest.raises(InputError, match="for a definition of your own: c2d sweep submit"):
        shipped_report("my.yaml")


@pytest.fixture
def task(tmp_path: Path) -> Reproduction:
    report = shipped_report("icod-table4b")
    return Reproduction(
        report, "slurm", "p.yaml", tmp_path / "runs", tmp_path / "data", tmp_path / "out", tmp_path / "a"
    )


def test_the_steps_are_commands_in_order(task: Reproduction) -> None:
    assert [step.arguments[: 1 + step.arguments[0].startswith(("sweep", "runs"))] for step in steps(task)] == [
        ["prefetch"],
        ["sweep", "check"],
        ["sweep", "submit"],
        ["report"],
        ["runs", "export"],
    ]
    prefetch, _, submit, *_ = steps(replace(task, filters=("seed=0",)))
    assert "--filter seed=0" in prefetch.text  # what other cells need is not asked for
    assert submit.text.startswith("c2d sweep submit icod-pooling --where slurm --no-forward --wait --profile p.yaml ")
    assert "--filter seed=0" in submit.text
    assert [step.arguments[0] for step in steps(replace(task, prefetch=False, archive=None))] == ["sweep"] * 2 + [
        "report"
    ]


@pytest.mark.parametrize(
    ("codes", "code", "calls"),
    [
        ([0, 0, 0, 0, 0], 0, 5),
        ([1], 1, 1),  # data or weights are missing
        ([0, 2], 2, 2),
        ([0, 0, 1, 0, 1], 1, 5),  # a run failed: the report has the others
        ([0, 0, 130], 130, 3),
        ([0, 0, 2], 2, 3),
    ],
)
def test_a_failed_run_is_reported_and_a_refused_step_stops(
    task: Reproduction, codes: list[int], code: int, calls: int
) -> None:
    called: list[list[str]] = []
    lines: list[str] = []

    def run(arguments: list[str]) -> int:
        called.append(arguments)
        return codes[len(called) - 1]

    assert run_steps(task, run, lines.append) == code
    assert len(called) == calls
    assert lines[-1].startswith("stopped at step") == (calls < 5)


def test_filters_reach_all_steps_that_need_data_weights_or_time(task: Reproduction) -> None:
    filtered = [step for step in steps(replace(task, filters=("seed=0",))) if "--filter" in step.arguments]
    assert [step.arguments[0] for step in filtered] == ["prefetch", "sweep", "sweep"]


def test_a_part_of_a_sweep_has_the_teachers_that_it_needs(tmp_path: Path) -> None:
    """SSD needs its classifier alone; QR50's backbone is trained for QR50, and both its teachers are needed."""
    workspace = Workspace(tmp_path / "runs", tmp_path / "data", "dry", load_profile("default"))
    grid = resolve(read_definition("icod-students"), workspace)
    sizes = {}
    for text in ("model=ssd300", "model=frcnn-qr50", "method=baseline"):
        part = filter_grid(grid, [text, "seed=1"])
        needed = {run for cell in part.cells for run in needed_runs(cell.spec.teachers).values()}
        assert {teacher.id for teacher in part.teachers} == needed
        sizes[text] = len(part.cells), len(part.teachers)
    assert sizes == {"model=ssd300": (5, 1), "model=frcnn-qr50": (5, 2), "method=baseline": (4, 1)}
    assert filter_grid(grid, []) == grid


def test_the_dry_form_prints_the_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    part = ["--filter", "seed=0", "--filter", "model=ssd300"]
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "icod-table1", "--where", "dry", "--runs", str(tmp_path / "runs"), *part])
    printed = capsys.readouterr().out
    assert not stop.value.code
    assert printed.startswith("icod-table1: sweep icod-students, 20 cells with 3 seeds, 60 runs and ")
    assert "--filter leaves 5 runs and their teachers" in printed.splitlines()[0]
    assert "c2d prefetch icod-students --filter seed=0 --filter model=ssd300" in printed
    assert not (tmp_path / "runs").exists()


def test_a_wrong_filter_is_refused_before_the_first_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("c2d.core.process.python_process.run_c2d", pytest.fail)
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "icod-table4b", "--filter", "methud=icod", "--runs", str(tmp_path / "runs")])
    assert stop.value.code == 2
    assert "unknown axis 'methud'" in capsys.readouterr().err


def test_other_runs_than_the_frozen_ones_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sweeps.reproduce.frozen_reference.frozen_reference", lambda sweep: REFERENCE)
    monkeypatch.setattr("c2d.core.process.python_process.run_c2d", pytest.fail)
    call = ["reproduce", "icod-table4b", "--where", "dry", "--runs", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as stop:
        main(call)
    assert stop.value.code == 2
    with pytest.raises(SystemExit) as stop:
        main([*call, "--changed"])
    assert not stop.value.code

"""The demo's table and checks, from run folders written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.definition.definition import read_definition
from sweeps.demo import Demo, DemoCell
from sweeps.demo_table import demo_checks, table

ERRORS = {"Cls": 0.4, "Loc": 0.05, "Both": 0.01, "Dupe": 0.0, "Bkg": 0.02, "Miss": 0.0}


def run(runs: Path, name: str, taught: bool = True, **changes: Any) -> RunFolder:
    folder = RunFolder(runs / name)
    atomic_write_json(folder.spec, {"teachers": {"classifier": "teacher" if taught else None}})
    result = {"AP": 0.3, "AP50": 0.45, "AP75": 0.35, "tide": {"dAP": ERRORS}, "seconds": {"train": 90.0}}
    atomic_write_json(folder.result, result | changes)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    atomic_write_json(RunFolder(tmp_path / "teacher").result, {"top1": 0.95, "n": 100})
    return tmp_path


def demo(store: Path, **baseline: Any) -> Demo:
    cells = [
        DemoCell("baseline", (run(store, "baseline", taught=False, **baseline),)),
        DemoCell("c2d", (run(store, "c2d-s0"), run(store, "c2d-s1", AP=0.34), run(store, "c2d-s2", AP=0.32))),
    ]
    return Demo(read_definition("demo"), RunFolder(store / "teacher"), cells)


def test_one_seed_is_shown_as_one_of_five_and_three_with_their_spread(store: Path) -> None:
    header, rows = table(demo(store))
    assert header[:4] == ["method", "AP", "AP50", "AP75"]
    assert rows[0] == ["baseline", "30.0", "45.0", "35.0", "40.0", "5.0", "-", "1.5", "1/5"]
    assert rows[1][:2] == ["c2d", "32.0 ± 2.0"]
    assert rows[1][-3:] == ["95.0", "1.5", "3/5"]


def test_a_detector_teacher_has_a_column_of_its_own(store: Path) -> None:
    atomic_write_json(RunFolder(store / "detector").result, {"AP": 0.525})
    found = replace(demo(store), detector=RunFolder(store / "detector"))
    taught = run(store, "pkd", taught=False)
    atomic_write_json(taught.spec, {"teachers": {"classifier": None, "detector": "detector"}})
    header, rows = table(replace(found, cells=[*found.cells, DemoCell("pkd", (taught,))]))
    assert header[-4:] == ["teacher top-1", "teacher AP", "minutes", "seeds"]
    assert [row[-4:-2] for row in rows] == [["-", "-"], ["95.0", "-"], ["-", "52.5"]]


def test_undefined_numbers_are_a_dash(store: Path) -> None:
    _, rows = table(demo(store, AP=None))
    assert rows[0][1] == "-"


def test_checks_pass(store: Path) -> None:
    assert [passed for passed, _ in demo_checks(demo(store))] == [True, True, True]


@pytest.mark.parametrize(
    ("baseline", "top1", "failing"),
    [
        ({}, 0.89, 0),
        ({"AP50": 0.0}, 0.95, 1),
        ({"AP50": 0.61}, 0.95, 1),
        ({"tide": {"dAP": {**ERRORS, "Loc": 0.41}}}, 0.95, 2),
    ],
)
def test_checks_fail(store: Path, baseline: dict[str, Any], top1: float, failing: int) -> None:
    atomic_write_json(RunFolder(store / "teacher").result, {"top1": top1, "n": 100})
    found = demo_checks(demo(store, **baseline))
    assert [passed for passed, _ in found].index(False) == failing
    assert sum(not passed for passed, _ in found) == 1

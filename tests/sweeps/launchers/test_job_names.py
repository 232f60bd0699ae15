"""Names and comments of jobs: method and seed first, valid in every shell and in squeue, the cell as ASCII."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c2d.core.run_folder import RunFolder
from sweeps.launchers.job_names import array_comment, array_name, name_lines, task_name
from sweeps.launchers.launch_request import Task

HASH = "0123456789ab"


def task(method: str, seed: int = 0, stem: str = "retinanet-qr18", **facts) -> Task:
    return Task(RunFolder(Path(f"/runs/{stem}-{HASH}-s{seed}")), method=method, **facts)


@pytest.mark.parametrize(
    ("tasks", "name"),
    [
        ([task("icod", 3)], "icod-s3-lr-0a1b2c3d"),
        ([task("icod", seed) for seed in (0, 2, 1)], "icod-s0-2-lr-0a1b2c3d"),
        ([task("icod"), task("fgfi")], "icod+fgfi-s0-lr-0a1b2c3d"),
        ([task(f"m{i}") for i in range(9)], "9methods-s0-lr-0a1b2c3d"),
        ([task("")], "retinanet-qr18-s0-lr-0a1b2c3d"),
        ([task("icod", stop_after=5)], "canary-icod-s0-lr-0a1b2c3d"),
        ([task("é $(rm)\n'\"%j")], "rm-j-s0-lr-0a1b2c3d"),
        ([Task(RunFolder(Path("/runs/odd")))], "odd-lr-0a1b2c3d"),
        ([task("日本")], "x-s0-lr-0a1b2c3d"),
    ],
)
def test_names_of_arrays(tasks: list[Task], name: str) -> None:
    assert array_name(tasks, "lr", "0a1b2c3d") == name


def test_names_are_short_and_valid_whatever_the_user_calls_things() -> None:
    given = [task("é" * 300 + "x" * 300, 10**8, stem="y" * 200) for _ in range(3)]
    name = array_name(given, "s" * 255, "0a1b2c3d")
    assert re.fullmatch(r"[A-Za-z0-9_.+-]{1,120}", name)
    assert name.endswith("-0a1b2c3d")
    assert re.fullmatch(r"[A-Za-z0-9_.+-]{1,110}", task_name(given[0], "s" * 255))


def test_one_line_for_each_task_and_a_comment_without_shell_code() -> None:
    tasks = [task("icod", 0, cell="method=icod, seed=0"), task("b", 1, cell="a='x\ny', b=`id`" + "z" * 300)]
    first, second = name_lines(tasks, "lr").splitlines()
    assert first == "icod-s0-lr method=icod, seed=0"
    assert second.startswith("b-s1-lr a=?x?y?, b=?id?z")
    assert len(second) == len("b-s1-lr ") + 200
    assert array_comment(tasks) == "2 cells, first method=icod, seed=0"
    assert array_comment(tasks[:1]) == "method=icod, seed=0"
    assert array_comment([Task(RunFolder(Path("/runs/odd")))]) == ""

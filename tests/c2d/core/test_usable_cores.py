"""The cores of this process: those of its affinity, and of its container's quota."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from c2d.core.process import usable_cores as module
from c2d.core.process.usable_cores import threads_within_quota, usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # 1.5 cores
        ("5000 100000\n", 1),
        ("9900000 100000\n", 8),  # more than the affinity has
        ("", 8),
        ("half\n", 8),
        ("1 0\n", 8),
        (None, 8),
    ],
)
def test_a_quota(quota: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(quota)
    monkeypatch.setattr(module, "QUOTA", path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("-1", 8), ("-100000", 8), ("0", 8), ("x", 8)])
def test_a_quota_of_cgroup_v1(quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = tmp_path / "cpu.cfs_quota_us", tmp_path / "cpu.cfs_period_us"
    paths[0].write_text(f"{quota}\n")
    paths[1].write_text("100000\n")
    monkeypatch.setattr(module, "QUOTA", tmp_path / "none")
    monkeypatch.setattr(module, "QUOTA_V1", paths)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == cores


def test_threads_where_torch_sees_too_many_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(module, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    module.QUOTA.write_text("200000 100000\n")
    assert threads_within_quota() == 2
    module.QUOTA.write_text("max 100000\n")
    assert threads_within_quota() is None
    module.QUOTA.write_text("200000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads_within_quota() is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_an_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from c2d.core.process.usable_cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_train_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from c2d.api import train_run
    from c2d.cli.commands import train

    given: list[int | None] = []

    def remember(*_: object, threads: int | None, **__: object) -> None:
        given.append(threads)
        raise typer.Exit

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(module, "QUOTA", tmp_path / "cpu.max")
    module.QUOTA.write_text("200000 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(train_run, "run_of_spec", lambda *_, **__: SimpleNamespace(notes=[]))
    monkeypatch.setattr(train_run, "train", remember)
    for threads in (None, 3):
        with pytest.raises(typer.Exit):
            train("spec.yaml", threads=threads)
    assert given == [2, 3]

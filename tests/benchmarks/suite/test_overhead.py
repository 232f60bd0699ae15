"""The overhead benchmark at the smallest sizes: every line is measured and compared with its goal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.suite import overhead
from benchmarks.suite.overhead import Sizes, markdown
from c2d.core.errors import InputError, RunError


def example_record(**changes: list[float]) -> dict[str, Any]:
    seconds = {what: [0.1] for what in ("python", *overhead.GOALS, "report")}
    return {"sizes": {"cells": 10000, "read": 1000, "report": 200}, "page_mb": 5.01, "seconds": seconds | changes}


def test_medians_beside_goals() -> None:
    text = markdown(example_record(**{"c2d --help": [0.9, 0.39, 0.4], "plan": [2.0, 3.5, 3.1]}))
    assert "| `c2d --help` | 0.40 | 0.90 0.39 0.40 | 0.4 | yes |" in text
    assert "| `c2d sweep plan` of 10000 cells | 3.10 | 2.00 3.50 3.10 | 3 | no |" in text
    assert "| `c2d report` of 200 runs | 0.10 | 0.10 | – | – |" in text
    assert "| its page, MB | 5.01 | | 5 | no |" in text


@pytest.mark.slow
def test_everything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with modules of the names of ours, which no process may import."""
    for name in ("analysis.py", "benchmarks.py", "c2d.py"):
        (tmp_path / name).write_text('raise SystemExit("foreign")\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    out = tmp_path / "samples.json"
    words = ["overhead", "--cells", "10", "--read", "20", "--report", "20", "--repeats", "1", "--out", str(out)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    (record,) = json.loads(out.read_text())["records"]
    assert set(record["seconds"]) == {"python", *overhead.GOALS, "report"}
    assert all(len(samples) == 1 and samples[0] > 0 for samples in record["seconds"].values())
    assert 0.05 < record["page_mb"] < 5
    assert markdown(record) in done.output


def test_bad_sizes(tmp_path: Path) -> None:
    for sizes in (Sizes(cells=15), Sizes(read=30), Sizes(report=0)):
        with pytest.raises(InputError, match="give cells in multiples of 10, runs in multiples of 20"):
            overhead.measure_overhead(tmp_path, sizes)
    assert not list(tmp_path.iterdir())


def test_a_failed_command_is_reported_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ended with 2: .*unknown command"):
        overhead._time_command((*overhead.C2D_COMMAND, "plann"), tmp_path)

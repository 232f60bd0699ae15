"""What is imported for real, in a process of its own: light modules without torch, evaluation without teachers."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from tests.test_arrows import HEAVY, ROOT, within


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh process at the end of `code`, which must end well."""
    report = "import atexit, sys; atexit.register(lambda: print('LOADED', *sorted(sys.modules), file=sys.stderr))"
    command = [sys.executable, "-c", f"{report}\n{code}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "name",
    [
        "analysis", "analysis.cli", "c2d.metrics.coco", "analysis.report.explain", "analysis.page",
        "analysis.report.report", "c2d.metrics.tide", "c2d.specs.spec", "c2d.core.run_folder", "c2d.specs.resolve_spec",
    ],
)  # fmt: skip
def test_a_light_module_stays_light(name: str) -> None:
    loaded = loaded_after(f"import {name}")
    assert name in loaded
    assert not {m for m in loaded if within(m, *HEAVY)}


def test_help_is_light() -> None:
    loaded = loaded_after("import runpy; sys.argv = ['c2d', '--help']; runpy.run_module('c2d', run_name='__main__')")
    assert "c2d.cli.main" in loaded
    assert not {m for m in loaded if within(m, *HEAVY)}


def test_reports_are_asked_for_without_pandas() -> None:
    loaded = loaded_after("import analysis.cli, analysis.report.report, analysis.report.explain")
    assert not {m for m in loaded if within(m, "pandas", "matplotlib", "scipy")}


def test_every_command_is_light_until_it_is_called() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["c2d.commands"]
    targets = sorted({target.partition(":")[0] for target in points.values()})
    loaded = loaded_after("import " + ", ".join(targets))
    assert targets
    assert set(targets) <= loaded
    assert not {m for m in loaded if within(m, *HEAVY)}


def test_evaluation_loads_no_distillation() -> None:
    loaded = loaded_after("import c2d.evaluation.evaluate_detector")
    assert "c2d.evaluation.evaluate_detector" in loaded
    assert not {m for m in loaded if within(m, "c2d.methods", "c2d.distillation.wrapper", "c2d.teachers")}

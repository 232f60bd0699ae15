"""Commands of our modules: our folder first, the working directory never."""

from __future__ import annotations

import os
import site
import sys

import pytest

from c2d.core.process.python_process import PACKAGE_ROOT, module_command, module_environment


def test_the_command_excludes_the_working_directory() -> None:
    assert module_command("c2d", "--help") == [sys.executable, "-P", "-m", "c2d", "--help"]


def test_our_packages_come_first_and_empty_entries_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (PACKAGE_ROOT / "c2d" / "core" / "process" / "python_process.py").is_file()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/elsewhere"]))
    found = module_environment(C2D_CACHE="cache")
    assert found["PYTHONPATH"] == os.pathsep.join([str(PACKAGE_ROOT), "/elsewhere"])
    assert found["C2D_CACHE"] == "cache"
    assert found["PATH"] == os.environ["PATH"]


def test_site_packages_stay_behind_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(PACKAGE_ROOT)])
    assert module_environment()["PYTHONPATH"] == "/elsewhere"

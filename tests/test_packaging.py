"""What is shipped and how it is set up: the wheel's files, the entry points, and the set-up's words on bad input."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("c2d", "sweeps", "analysis", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _shipped(folder: Path) -> set[str]:
    """Paths of all files of a room that are not byproducts, relative to the repository."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the sources, so that no build folder appears in the repository."""
    pytest.importorskip("build", reason="building a wheel needs the extra `dev`")
    source = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "out"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = (source / "out").glob("*.whl")
    return zipfile.ZipFile(built)


def test_wheel_holds_all_four_packages_with_their_data(wheel: zipfile.ZipFile) -> None:
    wanted = set().union(*(_shipped(ROOT / room) for room in ROOMS))
    assert wanted - set(wheel.namelist()) == set()


def test_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_every_command_is_registered_where_it_lives() -> None:
    """An entry point names a module of a room, and that module defines the name (read, not imported)."""
    points = PROJECT["project"]["entry-points"]["c2d.commands"]
    assert points
    for command, value in points.items():
        module, _, name = value.partition(":")
        path = ROOT / (module.replace(".", "/") + ".py")
        assert path.is_file(), f"{command}: {path.relative_to(ROOT)} does not exist"
        text = path.read_text()
        assert f"def {name}(" in text or f"\n{name} = " in text, f"{command}: {module} defines no {name}"


def test_a_torch_that_no_torchvision_fits_is_excluded() -> None:
    torch = next(item for item in PROJECT["project"]["optional-dependencies"]["train"] if item.startswith("torch>"))
    assert "!=2.13.*" in torch


def _imported(path: Path) -> set[str]:
    """Top-level names of the absolute imports of a file, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def _declared(requirements: list[str]) -> set[str]:
    """Names of requirements such as 'torch>=2.12,!=2.13.*', as the import system's metadata spells them."""
    return {re.split(r"[<>=!~\[; ]", item)[0].lower().replace("_", "-") for item in requirements}


def test_what_the_rooms_import_is_declared() -> None:
    """A package that happens to come along with another one is gone when that one changes its mind."""
    # Of the extra `text`, which is not installed where tests run.
    owners = {"open_clip": ["open_clip_torch"], **packages_distributions()}
    extras = PROJECT["project"]["optional-dependencies"]
    declared = _declared(
        PROJECT["project"]["dependencies"] + [item for name in extras if name != "all" for item in extras[name]]
    )
    undeclared = {
        f"{path.relative_to(ROOT)} imports {name}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for name in _imported(path) - set(sys.stdlib_module_names) - set(ROOMS)
        if not {owner.lower().replace("_", "-") for owner in owners.get(name, [])} & declared
    }
    assert undeclared == set()


@pytest.mark.parametrize("file", sorted((ROOT / "constraints").glob("py*.txt")), ids=lambda path: path.name)
def test_constraints_are_pins_and_nothing_else(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if line.count("==") != 1 or "/" in line or "@" in line or line.startswith("-")] == []


def test_claimed_pythons_have_constraints() -> None:
    claimed = [
        c.split()[-1] for c in PROJECT["project"]["classifiers"] if c.startswith("Programming Language :: Python :: 3.")
    ]
    assert claimed
    for version in claimed:
        assert (ROOT / "constraints" / f"py{version.replace('.', '')}.txt").is_file()


def test_setup_without_a_python_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    done = subprocess.run(["bash", ROOT / ".ci/setup", "no-such-python", venv], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: no 'no-such-python'")
    assert "make PYTHON=" in done.stderr
    assert not venv.exists()


def test_setup_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$1" in --version) echo "Python 3.9.18";; *) exit 1;; esac\n')
    old.chmod(0o755)
    done = subprocess.run(["bash", ROOT / ".ci/setup", old, tmp_path / "venv"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Python 3.9.18 is too old; c2d needs Python 3.11 or newer")


def test_setup_is_not_repeated_without_a_reason(tmp_path: Path) -> None:
    """With a fresh stamp make has nothing to do; a changed pyproject.toml makes it set up again."""
    (tmp_path / "constraints").mkdir()
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".venv").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    # Times are set, not taken: files touched within one tick of the clock have the same.
    for name, seconds in (("pyproject.toml", 1000), (".ci/setup", 1000), (".venv/.ready", 2000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (seconds, seconds))

    def needs_setup() -> bool:
        # Inside `make test` the outer make's flags would be passed on, and its lines name this folder.
        outside = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        command = ["make", "-n", "--no-print-directory", "venv"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=outside)
        return ".ci/setup" in done.stdout

    assert not needs_setup()
    (tmp_path / "constraints/py311.txt").touch()
    assert needs_setup()


def test_a_marker_without_tests_is_reported_and_is_no_failure() -> None:
    done = subprocess.run(
        ["bash", ROOT / ".ci/marked", "unused-marker", sys.executable], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert 'no test has the marker "unused-marker"' in done.stdout

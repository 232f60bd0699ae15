"""Start modules of this project as processes that import the same packages as this process.

`python -m MODULE` puts the working directory first on the module path, where a user's `analysis/` or `benchmarks.py`
would replace ours. So the commands here have `-P` (no working directory), and the environment names our own folder.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[3]
"""The folder that holds the packages c2d, sweeps, analysis and benchmarks: a checkout, a snapshot or site-packages."""


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this interpreter; start it with `module_environment()`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment, with our packages first on PYTHONPATH.

    Args:
        variables: environment variables to add or replace, PYTHONPATH excepted.
    """
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(_python_path())}


def run_c2d(arguments: Sequence[str]) -> int:
    """Run `c2d ARGUMENTS` as a process with this one's input and output; return its exit code."""
    sys.stdout.flush()  # its output comes after ours
    return subprocess.run(module_command("c2d", *arguments), env=module_environment(), check=False).returncode


def _python_path() -> list[str]:
    # An empty entry would mean the working directory.
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    # site-packages is on the path of every process of this interpreter. On PYTHONPATH it would come before the standard
    # library, and an installed backport (`argparse`, `typing`) would replace the module of the same name.
    installed = {str(Path(path).resolve()) for path in [*site.getsitepackages(), site.getusersitepackages()]}
    return given if str(PACKAGE_ROOT) in installed else [str(PACKAGE_ROOT), *given]

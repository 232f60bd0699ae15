"""All checks of `c2d doctor`, in the order in which one would fix their findings.

A check that fails itself is reported with its error and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from c2d.cli.checks import machine_checks, package_checks
from c2d.cli.checks.check_result import CheckResult, error_line


def run_checks(folder: Path | None = None) -> list[CheckResult]:
    """Run all checks.

    Args:
        folder: whose disk is checked; the current folder by default. Its `runs/`, if any, is checked too.
    """
    here = folder or Path.cwd()
    package = package_checks.check_package
    checks: list[tuple[str, Callable[[], CheckResult]]] = [
        ("python", package_checks.check_python),
        ("import names", package_checks.check_import_names),
        ("torch", package_checks.check_torch),
        ("torchvision", package_checks.check_torchvision),
        ("host", package_checks.check_host),
        ("compiled ops", package_checks.check_compiled_ops),
        ("GPU", machine_checks.check_gpu),
        ("numpy", partial(package, "numpy", "numpy", "fail")),
        ("OpenCV", package_checks.check_opencv),
        ("pycocotools", partial(package, "pycocotools", "pycocotools.mask", "fail")),
        ("hotcoco", partial(package, "hotcoco", "hotcoco", "warn", "; until then: --engine reference")),
        ("timm", package_checks.check_timm),
        ("SLURM", machine_checks.check_slurm),
        ("disk", partial(machine_checks.check_disk, "disk", here)),
    ]
    if (here / "runs").is_dir():
        checks.append(("disk of runs/", partial(machine_checks.check_disk, "disk of runs/", here / "runs")))
    return [_run(name, check) for name, check in checks]


def _run(name: str, check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except Exception as error:
        fix = "report this with the output of c2d doctor --json"
        return CheckResult(name, "fail", f"the check itself failed: {error_line(error)}", fix)

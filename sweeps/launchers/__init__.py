"""Launchers of a sweep: dry, local and slurm.

In: a launch request. Out: an exit code.
A launcher is one function of a request; it is imported only when it is chosen.
"""

from __future__ import annotations

from sweeps.launchers.launch_request import Launcher, LaunchRequest, PrintLine


def _dry(request: LaunchRequest, print_line: PrintLine) -> int:
    from sweeps.launchers import dry

    return dry.launch(request, print_line)


def _local(request: LaunchRequest, print_line: PrintLine) -> int:
    from sweeps.launchers import local

    return local.launch(request, print_line)


def _slurm(request: LaunchRequest, print_line: PrintLine) -> int:
    from sweeps.launchers import slurm

    return slurm.launch(request, print_line)


LAUNCHERS: dict[str, Launcher] = {"dry": _dry, "local": _local, "slurm": _slurm}

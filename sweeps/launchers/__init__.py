"""WHERE a sweep runs. A launcher is one function of an order; each is imported only when it is chosen."""

from __future__ import annotations

from sweeps.launchers.launch_request import Launcher, Order, Say


def _dry(order: Order, say: Say) -> int:
    from sweeps.launchers import dry

    return dry.launch(order, say)


def _local(order: Order, say: Say) -> int:
    from sweeps.launchers import local

    return local.launch(order, say)


def _slurm(order: Order, say: Say) -> int:
    from sweeps.launchers import slurm

    return slurm.launch(order, say)


LAUNCHERS: dict[str, Launcher] = {"dry": _dry, "local": _local, "slurm": _slurm}

"""Launching failed or blocked runs once more: with the code, the profile and the data of their last launch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps import retry, snapshot
from sweeps.jobs import read_job
from sweeps.launchers import LAUNCHERS
from sweeps.order import Order, Say
from sweeps.plan import Row
from sweeps.profile import Profile, remembered
from sweeps.submit import Place, claim, run_here, settle_submissions, submission_lock


@dataclass(frozen=True)
class Changes:
    """What a person wants to be different this time; None: as it was.

    update_code: take the code as it is now; env.json of the next attempt says so.
    """

    profile: Profile | None = None
    data: Path | None = None
    update_code: bool = False


def again(
    record: dict[str, Any], rows: list[Row], chosen: list[Row], place: Place, say: Say, changes: Changes = Changes()
) -> int:
    """Launch the chosen rows; returns the launchers' worst exit code.

    A run that another shell has launched since `rows` were read is left to it.

    Args:
        rows: of the whole sweep; nodes that fail often and unfinished teachers are known from them.
        chosen: see `sweeps.retry.choose`.
        place: its `where` and `profile` hold for runs that were never launched before.
    """
    worst = 0
    for where in ("slurm", "local"):  # the local launcher stays until its runs have ended
        with submission_lock(place.runs):
            settle_submissions((row.run.id for row in chosen), place.runs)
            mine = [row for row in chosen if (row.job.where if row.job else place.where) == where]
            free = [row for row in mine if read_job(row.run) == row.job]
            for row in mine:
                if row not in free:
                    say(f"{row.run.id}: launched by another shell meanwhile")
            retry.note(free)
            orders = list(_orders(record["name"], rows, free, place, say, changes))
            for order in orders:
                if where == "slurm":
                    worst = max(worst, LAUNCHERS["slurm"](order, say))
                else:
                    claim(order)
        if where == "local":
            worst = max([worst, *(run_here(order, say) for order in orders)])
    return worst


def _orders(
    sweep: str, rows: list[Row], chosen: list[Row], place: Place, say: Say, changes: Changes
) -> Iterator[Order]:
    """One order for all rows with equal profile, data and code."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in chosen:
        job = row.job
        kept = job is not None and not changes.update_code and snapshot.folder(place.runs, job.snapshot).is_dir()
        code = job.snapshot if job is not None and kept else snapshot.take(place.runs)
        data = changes.data or Path((job.data if job else "") or place.data)
        groups.setdefault(((job.profile if job else None) or "", str(data), code), []).append(row)
    for (profile, root, code), group in groups.items():
        machine = changes.profile or (remembered(place.runs, sweep, profile) if profile else place.profile)
        tasks = [retry.raised(row, rows, machine, say) for row in group]
        yield Order(sweep, place.runs, Path(root).absolute(), tasks, machine, code)

"""`c2d doctor`: report what this machine has, what is missing, and the command that fixes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def doctor(
    as_json: bool = typer.Option(False, "--json", help="one JSON object instead of a table"),
    profile: str | None = typer.Option(
        None, "--profile", help="submit a short job with this profile and report what it finds"
    ),
    wait_s: float = typer.Option(300.0, "--wait", min=1, help="with --profile: seconds to wait for the job at most"),
    runs: Path | None = typer.Option(None, "--runs", help="with --profile: the store (default: C2D_RUNS, else ./runs)"),
    data: Path | None = typer.Option(None, "--data", help="with --profile: root of the data cards (C2D_DATA, ./data)"),
) -> None:
    """Check python, torch, the mm* packages, ops, GPU, SLURM tools and disk; every problem with its fix."""
    import json
    import sys
    from dataclasses import asdict

    if profile is not None:
        raise typer.Exit(_profile_check()(profile, runs, data, wait_s, as_json))

    from c2d import __version__
    from c2d.cli.checks.system_checks import run_checks

    checks = run_checks()
    failed = [check.name for check in checks if check.status == "fail"]
    if as_json:
        print(
            json.dumps({"c2d": __version__, "ok": not failed, "checks": [asdict(check) for check in checks]}, indent=1)
        )
    else:
        from rich.console import Console
        from rich.table import Table

        from c2d.core.printable import printable_markup

        table = Table(box=None, pad_edge=False)
        for column in ("", "check", "found"):
            table.add_column(column, overflow="fold")
        colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        for check in checks:
            table.add_row(f"[{colours[check.status]}]{check.status}[/]", check.name, printable_markup(check.found))
        console = Console(file=sys.stdout)
        console.print(table)
        # below the table and unwrapped, so that a command can be copied
        for check in checks:
            if check.fix and check.status != "ok":
                print(f"{check.name}: fix: {check.fix}")
        warned = sum(check.status == "warn" for check in checks)
        print(f"{len(failed)} problems, {warned} warnings" if failed or warned else "no problems")
    if failed:
        raise typer.Exit(1)


def _profile_check() -> Any:
    """Return the function that submits the job. It belongs to the sweeps, which register it as an entry point.

    Raises:
        InputError: no function is registered.
    """
    from importlib.metadata import entry_points

    from c2d.core.errors import InputError

    for point in entry_points(group="c2d.doctor", name="profile"):
        return point.load()
    raise InputError("missing: the sweeps, which --profile needs; fix: pip install --force-reinstall c2d-suite")

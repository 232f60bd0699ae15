"""`c2d doctor`: what this machine has, what it lacks, and the command that mends it. The checks are in checkup.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def doctor(
    as_json: bool = typer.Option(False, "--json", help="one JSON object instead of a table"),
    profile: str | None = typer.Option(None, "--profile", help="send a short job with this profile; say what it sees"),
    wait_s: float = typer.Option(300.0, "--wait", min=1, help="with --profile: seconds to wait for the job at most"),
    runs: Path | None = typer.Option(None, "--runs", help="with --profile: the store (default: C2D_RUNS, else ./runs)"),
    data: Path | None = typer.Option(None, "--data", help="with --profile: root of the data cards (C2D_DATA, ./data)"),
) -> None:
    """Look at python, torch, the mm* packages, ops, GPU, SLURM tools and disk; every problem with its fix."""
    import json
    import sys
    from dataclasses import asdict

    if profile is not None:
        raise typer.Exit(_probe()(profile, runs, data, wait_s, as_json))

    from c2d import __version__
    from c2d.cli.system_checks import collect

    checks = collect()
    failed = [check.name for check in checks if check.status == "fail"]
    if as_json:
        print(
            json.dumps({"c2d": __version__, "ok": not failed, "checks": [asdict(check) for check in checks]}, indent=1)
        )
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("", "check", "found"):
            table.add_column(column, overflow="fold")
        colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        for check in checks:
            table.add_row(f"[{colours[check.status]}]{check.status}[/]", check.name, _plain(check.found))
        console = Console(file=sys.stdout)
        console.print(table)
        # below the table and unwrapped, so that a command can be copied
        for check in checks:
            if check.fix and check.status != "ok":
                print(f"{check.name}: {check.fix}")
        warned = sum(check.status == "warn" for check in checks)
        print(f"{len(failed)} problems, {warned} warnings" if failed or warned else "everything is there")
    if failed:
        raise typer.Exit(1)


def _probe() -> Any:
    """What sends the job lives with the launchers, in another room; it registers itself.

    Raises:
        InputError: nothing has registered.
    """
    from importlib.metadata import entry_points

    from c2d.core.errors import InputError

    for point in entry_points(group="c2d.doctor", name="profile"):
        return point.load()
    raise InputError("--profile needs the sweeps, and they are not installed; install c2d again (pip install c2d)")


def _plain(text: str) -> str:
    """rich reads [words] in brackets as markup; file names and errors are to be shown as they are."""
    from rich.markup import escape

    return escape(text)

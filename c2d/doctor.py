"""`c2d doctor`: what this machine has, what it lacks, and the command that mends it. The checks are in checkup.py."""

from __future__ import annotations

import typer


def doctor(
    as_json: bool = typer.Option(False, "--json", help="one JSON object instead of a table"),
) -> None:
    """Look at python, torch, the mm* packages, ops, GPU, SLURM tools and disk; every problem with its fix."""
    import json
    import sys
    from dataclasses import asdict

    from c2d import __version__
    from c2d.checkup import collect

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


def _plain(text: str) -> str:
    """rich reads [words] in brackets as markup; file names and errors are to be shown as they are."""
    from rich.markup import escape

    return escape(text)

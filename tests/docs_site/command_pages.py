"""docs/reference/commands.md: the `--help` of every command, printed by the commands themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "commands.md"
SEPARATOR = "\0"
PRINT_HELP = """
import sys
from c2d.cli.main import main

def show(*words):
    print("\\0" + " ".join(words))
    try:
        main([*words, "--help"])
    except SystemExit as end:
        assert not end.code, (words, end.code)

for line in sys.stdin.read().splitlines():
    show(*line.split())
"""
"""One process prints the help of all commands: each would otherwise import typer again."""

HEAD = """<!-- made by `make docs-outputs` from the commands; edit their code -->

# Commands

What `--help` prints, for every command. Exit codes of all: 0 done, 1 something failed and was recorded, 2 bad input
(nothing was changed), 130 interrupted (call again to continue).

"""


def helps(commands: Sequence[str]) -> dict[str, str]:
    """Return {command: what its `--help` prints}.

    Args:
        commands: Without `c2d`: "train", "sweep submit"; "" is `c2d` itself.
    """
    # No boxes around the options: a narrow screen shows plain lines.
    variables = {**os.environ, "TYPER_USE_RICH": "0", "NO_COLOR": "1", "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_HELP], input="\n".join(commands), env=variables, cwd=ROOT,
        stdout=subprocess.PIPE, text=True, check=True, timeout=120,
    )  # fmt: skip
    parts = done.stdout.split(SEPARATOR)[1:]
    return {name: text.strip("\n") for name, _, text in (part.partition("\n") for part in parts)}


def command_names() -> list[str]:
    """Return every command and the commands of every group, in the order of their names."""
    from tests.test_docs import commands

    return sorted(commands())


def commands_page() -> str:
    """Return the Markdown of the page."""
    names = command_names()
    printed = helps(names)
    text = HEAD
    for name in names:
        lines = "\n".join(line.rstrip() for line in printed[name].splitlines())
        text += f"{'###' if ' ' in name else '##'} c2d {name}\n\n```text\n{lines}\n```\n\n"
    return text.rstrip("\n") + "\n"

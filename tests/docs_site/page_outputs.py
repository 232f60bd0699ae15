"""Run the commands of pages in one fresh folder, and write what they print into the pages.

What depends on the machine is made equal: the folder is /home/you/study, the repository /home/you/c2d, the host `host`,
dates are left out and durations are rounded to one digit.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.docs_site.console_blocks import Block, blocks, shortened, with_digest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8", "MPLBACKEND": "agg"}
DURATION = re.compile(r"(?<![\w.])(\d+\.?\d*)(?= (?:s|ms|min|minutes|seconds|hours|h)\b(?!/iter)| s/iter)")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2}| UTC)?")


def one_digit(number: str) -> str:
    """Return a number with one significant digit: 1.046 is 1, 37.2 is 40."""
    return f"{float(f'{float(number):.0e}'):g}"


def normalised(output: str, folder: Path) -> str:
    """Return an output without what depends on the machine.

    Args:
        output: What a command printed.
        folder: Where it ran.
    """
    output = output.replace(str(folder), "/home/you/study").replace(sys.prefix, "/home/you/c2d/.venv")
    output = output.replace(str(ROOT), "/home/you/c2d")
    output = output.replace(str(Path.home()), "/home/you")
    output = output.replace(socket.gethostname(), "host")
    output = DATE.sub("DATE", output)
    output = DURATION.sub(lambda match: one_digit(match[1]), output)
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines())


def environment(programs: Path) -> dict[str, str]:
    """Return the variables of a command; `c2d` is this repository's.

    Args:
        programs: A folder for the program `c2d`.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("C2D_")}
    command = programs / "c2d"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m c2d "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, **ENVIRONMENT, "PATH": path, "PYTHONPATH": str(ROOT), "C2D_CACHE": str(programs / "cache")}


def run_block(block: Block, folder: Path, variables: dict[str, str], seconds: float) -> str:
    """Run the commands of a block, and return its new text.

    Args:
        block: Commands.
        folder: Where they run.
        variables: Their environment.
        seconds: Limit of one command.

    Raises:
        RuntimeError: A command ended with another exit code than the block states, or ran too long.
    """
    text = ""
    commands = block.commands
    for number, command in enumerate(commands, 1):
        print(f"  $ {command}", flush=True)
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        expected = int(block.settings.get("exit", "0")) if number == len(commands) else 0
        if done.returncode != expected:
            raise RuntimeError(f"`{command}` ended with {done.returncode}, expected {expected}:\n{done.stdout[-3000:]}")
        text += f"$ {command}\n{shortened(normalised(done.stdout, folder), block.settings.get('lines'))}"
    return text


def run_page(page: Path, folder: Path, variables: dict[str, str], new: bool = False, seconds: float = 3600) -> None:
    """Run the commands of one page in a folder, and write the page.

    Args:
        page: A page; the last line has its digest.
        folder: Where its files are written and its commands run.
        variables: Environment of the commands.
        new: Run only blocks that have no output yet, in a folder where the others ran before.
        seconds: Limit of one command.
    """
    text = page.read_text(encoding="utf-8")
    written, end = "", 0
    for block in blocks(text):
        body = block.body
        if block.title is not None:
            (folder / block.title).write_text(body, encoding="utf-8")
        elif not (new and block.recorded):
            body = run_block(block, folder, variables, seconds)
            if "picture" in block.settings:
                source, _, target = block.settings["picture"].partition(" to ")
                (page.parent / target).parent.mkdir(exist_ok=True)
                shutil.copyfile(folder / source, page.parent / target)
        written += text[end : block.span[0]] + body
        end = block.span[1]
        page.write_text(written + text[end:], encoding="utf-8")  # kept if a later block fails; the digest comes last
    page.write_text(with_digest(written + text[end:]), encoding="utf-8")


def run_pages(pages: Sequence[Path], folder: Path | None = None, new: bool = False) -> None:
    """Run the commands of pages in their order, in one folder.

    Args:
        pages: The pages.
        folder: Where they run and what they make stays; a temporary one by default.
        new: Run only blocks that have no output yet.
    """
    with TemporaryDirectory(prefix="c2d-docs-") as made, TemporaryDirectory(prefix="c2d-docs-") as programs:
        variables = environment(Path(programs))
        for page in pages:
            print(page.relative_to(ROOT), flush=True)
            run_page(page, folder or Path(made), variables, new)

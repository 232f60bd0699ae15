"""The `c2d` command. Every package registers its commands in the entry-point group `c2d.commands`.

An entry point is a function with typer annotations (one command) or a `typer.Typer` (a group of commands). The modules
of the commands import nothing heavy at the top, so `c2d --help` needs neither torch nor mmdet.
"""

from __future__ import annotations

import io
import sys
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup

HELP = (
    "Classifier-to-detector distillation: train one run, inspect it, measure it. Exit codes: 0 done, "
    "1 something failed and was recorded, 2 bad input (nothing was changed), 130 interrupted (call again to continue)."
)


class EntryPointGroup(TyperGroup):
    """A group whose commands are entry points, each loaded when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted(point.name for point in entry_points(group="c2d.commands"))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load the command of that name; None if there is none."""
        found = [point for point in entry_points(group="c2d.commands") if point.name == cmd_name]
        if not found:
            return None
        loaded = found[0].load()
        if isinstance(loaded, typer.Typer):
            command = typer.main.get_command(loaded)
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
            single.command(help=loaded.__doc__)(loaded)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Resolve the command in `args`.

        Raises:
            InputError: there is no such command.
        """
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            from c2d.core.errors import unknown_name

            raise unknown_name("command", args[0], self.list_commands(ctx), "see `c2d --help`")
        return super().resolve_command(ctx, args)


def _version(value: bool) -> None:
    if value:
        from c2d import __version__

        print(f"c2d {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=EntryPointGroup, help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="print the version"),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit. An error with an `exit_code` is one line; any other is a defect and gives a traceback.

    Args:
        arguments: what follows `c2d` on the command line; `sys.argv` by default.
    """
    from c2d.core.printable import printable_streams

    with printable_streams():
        code = _run(arguments)
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        # Not standalone: exceptions reach this function instead of ending the process inside typer.
        code = app(args=arguments, prog_name="c2d", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        from c2d.cli.missing_packages import as_missing_package
        from c2d.core.disk import as_disk_error

        error = as_missing_package(as_disk_error(error))
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        if hasattr(error, "show"):  # a usage error: typer shows the usage with it
            shown = io.StringIO()
            error.show(file=shown)
            print(shown.getvalue(), end="", file=sys.stderr)
        else:
            from c2d.core.masking import mask_text

            print(f"error: {mask_text(str(error))}", file=sys.stderr)
    if code == 130:  # some versions of typer return it, others raise
        print("interrupted; call the same command again to continue", file=sys.stderr)
    return code if isinstance(code, int) else 0

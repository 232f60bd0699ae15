"""Check the packages of the extra `analysis` before a command imports them."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = ("pandas", "scipy", "matplotlib", "jinja2", "msgspec")


def check_extra(what: str) -> None:
    """Check that the packages are installed; the error has the command that installs them.

    Args:
        what: needs them; the plural begins the message.

    Raises:
        InputError: one is missing.
    """
    from c2d.core.errors import InputError

    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"{what} need {', '.join(missing)}, not installed here; pip install 'c2d-suite[analysis]'")

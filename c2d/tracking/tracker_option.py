"""The option `--track`: names of trackers with their destinations, read and checked. Loads no package of a tracker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from c2d.core.errors import InputError, unknown_name
from c2d.core.masking import mask_text
from c2d.core.store_folder import RunStore

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""{name of a tracker: module of its package}."""
FORM = "write tensorboard[:FOLDER], mlflow[:URI] or wandb[:PROJECT], several with a comma between them"
_PROJECT = re.compile(r"([\w.\-]{1,128}/)?[\w.\- ]{1,128}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


@dataclass(frozen=True)
class TrackerOption:
    """One tracker of `--track`.

    Attributes:
        name: tensorboard, mlflow or wandb.
        destination: a folder, a URI or a project; "" for the default.
    """

    name: str
    destination: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.destination}" if self.destination else self.name

    def local_folder(self, store: RunStore) -> Path | None:
        """Return the folder of this machine that the tracker writes; None: a server, or a database.

        Args:
            store: of the run.
        """
        if self.name == "wandb":
            return store.tracking  # wandb makes `wandb` in it
        if self.name == "mlflow" and not self.destination and os.environ.get("MLFLOW_TRACKING_URI"):
            return None
        if self.name == "mlflow" and _SCHEME.match(self.destination):
            parts = urlsplit(self.destination)
            return Path(parts.path) if parts.scheme == "file" else None
        return Path(self.destination) if self.destination else store.tracking / self.name

    def place_text(self, store: RunStore) -> str:
        """Return where the numbers are: "tensorboard FOLDER". A password in a URI is `***`.

        Args:
            store: of the run.
        """
        folder = self.local_folder(store)
        place = str(folder) if folder else mask_text(self.destination or os.environ.get("MLFLOW_TRACKING_URI", ""))
        return f"{self.name} {place}/wandb" if self.name == "wandb" else f"{self.name} {place}"


def parse_trackers(given: Iterable[str]) -> tuple[TrackerOption, ...]:
    """Return the trackers that `--track` or the key `track` of a profile names. Folders become absolute.

    >>> [str(one) for one in parse_trackers(["tensorboard:/logs,wandb", "mlflow:http://host:5000"])]
    ['tensorboard:/logs', 'wandb', 'mlflow:http://host:5000']

    Args:
        given: names with their destinations; a comma separates several in one text.

    Raises:
        InputError: an unknown name, a tracker twice, a destination that is not allowed.
    """
    found: dict[str, TrackerOption] = {}
    for text in (part.strip() for value in given for part in value.split(",")):
        name, _, destination = text.partition(":")
        if name not in PACKAGES:
            raise unknown_name("tracker", mask_text(name), PACKAGES, FORM)
        if name in found:
            raise InputError(f"--track: {name} is given twice; a run has one destination of each tracker")
        found[name] = TrackerOption(name, _destination(name, destination))
    return tuple(found.values())


def check_trackers(options: Iterable[TrackerOption], runs: Path, packages: bool = True) -> None:
    """Check, before a training, that each tracker can work: its package and, where it is local, its folder.

    Args:
        options: of `parse_trackers`.
        runs: the store.
        packages: look for the packages; False where the runs train with another Python.

    Raises:
        InputError: a package is missing, or a folder cannot be written; all mistakes in one message.
    """
    problems = []
    for option in options:
        if packages and not _is_installed(PACKAGES[option.name]):
            problems.append(_missing(PACKAGES[option.name], option))
            continue
        if packages and option.name == "mlflow" and _needs_sqlalchemy(option) and not _is_installed("sqlalchemy"):
            problems.append(f"{_missing('sqlalchemy', option)}; a folder or a server needs none")
        folder = option.local_folder(RunStore(runs))
        if folder is not None and (reason := _unwritable(folder)):
            problems.append(f"--track {option}: {folder} cannot be written: {reason}; give another one: {FORM}")
    if problems:
        raise InputError(*problems)


def _is_installed(module: str) -> bool:
    """Whether a package is there. A folder of its name is none, e.g. `wandb`, which W&B writes where it is called."""
    found = find_spec(module)
    return found is not None and found.loader is not None


def _missing(package: str, option: TrackerOption) -> str:
    there = [name for name, module in PACKAGES.items() if _is_installed(module)]
    source = package if package == "sqlalchemy" else '"c2d-suite[track]"'
    return (
        f"missing: {package}, which --track {mask_text(str(option))} needs; installed trackers: "
        f"{', '.join(there) or 'none'}; fix: pip install {source}"
    )


def _needs_sqlalchemy(option: TrackerOption) -> bool:
    uri = option.destination or os.environ.get("MLFLOW_TRACKING_URI", "")
    return urlsplit(uri).scheme.split("+")[0] in ("sqlite", "mysql", "postgresql", "mssql")


def _destination(name: str, given: str) -> str:
    """Return a destination as it is stored.

    Raises:
        InputError: it is not allowed.
    """
    shown = mask_text(given)
    if not given.isprintable():
        raise InputError(f"--track {name}:{shown!a}: a character does not show; {FORM}")
    if name == "wandb":
        if given and not _PROJECT.fullmatch(given):
            raise InputError(f"--track wandb:{shown}: wanted PROJECT or ENTITY/PROJECT, of letters, digits, . _ and -")
        return given
    if name == "mlflow" and _SCHEME.match(given):
        parts = urlsplit(given)
        in_query = mask_text(parts.query) != parts.query
        if parts.password or in_query or (parts.username and parts.scheme.startswith("http")):
            # The text is stored in job files and shown in process lists.
            raise InputError(
                f"--track mlflow:{shown}: a URI with a password or token would be stored; leave it out, and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return given
    return str(Path(given).expanduser().absolute()) if given else ""


def _unwritable(folder: Path) -> str:
    """Return why no file can be made in a folder that may not exist yet; "" where it can."""
    above = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not above.is_dir():
        return f"{above} is no folder"
    return "" if os.access(above, os.W_OK | os.X_OK) else f"{above}: permission denied"

"""What the texts of runs tell about the machines: folders, hosts, users. They are replaced by stable placeholders.

`$RUNS` is the store, `$DATA` the root of the data cards, `$CODE` the code, `$PYTHON` the environment of Python, `$HOME`
the home of the user; another absolute path keeps its last part, `$PLACE/NAME`. Hosts are `host-1`, `host-2`, ...; a
placeholder of an earlier export keeps its number, so that runs of several machines stay apart.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from c2d.core.json_values import optional
from c2d.core.regular_file import FormatError

RUNS, DATA, CODE, PYTHON, HOME, OTHER = "$RUNS", "$DATA", "$CODE", "$PYTHON", "$HOME", "$PLACE"
USER = "user"
HOST_KEYS = ("host", "hostname", "node")
"""Keys of JSON files whose value is the name of a machine."""
_HOST = re.compile(r"host-([1-9]\d{0,5})")
_COMPONENT = r"[^\s/\\'\"`:,;()\[\]{}<>|*?]"
# An absolute path of POSIX or Windows, or one of a home, at the begin of a word; addresses (https://...) are none.
_BEGIN = r"(?:(?<![^\s'\"`=(\[{,:;<>|])|(?<=file://))"
_ROOT = rf"(?:/(?!/)|[A-Za-z]:[\\/]|~{_COMPONENT}*/)"
_ABSOLUTE = re.compile(rf"{_BEGIN}{_ROOT}{_COMPONENT}+(?:[/\\]{_COMPONENT}*)*")
_MARKS = {*"/\\~"}
"""Every path has one of these characters."""
_PID = re.compile(r"\bpid \d+")
_DISTINCT = re.compile(r"(?=.*[\d.-]).{4,}")
"""A name that is no word of a language: it is looked for everywhere."""


@dataclass(frozen=True)
class MachinePlaces:
    """Folders and names that may not leave the machines.

    Attributes:
        folders: {absolute path: placeholder}.
        names: {name of a host or a user: placeholder}.
    """

    folders: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def without_folders(self, text: str) -> str:
        """Return a text with placeholders in the place of absolute paths."""
        if not _MARKS & {*text}:
            return text
        text = self._folder_pattern.sub(lambda found: self.folders[found[0]], text)
        return _ABSOLUTE.sub(lambda found: f"{OTHER}/{_last_part(found[0])}", text)

    def without_names(self, text: str) -> str:
        """Return a text with placeholders in the place of hosts, users and process ids."""
        return _PID.sub("pid -", self._name_pattern.sub(lambda found: self.names[found[0]], text))

    def first_place(self, text: str) -> str:
        """Return the first folder or distinct name that a text still has; "" for none."""
        has_path = _MARKS & {*text}
        found = has_path and (_ABSOLUTE.search(text) or self._folder_pattern.search(text))
        found = found or self._distinct_pattern.search(text)
        return found[0] if found else ""

    def first_known_place(self, text: str) -> str:
        """Return the first known folder or distinct name of a text, of bytes that only look like text; "" for none."""
        found = self._folder_pattern.search(text) or self._distinct_pattern.search(text)
        return found[0] if found else ""

    @cached_property
    def _folder_pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{_any_of(self.folders)})(?![\w.-])")

    @cached_property
    def _name_pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![\w-])(?:{_any_of(self.names)})(?![\w-])")

    @cached_property
    def _distinct_pattern(self) -> re.Pattern[str]:
        names = [name for name in self.names if _DISTINCT.fullmatch(name)]
        return re.compile(rf"(?<![\w-])(?:{_any_of(names)})(?![\w-])")


def collect_places(records: Iterable[tuple[str, Any]], store: Path) -> MachinePlaces:
    """Collect the places of this machine, and those that records of runs name: runs may come from several machines.

    Args:
        records: (run id, content of one of its JSON files).
        store: of the runs.
    """
    import c2d

    folders = {_absolute(Path(c2d.__file__).parents[1]): CODE, _absolute(Path(sys.prefix)): PYTHON}
    with suppress(RuntimeError):
        folders[_absolute(Path.home())] = HOME
    if data := os.environ.get("C2D_DATA"):
        folders[_absolute(Path(data))] = DATA
    hosts = {socket.gethostname()}
    for run, record in records:
        hosts |= set(_hosts(record))
        folders |= _folders_of_attempts(run, record)
    for path in (store, Path(os.path.realpath(store))):
        folders[_absolute(path)] = RUNS
    users = {}
    with suppress(Exception):  # no user database
        users = {getpass.getuser(): USER}
    users.pop("root", None)  # of every machine, nobody's name
    folders.pop("/", None)
    return MachinePlaces(folders, {**users, **_numbered(hosts)})


def _numbered(hosts: Iterable[str]) -> dict[str, str]:
    """Return {host: placeholder}; the numbers of earlier exports are not given again."""
    used = {int(found[1]) for host in hosts if (found := _HOST.fullmatch(host))}
    new = sorted(host for host in hosts if host and not _HOST.fullmatch(host))
    free = (number for number in range(1, len(used) + len(new) + 1) if number not in used)
    return {host: f"host-{number}" for host, number in zip(new, free, strict=False)}


def _hosts(record: Any) -> list[str]:
    """Return the names of machines anywhere in a record."""
    if isinstance(record, list):
        return [host for one in record for host in _hosts(one)]
    if not isinstance(record, dict):
        return []
    own = [value for key, value in record.items() if key in HOST_KEYS and isinstance(value, str)]
    return own + [host for value in record.values() for host in _hosts(value)]


def _folders_of_attempts(run: str, record: Any) -> dict[str, str]:
    """Return the stores and data roots that the attempts of env.json name."""
    found: dict[str, str] = {}
    with suppress(FormatError):
        attempts = optional(record, "attempts") if isinstance(record, dict) else None
        for attempt in attempts if isinstance(attempts, list) else ():
            command = optional(attempt, "command")
            words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
            for word, following in pairwise([*words, ""]):
                if word == "--data":
                    found[following.rstrip("/")] = DATA
                if word.rstrip("/").endswith(f"/{run}"):
                    found[os.path.dirname(word.rstrip("/"))] = RUNS
            data = optional(attempt, "environment", "C2D_DATA")
            found[data.rstrip("/") if isinstance(data, str) else ""] = DATA
    return {path: placeholder for path, placeholder in found.items() if path.startswith("/")}


def _absolute(path: Path) -> str:
    return os.path.abspath(path)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _any_of(texts: Iterable[str]) -> str:
    """Return a pattern of any of these texts, the longest first; of none, one that never fits."""
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or "(?!)"

"""A `c2d report` that is killed at a file operation, and the report that follows it into the same folder."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.trust.forks import Ended, command_in_fork
from tests.trust.kill_points import KillPoint, Moment, Watch, read_notes

FIXTURE = Path(__file__).parents[1] / "fixtures" / "runs"
DRAFT_AGE_S = 7200
MADE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC")


def import_everything() -> None:
    """Import what a report imports, before the forks."""
    import scipy.stats  # noqa: F401


class KilledReport:
    """A copy of the finished runs of the tests, reported into one folder with one cache.

    Args:
        root: a new folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.runs, self.out, self.cache = root, root / "runs", root / "out", root / "cache"
        shutil.copytree(FIXTURE, self.runs)
        before = time.time() - 3600
        for path in [*self.runs.rglob("*"), self.runs]:
            os.utime(path, (before, before))
        self.words = ["report", "--runs", str(self.runs), "--out", str(self.out), "--cache", str(self.cache)]
        self.calls = 0

    def report(self, point: KillPoint | None = None) -> tuple[Ended, list[dict[str, Any]]]:
        """`c2d report`, killed at `point`; return its end and its notes."""
        self.calls += 1
        output, notes = (self.root / f"{name}{self.calls}" for name in ("output", "notes"))

        def prepare() -> None:
            watch = Watch(self.root, notes, point, "start")
            watch.install()
            watch.enter("report")
            watch.note_counts()

        return command_in_fork(self.words, output, prepare), read_notes(notes)

    def files(self) -> dict[str, bytes]:
        """The files of the report with a final name, without the minute in which the page was made."""
        found = (path for path in self.out.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.out)): MADE.sub(b"made", path.read_bytes()) for path in found}

    def damaged(self) -> list[str]:
        """The files with a final name that are not whole."""
        wrong = []
        for name, data in self.files().items():
            try:
                _parse(name, data)
            except (ValueError, ElementTree.ParseError, csv.Error) as error:
                wrong.append(f"{name}: {error}")
        return wrong

    def drafts(self) -> list[str]:
        """Files without a final name, in the output and in the cache."""
        found = [path for place in (self.out, self.cache) for path in place.rglob(".*") if path.is_file()]
        return sorted(path.name for path in found)


def _parse(name: str, data: bytes) -> None:
    ending = name.rpartition(".")[2]
    if ending == "json":
        json.loads(data)
    elif ending == "svg":
        ElementTree.fromstring(data)
    elif ending == "csv":
        rows = list(csv.reader(data.decode().splitlines()))
        if len({len(row) for row in rows}) > 1 or not data.endswith(b"\n"):
            raise ValueError("a row is cut")
    elif (ending == "pdf" and not data.rstrip().endswith(b"%%EOF")) or (
        name == "report.html" and not data.rstrip().endswith(b"</html>")
    ):
        raise ValueError("its end is missing")


def kill_reports(root: Path, count: int, dice: random.Random) -> list[dict[str, Any]]:
    """Kill `count` reports, each followed by one that must equal the undisturbed one. Return the kills."""
    trial, kills = KilledReport(root / "report"), list[dict[str, Any]]()
    ended, notes = trial.report()
    if ended.code:
        raise RuntimeError(f"the undisturbed report ended with {ended.code}: {ended.output}")
    wanted, counted = trial.files(), notes[-1]
    for number in range(3 * count):
        if len(kills) == count:
            break
        if number % 3 == 0:  # otherwise the cache of the report before is used
            shutil.rmtree(trial.cache, ignore_errors=True)
        if number % 2:
            shutil.rmtree(trial.out, ignore_errors=True)
        point = _random_point(counted, dice)
        ended, notes = trial.report(point)
        struck = [note for note in notes if "killed" in note]
        if not struck:  # the cache makes a report shorter
            continue
        problems = [f"damaged {item}" for item in trial.damaged()]
        problems += [f"{name} is of no report" for name, data in trial.files().items() if wanted.get(name) != data]
        _age(trial)
        ended, _ = trial.report()
        if ended.code:
            problems.append(f"the next report: exit code {ended.code}: {ended.last_line}")
        if trial.files().keys() != wanted.keys():
            problems.append(f"files differ: {sorted(trial.files().keys() ^ wanted.keys())[:3]}")
        problems += [f"{name} differs" for name, data in trial.files().items() if wanted.get(name) != data]
        problems += [f"left behind: {name}" for name in trial.drafts()]
        note = struck[0]
        kills.append({"phase": "report", "moment": note["moment"], "how": note["how"], "kind": note["kind"],
                      "file": note.get("file", ""), "problems": problems})  # fmt: skip
    return kills


def _random_point(counted: dict[str, Any], dice: random.Random) -> KillPoint:
    how = dice.choices(("KILL", "GROUP", "TERM"), weights=(8, 1, 1))[0]
    if dice.random() < 1 / 3:
        return KillPoint("report", "call", dice.randrange(counted["calls"]["report"] // 2), how)
    moments: tuple[Moment, ...] = ("before", "after") if how == "TERM" else ("before", "half", "after")
    return KillPoint("report", dice.choice(moments), dice.randrange(counted["operations"]["report"]), how)


def _age(trial: KilledReport) -> None:
    """Make drafts two hours old: a younger one may be another report's, and stays."""
    before = time.time() - DRAFT_AGE_S
    for place in (trial.out, trial.cache):
        for path in place.rglob(".*"):
            os.utime(path, (before, before))

"""Rehearsal: every question of a list is built and stepped once, on stand-ins, before anything reaches a queue.

    python -m c2d.preflight.dry_run FILE.json [--data ROOT] [--runs ROOT]

FILE.json holds {"format": 1, "specs": [{"spec": spec.json, "teachers": {kind: spec.json or null}, "classes": names or
null}]}; a teacher that is finished in the store is used as it is, another one is planned and gets random weights. For
each spec one JSON object a line goes to stdout: id, ok, problem, failure_class, notes, seconds. Questions of equal
structure (they differ in seed, schedule, or the size of a loss weight) are stepped once.

Exit codes: 0 all well, 1 some have a problem, 2 FILE.json cannot be used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, RunError, first_line, unknown_name
from c2d.core.run_folder import read_json
from c2d.specs.resolve_spec import store
from c2d.specs.spec import RunSpec, parse_spec

FORMAT = 1
KINDS = ("classifier", "detector")


@dataclass(frozen=True)
class Entry:
    """One question: its spec, the specs of its teachers where the caller knows them, the class list or None."""

    spec: RunSpec
    teachers: dict[str, RunSpec]
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class Answer:
    """How one rehearsal went. `notes` say what was looked at, and what could not be."""

    id: str
    ok: bool
    problem: str | None = None
    failure_class: str | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def read_entries(path: Path) -> list[Entry]:
    """The questions of FILE.json.

    Raises:
        InputError: another format, an unknown key, or a value that is no spec; the entry is named by its number.
    """
    given = read_json(path)
    if not isinstance(given, dict) or given.get("format") != FORMAT or not isinstance(given.get("specs"), list):
        raise InputError(
            f'{path} is not {{"format": {FORMAT}, "specs": [...]}}; see `python -m c2d.preflight.dry_run --help`'
        )
    return [_entry(item, f"{path}, entry {number}") for number, item in enumerate(given["specs"], start=1)]


def _entry(item: Any, where: str) -> Entry:
    allowed = ("spec", "teachers", "classes")
    if not isinstance(item, dict) or "spec" not in item:
        raise InputError(f"{where}: an entry has the keys {', '.join(allowed)}; `spec` is missing")
    for key in item:
        if key not in allowed:
            raise unknown_name(f"key of {where}:", key, allowed)
    teachers = item.get("teachers") or {}
    for kind in teachers:
        if kind not in KINDS:
            raise unknown_name(f"kind of teacher in {where}:", kind, KINDS)
    classes = item.get("classes")
    return Entry(
        parse_spec(item["spec"], where),
        {kind: parse_spec(value, f"{where}, {kind} teacher") for kind, value in teachers.items() if value is not None},
        tuple(map(str, classes)) if classes else None,
    )


def rehearse(entries: list[Entry], runs: Path, data: Path | None) -> Iterator[Answer]:
    """One answer for each entry, in order; nothing of the store or of the data is changed.

    Args:
        runs: the store, for finished teachers, kept student configs and weight files.
        data: root of the data cards; a data set that is not there is noted, not refused.
    """
    from c2d.preflight.dry_run_one import Tryout, structure

    done: dict[str, Answer] = {}
    with tempfile.TemporaryDirectory(prefix="c2d-rehearsal-") as scratch:
        tryout = Tryout(runs, data, Path(scratch))
        for entry in entries:
            begun, key = time.monotonic(), None
            try:
                key = structure(entry, runs)
                if key in done:
                    first = done[key]
                    notes = [f"same structure as {first.id}", *first.notes]
                    yield replace(first, id=entry.spec.id, notes=notes, seconds=0.0)
                    continue
                answer = Answer(entry.spec.id, True, notes=tryout.run(entry))
            except Exception as error:  # whatever mmdet, torch or a method raises is an answer
                answer = Answer(entry.spec.id, False, *_problem(error))
            answer = replace(answer, seconds=round(time.monotonic() - begun, 3))
            if key is not None:
                done[key] = answer
            yield answer


def _problem(error: Exception) -> tuple[str, str]:
    """(one line, failure class) of what was raised."""
    if isinstance(error, InputError | RunError):
        return " ".join(str(error).split()), getattr(error, "failure_class", "config")
    kinds: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
        (ImportError, "import"),
        (MemoryError, "host-oom"),
        ((NameError, AttributeError, NotImplementedError), "user-code"),
    ]
    found = next((name for kind, name in kinds if isinstance(error, kind)), "config")
    return f"{type(error).__name__}: {first_line(error)}", found


def main(arguments: list[str] | None = None) -> int:
    """The command; answers go to stdout, everything that mmdet prints to stderr."""
    parser = argparse.ArgumentParser(prog="python -m c2d.preflight.dry_run", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE.json")
    parser.add_argument("--data", type=Path, help="root of the data cards (default: C2D_DATA, else ./data)")
    parser.add_argument("--runs", type=Path, help="the store of all runs (default: C2D_RUNS, else ./runs)")
    given = parser.parse_args(arguments)
    answers, well = sys.stdout, True
    try:
        entries = read_entries(given.file)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    with contextlib.redirect_stdout(sys.stderr):
        for answer in rehearse(entries, store(given.runs), given.data):
            print(json.dumps(asdict(answer)), file=answers, flush=True)
            well &= answer.ok
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

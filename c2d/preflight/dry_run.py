"""Dry run: build every run of a list and take one step of it, on synthetic data, before anything reaches a queue.

    python -m c2d.preflight.dry_run FILE.json [--data ROOT] [--runs ROOT]

FILE.json holds {"format": 1, "specs": [{"spec": spec.json, "teachers": {kind: spec.json or null}, "classes": names or
null}]}; a teacher that is finished in the store is used as it is, a planned one gets random weights. For each spec one
JSON object a line goes to stdout: id, ok, problem, failure_class, notes, seconds. Specs of equal structure (they differ
in seed, schedule, or the size of a loss weight) are stepped once.

Exit codes: 0 no problem, 1 some have a problem, 2 FILE.json cannot be used.
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

from c2d.core.errors import InputError, RunError, first_line
from c2d.core.store_folder import runs_folder
from c2d.preflight.dry_run_entry import Entry, read_entries, structure


@dataclass(frozen=True)
class DryRunResult:
    """How the dry run of one spec ended; one line of the output.

    Attributes:
        id: of the run.
        ok: whether there was no problem.
        problem: one line.
        failure_class: as in status.json.
        notes: what was checked, and what could not be.
        seconds: 0 where an earlier result of the same structure is repeated.
    """

    id: str
    ok: bool
    problem: str | None = None
    failure_class: str | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run_entries(entries: list[Entry], runs: Path, data: Path | None) -> Iterator[DryRunResult]:
    """Yield one result for each entry, in order; the store and the data sets are not changed.

    Args:
        entries: to try.
        runs: the store, for finished teachers, kept student configs and weight files.
        data: root of the data cards; a data set that is not there gives a note and no problem.
    """
    from c2d.preflight.dry_run_one import DryRun

    done: dict[str, DryRunResult] = {}
    with tempfile.TemporaryDirectory(prefix="c2d-dry-run-") as scratch:
        dry_run = DryRun(runs, data, Path(scratch))
        for entry in entries:
            begun, key = time.monotonic(), None
            try:
                key = structure(entry, runs)
                if key in done:
                    first = done[key]
                    notes = [f"same structure as {first.id}", *first.notes]
                    yield replace(first, id=entry.spec.id, notes=notes, seconds=0.0)
                    continue
                result = DryRunResult(entry.spec.id, True, notes=dry_run.run(entry))
            except Exception as error:  # anything that mmdet, torch or a method raises is a result
                result = DryRunResult(entry.spec.id, False, *_problem(error))
            result = replace(result, seconds=round(time.monotonic() - begun, 3))
            if key is not None:
                done[key] = result
            yield result


def _problem(error: Exception) -> tuple[str, str]:
    """(one line, failure class) of an exception."""
    if isinstance(error, InputError | RunError):
        return " ".join(str(error).split()), getattr(error, "failure_class", "config")
    kinds: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
        (ImportError, "import"),
        (MemoryError, "host-oom"),
        ((NameError, AttributeError, NotImplementedError), "user-code"),
    ]
    failure_class = next((name for kind, name in kinds if isinstance(error, kind)), "config")
    return f"{type(error).__name__}: {first_line(error)}", failure_class


def main(arguments: list[str] | None = None) -> int:
    """Run the command; results go to stdout, everything that mmdet prints to stderr."""
    parser = argparse.ArgumentParser(prog="python -m c2d.preflight.dry_run", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE.json")
    parser.add_argument("--data", type=Path, help="root of the data cards (default: C2D_DATA, else ./data)")
    parser.add_argument("--runs", type=Path, help="the store of all runs (default: C2D_RUNS, else ./runs)")
    options = parser.parse_args(arguments)
    output, all_ok = sys.stdout, True
    try:
        entries = read_entries(options.file)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    with contextlib.redirect_stdout(sys.stderr):
        for result in run_entries(entries, runs_folder(options.runs), options.data):
            print(json.dumps(asdict(result)), file=output, flush=True)
            all_ok &= result.ok
    return 0 if all_ok else 1


if __name__ == "__main__":
    sys.exit(main())

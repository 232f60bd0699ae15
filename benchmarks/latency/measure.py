"""Latency of one student: every backend examined, then measured in several processes, in turn.

The launches of the backends take turns, so that a machine that drifts does not drift against one of them. What comes of
it is a list of rows (backend x batch x stage), each with its raw samples or the reason why there are none.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import backends
from benchmarks.latency.worker import Request
from c2d.core.errors import InputError

Progress = Callable[[str], None]


class Interrupted(Exception):
    """Ctrl-C, or the end of a job's time, in the middle of a measurement: `rows` is what there is so far."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__("interrupted: what has been measured is kept")
        self.rows = rows


@dataclass
class Row:
    """One backend, batch size and stage. launches: one dict a process with samples_ms and what was seen around them."""

    backend: str
    batch: int
    stage: str
    launches: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    examined: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    training_mib: float | str | None = None
    """Peak memory of a training step of this student, batch and input, or why it has none; of eager rows."""
    asked_size: str = ""
    """`input` where one was asked for."""
    checkpoint: str = ""
    """sha256 of the weight file."""
    reason: str = ""
    expected: bool = False
    """Whether `reason` is an answer about this machine (not installed, nothing to time) and no failure."""

    @property
    def precision(self) -> str:
        """Of the backend's arithmetic."""
        return str(self.facts.get("conditions", {}).get("precision") or backends.find(self.backend).precision)

    @property
    def input(self) -> str:
        """Height x width that images are scaled to, as far as it is known."""
        return str(self.facts.get("conditions", {}).get("input") or self.asked_size or "its own")

    @property
    def disturbed(self) -> str | None:
        """Why the samples are not to be trusted, launch by launch; None where they are."""
        told = [f"launch {n}: {one['disturbed']}" for n, one in enumerate(self.launches, 1) if one["disturbed"]]
        return "; ".join(told) or None

    @property
    def inference_mib(self) -> float | None:
        """Peak memory of the launches, beyond the packages; None for stages without the model."""
        return max((one["peak_mib"] for one in self.launches if one.get("peak_mib") is not None), default=None)

    @property
    def conditions(self) -> dict[str, Any]:
        """As the latency file has them; without the device's name."""
        last = self.launches[-1]
        own = {"batch": self.batch, "stage": self.stage, "nms": last["nms"], "clock": last["clock"]}
        return {**self.facts["conditions"], **own}

    @property
    def artefact(self) -> str:
        """sha256 of what was timed."""
        return self.facts["sha256"] or self.checkpoint


def measure(base: Request, names: Sequence[str], launches: int, say: Progress = lambda line: None) -> list[Row]:
    """Rows of all backends, in the order of their names, then batch sizes and stages.

    Args:
        base: the request of every process, but for its backend and where its lines go.

    Raises:
        InputError: what a process says is the user's to mend (a checkpoint that does not fit).
        Interrupted: with what has been measured; rows that miss launches say so.
    """
    checkpoint = sha256(Path(base.checkpoint))
    rows = {
        name: {
            (batch, stage): Row(
                name, batch, stage, checkpoint=checkpoint, asked_size="x".join(map(str, base.size or ()))
            )
            for batch in sorted(set(base.batches))
            for stage in base.stages
        }
        for name in names
    }
    every = [row for of_backend in rows.values() for row in of_backend.values()]
    open_for = []
    try:
        for name in names:
            backends.find(name)
            say(f"{name}: is it equal to eager, and which AP has it?")
            if _examine(replace(base, backend=name), rows[name]):
                open_for.append(name)
        for number in range(1, launches + 1):
            for name in open_for:
                say(f"{name}: launch {number} of {launches}")
                lines, ended = launch(replace(base, backend=name))
                _collect(lines, ended, rows[name], number)
    except KeyboardInterrupt:
        for row in every:
            if len(row.launches) < launches:
                row.reason = row.reason or f"interrupted after {len(row.launches)} of {launches} launches"
        raise Interrupted(every) from None
    return every


def launch(request: Request) -> tuple[list[dict[str, Any]], str]:
    """(lines, how it ended: "" well, else one line) of one process."""
    folder = Path(request.workspace)
    folder.mkdir(parents=True, exist_ok=True)
    out, log = folder / "lines.jsonl", folder / "log.txt"
    out.write_text("")
    # The code of this process, wherever it was imported from.
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if request.threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(request.threads))
    with log.open("w") as stream:
        asked = [sys.executable, "-m", "benchmarks.latency.worker", replace(request, out=str(out)).dump()]
        done = subprocess.run(asked, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
    lines = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
    return lines, _how_it_ended(done.returncode, log)


def sha256(path: Path) -> str:
    """Of a file; "" where it is not there (the process that reads it will say so)."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _how_it_ended(code: int, log: Path) -> str:
    if code == 0:
        return ""
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        return f"its process was killed ({name})" + (", as a system out of memory does" if -code == 9 else "")
    told = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"its process ended with {code}: {told[-1][:300] if told else 'it said nothing'}"


def _first(lines: Sequence[dict[str, Any]], key: str) -> Any:
    return next((line[key] for line in lines if key in line), None)


def _examine(request: Request, rows: dict[tuple[int, str], Row]) -> bool:
    """Ask one backend's artefact; False where it is not to be timed, and then its rows say why."""
    lines, ended = launch(replace(request, examine=True))
    failed = next((line for line in lines if "failed" in line), None)
    examined = _first(lines, "examined") or {}
    if failed and failed["kind"] == "input":
        raise InputError(failed["failed"])
    reason = failed["failed"] if failed else ended
    if not reason and examined.get("equal") is False:
        deviation, most = examined["max_deviation"], examined["tolerance"]
        reason = f"not equal to eager: outputs differ by {deviation:.3g}, allowed is {most:.3g}; not timed"
        reason += f" ({examined['note']})" if examined["note"] else ""
    for row in rows.values():
        row.examined, row.reason = examined, reason
        row.expected = bool(failed) and failed["kind"] == "unavailable"  # type: ignore[index]
        row.notes += [examined["note"]] if examined.get("note") else []
    return not reason


def _collect(lines: Sequence[dict[str, Any]], ended: str, rows: dict[tuple[int, str], Row], number: int) -> None:
    """Put the lines of one launch into the rows."""
    facts = _first(lines, "facts")
    failed = _first(lines, "failed")
    seen = set()
    for line in lines:
        if "stage" not in line:
            continue
        row = rows[line["batch"], line["stage"]]
        seen.add((line["batch"], line["stage"]))
        if "samples_ms" in line:
            row.launches.append(line)
            row.facts = facts
        elif not row.reason:
            row.reason, row.expected = line["reason"], "nothing" in line
    begun = [tuple(line["begin"]) for line in lines if "begin" in line]
    for key, row in rows.items():
        if key not in seen and not row.reason:
            at_it = bool(begun) and key == begun[-1]
            why = failed or ended or "its process said nothing of it"
            row.reason = f"launch {number}: {why}" + ("" if at_it or not begun else f", at batch {begun[-1][0]}")
        for note in [*(facts or {}).get("notes", []), _first(lines, "note")]:
            if note and note not in row.notes:
                row.notes.append(note)

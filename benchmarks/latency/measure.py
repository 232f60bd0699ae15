"""Measure the latency of one student: check every backend, then time them in several processes, in turn.

The launches of the backends alternate, so that a machine whose speed drifts slows all of them. The result is a list of
rows (backend x batch x stage), each with its raw samples or the reason why there are none.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.backends.registry import find_backend
from benchmarks.latency.latency_request import LatencyRequest
from benchmarks.latency.latency_row import LatencyRow, Rows, add_launch, first_value
from c2d.core.errors import InputError
from c2d.core.process.python_process import module_command, module_environment

Progress = Callable[[str], None]


class Interrupted(Exception):
    """Ctrl-C, or the end of a job's time, in the middle of a measurement.

    Attributes:
        rows: what has been measured so far.
    """

    def __init__(self, rows: list[LatencyRow]) -> None:
        super().__init__("interrupted: what has been measured is kept")
        self.rows = rows


def measure_latency(
    base: LatencyRequest, backends: Sequence[str], launches: int, progress: Progress = lambda line: None
) -> list[LatencyRow]:
    """Return the rows of all backends, in the order of their names, then batch sizes and stages.

    Args:
        base: the request of every process, without its backend and output file.
        backends: their names.
        launches: processes a backend.
        progress: gets a line before every process.

    Raises:
        InputError: a process reports wrong input (a checkpoint that does not fit).
        Interrupted: with what has been measured; rows that miss launches have a reason.
    """
    checkpoint = sha256(Path(base.checkpoint))
    size = "x".join(map(str, base.size or ()))
    rows: dict[str, Rows] = {
        name: {
            (batch, stage): LatencyRow(name, batch, stage, checkpoint=checkpoint, requested_size=size)
            for batch in sorted(set(base.batches))
            for stage in base.stages
        }
        for name in backends
    }
    all_rows = [row for of_backend in rows.values() for row in of_backend.values()]
    accepted = []
    try:
        for name in backends:
            find_backend(name)
            progress(f"{name}: compare with eager and compute the AP")
            if _check_backend(replace(base, backend=name), rows[name]):
                accepted.append(name)
        for number in range(1, launches + 1):
            for name in accepted:
                progress(f"{name}: launch {number} of {launches}")
                lines, exit_reason = run_worker(replace(base, backend=name))
                add_launch(lines, exit_reason, rows[name], number)
    except KeyboardInterrupt:
        for row in all_rows:
            if len(row.launches) < launches:
                row.reason = row.reason or f"interrupted after {len(row.launches)} of {launches} launches"
        raise Interrupted(all_rows) from None
    return all_rows


def run_worker(request: LatencyRequest) -> tuple[list[dict[str, Any]], str]:
    """Run one process; return (its lines, why it failed: one line, "" where it did not)."""
    folder = Path(request.workspace)
    folder.mkdir(parents=True, exist_ok=True)
    out, log = folder / "lines.jsonl", folder / "log.txt"
    out.write_text("")
    # OpenMP and MKL read these when they are loaded, so only the environment of the process can set them.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(request.threads)) if request.threads else {}
    command = module_command("benchmarks.latency.worker", replace(request, out=str(out)).to_json())
    with log.open("w") as stream:
        process = subprocess.run(
            command, stdout=stream, stderr=subprocess.STDOUT, env=module_environment(**threads), check=False
        )
    # A process that is killed while it writes leaves half a line.
    lines = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
    return lines, _exit_reason(process.returncode, log)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file; "" where it is missing, which the process that loads it reports."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _exit_reason(code: int, log: Path) -> str:
    if code == 0:
        return ""
    # subprocess reports the signal N as the exit code -N; the kernel's out-of-memory killer sends SIGKILL (9).
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        return f"its process was killed ({name})" + (", as a system out of memory does" if -code == 9 else "")
    # The last line of a traceback names the exception.
    output = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"its process ended with {code}: {output[-1][:300] if output else 'no output'}"


def _check_backend(request: LatencyRequest, rows: Rows) -> bool:
    """Check one backend's artefact; return whether to time it. If not, its rows get the reason."""
    lines, exit_reason = run_worker(replace(request, check_only=True))
    failure = next((line for line in lines if "failed" in line), None)
    checks = first_value(lines, "checks") or {}
    # Wrong input fails in every process alike, so it ends the command instead of a row.
    if failure and failure["kind"] == "input":
        raise InputError(failure["failed"])
    reason = failure["failed"] if failure else exit_reason
    if not reason and checks.get("equal") is False:
        deviation, allowed = checks["max_deviation"], checks["tolerance"]
        reason = f"not equal to eager: outputs differ by {deviation:.3g}, allowed is {allowed:.3g}; not timed"
        reason += f" ({checks['note']})" if checks["note"] else ""
    for row in rows.values():
        row.checks, row.reason = checks, reason
        row.expected = failure is not None and failure["kind"] == "unavailable"
        row.notes += [checks["note"]] if checks.get("note") else []
    return not reason

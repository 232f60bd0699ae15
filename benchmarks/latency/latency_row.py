"""One row of a latency measurement: a backend, batch size and stage, with its samples or the reason why it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.backends.registry import find_backend


@dataclass
class LatencyRow:
    """Samples of one backend, batch size and stage.

    Attributes:
        launches: one dict a process: samples_ms, warm_up_ms, peak_mib, the state of the machine, ...
        facts: what holds for all samples of a process: device, machine, conditions (see `worker.facts`).
        checks: result of `artifact_checks.check_artifact`.
        notes: one line each.
        training_mib: peak memory (MiB) of a training step at this batch and input, or why it has none; eager rows only.
        requested_size: `input` where the command line gave one.
        checkpoint: SHA-256 of the weight file.
        reason: why samples are missing; "" where none are.
        expected: whether `reason` describes this machine (not installed, not applicable) and is no failure.
    """

    backend: str
    batch: int
    stage: str
    launches: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    training_mib: float | str | None = None
    requested_size: str = ""
    checkpoint: str = ""
    reason: str = ""
    expected: bool = False

    @property
    def precision(self) -> str:
        """Precision of the backend's arithmetic."""
        return str(self.facts.get("conditions", {}).get("precision") or find_backend(self.backend).precision)

    @property
    def input(self) -> str:
        """Height x width in px that images are scaled to, as far as it is known."""
        return str(self.facts.get("conditions", {}).get("input") or self.requested_size or "its own")

    @property
    def disturbed(self) -> str | None:
        """Why the samples are not reliable, launch by launch; None where they are."""
        reasons = [f"launch {n}: {one['disturbed']}" for n, one in enumerate(self.launches, 1) if one["disturbed"]]
        return "; ".join(reasons) or None

    @property
    def inference_mib(self) -> float | None:
        """Peak memory (MiB) of the launches, beyond the packages; None for stages without the model."""
        return max((one["peak_mib"] for one in self.launches if one.get("peak_mib") is not None), default=None)

    @property
    def conditions(self) -> dict[str, Any]:
        """Conditions of the latency file, without the device's name."""
        last = self.launches[-1]
        own = {"batch": self.batch, "stage": self.stage, "nms": last["nms"], "clock": last["clock"]}
        return {**self.facts["conditions"], **own}

    @property
    def artefact(self) -> str:
        """SHA-256 of what was timed: an exported file, else the checkpoint."""
        return self.facts["sha256"] or self.checkpoint


Rows = dict[tuple[int, str], LatencyRow]
"""Rows of one backend by batch size and stage."""


def first_value(lines: Sequence[dict[str, Any]], key: str) -> Any:
    """Return the value of `key` in the first line that has it, or None."""
    return next((line[key] for line in lines if key in line), None)


def add_launch(lines: Sequence[dict[str, Any]], exit_reason: str, rows: Rows, number: int) -> None:
    """Add the lines of one process (see `benchmarks.latency.worker`) to the rows of its backend.

    Args:
        lines: of the process.
        exit_reason: why it failed; "" where it did not.
        rows: changed in place.
        number: of the launch, from 1.
    """
    facts = first_value(lines, "facts")
    failure = first_value(lines, "failed")
    reported = set()
    for line in lines:
        if "stage" not in line:
            continue
        row = rows[line["batch"], line["stage"]]
        reported.add((line["batch"], line["stage"]))
        if "samples_ms" in line:
            row.launches.append(line)
            row.facts = facts
        elif not row.reason:
            row.reason, row.expected = line["reason"], "not_applicable" in line
    begun = [tuple(line["begin"]) for line in lines if "begin" in line]
    for key, row in rows.items():
        if key not in reported and not row.reason:
            # The stage that began last was running when the process ended.
            is_last = bool(begun) and key == begun[-1]
            why = failure or exit_reason or "its process reported nothing about it"
            row.reason = f"launch {number}: {why}" + ("" if is_last or not begun else f", at batch {begun[-1][0]}")
        for note in [*(facts or {}).get("notes", []), first_value(lines, "note")]:
            if note and note not in row.notes:
                row.notes.append(note)

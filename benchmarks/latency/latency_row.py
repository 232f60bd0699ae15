"""One row of a latency measurement: a backend, batch size and stage, with its samples or the reason why it has none."""

from __future__ import annotations

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

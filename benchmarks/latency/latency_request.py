"""The request of one measuring process, as one line of JSON on its command line, and the names of the stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.latency.timing import StoppingRule
from c2d.core.errors import unknown_name

READ, PREPROCESS, COPY, MODEL, POST_PROCESS, END_TO_END = STAGES = (
    "read and decode",
    "preprocess",
    "host to device",
    "model",
    "post-process",
    "end to end",
)


@dataclass(frozen=True)
class LatencyRequest:
    """What one process measures. Paths are text.

    Attributes:
        config, checkpoint: files of the student.
        backend: its name in `benchmarks.backends.registry`.
        out: file that gets the lines of the process.
        workspace: folder for exported files and random images.
        device: cpu or cuda.
        size: (height, width) in px that images are scaled to; None: the config's own.
        batches: batch sizes.
        stages: names out of STAGES.
        images: "real" (of the test data set) or "random".
        image_count: number of different images.
        interval_ms: time between the beginnings of two calls; None: the next call begins when the last one ends.
        threads: CPU threads; None: torch's choice.
        check_only: check the artefact instead of timing it.
        known_ap: AP (0-1) of these weights, eager and at the config's own size, where it is known.
        dataset_overrides: entries of the config's test data set to replace, where the data have moved.
        rule: when a call has enough samples.
    """

    config: str
    checkpoint: str
    backend: str
    out: str
    workspace: str
    device: str = "cpu"
    size: tuple[int, int] | None = None
    batches: tuple[int, ...] = (1,)
    stages: tuple[str, ...] = STAGES
    images: str = "real"
    image_count: int = 16
    interval_ms: float | None = None
    threads: int | None = None
    check_only: bool = False
    known_ap: float | None = None
    dataset_overrides: dict[str, Any] | None = None
    rule: StoppingRule = field(default_factory=StoppingRule)

    def to_json(self) -> str:
        """Return the request as one line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> LatencyRequest:
        """Return the request of a line."""
        values = json.loads(text)
        size = values["size"]
        # JSON has no tuples.
        tuples = {"batches": tuple(values["batches"]), "stages": tuple(values["stages"])}
        rule = StoppingRule(**values["rule"])
        return LatencyRequest(**{**values, **tuples, "size": tuple(size) if size else None, "rule": rule})


def check_stages(names: Sequence[str]) -> tuple[str, ...]:
    """Return the stages in their order.

    Raises:
        InputError: unknown name.
    """
    for name in names:
        if name not in STAGES:
            raise unknown_name("stage", name, STAGES)
    return tuple(name for name in STAGES if name in names)

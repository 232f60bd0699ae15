"""Views of a made-up sweep as literals, and small stores, for the tests of the live view."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeps.watch.watch_view import SweepView, WaitingGroup, WatchRow, WatchView

NOW = 1_800_000_000.0
FALLING = (8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
HOSTILE = "<img src=x onerror=alert(1)>\"'&[red]"

RUNNING = WatchRow(
    "retinanet-qr18-icod-0123456789ab-s0", ("c2d", "0.01"), 0, "0", "running", iteration=300, iterations=450,
    stage="fit", losses=FALLING, loss=1.0, score=0.251, step_s=1.204, left_s=180.6, hours=0.1, expected_hours=0.15,
    reason="iteration 300 of 450", place="job 7_1 on n1", heartbeat_age_s=4.0,
)  # fmt: skip
STALE = replace(RUNNING, run="stale-0123456789ab-s0", labels=("fgd", "0.01"), is_stale=True, heartbeat_age_s=360.0)
FAILED = WatchRow(
    "retinanet-qr18-icod-1123456789ab-s0", ("c2d", "1e30"), 0, "0", "failed", iteration=7, iterations=450,
    losses=(2.0, math.nan), loss=math.nan, hours=0.01, expected_hours=0.01, reason="nan: loss is nan (from loss_cls)",
    ended=NOW - 30,
)  # fmt: skip
DONE = WatchRow(
    "retinanet-qr18-baseline-2123456789ab-s1", ("baseline", "0.01"), 2, "1", "done", iteration=450, iterations=450,
    losses=(5.0, 5.0), loss=5.0, score=0.3585, is_final=True, step_s=0.05, hours=0.2, expected_hours=0.2,
    reason="finished", ended=NOW - 120,
)  # fmt: skip
TEACHER = WatchRow(
    "resnet18-classifier-3123456789ab-s0", ("teacher resnet18-classifier",), 0, "", "done", iteration=20, iterations=20,
    score_name="top-1", score=0.995, is_final=True, hours=0.05, expected_hours=0.05, ended=NOW - 3600,
)  # fmt: skip


def sweep(**facts: Any) -> SweepView:
    """One running, one failed, two finished and 212 waiting runs."""
    given = SweepView(
        name="lr", question="At which rate?", axes=("method", "lr"),
        counts={"waiting": 212, "running": 1, "done": 2, "failed": 1}, running=(RUNNING,), failed=(FAILED,),
        done=(DONE, TEACHER), waiting=(WaitingGroup("waiting", 212, "pending (Priority)", NOW + 60),), unit="GPU hours",
        hours=0.36, hours_wasted=0.01, hours_expected=43.2, left_s=7200.0, warnings=(), is_at_rest=False,
    )  # fmt: skip
    return replace(given, **facts)


def view(*sweeps: SweepView, every_s: float = 5.0) -> WatchView:
    return WatchView(sweeps or (sweep(),), NOW, every_s)


def many(count: int = 300) -> SweepView:
    """A sweep with more runs than any terminal has lines."""
    running = tuple(replace(RUNNING, run=f"r{k}", labels=("c2d", f"{k}")) for k in range(count // 3))
    failed = tuple(replace(FAILED, run=f"f{k}", labels=("fgd", f"{k}")) for k in range(count // 6))
    counts = {"waiting": 212, "running": count // 3, "done": count // 2, "failed": count // 6}
    return sweep(running=running, failed=failed, done=(DONE,) * 50, counts=counts)


class TinyStore:
    """A store with one sweep of the runs a, b, ... on the axis `method`, without SLURM."""

    def __init__(self, runs: Path, names: str = "abc") -> None:
        self.runs = runs
        cells = [{"labels": {"method": name}, "seed": 0, "run": self.id(name)} for name in names]
        manifest = {
            "format": 1, "name": "tiny", "question": "Which?", "axes": {"method": list(names)}, "seeds": [0],
            "cells": cells, "teachers": [], "needs": {}, "orphans": [], "definition": "",
        }  # fmt: skip
        (runs / "sweeps").mkdir(parents=True)
        (runs / "sweeps" / "tiny.json").write_text(json.dumps(manifest))

    def id(self, name: str) -> str:
        return f"tiny-{name}-0123456789ab-s0"

    def folder(self, name: str) -> Path:
        return self.runs / self.id(name)

    def write(self, name: str, state: str, iteration: int = 5, **facts: Any) -> None:
        """A status as this process writes it, by renaming: it is alive."""
        folder = self.folder(name)
        folder.mkdir(exist_ok=True)
        (folder / "spec.json").write_text("{}")
        now = datetime.now(UTC)
        status = {
            "state": state, "attempt": 1, "format": 1, "host": os.uname().nodename, "pid": os.getpid(), "stage": "fit",
            "heartbeat": now.isoformat(timespec="seconds"), "begun": now.timestamp() - 100, "elapsed_s": 100.0,
            "iteration": iteration, "iterations": 10, **facts,
        }  # fmt: skip
        if state == "done":
            (folder / "result.json").write_text(json.dumps({"format": 1, "kind": "detector", "AP": 0.5}))
        draft = folder / ".draft"
        draft.write_text(json.dumps(status))
        draft.rename(folder / "status.json")

    def log(self, name: str, *losses: tuple[int, float | None]) -> None:
        """Append `train` events: 2 s an iteration."""
        with (self.folder(name) / "metrics.jsonl").open("a") as stream:
            for iteration, loss in losses:
                event = {"event": "train", "iteration": iteration, "time": NOW + 2 * iteration, "loss": loss}
                stream.write(json.dumps(event) + "\n")

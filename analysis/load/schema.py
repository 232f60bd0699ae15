"""What one row of the tidy frame holds: one promised cell and seed, whatever became of its run.

`analysis.load.load` makes the frame, everything else reads it. A run that answers several equal cells has a row in each of
them; a run that was asked for by no sweep has one row, in the sweep "". Holes are rows too: a cell that was never
started, is unfinished or failed has a row without numbers and with its reason.

Columns, by where they come from (text columns hold "" and number columns NaN where there is nothing):

  the sweep    sweep, role, seed, run, axis.<axis> (the cell's label; missing where the sweep has no such axis). Runs of
               no sweep have axis.student, axis.method and axis.question, which is the run's id without its seed
  status.json  state, reason, failure_class, error, iteration, iterations, attempt, elapsed_s, heartbeat
  spec.json    name, kind, dataset, dataset_digest, student, student_digest, network, input, init, method (as in the
               run's name: "baseline", "icod", "icod+fgfi"), method_json, teacher.classifier, teacher.detector,
               schedule, schedule_json, overrides_json, and what tables ask for: iterations_planned, batch, lr,
               precision
  result.json  AP ... ARl (`COCO`), iou.0.50 ... iou.0.95, tide.<error>, count.<error>, all in 0-1 or counts; params,
               top1, top5, ece, train_s, detect_s, engine, images, boxes, detections; teacher_top1 of
               the classifier and teacher_AP of the detector that taught it
  env.json     of the newest attempt: code (sha, with + where it was dirty), c2d, python, torch, mmdet, mmcv, device,
               time

Numbers are stored as the run wrote them, in 0-1; percent is a matter of `analysis.spec.columns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.json_values import Problem

if TYPE_CHECKING:
    import pandas as pd

AXIS = "axis."
"""Prefix of the columns that hold a cell's labels."""
QUESTION = "axis.question"
"""Of runs of no sweep: their id without the seed, which says nothing that the id does not say."""
STATES = ("new", "waiting", "running", "stale", "failed", "damaged", "done")
"""new: promised, no folder yet. stale: says running, heartbeat older than 5 minutes. damaged: a file that a finished
run must have is missing or unreadable. Only done rows carry numbers."""
ROLES = ("student", "teacher", "orphan", "single")
"""teacher: asked for by the sweep's students. orphan: once promised, no longer asked for. single: of no sweep."""
COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
TIDE = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FalsePos", "FalseNeg")
IOUS = tuple(f"{0.5 + 0.05 * step:.2f}" for step in range(10))


@dataclass(frozen=True)
class Study:
    """Everything read from one store.

    frame: as described above, in the order of the sweeps' cells. sweeps: {name: record as submitted}.
    problems: what was skipped and why. runs: the store. cache: folder of what was read before, None for the usual one.
    """

    runs: Path
    frame: pd.DataFrame
    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    cache: Path | None = None


def labels_of(row: Mapping[Any, Any]) -> dict[str, str]:
    """{axis: label} of one row of the frame, as people say it: without the question of a run of no sweep."""
    named = {str(key): value for key, value in row.items() if str(key).startswith(AXIS) and key != QUESTION}
    return {key[len(AXIS) :]: value for key, value in named.items() if isinstance(value, str)}

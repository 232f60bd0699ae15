"""The four JSON files of a run, each flattened into columns of the frame, on its own and from its content alone.

Because nothing but the bytes of one file goes in, `analysis.load.cache` can keep what comes out. Every function takes the
parsed object and raises `Wrong` with a sentence where something in it cannot be used: a number that is none is never
passed over, for a mean over the rest would look like a result. Null numbers are NaN in the frame, here None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from analysis.load.schema import COCO, IOUS, TIDE
from c2d.core.json_values import ENV, RESULT, SPEC, STATUS, Wrong, at, items, maybe, number, text

Values = dict[str, float | str | None]
TEACHERS = {"classifier": "top1", "detector": "AP"}
"""{kind of teacher: what tells how good it is}; the frame has teacher_top1 and teacher_AP, for a run may have both."""
COUNTED = TIDE[:6]
"""Errors that are counted; FalsePos and FalseNeg are sums of effects, not of things."""
STATES = ("waiting", "running", "done", "failed")

STATUS_NUMBERS = ("iteration", "iterations", "attempt", "elapsed_s")
SPEC_NUMBERS = ("input", "iterations_planned", "batch", "lr")
COST = ("params", "top1", "top5", "ece", "train_s", "detect_s")
PER_IOU, EFFECTS, COUNTS = (
    tuple(f"{prefix}{name}" for name in names)
    for prefix, names in (("iou.", IOUS), ("tide.", TIDE), ("count.", COUNTED))
)
STATUS_COLUMNS = ("state", "reason", "failure_class", "error", *STATUS_NUMBERS, "heartbeat")
SPEC_COLUMNS = ("name", "kind", "dataset", "dataset_digest", "student", "student_digest", "network", "input", "init",
                "method", "method_json", "teacher.classifier", "teacher.detector", "schedule", "schedule_json",
                "overrides_json", "iterations_planned", "batch", "lr", "precision")  # fmt: skip
RESULT_COLUMNS = (*COCO, *PER_IOU, *EFFECTS, *COUNTS, *COST, "engine", "images", "boxes", "detections",
                  "teacher_top1", "teacher_AP")  # fmt: skip
ENV_COLUMNS = ("code", "c2d", "python", "torch", "mmdet", "mmcv", "device", "time")
NUMBERS = frozenset({"seed", *STATUS_NUMBERS, *SPEC_NUMBERS, *RESULT_COLUMNS} - {"engine"})
"""Columns that hold numbers; all others hold text."""


def spec(value: Mapping[str, Any]) -> Values:
    """spec.json: what was asked. `schedule_json` holds the schedule's values, its name stands in `schedule`."""
    subject = text(at(value, "kind"), "kind")
    if subject not in ("detector", "classifier"):
        raise Wrong(f"kind is {subject!r}, neither detector nor classifier")
    is_detector = subject == "detector"
    method = items(at(value, "method"), "method")
    names = []
    for entry in method:
        if not isinstance(entry, dict) or len(entry) != 1 or not isinstance(next(iter(entry.values())), dict):
            raise Wrong("method is not a list of {distiller: parameters}")
        names.append(text(next(iter(entry)), "method"))
    schedule = at(value, "schedule", "values")
    seed = number(at(value, "seed"), "seed", 0)
    if seed is None or seed != int(seed):
        raise Wrong("seed is no whole number")
    return {
        "seed": seed,
        "name": text(at(value, "name"), "name"),
        "kind": subject,
        "dataset": text(at(value, "dataset", "name"), "dataset.name"),
        "dataset_digest": text(at(value, "dataset", "digest"), "dataset.digest"),
        "student": text(at(value, "student", "name"), "student.name") if is_detector else "",
        "student_digest": text(at(value, "student", "digest"), "student.digest") if is_detector else "",
        "network": "" if is_detector else text(at(value, "network"), "network"),
        "input": number(maybe(value, "input"), "input", 0),
        "init": text(maybe(value, "init"), "init"),
        "method": ("+".join(names) or "baseline") if is_detector else "classifier",
        "method_json": _canonical(method),
        "teacher.classifier": text(maybe(value, "teachers", "classifier"), "teachers.classifier"),
        "teacher.detector": text(maybe(value, "teachers", "detector"), "teachers.detector"),
        "schedule": text(at(value, "schedule", "name"), "schedule.name"),
        "schedule_json": _canonical(schedule),
        "overrides_json": _canonical(maybe(value, "overrides") or {}),
        "iterations_planned": number(at(schedule, "iterations"), "schedule.values.iterations", 0),
        "batch": number(at(schedule, "batch"), "schedule.values.batch", 0),
        "lr": number(at(schedule, "optimizer", "lr"), "schedule.values.optimizer.lr", 0),
        "precision": text(at(schedule, "precision"), "schedule.values.precision"),
    }


def status(value: Mapping[str, Any]) -> Values:
    """status.json as it was written; whether a running run is stale is a matter of the clock and of `analysis.load.load`."""
    state = text(at(value, "state"), "state")
    if state not in STATES:
        raise Wrong(f"state is {state!r}, none of {', '.join(STATES)}")
    return {
        "state": state,
        "reason": text(maybe(value, "reason"), "reason"),
        "stage": text(maybe(value, "stage"), "stage"),
        **{key: number(maybe(value, key), key) for key in STATUS_NUMBERS},
        **{key: text(maybe(value, key), key) for key in ("failure_class", "error", "heartbeat", "host")},
        "pid": number(maybe(value, "pid"), "pid"),
    }


def result(value: Mapping[str, Any]) -> Values:
    """result.json: the numbers a finished run has, without those of single classes."""
    subject = text(at(value, "kind"), "kind")
    found: Values = {"result_kind": subject, "params": number(maybe(value, "params"), "params", 0)}
    for column, key in (("train_s", "train"), ("detect_s", "detect")):
        found[column] = number(maybe(value, "seconds", key), f"seconds.{key}")
    if subject == "classifier":
        for key in ("top1", "top5", "ece"):
            found[key] = number(at(value, key) if key == "top1" else maybe(value, key), key, 0, 1)
        return found
    if subject != "detector":
        raise Wrong(f"kind is {subject!r}, neither detector nor classifier")
    for key in COCO:
        found[key] = number(at(value, key), key, 0, 1)
    for iou in IOUS:
        found[f"iou.{iou}"] = number(at(value, "AP_per_iou", iou), f"AP_per_iou.{iou}", 0, 1)
    for error in TIDE:  # raw differences: an oracle may also lose
        found[f"tide.{error}"] = number(maybe(value, "tide", "dAP", error), f"tide.dAP.{error}", -1, 1)
    for error in COUNTED:
        found[f"count.{error}"] = number(maybe(value, "tide", "counts", error), f"tide.counts.{error}", 0)
    for key in ("images", "boxes", "detections"):
        found[key] = number(maybe(value, key), key, 0)
    engine = [text(maybe(value, "engine", key), f"engine.{key}") for key in ("name", "version")]
    found["engine"] = " ".join(part for part in engine if part)
    for teacher, metric in TEACHERS.items():
        taught_by = number(maybe(value, "teachers", teacher, metric), f"teachers.{teacher}.{metric}", 0, 1)
        found[f"teacher_{metric}"] = taught_by
    return found


def env(value: Mapping[str, Any]) -> Values:
    """env.json: code, packages and machine of the newest attempt."""
    attempts = items(at(value, "attempts"), "attempts")
    if not attempts:
        raise Wrong("lists no attempt")
    newest = attempts[-1]
    sha = text(maybe(newest, "git", "sha"), "git.sha")
    snapshot = text(maybe(newest, "snapshot"), "snapshot")
    packages = maybe(newest, "packages") or {}
    if not isinstance(packages, dict):
        raise Wrong("packages is not an object")
    versions = {str(name).lower().replace("_", "-"): version for name, version in packages.items()}

    def version(*names: str) -> str:
        return next((text(versions[name], f"packages.{name}") for name in names if name in versions), "")

    code = f"snapshot {snapshot[:12]}" if snapshot else ""
    return {
        "code": sha + ("+" if maybe(newest, "git", "dirty") is True else "") if sha else code,
        "c2d": text(maybe(newest, "c2d"), "c2d"),
        "python": text(maybe(newest, "python"), "python"),
        "torch": version("torch"),
        "mmdet": version("onedl-mmdetection", "mmdet"),
        "mmcv": version("onedl-mmcv", "mmcv", "mmcv-lite"),
        "device": _device(newest),
        "time": text(maybe(newest, "time"), "time"),
    }


FLATTEN: Final[dict[str, Callable[[Mapping[str, Any]], Values]]] = {
    SPEC: spec,
    STATUS: status,
    RESULT: result,
    ENV: env,
}


def _device(newest: Mapping[str, Any]) -> str:
    """ "NVIDIA H100", "2 x NVIDIA H100", or the CPU where no GPU was used."""
    names = [text(name, "machine.gpu") for name in items(maybe(newest, "machine", "gpu") or [], "machine.gpu")]
    if not names:
        return text(maybe(newest, "machine", "cpu"), "machine.cpu")
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())


def _canonical(value: Any) -> str:
    """Equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

"""Flatten the four JSON files of a run into columns of the frame.

Each function takes the parsed object of one file and returns {column: value}; a null number is None.
`analysis.loading.cache` stores the result, which is why nothing but the content of that one file may enter. A value
that is present but cannot be used raises `FormatError`: else a mean over the remaining numbers would pass for a result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from analysis.loading.columns import RESULT_COLUMNS, SPEC_COLUMNS, STATUS_COLUMNS, FrameColumn
from c2d.core.json_values import items, number, optional, required, text
from c2d.core.regular_file import FormatError
from c2d.core.run_folder import ENV_FILE, RESULT_FILE, SPEC_FILE, STATUS_FILE
from c2d.core.status_shape import STATES

Values = dict[str, float | str | None]
KINDS = ("detector", "classifier", "impressions")
STEPS = ("iterations_planned", "batch", "lr", "precision")
"""Columns of a schedule whose run takes steps."""
NO_TRAINING = "no-training"
"""In the place of a method: a whole detector that was loaded and evaluated is no baseline that was trained."""


def spec(value: Mapping[str, Any]) -> Values:
    """Flatten spec.json. `schedule_json` holds the values of the schedule, `schedule` its name."""
    kind = _kind(value)
    is_detector = kind == "detector"
    is_data_free = optional(value, "data_free")
    if is_data_free not in (None, True, False):
        raise FormatError("data_free is neither true nor false")
    method = items(required(value, "method"), "method")
    names = []
    for entry in method:
        if not isinstance(entry, dict) or len(entry) != 1 or not isinstance(next(iter(entry.values())), dict):
            raise FormatError("method is not a list of {distiller: parameters}")
        names.append(text(next(iter(entry)), "method"))
    seed = number(required(value, "seed"), "seed", 0)
    if seed is None or seed != int(seed):
        raise FormatError("seed is not a whole number")
    _check_loop(value, kind)
    return {
        "seed": seed,
        "kind": kind,
        "student": text(required(value, "student", "name"), "student.name") if is_detector else "",
        "student_digest": text(required(value, "student", "digest"), "student.digest") if is_detector else "",
        "network": text(required(value, "network"), "network") if kind == "classifier" else "",
        "method": ("+".join(names) or ("baseline" if _takes_steps(value) else NO_TRAINING)) if is_detector else kind,
        "data_free": "yes" if is_data_free else "",
        "method_json": _canonical(method),
        "schedule_json": _canonical(required(value, "schedule", "values")),
        "overrides_json": _canonical(optional(value, "overrides") or {}),
        **_read(_with_one_classifier(value), SPEC_COLUMNS, kind),
        **(_of_synthesis(value) if kind == "impressions" else {}),
    }


def _with_one_classifier(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name the members of an ensemble with their weights in the place of one classifier: `0.5 RUN_A + 0.5 RUN_B`."""
    teachers = optional(value, "teachers")
    if not isinstance(members := optional(value, "teachers", "classifier"), list) or not members:
        return value
    names = [text(name, "teachers.classifier") for name in members]
    given = optional(value, "teachers", "classifier_weights")
    weights = items(given, "teachers.classifier_weights") if given is not None else [1 / len(names)] * len(names)
    if len(weights) != len(names):
        raise FormatError(f"teachers.classifier has {len(names)} runs and classifier_weights {len(weights)} numbers")
    shares = [number(weight, "teachers.classifier_weights", 0, 1) or 0 for weight in weights]
    joined = " + ".join(f"{share:.4g} {name}" for share, name in zip(shares, names, strict=True))
    return {**value, "teachers": {**(teachers or {}), "classifier": joined}}


def _check_loop(value: Mapping[str, Any], kind: str) -> None:
    """Check that a schedule has the keys of its steps; a run that takes none has none of them."""
    if kind != "impressions" and not _takes_steps(value):
        return
    for column in SPEC_COLUMNS:
        if column.name in STEPS and (not column.run_kinds or kind in column.run_kinds):
            required(value, *column.keys)


def _takes_steps(value: Mapping[str, Any]) -> bool:
    """Whether a model is trained by steps: not a classifier whose `fit` has none, nor a detector that is evaluated."""
    values = required(value, "schedule", "values")
    if not isinstance(values, dict) or "iterations" in values:
        return True
    kind = optional(value, "kind")
    return not (kind == "classifier" and "fit" in values) and not (
        kind == "detector" and values.get("training") == "none"
    )


def _of_synthesis(value: Mapping[str, Any]) -> Values:
    """Iterations of both stages, and the learning rate of the one that makes the images."""
    stages = [required(value, "schedule", "values", stage) for stage in ("draft", "final")]
    counted = [number(required(stage, "iterations"), "schedule.values.iterations", 0) for stage in stages]
    return {
        "iterations_planned": sum(count or 0 for count in counted),
        "lr": number(required(stages[1], "lr"), "schedule.values.final.lr", 0),
    }


def status(value: Mapping[str, Any]) -> Values:
    """Flatten status.json as it is. Whether a run is stale depends on the clock: see `analysis.loading.load`."""
    state = text(required(value, "state"), "state")
    if state not in STATES:
        raise FormatError(f"state is {state!r}, none of {', '.join(STATES)}")
    return {
        "state": state,
        **{key: text(optional(value, key), key) for key in ("stage", "host")},
        "pid": number(optional(value, "pid"), "pid"),
        **_read(value, STATUS_COLUMNS),
    }


def result(value: Mapping[str, Any]) -> Values:
    """Flatten result.json, without the numbers of single classes."""
    kind = _kind(value)
    found: Values = {"result_kind": kind, **_read(value, RESULT_COLUMNS, kind)}
    if kind == "detector":
        engine = [text(optional(value, "engine", key), f"engine.{key}") for key in ("name", "version")]
        found["engine"] = " ".join(part for part in engine if part)
    if kind == "impressions":
        found["train_s"] = number(optional(value, "seconds"), "seconds", 0)
    return found


def env(value: Mapping[str, Any]) -> Values:
    """Flatten the newest attempt of env.json: code, packages and machine."""
    attempts = items(required(value, "attempts"), "attempts")
    if not attempts:
        raise FormatError("lists no attempt")
    newest = attempts[-1]
    sha = text(optional(newest, "git", "sha"), "git.sha")
    snapshot = text(optional(newest, "snapshot"), "snapshot")
    packages = optional(newest, "packages") or {}
    if not isinstance(packages, dict):
        raise FormatError("packages is not an object")
    # One package may be recorded as `Foo_bar` or `foo-bar`: both are one name (PEP 503).
    versions = {str(name).lower().replace("_", "-"): version for name, version in packages.items()}

    def version(*names: str) -> str:
        return next((text(versions[name], f"packages.{name}") for name in names if name in versions), "")

    code = f"snapshot {snapshot[:12]}" if snapshot else ""
    return {
        "code": sha + ("+" if optional(newest, "git", "dirty") is True else "") if sha else code,
        "c2d": text(optional(newest, "c2d"), "c2d"),
        "python": text(optional(newest, "python"), "python"),
        "torch": version("torch"),
        "mmdet": version("onedl-mmdetection", "mmdet"),
        "mmcv": version("onedl-mmcv", "mmcv", "mmcv-lite"),
        "device": _device(newest),
        "time": text(optional(newest, "time"), "time"),
    }


FLATTEN: Final[dict[str, Callable[[Mapping[str, Any]], Values]]] = {
    SPEC_FILE: spec,
    STATUS_FILE: status,
    RESULT_FILE: result,
    ENV_FILE: env,
}


def _kind(value: Mapping[str, Any]) -> str:
    kind = text(required(value, "kind"), "kind")
    if kind not in KINDS:
        raise FormatError(f"kind is {kind!r}, none of {', '.join(KINDS)}")
    return kind


def _read(value: Mapping[str, Any], columns: Sequence[FrameColumn], kind: str = "") -> Values:
    """Read the columns that have keys and that this kind of run has."""
    found: Values = {}
    for column in columns:
        if not column.keys or (column.run_kinds and kind not in column.run_kinds):
            continue
        given = (required if column.required else optional)(value, *column.keys)
        name = ".".join(column.keys)
        found[column.name] = number(given, name, column.low, column.high) if column.is_number else text(given, name)
    return found


def _device(newest: Mapping[str, Any]) -> str:
    """ "NVIDIA H100", "2 x NVIDIA H100", or where no GPU was used the CPU and its threads: "AMD EPYC, 2 threads".

    A training on a CPU with another number of threads has other numbers from its first steps on.
    """
    names = [text(name, "machine.gpu") for name in items(optional(newest, "machine", "gpu") or [], "machine.gpu")]
    if not names:
        return ", ".join(filter(None, [text(optional(newest, "machine", "cpu"), "machine.cpu"), _threads(newest)]))
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())


def _threads(newest: Mapping[str, Any]) -> str:
    """ "2 threads"; "" where no run of its time recorded them and OMP_NUM_THREADS was not set."""
    recorded = number(optional(newest, "machine", "threads"), "machine.threads", 1)
    variable = text(optional(newest, "environment", "OMP_NUM_THREADS"), "environment.OMP_NUM_THREADS")
    count = variable if recorded is None else f"{recorded:g}"
    return f"{count} thread{'' if count == '1' else 's'}" if count else ""


def _canonical(value: Any) -> str:
    """Equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

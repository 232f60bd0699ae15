"""Flatten the four JSON files of a run into columns of the frame.

Each function takes the parsed object of one file and returns {column: value}; a null number is None.
`analysis.load.cache` stores the result, which is why nothing but the content of that one file may enter. A value that
is present but cannot be used raises `Wrong`: a mean over the remaining numbers would look like a result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from analysis.load.columns import RESULT_COLUMNS, SPEC_COLUMNS, STATUS_COLUMNS, FrameColumn
from c2d.core.json_values import ENV, RESULT, SPEC, STATUS, Wrong, at, items, maybe, number, text

Values = dict[str, float | str | None]
STATES = ("waiting", "running", "done", "failed")
KINDS = ("detector", "classifier")


def spec(value: Mapping[str, Any]) -> Values:
    """Flatten spec.json. `schedule_json` holds the values of the schedule, `schedule` its name."""
    kind = _kind(value)
    is_detector = kind == "detector"
    method = items(at(value, "method"), "method")
    names = []
    for entry in method:
        if not isinstance(entry, dict) or len(entry) != 1 or not isinstance(next(iter(entry.values())), dict):
            raise Wrong("method is not a list of {distiller: parameters}")
        names.append(text(next(iter(entry)), "method"))
    seed = number(at(value, "seed"), "seed", 0)
    if seed is None or seed != int(seed):
        raise Wrong("seed is no whole number")
    return {
        "seed": seed,
        "kind": kind,
        "student": text(at(value, "student", "name"), "student.name") if is_detector else "",
        "student_digest": text(at(value, "student", "digest"), "student.digest") if is_detector else "",
        "network": "" if is_detector else text(at(value, "network"), "network"),
        "method": ("+".join(names) or "baseline") if is_detector else "classifier",
        "method_json": _canonical(method),
        "schedule_json": _canonical(at(value, "schedule", "values")),
        "overrides_json": _canonical(maybe(value, "overrides") or {}),
        **_read(value, SPEC_COLUMNS),
    }


def status(value: Mapping[str, Any]) -> Values:
    """Flatten status.json as it was written. Whether a run is stale depends on the clock: see `analysis.load.load`."""
    state = text(at(value, "state"), "state")
    if state not in STATES:
        raise Wrong(f"state is {state!r}, none of {', '.join(STATES)}")
    return {
        "state": state,
        **{key: text(maybe(value, key), key) for key in ("stage", "host")},
        "pid": number(maybe(value, "pid"), "pid"),
        **_read(value, STATUS_COLUMNS),
    }


def result(value: Mapping[str, Any]) -> Values:
    """Flatten result.json, without the numbers of single classes."""
    kind = _kind(value)
    found: Values = {"result_kind": kind, **_read(value, RESULT_COLUMNS, kind)}
    if kind == "detector":
        engine = [text(maybe(value, "engine", key), f"engine.{key}") for key in ("name", "version")]
        found["engine"] = " ".join(part for part in engine if part)
    return found


def env(value: Mapping[str, Any]) -> Values:
    """Flatten the newest attempt of env.json: code, packages and machine."""
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


def _kind(value: Mapping[str, Any]) -> str:
    kind = text(at(value, "kind"), "kind")
    if kind not in KINDS:
        raise Wrong(f"kind is {kind!r}, neither detector nor classifier")
    return kind


def _read(value: Mapping[str, Any], columns: Sequence[FrameColumn], kind: str = "") -> Values:
    """Read the columns that have keys and that this kind of run has."""
    found: Values = {}
    for column in columns:
        if not column.keys or (column.run_kind and column.run_kind != kind):
            continue
        given = (at if column.required else maybe)(value, *column.keys)
        name = ".".join(column.keys)
        found[column.name] = number(given, name, column.low, column.high) if column.is_number else text(given, name)
    return found


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

"""SPEC.yaml -> RunSpec: names looked up, defaults written out, files named by content. No torch for shipped names.

SPEC.yaml has the schema of spec.json with defaults left out; `dataset`, `student`, `schedule` and `init` may be given
by name or path alone, and a teacher by the beginning of its run id. `ask` is `gather`, which reads, and `compose`,
which does not.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder, read_json
from c2d.specs.lookup import (
    KINDS,
    Found,
    Known,
    Mentions,
    distiller_catalog,
    found,
    gather,
    mention,
    schedule_file,
    student_catalog,
)
from c2d.specs.method_schema import check_params
from c2d.specs.spec import Method, RunSpec, ScheduleRef, needed_teachers, parse_spec, resolve_method, run_name

__all__ = [
    "Found",
    "Known",
    "Mentions",
    "ask",
    "compose",
    "composed_method",
    "distiller_catalog",
    "found",
    "gather",
    "load_schedule",
    "store",
    "student_catalog",
    "teacher_result",
    "teacher_run",
]
DEFAULT_RUNS = "runs"


def store(runs: Path | str | None) -> Path:
    """The folder of all runs: `--runs`, or C2D_RUNS, or ./runs."""
    return Path(runs or os.environ.get("C2D_RUNS") or DEFAULT_RUNS)


def ask(given: dict[str, Any], *, where: str, runs: Path, data: Path | None = None) -> RunSpec:
    """The full spec of a question given in short.

    Args:
        given: keys of spec.json, defaults left out.
        where: file name for messages.
        runs: the store, where teachers are looked up and weight files are kept.
        data: root of the data cards (default: C2D_DATA, else ./data).
    """
    _check_shape(given, where)
    mentions = Mentions()
    for key, value in given.items():
        mentions.add(key, value)
    return compose(given, gather(mentions, runs, data), where)


def compose(given: dict[str, Any], known: Known, where: str) -> RunSpec:
    """The full spec of a question, from names that were looked up before. Reads nothing.

    Args:
        given: keys of spec.json, defaults left out. Its teachers are names in `known.runs`, or whole run ids.
        known: everything the question names; a name that was never gathered is a KeyError.
        where: file name for messages.
    """
    _check_shape(given, where)
    kind = given.get("kind") or ("classifier" if "network" in given else "detector")
    method = composed_method(given.get("method") or [], known, where)
    dataset, card = given["dataset"], found(known.cards[_name(given["dataset"])])
    if isinstance(dataset, dict) and dataset.get("digest", card[1]) != card[1]:
        raise InputError(
            f"{where}: data set {card[0]} has digest {card[1][:12]}, "
            f"the spec wants {dataset['digest'][:12]}; use the same data"
        )
    subject = given.get("student") or given.get("network")
    student = _student(subject, known, where) if kind == "detector" else None
    key, schedule, own_size = _schedule(given["schedule"], kind, known)
    size = given.get("input")
    value = {
        "name": run_name(kind, student["name"] if student else str(subject), method),
        "kind": kind,
        "dataset": {"name": card[0], "digest": card[1]},
        "student": student,
        "network": subject if kind == "classifier" else None,
        "input": own_size if size is None and kind == "classifier" else size,
        "init": _init(given.get("init") or "none", known),
        "teachers": _teachers(given.get("teachers") or {}, method, known, where),
        "method": method,
        "schedule": schedule,
        "overrides": _plain(given.get("overrides") or {}, "overrides", where),
        "seed": given.get("seed", 0),
    }
    spec = parse_spec(value, where)
    known.memo[key] = spec.schedule, own_size
    return spec


def _check_shape(given: dict[str, Any], where: str) -> None:
    for key in given:
        if key not in RunSpec.model_fields:
            raise unknown_name(f"key of {where}:", key, RunSpec.model_fields)
    if "dataset" not in given or "schedule" not in given or not ("student" in given or "network" in given):
        raise InputError(f"{where}: a question needs dataset, schedule and a student (or a network for a classifier)")
    for key in ("dataset", "student"):
        if isinstance(given.get(key), dict) and not isinstance(given[key].get("name"), str):
            raise InputError(f"{where}: {key} {given[key]!r} has no name")
    if not isinstance(given["dataset"], str | dict):
        raise InputError(f"{where}: dataset {given['dataset']!r} is no name; give a data card's name or path")


def _name(given: Any) -> str:
    return str(given["name"] if isinstance(given, dict) else given)


def _plain(value: Any, key: str, where: str) -> Any:
    """The value, if a spec.json can hold it: text, finite numbers, true, false, null, lists and keys of text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {key} {value!r} cannot be kept ({error}); give text or finite numbers") from None
    return value


def composed_method(given: Any, known: Known, where: str) -> Method:
    """A method with every default written out, its values checked; the same list is resolved once."""
    if not isinstance(given, list):
        raise InputError(f"{where}: method is a list, e.g. [{{icod: {{T: 2}}}}], given {given!r}")
    key = "method", json.dumps(given, default=repr)
    if key not in known.memo:
        listed = [{item: {}} if isinstance(item, str) else item for item in given]
        method = resolve_method(listed, known.methods)
        for item in method:
            for name, params in item.items():
                check_params(name, params, known.methods[name]["schema"])
        known.memo[key] = _plain(method, "method", where)
    return cast(Method, known.memo[key])


def _schedule(given: Any, kind: str, known: Known) -> tuple[Any, ScheduleRef | dict[str, Any], int | None]:
    """(key of the memo, {name, values} or what was made of it before, the side of a classifier's crops)."""
    name, changes = _schedule_parts(given)
    kind = kind if kind in KINDS else "detector"
    key = "schedule", kind, name, json.dumps(changes, default=repr)
    if key in known.memo:
        return key, *known.memo[key]
    file = found(known.schedules[kind, name])
    schedule = {"name": file["name"], "values": _merged(file["values"], changes)}
    return key, schedule, schedule["values"].get("input")


def load_schedule(given: Any, kind: str) -> dict[str, Any]:
    """{name, values} of a schedule given by name, by path, or as {name, values: {what differs}}."""
    name, changes = _schedule_parts(given)
    file = schedule_file(name, kind)
    return {"name": file["name"], "values": _merged(file["values"], changes)}


def _schedule_parts(given: Any) -> tuple[str, dict[str, Any]]:
    name = given.get("name") if isinstance(given, dict) else given
    changes = (given.get("values") or {}) if isinstance(given, dict) else {}
    if (
        not isinstance(name, str)
        or not isinstance(changes, dict)
        or (isinstance(given, dict) and set(given) - {"name", "values"})
    ):
        raise InputError(f"schedule {given!r} is neither a name nor {{name: ..., values: {{...}}}}")
    return name, changes


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _student(given: Any, known: Known, where: str) -> dict[str, str]:
    """{name, digest}; a digest that the question states must be the one that is here."""
    student: dict[str, str] | None = found(known.students.get(mention(given)))
    if student is None:
        raise unknown_name(
            "student", str(given), student_catalog(), "or give an mmdet config: a path, or mmdet::folder/name.py"
        )
    if isinstance(given, dict) and given.get("digest", student["digest"]) != student["digest"]:
        raise InputError(
            f"{where}: student {given['name']} is {student['digest'][:12]} here, the spec wants "
            f"{given['digest'][:12]}; the toolbox or the config changed"
        )
    return student


def _init(given: Any, known: Known) -> str:
    if not isinstance(given, str):
        raise InputError(f"init {given!r} is not text; allowed: none, torchvision:NAME, or a file")
    init: str = "none" if given == "none" else found(known.inits[given])
    return init


def _teachers(given: dict[str, Any], method: Method, known: Known, where: str) -> dict[str, str | None]:
    """Full run ids of the teachers the methods need; a kind that no method needs is null."""
    for kind in given:
        if kind not in KINDS:
            raise unknown_name("kind of teacher", kind, KINDS)
    ids: dict[str, str | None] = dict.fromkeys(KINDS)
    for kind in sorted(needed_teachers(method, known.methods)):
        if not given.get(kind):
            asking = [name for item in method for name in item if kind in known.methods[name]["teachers"]]
            raise InputError(
                f"{where}: method {', '.join(asking)} needs a {kind} teacher; add teachers: {{{kind}: RUN}} "
                "(train one first with `c2d train`)"
            )
        run = str(given[kind])
        ids[kind] = found(known.runs[run]).id if run in known.runs else run
    return ids


def teacher_run(run_id: str, student: RunFolder) -> RunFolder:
    """The teacher of a spec, by its whole id, in the student's own store."""
    run = RunFolder(student.path.parent / run_id)
    if not run.spec.exists():
        raise InputError(
            f"teacher {run_id} is not in {student.path.parent}/; train it there first, or name its store with --runs"
        )
    return run


def teacher_result(run: RunFolder, kind: str) -> tuple[RunSpec, dict[str, Any]]:
    """(spec, result) of a finished teacher run of that kind."""
    spec = parse_spec(read_json(run.spec), str(run.spec))
    if spec.kind != kind:
        raise InputError(f"run {run.id} is a {spec.kind}, a {kind} teacher is wanted")
    if run.read_status()["state"] != "done":
        raise InputError(f"teacher {run.id} is {run.read_status()['state']}; finish it first: c2d train {run.path}")
    return spec, read_json(run.result)

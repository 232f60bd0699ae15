"""What a question may name, looked up once: data cards, students, schedules, weight files, runs. No torch for shipped
names.

Only `gather` touches the disk; what it returns is plain values, so that ten thousand questions can be composed without
another look. A name that was not found is kept as the error that says so, and raised by the question that needs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import atomic_write_text, read_json
from c2d.core.store_folder import RunStore, find_run
from c2d.core.yaml_lines import parse_mapping, read_mapping
from c2d.data.card import data_reference

KINDS = ("classifier", "detector")
SCHEDULE_HINT = "see docs/spec.md for the keys of a schedule"


@dataclass(frozen=True)
class Found:
    """A run of the store: its whole id, its kind (classifier, detector) and its state (waiting, ..., done)."""

    id: str
    kind: str
    state: str


@dataclass
class Mentions:
    """Names as questions spell them. Values that are no names are left to `compose`, which says what is wrong."""

    datasets: set[str] = field(default_factory=set)
    students: dict[str, Any] = field(default_factory=dict)
    schedules: set[str] = field(default_factory=set)
    inits: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)

    def add(self, key: str, value: Any) -> None:
        """Note what `key: value` of a question (or of a teacher's block) names; other keys name nothing."""
        name = value.get("name") if isinstance(value, dict) else value
        if key == "teachers" and isinstance(value, dict):
            self.runs |= {str(run) for run in value.values() if run}
        elif key == "student" and name:
            self.students[mention(value)] = value
        elif key in ("dataset", "schedule", "init") and isinstance(name, str):
            {"dataset": self.datasets, "schedule": self.schedules, "init": self.inits}[key].add(name)


@dataclass(frozen=True)
class Known:
    """What was found under each name; an InputError where nothing was.

    Args:
        methods: content of distillers/catalog.json.
        cards: name or path -> (name, digest) of the data set.
        students: `mention(...)` -> {name, digest}.
        schedules: (kind of run, name or path) -> {name, values}.
        inits: as given -> `none`, `torchvision:...` or `sha256:...`.
        runs: as given -> the run.
        memo: methods and schedules that were composed before.
    """

    methods: dict[str, Any]
    cards: Mapping[str, tuple[str, str] | InputError] = field(default_factory=dict)
    students: Mapping[str, dict[str, str] | InputError] = field(default_factory=dict)
    schedules: Mapping[tuple[str, str], dict[str, Any] | InputError] = field(default_factory=dict)
    inits: Mapping[str, str | InputError] = field(default_factory=dict)
    runs: Mapping[str, Found | InputError] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)


def found(value: Any) -> Any:
    """The value, or its error raised anew."""
    if isinstance(value, InputError):
        raise InputError(str(value)) from None
    return value


def mention(student: Any) -> str:
    """The key under which a student given as a name or as {name, digest} is known."""
    return student if isinstance(student, str) else json.dumps(student, sort_keys=True, default=str)


def gather(mentions: Mentions, runs: Path, data: Path | None = None) -> Known:
    """Look everything up that was mentioned.

    Weight files and students given as files are kept in the store under their content, so that their paths are no part
    of the question.

    Args:
        runs: the store.
        data: root of the data cards (default: C2D_DATA, else ./data).
    """

    def look(call: Any, *words: Any) -> Any:
        try:
            return call(*words)
        except InputError as error:
            return error

    return Known(
        methods=distiller_catalog(),
        cards={name: look(data_reference, name, data) for name in sorted(mentions.datasets)},
        students={key: look(_student, mentions.students[key], runs) for key in sorted(mentions.students)},
        schedules={(k, name): look(schedule_file, name, k) for name in sorted(mentions.schedules) for k in KINDS},
        inits={name: look(_init, name, runs) for name in sorted(mentions.inits)},
        runs={name: look(_run, name, runs) for name in sorted(mentions.runs)},
    )


@cache
def _shipped(file: str) -> str:
    return (resources.files("c2d") / file).read_text()


def distiller_catalog() -> dict[str, Any]:
    """{name: {title, version, teachers, schema}} of the shipped distillers, without torch."""
    return json.loads(_shipped("methods/catalog.json"))


def student_catalog() -> dict[str, str]:
    """{name: digest} of the shipped students, without torch."""
    value: dict[str, Any] = json.loads(_shipped("configs/students/catalog.json"))
    return {name: entry["digest"] if isinstance(entry, dict) else entry for name, entry in value.items()}


def schedule_file(name: str, kind: str) -> dict[str, Any]:
    """{name, values} of a shipped schedule, or of a YAML file."""
    folder = resources.files("c2d") / "configs" / ("teachers" if kind == "classifier" else "schedules")
    known = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if name in known:
        return {
            "name": name,
            "values": parse_mapping((folder / f"{name}.yaml").read_text(), f"{name}.yaml", SCHEDULE_HINT),
        }
    if Path(name).is_file():
        return {"name": Path(name).stem, "values": read_mapping(Path(name), SCHEDULE_HINT)}
    raise unknown_name(f"schedule of a {kind}", name, known, "or give the path of a YAML file")


def _student(given: Any, runs: Path) -> dict[str, str]:
    """{name, digest} of a shipped student, of one of mmdet's, or of a config file.

    A file is resolved and kept in the store under its digest: its path is no part of the question, and a run does not
    change when the file does.
    """
    name = str(given["name"] if isinstance(given, dict) else given)
    catalog = student_catalog()
    if name in catalog:
        return {"name": name, "digest": catalog[name]}
    if name.startswith("mmdet::"):
        from c2d.configs import student_digest  # reading an mmdet config needs mmengine

        return {"name": name, "digest": student_digest(name)}
    if name.endswith(".py"):
        from c2d.configs import student_digest
        from c2d.configs.external import stock_text

        digest = student_digest(name)
        stored = RunStore(runs).student_config(digest)
        if not stored.exists():
            atomic_write_text(stored, stock_text(name))
        return {"name": Path(name).stem, "digest": digest}
    if isinstance(given, dict) and RunStore(runs).student_config(str(given.get("digest"))).exists():
        return {"name": name, "digest": str(given["digest"])}
    raise unknown_name("student", name, catalog, "or give an mmdet config: a path, or mmdet::folder/name.py")


def _init(given: str, runs: Path) -> str:
    """`none`, `torchvision:NAME`, or a file: kept in the store under its sha256, so that a run finds it again."""
    if given == "none" or given.startswith(("torchvision:", "sha256:")):
        return given
    path = Path(given)
    if not path.is_file():
        raise InputError(f"init '{given}' is neither none, nor torchvision:NAME, nor a file that exists")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = RunStore(runs).weights(digest)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.partial")
        shutil.copyfile(path, partial)
        os.replace(partial, kept)
    return f"sha256:{digest}"


def _run(given: str, runs: Path) -> Found:
    folder = find_run(given, runs)
    try:
        kind, state = str(read_json(folder.spec).get("kind")), str(folder.read_status().get("state"))
    except (OSError, ValueError):  # a run that is being written; who needs the teacher finds out
        kind = state = "unknown"
    return Found(folder.id, kind, state)

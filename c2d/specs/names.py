"""Collect the names in specs and look each one up once: data cards, students, schedules, weight files, teacher runs.

In: specs in which names stand for content (`names_in`). Out: a `Lookup` of plain values (`look_up_names`). Needs no
torch for shipped names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from c2d.core.disk import temporary_path
from c2d.core.errors import InputError, unknown_name
from c2d.core.regular_file import is_file
from c2d.core.run_folder import atomic_write_text, read_json
from c2d.core.store_folder import RunStore, find_run
from c2d.core.yaml.yaml_lines import parse_mapping, read_mapping
from c2d.data.card_lookup import data_reference, find_card_file, load_card
from c2d.specs import first_weights
from c2d.specs.catalog import method_catalog, student_catalog, unknown_student
from c2d.specs.lookup import Lookup, StoredRun, student_in, student_key
from c2d.specs.spec import KINDS
from c2d.specs.teachers import given_teachers
from c2d.weights import weight_packages
from c2d.weights.zoo import zoo_table

T = TypeVar("T")
SCHEDULE_HINT = "see docs/spec.md for the keys of a schedule"
SCHEDULES = {"classifier": "teachers", "detector": "schedules", "impressions": "impressions"}
"""{kind of run: folder of c2d/configs with its schedules}."""


@dataclass
class Names:
    """Names as they are given in specs, each once. Students are kept as given, by their `student_key`."""

    datasets: set[str] = field(default_factory=set)
    students: dict[str, Any] = field(default_factory=dict)
    schedules: set[str] = field(default_factory=set)
    inits: set[str] = field(default_factory=set)
    text_embeddings: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)


def names_in(specs: Iterable[Mapping[str, Any]]) -> Names:
    """Collect the names in specs and in the teachers that they describe, at any depth.

    Args:
        specs: {key of a spec: value}. Malformed values are skipped: they are reported when the spec is resolved.
    """
    names = Names()
    sets = {"dataset": names.datasets, "schedule": names.schedules, "init": names.inits}
    sets["text_embeddings"] = names.text_embeddings
    left = list(specs)
    while left:
        values = left.pop()
        teachers = given_teachers(values.get("teachers"))
        names.runs |= {str(run) for run in teachers if not isinstance(run, dict)}
        left += [teacher for teacher in teachers if isinstance(teacher, dict)]
        for key, value in values.items():
            name = value.get("name") if isinstance(value, dict) else value
            if key in sets and isinstance(name, str):
                sets[key].add(name)
            elif key == "student" and name:
                names.students[student_key(value)] = value
        if (student := student_in(values, "classifier")) is not None:
            names.students[student_key(student)] = student
    return names


def look_up_names(names: Names, runs: Path, data: Path | None = None) -> Lookup:
    """Look up every name once.

    Weight files and students that are given as files are copied to the store under their digest: a path is no part of
    a spec, and a run does not change when the file does. Of a data set that is given by its path the store keeps the
    place.

    Args:
        names: from `names_in`.
        runs: the store.
        data: root of the data cards (default: C2D_DATA, else ./data).
    """
    return Lookup(
        methods=method_catalog(),
        datasets={name: _value_or_error(data_reference, name, data, runs) for name in sorted(names.datasets)},
        students={key: _value_or_error(_student, names.students[key], runs) for key in sorted(names.students)},
        schedules={
            (kind, name): _value_or_error(read_schedule, name, kind)
            for name in sorted(names.schedules)
            for kind in KINDS
        },
        data_free=frozenset(name for name in names.datasets if _value_or_error(_is_data_free, name, data) is True),
        inits={name: _value_or_error(_init, name, runs) for name in sorted(names.inits)},
        text_embeddings={name: _value_or_error(_text_embeddings, name, runs) for name in sorted(names.text_embeddings)},
        runs={name: _value_or_error(_stored_run, name, runs) for name in sorted(names.runs)},
    )


def scaling_lines(specs: Iterable[Mapping[str, Any]], lookup: Lookup) -> list[str]:
    """Return a line for every schedule with `scale_to_batch` in specs and in the teachers that they describe.

    Args:
        specs: {key of a spec: value}, which can be resolved.
        lookup: of their names.
    """
    lines: dict[str, None] = {}
    left = list(specs)
    while left:
        values = left.pop(0)
        left += [teacher for teacher in given_teachers(values.get("teachers")) if isinstance(teacher, dict)]
        # a block of a teacher that no cell needs may lack its schedule
        kind, schedule = "classifier" if "network" in values else "detector", values.get("schedule")
        if schedule is not None and (line := lookup.scaling_line(schedule, kind)):
            lines[line] = None
    return list(lines)


def _value_or_error(look_up: Callable[..., T], *arguments: Any) -> T | InputError:
    try:
        return look_up(*arguments)
    except InputError as error:
        return error


def read_schedule(name: str, kind: str) -> dict[str, Any]:
    """Read {name, values} of a schedule.

    Args:
        name: a shipped schedule, or the path of a YAML file.
        kind: one of KINDS; each has schedules of its own.

    Raises:
        InputError: neither exists.
    """
    folder = resources.files("c2d") / "configs" / SCHEDULES[kind]
    shipped = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if name in shipped:
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        return {"name": name, "values": parse_mapping(text, f"{name}.yaml", SCHEDULE_HINT)}
    if is_file(Path(name)):
        return {"name": Path(name).stem, "values": read_mapping(Path(name), SCHEDULE_HINT)}
    what = "schedule of impressions" if kind == "impressions" else f"schedule of a {kind}"
    raise unknown_name(what, name, shipped, "or give the path of a YAML file")


def _is_data_free(name: str, data: Path | None) -> bool:
    """Whether the card of a data set says that its training images are synthesised; a missing card says nothing."""
    if find_card_file(name, data) is None:
        return False
    synthesis = load_card(name, data).card.synthesis
    return synthesis is not None and synthesis.is_data_free


def _student(given: Any, runs: Path) -> dict[str, str]:
    """Return {name, digest} of a shipped student, an mmdet config, or a config file, which is copied to the store."""
    name = str(given["name"] if isinstance(given, dict) else given)
    catalog = student_catalog()
    if name in catalog:
        return {"name": name, "digest": catalog[name]}
    if name.startswith("mmdet::"):
        from c2d.configs.student_config import student_digest  # reading an mmdet config needs mmengine

        return {"name": name, "digest": student_digest(name)}
    store = RunStore(runs)
    if name.endswith(".py"):
        from c2d.configs.student_config import config_text, student_digest

        digest = student_digest(name)
        if not store.student_config(digest).exists():
            atomic_write_text(store.student_config(digest), config_text(name))
        return {"name": Path(name).stem, "digest": digest}
    if isinstance(given, dict) and is_file(store.student_config(str(given.get("digest")))):
        return {"name": name, "digest": str(given["digest"])}
    raise unknown_student(name)


def _init(given: str, runs: Path) -> str:
    """Return the name of a source as it is given, or `sha256:...` of a file, which is copied to the store."""
    source = first_weights.network_source(given)
    if first_weights.is_whole(source):
        return _whole_detector(given, runs)
    if source.startswith(weight_packages.PREFIX):
        weight_packages.weight_package(source)
    if source in (first_weights.NONE, first_weights.BACKBONE) or source.startswith(
        (*first_weights.NAMED, first_weights.KEPT)
    ):
        return first_weights.joined(source, first_weights.inherits(given))
    if not is_file(Path(source)):
        raise InputError(f"init '{given}' names no weights and no file that exists; allowed: {first_weights.ALLOWED}")
    return first_weights.joined(_kept_file(Path(source), runs), first_weights.inherits(given))


def _whole_detector(given: str, runs: Path) -> str:
    """Return `zoo:FILE_STEM` as it is, or `detector:sha256:...` of a file, which is copied to the store."""
    if first_weights.inherits(given):
        raise InputError(f"init '{given}': a whole detector has its own neck and heads; leave +teacher out")
    prefix, _, named = given.partition(":")
    if prefix == "zoo":
        zoo_table.zoo_file(given)
        return given
    if named.startswith(first_weights.KEPT):
        return given
    if not is_file(Path(named)):
        raise InputError(f"init '{given}' names no file that exists; write detector:PATH, or zoo:FILE_STEM")
    return f"{prefix}:{_kept_file(Path(named), runs)}"


def _text_embeddings(given: str, runs: Path) -> str:
    """Return `sha256:...` of a file of text embeddings, which is copied to the store."""
    if given.startswith("sha256:"):
        return given
    if not is_file(Path(given)):
        raise InputError(f"text_embeddings '{given}' is no file; write one with `c2d teacher text-embeddings`")
    return _kept_file(Path(given), runs)


def _kept_file(path: Path, runs: Path) -> str:
    """Copy a file to the store under its digest; return `sha256:...`."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    stored = RunStore(runs).weights(digest)
    if not stored.exists():
        stored.parent.mkdir(parents=True, exist_ok=True)
        # Another process may copy the same file now: each writes its own, and the rename is atomic.
        draft = temporary_path(stored)
        try:
            shutil.copyfile(path, draft)
            os.replace(draft, stored)
        finally:
            draft.unlink(missing_ok=True)
    return f"{first_weights.KEPT}{digest}"


def _stored_run(given: str, runs: Path) -> StoredRun:
    folder = find_run(given, runs)
    try:
        spec, state = read_json(folder.spec), str(folder.read_status()["state"])
    except InputError:  # the run is being written, or damaged; a spec that needs this teacher is refused later
        return StoredRun(folder.id, "unknown", "unknown")
    if not isinstance(spec, dict):
        return StoredRun(folder.id, "unknown", state)
    dataset, schedule = spec.get("dataset"), spec.get("schedule")
    values = schedule.get("values") if isinstance(schedule, dict) else None
    images_from = values.get("images_from", "") if isinstance(values, dict) else ""
    return StoredRun(
        folder.id,
        str(spec.get("kind")),
        state,
        {key: str(value) for key, value in dataset.items()} if isinstance(dataset, dict) else {},
        str(images_from),
    )

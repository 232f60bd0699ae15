"""Input of a dry run: the specs of FILE.json, and the structure that decides which of them are equal."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import RunFolder, read_json
from c2d.distillation.build_methods import method_parameters
from c2d.specs.impressions_schedule import ImpressionsSchedule
from c2d.specs.spec import KINDS, RunSpec, parse_spec
from c2d.specs.teachers import kind_of_role, needed_runs

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One run to try.

    Attributes:
        spec: of the run.
        teachers: role (`c2d.specs.teachers`) -> spec of a teacher; one that is not listed is looked up in the store.
        classes: of the data set, or None where the caller does not know them.
    """

    spec: RunSpec
    teachers: dict[str, RunSpec]
    classes: tuple[str, ...] | None


def read_entries(path: Path) -> list[Entry]:
    """Read the entries of FILE.json.

    Raises:
        InputError: another format, an unknown key, or a value that is no spec; the message has the entry's number.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("specs"), list):
        raise InputError(
            f'{path} is not {{"format": {FORMAT}, "specs": [...]}}; see `python -m c2d.preflight.dry_run --help`'
        )
    return [_entry(item, f"{path}, entry {number}") for number, item in enumerate(content["specs"], start=1)]


def _entry(item: Any, where: str) -> Entry:
    allowed = ("spec", "teachers", "classes")
    if not isinstance(item, dict) or "spec" not in item:
        raise InputError(f"{where}: an entry has the keys {', '.join(allowed)}; `spec` is missing")
    for key in item:
        if key not in allowed:
            raise unknown_name(f"key of {where}:", key, allowed)
    teachers = item.get("teachers") or {}
    for role in teachers:
        if kind_of_role(role) not in KINDS:
            raise unknown_name(f"kind of teacher in {where}:", role, KINDS)
    classes = item.get("classes")
    return Entry(
        parse_spec(item["spec"], where),
        {kind: parse_spec(value, f"{where}, {kind} teacher") for kind, value in teachers.items() if value is not None},
        tuple(map(str, classes)) if classes else None,
    )


def is_finished(runs: Path, run_id: str | None) -> bool:
    """Return whether the store has a finished run of this id that can teach: an archive can be without weights."""
    if run_id is None:
        return False
    run = RunFolder(runs / run_id)
    return run.read_status()["state"] == "done" and run.result.exists() and run.can_teach


def structure(entry: Entry, runs: Path) -> str:
    """Return a key that is equal for entries which build the same modules and compute the same terms.

    Seed, name, lengths and rates of the schedule, and the size of float parameters are not part of it. Whether a float
    is zero is part of it, because a term of weight 0 is not computed.

    Args:
        entry: the run; its methods' parameters are validated on the way.
        runs: the store; a teacher that is finished there counts by its id, a planned one by its structure.

    Raises:
        InputError: a parameter's value is not allowed.
    """
    spec = entry.spec
    parameters = {
        name: {key: _sign(value) for key, value in params.model_dump().items()}
        for name, params in method_parameters(spec.method).items()
    }
    # Which images a student is trained on changes no structure, but for what its methods may ask of them.
    made = entry.teachers["impressions"].impressions if "impressions" in entry.teachers else None
    images = None if made is None else [made.targets.soft_labels, made.images_from == "real"]
    teachers = {kind: run_id for kind, run_id in needed_runs(spec.teachers).items() if kind != "impressions"}
    planned = {
        kind: structure(teacher_entry(entry, teacher), runs)
        for kind, teacher in entry.teachers.items()
        if kind in teachers and not is_finished(runs, teachers[kind])
    }
    schedule = _schedule_structure(spec)
    same = {"kind", "dataset", "student", "network", "input", "init", "text_embeddings", "overrides"}
    key = spec.model_dump(mode="json", include=same)
    key |= {
        "method": parameters,
        "schedule": schedule,
        "trains_on_dataset": spec.trains_on_dataset,
        "images": images,
        "teachers": teachers | planned,
        "classes": entry.classes,
    }
    return json.dumps(key, sort_keys=True, default=str)


def _schedule_structure(spec: RunSpec) -> dict[str, Any]:
    """Return what a schedule decides about modules and terms."""
    values = spec.schedule.values
    if not isinstance(values, ImpressionsSchedule):
        kept: Any = {"optimizer": {"type"}}
        kept |= dict.fromkeys(("precision", "policy", "crops", "normalisation", "fit", "probe"), True)
        return values.model_dump(mode="json", include=kept)
    stages = {
        name: (bool(stage.iterations), stage.size) for name, stage in (("draft", values.draft), ("final", values.final))
    }
    terms: Any = {"images_from": True, "targets": {"boxes", "soft_labels"}, "precision": True, "policy": True}
    parts = {"priors": values.priors, "augmentation": values.augmentation}
    signs = {name: {key: _sign(value) for key, value in part.model_dump().items()} for name, part in parts.items()}
    return values.model_dump(mode="json", include=terms) | signs | {"stages": stages}


def teacher_entry(entry: Entry, teacher: RunSpec) -> Entry:
    """Return the entry of a teacher: its own spec, the same classes, no teachers."""
    return replace(entry, spec=teacher, teachers={})


def _sign(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{'zero' if value == 0 else 'positive' if value > 0 else 'negative'} float"

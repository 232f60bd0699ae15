"""Facts about the runs of one row of a table: protocol, method, teacher, software and machine.

A fact is a name and the different values that the row's finished runs have, as text. A fact that a sweep can set has
the key of the sweep: `init`, `schedule.optimizer.lr`, `overrides.KEY`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.loading.columns import TEACHERS, quantity
from analysis.tables import image_sources
from analysis.tables.groups import Group

Facts = dict[str, tuple[str, ...]]
"""{name: values}; empty for a row without finished runs."""
PROTOCOL = ("dataset digest", image_sources.FACT, "evaluation split", "student digest", "init", "init sha256",
            "backbone", "input", "engine")  # fmt: skip
PREFIXES = ("schedule.", "overrides.")
NO_PROTOCOL = ("schedule.val_interval",)
"""The interval of the validation during training does not change the training."""
ENVIRONMENT = ("engine version", "torch", "mmdet", "mmcv", "device", "code")
_SOFTWARE = ("c2d", "python", "torch", "mmdet", "mmcv", "device")
_READ = ("dataset", "dataset_digest", "evaluation_split", "student", "student_digest", "init", "input", "method_json",
         "init_sha256", "inherited", "inherited_of", "teacher_temperature",
         *(f"teacher.{kind}" for kind in TEACHERS), *(f"teacher_{metric}" for metric in TEACHERS.values()),
         "teacher_fit", "teacher_text_embeddings", "backbone", "backbone_top1",
         "schedule", "schedule_json", "overrides_json", "engine", "code", *_SOFTWARE,
         *image_sources.READ)  # fmt: skip
_SHORT = 12  # digits of a hash


def is_protocol(fact: str) -> bool:
    """Whether rows that are compared must agree in a fact."""
    return fact in PROTOCOL or (fact.startswith(PREFIXES) and fact not in NO_PROTOCOL)


def group_facts(group: Group) -> Facts:
    """Return the facts of a row, in the order of the ledger."""
    done = group.done.sort_values("seed", kind="stable")
    found: dict[str, list[str]] = {}
    columns = {name: done[name].tolist() for name in _READ}
    for place in range(len(done)):
        for name, value in _pairs({column: values[place] for column, values in columns.items()}):
            found.setdefault(name, []).append(value)
    for values in found.values():  # a key that only some seeds have is a difference too
        values += [""] * (len(done) - len(values))
    facts = {name: tuple(dict.fromkeys(values)) for name, values in found.items()}
    if facts:
        facts["seeds"] = (", ".join(str(int(seed)) for seed in done["seed"]),)
    return facts


def versions(found: Facts) -> dict[str, tuple[str, ...]]:
    """Return {distiller: its versions in the runs of a row}."""
    pairs = [pair for text in found.get("method", ()) for pair in _versions(text)]
    return {name: tuple(dict.fromkeys(own for other, own in pairs if other == name)) for name, _ in pairs}


def facts_text(values: tuple[str, ...]) -> str:
    """Join the values of a fact: "2.12.0 and 2.15.0"; "none" where there is no value."""
    return " and ".join(value or "none" for value in values) or "none"


def teachers(row: Mapping[Any, Any]) -> str:
    """Return the teachers of a row of the frame, each with its own number: top-1 of a classifier, AP of a detector.

    A run whose images the student was trained on is among them, with the share of its targets that its teacher finds;
    a classifier that was not trained whole also has how it was fitted.
    """
    named = []
    for kind, own in TEACHERS.items():
        run, metric = row[f"teacher.{kind}"], row[f"teacher_{own}"]
        if run:
            label = quantity(own).label
            about = [f"{label} {100 * metric:.1f} %"] if metric == metric else []
            about += _fit(row) if kind == "classifier" else []
            named.append(f"{run} ({', '.join(about)})" if about else str(run))
    return " + ".join(named)


def _fit(row: Mapping[Any, Any]) -> list[str]:
    """How a classifier teacher was fitted, where that is not a training of all weights."""
    fit, text = row["teacher_fit"], row["teacher_text_embeddings"]
    return [*([f"fit {fit}"] if fit not in ("", "full") else []), *([text] if text else [])]


def _pairs(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "dataset", row["dataset"]
    yield "dataset digest", row["dataset_digest"][:_SHORT]
    yield image_sources.FACT, image_sources.images_text(row)
    yield "evaluation split", row["evaluation_split"] or "val"  # results from before it was recorded
    yield "student", row["student"]
    yield "student digest", row["student_digest"][:_SHORT]
    yield "init", row["init"]
    if row["init"].startswith("timm:"):  # the other names stand for one file, or contain its digest
        yield "init sha256", row["init_sha256"][:_SHORT]
    if row["backbone"]:  # the classifier run that the student's backbone starts from
        top1 = row["backbone_top1"]
        yield "backbone", row["backbone"] + (f" (top-1 {100 * top1:.1f} %)" if top1 == top1 else "")
    if row["inherited"] == row["inherited"]:
        yield "inherited from the teacher", f"{row['inherited']:g} of {row['inherited_of']:g} keys of neck and heads"
    yield "input", _number(row["input"])
    yield "method version", ", ".join(f"{name} {version}" for name, version in _versions(row["method_json"]))
    yield "method", row["method_json"]
    yield "teacher", teachers(row)
    if row["teacher_temperature"] == row["teacher_temperature"]:
        yield "teacher temperature", f"{row['teacher_temperature']:.4g}"
    yield "schedule", row["schedule"]
    yield from _flat("schedule", _loaded(row["schedule_json"], dict))
    for key, value in _loaded(row["overrides_json"], dict).items():
        yield f"overrides.{key}", _text(value)
    engine, _, version = row["engine"].partition(" ")
    yield "engine", engine
    yield "engine version", version
    for name in _SOFTWARE:
        yield name, row[name]
    sha, dirty = row["code"].rstrip("+"), row["code"].endswith("+")
    yield "code", (sha if sha.startswith("snapshot") else sha[:_SHORT]) + "+" * dirty


def _versions(method: str) -> list[tuple[str, str]]:
    """[(distiller, version)] of a method's JSON."""
    return [(name, str(values.get("version"))) for item in _loaded(method, list) for name, values in item.items()]


def _flat(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{name}.{key}", value)
        else:
            yield f"{name}.{key}", _text(value)


def _text(value: Any) -> str:
    """One text for equal values: 2.0 and 2 are one number, null is ""."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _number(value: float) -> str:
    return "" if value != value else f"{value:g}"


def _loaded(text: str, kind: type) -> Any:
    value = json.loads(text) if text else kind()
    return value if isinstance(value, kind) else kind()

"""Read the definition of a sweep from YAML: every mistake is reported at once, with its line."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from c2d.core.errors import InputError, unknown_name
from c2d.core.regular_file import is_file
from c2d.core.yaml.yaml_lines import YamlDocument, read_text
from c2d.specs.catalog import method_catalog
from c2d.specs.spec import MODEL_KEYS
from c2d.specs.teachers import TEACHER_KEYS, WEIGHTS, kind_of_role
from sweeps.definition.axes import Axis, read_assignments, read_axes, read_rules
from sweeps.definition.effects import check_effects
from sweeps.definition.grid import cell_values, grid, size_mistake
from sweeps.definition.profile import Size
from sweeps.definition.report_files import shipped_report_specs
from sweeps.definition.report_labels import read_labels, read_labels_of_axes
from sweeps.definition.settable_keys import nest_keys, teacher_key_mistake

NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
KEYS = ("question", "name", "base", "axes", "seeds", "exclude", "include", "teachers", "size", "labels",
        "labels_of_axes")  # fmt: skip
DEFS = "sweeps/defs"


class CellValues(NamedTuple):
    """One cell before names are looked up.

    Attributes:
        labels: {axis: label}.
        values: keys of a spec but its seed; a teacher is {key of its own spec: value}, or a run id.
    """

    labels: dict[str, str]
    values: dict[str, Any]


class Definition(BaseModel):
    """A sweep: the question it answers, its axes, rules and seeds. Checked, but for names that have to be looked up.

    Attributes:
        base: {settable key: value} of every cell, unless an axis sets the key.
        axes: in file order.
        seeds: distinct, not negative.
        exclude, include: {axis: label} rules.
        teachers: kind -> block of a spec, the id of a finished run, or a list of these (an ensemble of classifiers);
            and `classifier_weights`.
        size: which of a profile's wall-clock limits its runs need.
        labels: {axis: {value: what reports show}}.
        labels_of_axes: {axis: what reports show}.
        source: file name for messages.
        text: the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=f"^{NAME}$")
    question: str = Field(min_length=1)
    base: dict[str, Any] = {}
    axes: dict[str, Axis] = {}
    seeds: list[int] = [0]
    exclude: list[dict[str, str]] = []
    include: list[dict[str, str]] = []
    teachers: dict[str, Any] = {}
    size: Size = "small"
    labels: dict[str, dict[str, str]] = {}
    labels_of_axes: dict[str, str] = {}
    source: str
    text: str

    @field_validator("question")
    @classmethod
    def _one_line(cls, given: str) -> str:
        if not given.strip():
            raise ValueError("is empty; write in a sentence what the sweep compares")
        return " ".join(given.split())

    # Before pydantic's own conversion, which would accept true as 1.
    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, given: Any) -> list[int]:
        """Return the list of seeds; a number n means the seeds 0, ..., n - 1."""
        listed = given if isinstance(given, list) else [given]
        if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in listed) or not listed:
            raise ValueError("wanted a number of seeds, or a list of whole numbers")
        if isinstance(given, int):
            if not 1 <= given <= 10_000:
                raise ValueError("wanted at least 1 seed and at most 10000; `seeds: [7]` is seed 7")
            return list(range(given))
        if min(listed) < 0 or len(set(listed)) < len(listed):
            raise ValueError("seeds are distinct and not negative")
        return listed

    @property
    def argument(self) -> str:
        """What a command line names it by: its name where it is shipped, else its file."""
        return self.name if self.source == f"{DEFS}/{self.name}.yaml" else self.source

    def cells(self) -> list[CellValues]:
        """List the cells in file order: the last axis is the fastest, and included cells come last."""
        return [
            CellValues(
                dict(zip(self.axes, labels, strict=True)),
                nest_keys(cell_values(self.base, self.axes, labels), self.teachers),
            )
            for labels in grid(self.axes, self.exclude, self.include)[0]
        ]


def definition_names() -> list[str]:
    """List the shipped definitions."""
    folder = resources.files("sweeps") / "defs"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_definition(given: str) -> Definition:
    """Read a definition by the path of its file, or a shipped one by name.

    Raises:
        InputError: no such file, or a line for every mistake in it.
    """
    if given in definition_names():
        text = (resources.files("sweeps") / "defs" / f"{given}.yaml").read_text(encoding="utf-8")
        return parse_definition(text, f"{DEFS}/{given}.yaml", given)
    path = Path(given)
    if is_file(path):
        return parse_definition(read_text(path), given, path.stem)
    if sweep := shipped_report_specs().get(given, {}).get("sweep"):
        raise InputError(f"{given} is a report of the sweep {sweep}; give the sweep")
    raise unknown_name("sweep", given, definition_names(), "or give the path of a YAML file (docs/sweeps.md)")


def parse_definition(text: str, source: str, stem: str) -> Definition:
    """Read a definition.

    Args:
        text: the YAML.
        source: file name for messages.
        stem: the name of the sweep unless the text gives one.

    Raises:
        InputError: a line for every mistake.
    """
    document = YamlDocument(text, source)
    given, errors = document.mapping("a definition has at least question, base and axes"), document.errors
    methods = method_catalog()
    for key in given:
        if key not in KEYS:
            errors.add((key,), str(unknown_name("key", key, KEYS)))
    if "question" not in given:
        errors.add((), "question: is missing; write in a sentence what the sweep compares")
    value: dict[str, Any] = {
        "name": given.get("name", stem),
        # Reported above where it is missing; with a text here pydantic does not report it again.
        "question": given.get("question", "?"),
        "size": given.get("size", "small"),
        "seeds": given.get("seeds", 1),
        "base": read_assignments(given.get("base", {}), ("base",), document, methods),
        "axes": read_axes(given.get("axes", {}), document, methods),
        "teachers": _read_teachers(given.get("teachers", {}), document),
        "source": source,
        "text": text,
    }
    for section in ("exclude", "include"):
        value[section] = read_rules(given.get(section, []), section, value["axes"], document)
    value["labels"] = read_labels(given.get("labels", {}), value["axes"], document)
    value["labels_of_axes"] = read_labels_of_axes(given.get("labels_of_axes", {}), value["axes"], document)
    check_effects(value, document, methods)
    definition = None
    try:
        definition = Definition.model_validate(value)
    except ValidationError as error:
        _add_validation_errors(error, given, stem, document)
    if definition is not None and not errors.found:  # a grid with missing axes has another size
        if too_large := size_mistake(definition.axes, len(definition.seeds)):
            errors.add(("axes",), too_large)
        else:
            cells, idle = grid(definition.axes, definition.exclude, definition.include)
            for place in idle:
                errors.add(("include", place), "adds no cell that is not there already; leave it out")
            if not cells:
                errors.add(("exclude",), "leaves no cell; exclude less")
    errors.raise_if_any()
    assert definition is not None
    return definition


def _add_validation_errors(error: ValidationError, given: dict[str, Any], stem: str, document: YamlDocument) -> None:
    """Add pydantic's errors of the simple keys, unless the value could not be read at all."""
    for item in error.errors():
        key = str(item["loc"][0])
        if document.errors.has_error_in((key,)):
            continue
        message, shown = item["msg"].removeprefix("Value error, "), given.get(key, item["input"])
        if key == "name":
            message = f"wanted a name of letters, digits and . _ + - ({NAME})"
            message += "" if "name" in given else f"; it is the file's ({stem}): add `name:`"
        short = "nothing" if shown is None else repr(shown)
        document.errors.add((key,) if key in given else (), f"{message} (given {short})")


def _read_teachers(given: Any, document: YamlDocument) -> dict[str, Any]:
    """Return {kind: block, or run id}; mistakes are added to the document's errors and left out."""
    if not isinstance(given, dict):
        wanted = "{classifier: {network: ..., schedule: ...}}, or a run id for it"
        document.errors.add(("teachers",), f"wanted {wanted}; kinds: {', '.join(TEACHER_KEYS)}")
        return {}
    right: dict[str, Any] = {}
    for kind, block in given.items():
        path = ("teachers", kind)
        if kind == WEIGHTS:
            right[kind] = block  # checked with the members, when a cell is resolved
        elif kind not in TEACHER_KEYS:
            document.errors.add(path, str(unknown_name("kind of teacher", kind, TEACHER_KEYS)))
        elif kind == "classifier" and isinstance(block, list) and block:
            right[kind] = [_read_teacher(kind, one, (*path, place), document) for place, one in enumerate(block)]
        else:
            right[kind] = _read_teacher(kind, block, path, document)
    return {kind: block for kind, block in right.items() if block is not None}


def _read_teacher(kind: str, block: Any, path: tuple[Any, ...], document: YamlDocument) -> Any:
    """Return a teacher's block or run id; None for a mistake, which is added to the document's errors."""
    if isinstance(block, str) and block:
        return block
    if not isinstance(block, dict):
        keys = dict.fromkeys((MODEL_KEYS[kind_of_role(kind)], "schedule"))
        block_keys = ", ".join(f"{key}: ..." for key in keys)
        document.errors.add(path, f"wanted a block such as {{{block_keys}}}, or a run id")
        return None
    right = {}
    for key, value in block.items():
        if wrong := teacher_key_mistake(kind, key):
            document.errors.add((*path, key), wrong)
        else:
            right[key] = value
    return right

"""A report spec: one YAML file is one table or one figure. Read without YAML's surprises, every mistake with its line.

Scalars are taken as they are written (`scalars_as_text`), because labels of a sweep are text: `0.10` and `no` stay
what they are; pydantic turns into numbers what must be one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from analysis.load.columns import quantity
from analysis.spec.validation_errors import error_message
from c2d.core.errors import InputError, closest_name
from c2d.core.yaml_lines import YamlDocument, read_text

SHIPPED = Path(__file__).parents[1] / "reports"
Labels = dict[str, str]
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def _column(key: str) -> str:
    try:
        return quantity(key).key
    except InputError as error:  # pydantic collects ValueErrors alone
        raise ValueError(str(error)) from None


def _file_name(name: str) -> str:
    if name and not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be the name of files; take letters, digits, and . _ - but no dot in front, e.g. table-1"
        )
    return name


def _once(keys: list[str]) -> list[str]:
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"given twice: {', '.join(twice)}; a table has each column once")
    return keys


Key = Annotated[str, AfterValidator(_column)]
"""A key of `analysis.load.columns`."""
Keys = Annotated[list[Key], AfterValidator(_once)]
Some = Annotated[list[Key], AfterValidator(_once), Field(min_length=1)]


class _Item(BaseModel):
    """What tables and figures have in common.

    sweep: whose cells; "" takes those named on the command line, or all single runs where none is named.
    where: {axis: labels}, only these cells. labels: {axis: {label: as shown}}.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, AfterValidator(_file_name)] = ""  # of the files; the YAML's own name where it is left out
    title: str = ""
    caption: str = ""
    sweep: str = ""
    where: dict[str, list[str]] = {}
    labels: dict[str, Labels] = {}


class Published(BaseModel):
    """Which published rows stand beside the measured ones: {axis: {label: {column of published.csv: value}}}.

    The conditions of all axes of a row, and `all`, have to single out one published row; a row without conditions has
    no published numbers. A value of `other_metric` is asked for as `other.lambda_kc: 0.1`. file: a CSV of your own
    with the columns of published.csv, beside the spec; "" is the shipped one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    paper: str
    table: str
    all: Labels = {}
    rows: dict[str, dict[str, Labels]]
    columns: Keys = ["AP"]
    differences: Keys = ["AP"]
    file: str = ""


class TableSpec(_Item):
    """rows: {axis: labels in order}, an empty list takes the sweep's order. baseline: {axis: label} that a row is
    compared with, the other axes being equal. differences: columns that get a difference column, interval and test.
    uncertainty: what intervals and tests of AP differences speak about: other seeds (the default), other images (of the
    checkpoints as they are), or both at once; the last two read the detections. latency: conditions that single out
    the latency files, e.g. {device: ..., precision: fp32}. seeds: only these, which the table then says.
    ledger_in_latex: false keeps it out of the .tex alone. wide: a LaTeX table over both columns of a page."""

    kind: Literal["table"]
    rows: Annotated[dict[str, list[str]], Field(min_length=1)]
    baseline: Labels = {}
    columns: Some = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    differences: Keys = ["AP"]
    uncertainty: Literal["seeds", "images", "seeds+images"] = "seeds"
    published: Published | None = None
    latency: Labels = {}
    digits: dict[Key, Annotated[int, Field(ge=0, le=12)]] = {}
    seeds: list[Annotated[int, Field(ge=0)]] = []
    ledger_in_latex: bool = True
    wide: bool = False


class _Series(_Item):
    """A figure with one series (or bar group, or row) per label of `series`, an axis or several joined."""

    series: list[str] = ["method"]
    baseline: Labels = {}


class Pareto(_Series):
    """Accuracy against latency, error bars on both axes, the front of undominated rows."""

    kind: Literal["pareto"]
    y: Key = "AP"
    x: Key = "latency_p50"
    latency: Labels = {}


class Heatmap(_Item):
    """Mean of one number over two axes."""

    kind: Literal["heatmap"]
    x: str
    y: str
    value: Key = "AP"
    baseline: Labels = {}


class Curve(_Item):
    """One number against the values of a numeric axis (a loss weight), with intervals; a line per label of `series`."""

    kind: Literal["curve"]
    x: str
    y: Key = "AP"
    series: list[str] = []
    baseline: Labels = {}


class TideBars(_Series):
    """dAP of the main error types, with error bars over seeds."""

    kind: Literal["tide"]


class TideCurves(_Series):
    """dAP of each main error type over the IoU threshold; computed from the detections."""

    kind: Literal["tide_curves"]


class PerClass(_Series):
    """Gain over the baseline in each class."""

    kind: Literal["per_class"]
    y: Key = "AP"
    most: Annotated[int, Field(ge=2)] = 40


class OverIou(_Series):
    """AP over IoU thresholds."""

    kind: Literal["iou"]


class SeedStrip(_Series):
    """Every seed as a dot, the mean as a line."""

    kind: Literal["seeds"]
    y: Key = "AP"


class Training(_Series):
    """Loss curves with the KD terms, and their ratio to the task loss."""

    kind: Literal["training"]
    points: Annotated[int, Field(ge=10)] = 400


class Sheet(_Series):
    """Ground truth and detections of some rows on the first validation images."""

    kind: Literal["detections"]
    images: Annotated[int, Field(ge=1, le=24)] = 4
    min_objects: Annotated[int, Field(ge=0)] = 3
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.25


FigureSpec = (
    Pareto | Heatmap | Curve | TideBars | TideCurves | PerClass | OverIou | SeedStrip | Training | Sheet
)  # fmt: skip
Spec = Annotated[TableSpec | FigureSpec, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Spec)


def parse(given: dict[str, Any]) -> Any:
    """A TableSpec or FigureSpec from plain values, for specs that are made, not read. Raises ValidationError."""
    return _ADAPTER.validate_python(given)


def read_spec(path: Path) -> Any:
    """The TableSpec or FigureSpec of a YAML file, or of a shipped report by name.

    Raises:
        InputError: no such file; not YAML; unknown keys, columns or kinds: all of them, each with file:line.
    """
    file = _find(Path(path))
    document = YamlDocument(read_text(file), str(file), scalars_as_text=True)
    given = document.mapping("write `kind: table` and its keys")
    if not given.get("name"):
        given["name"] = file.stem
    try:
        spec = parse(given)
    except ValidationError as error:
        for item in error.errors():
            kind, path = str(given.get("kind")), tuple(part for part in item["loc"] if part != "[key]")
            path = path[1:] if path and path[0] == kind else path
            if not document.errors.has_error_in(path):
                document.errors.add(path, error_message(item, path, kind, _models()))
    document.errors.raise_if_any()
    if isinstance(spec, TableSpec) and spec.published is not None and spec.published.file:
        beside = spec.published.model_copy(update={"file": str(file.parent / spec.published.file)})
        spec = spec.model_copy(update={"published": beside})
    return spec


def _find(path: Path) -> Path:
    """The file itself, or the shipped report of that name."""
    if os.path.lexists(path):
        return path
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}
    name = path.name.removesuffix(".yaml")
    if path.parent == Path() and name in shipped:
        return shipped[name]
    closest = closest_name(name, shipped)
    guess = f"; did you mean '{closest}'?" if closest else ""
    raise InputError(f"no file {path}; give a YAML file, or a shipped report: {', '.join(shipped) or 'none'}{guess}")


def _models() -> dict[str, type[BaseModel]]:
    """{kind: model}."""
    models = (TableSpec, *get_args(FigureSpec))
    return {get_args(model.model_fields["kind"].annotation)[0]: model for model in models}

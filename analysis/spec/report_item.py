"""Fields that all items of a report spec share, with the checks of their values: keys of numbers, names of files."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from analysis.loading.columns import quantity
from c2d.core.errors import InputError
from c2d.markup.label_text import plain_label

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


def _label(text: str) -> str:
    try:
        if plain_label(text).strip():
            return text
    except InputError as error:
        raise ValueError(str(error)) from None
    raise ValueError("an empty label; write what to show, or leave the label out")


Label = Annotated[str, AfterValidator(_label)]
"""A label as it was written, which may have math; `analysis.spec.labels` shows it."""
Key = Annotated[str, AfterValidator(_column)]
"""A key of `analysis.loading.columns`."""
Keys = Annotated[list[Key], AfterValidator(_once)]
NonEmptyKeys = Annotated[list[Key], AfterValidator(_once), Field(min_length=1)]


class ReportItem(BaseModel):
    """Fields of a table or figure.

    Attributes:
        name: of the files; "" takes the name of the YAML file.
        sweep: whose cells; "" takes those named on the command line, or all single runs where none is named.
        where: {axis: labels}, only these cells.
        labels: {axis: {label: as shown}}.
        labels_of_axes: {axis: as shown}.
        labels_of_columns: {column: as shown}, without the unit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, AfterValidator(_file_name)] = ""
    title: str = ""
    caption: str = ""
    sweep: str = ""
    where: dict[str, list[str]] = {}
    labels: dict[str, dict[str, Label]] = {}
    labels_of_axes: dict[str, Label] = {}
    labels_of_columns: dict[Key, Label] = {}


class FigureSpec(ReportItem):
    """Base of the `Spec` of each figure kind in `analysis.plots`; a subclass narrows `kind` to its own name."""

    kind: str


class SeriesFigureSpec(FigureSpec):
    """A figure with one series (or bar group, or row) per label of an axis, or per combination of several axes.

    Attributes:
        series: the axes.
        baseline: {axis: label} of the series that the others are compared with.
    """

    series: list[str] = ["method"]
    baseline: Labels = {}

"""Make the spec of a table or figure from keywords, a mapping, a YAML file, or the name of a shipped report.

The keys are those of a YAML spec (docs/analysis.md). Where a list belongs, one value stands for a list of one, and
labels may be numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from c2d.core.errors import InputError

Spec = Mapping[str, Any] | str | os.PathLike[str]


def read_given(given: Spec) -> dict[str, Any]:
    """Return the keys of a mapping, or those that a YAML file or a shipped report sets.

    Raises:
        InputError: no such file or report, or a mistake in it.
    """
    from analysis.report.report_spec import read_spec

    if isinstance(given, Mapping):
        return dict(given)
    return dict(read_spec(Path(given)).model_dump(exclude_unset=True))


def make_spec(kind: str, keys: Mapping[str, Any]) -> Any:
    """Return the TableSpec or FigureSpec of a kind.

    Args:
        kind: `table`, or a kind of figure.
        keys: {key: value}; those that are None are left out.

    Raises:
        InputError: an unknown kind or key, with the most similar one; a value that is not allowed.
    """
    from pydantic import ValidationError

    from analysis.report.report_spec import MODELS, parse
    from analysis.report.validation_errors import error_message

    given: dict[str, Any] = {"kind": kind}
    for key, value in keys.items():
        field = MODELS[kind].model_fields.get(key) if kind in MODELS else None
        if value is not None and key != "kind":
            given[key] = field_value(value, field.annotation if field is not None else None)
    try:
        return parse(given)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            path = tuple(part for part in item["loc"] if part != "[key]")
            path = path[1:] if path and path[0] == kind else path
            lines.append(f"{'.'.join(map(str, path)) or 'kind'}: {error_message(item, path, kind, MODELS)}")
        raise InputError(*dict.fromkeys(lines)) from None


def field_value(value: Any, annotation: Any) -> Any:
    """Return a value in the shape of a field: a list of one for a value alone, text for a label that is a number.

    Args:
        value: as the user has it: also a tuple, a set, or an array or Series of pandas and numpy.
        annotation: type of the field; None for an unknown field.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    base = _plain(annotation)
    origin, inner = get_origin(base), get_args(base)
    if origin is list:
        several = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str)
        return [field_value(one, inner[0]) for one in (value if several else [value])]
    if origin is dict and isinstance(value, Mapping):
        return {str(key): field_value(one, inner[1]) for key, one in value.items()}
    if isinstance(value, Mapping):
        return {str(key): field_value(one, None) for key, one in value.items()}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.12g}" if base is str and is_number else value


def _plain(annotation: Any) -> Any:
    """A type without `Annotated`; of `X | None` the X."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, UnionType):
        return _plain(next(part for part in get_args(annotation) if part is not NoneType))
    return annotation

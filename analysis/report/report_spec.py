"""Read a report spec: one YAML file is one table, one figure, or claims. Every mistake is reported with its line.

Scalars are read as text (`scalars_as_text`), because labels of a sweep are text: `0.10` and `no` keep their form.
pydantic converts the values of number fields.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from analysis.plots import FIGURES
from analysis.report.validation_errors import error_message
from analysis.spec.claims_spec import ClaimsSpec
from analysis.spec.seeds_needed_spec import SeedsNeededSpec
from analysis.spec.table_spec import TableSpec
from c2d.core.errors import InputError, closest_name
from c2d.core.yaml.line_errors import KeyPath
from c2d.core.yaml.yaml_lines import YamlDocument, read_text

SHIPPED = Path(__file__).parents[1] / "reports"
MODELS: dict[str, type[BaseModel]] = {
    "table": TableSpec,
    "claims": ClaimsSpec,
    "seeds_needed": SeedsNeededSpec,
    **{kind: module.Spec for kind, module in FIGURES.items()},
}
"""{kind: model of its spec}."""
_UNION: Any = Annotated[functools.reduce(operator.or_, MODELS.values()), Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(_UNION)


def parse(given: dict[str, Any]) -> Any:
    """Return the TableSpec, ClaimsSpec or FigureSpec of plain values.

    Args:
        given: {key: value}, `kind` among them.

    Raises:
        ValidationError: unknown keys or invalid values.
    """
    return _ADAPTER.validate_python(given)


def read_spec(path: Path) -> Any:
    """Read the TableSpec, ClaimsSpec or FigureSpec of a YAML file, or of a shipped report by name.

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
            # pydantic puts the tag of the union in front of the path, and "[key]" behind it for an invalid key.
            kind, keys = str(given.get("kind")), tuple(part for part in item["loc"] if part != "[key]")
            keys = keys[1:] if keys and keys[0] == kind else keys
            if not document.errors.has_error_in(keys):
                document.errors.add(keys, error_message(item, keys, kind, MODELS))
    document.errors.raise_if_any()
    if isinstance(spec, TableSpec) and spec.published is not None and spec.published.file:
        beside = spec.published.model_copy(update={"file": str(file.parent / spec.published.file)})
        spec = spec.model_copy(update={"published": beside})
    return spec


def errors_with_lines(path: Path, found: Sequence[tuple[KeyPath, str]]) -> InputError:
    """Return one error with file:line for mistakes that only the store has shown.

    Args:
        path: of the YAML file, or the name of a shipped report.
        found: (path of the value in the spec, message).
    """
    file = _find(Path(path))
    errors = YamlDocument(read_text(file), str(file), scalars_as_text=True).errors
    for keys, message in found:
        errors.add(keys, message)
    return InputError(*dict.fromkeys(error.text for error in sorted(errors.found, key=lambda error: error.line)))


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

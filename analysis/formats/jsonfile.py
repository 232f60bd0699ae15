"""A table as JSON, without loss: `read(write(table)) == table`.

    {"format": 1, "table": {... the fields of analysis.tables.table.Table, in their order ...}}

One field a line, so that a changed number is one changed line. JSON has no NaN and no infinity: they are written as the
texts "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from analysis.tables.table import Cell, Column, Ledger, Row, Table
from c2d.core.errors import InputError

FORMAT = 1
_TUPLES = ("notes", "runs", "files", "factors")
_IF_GIVEN = ("quantity", "factors", "alias")
"""Fields of a cell or row that are left out where they are empty: outside of tables of contrasts."""
_JSON_KEYS = {"n_planned": "promised"}
"""{field: its key in the file}, where they differ."""


def write(table: Table) -> str:
    """Return the JSON text of a table."""
    text = json.dumps(
        {"format": FORMAT, "table": _json_value(asdict(table))}, indent=1, ensure_ascii=False, allow_nan=False
    )
    # Half a surrogate pair is no UTF-8; its JSON escape is what this error handler writes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def read(text: str) -> Table:
    """Read the table of a JSON text.

    Raises:
        InputError: no JSON, another format, or fields that are missing or unknown.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InputError(f"no JSON table: {error}; expected a file that c2d report has written") from None
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        found = given.get("format") if isinstance(given, dict) else type(given).__name__
        raise InputError(f"a JSON table of format {found!r}; this version reads format {FORMAT}; run c2d report again")
    try:
        return _table(given["table"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"a damaged JSON table ({type(error).__name__}: {error}); run c2d report again") from None


def _table(given: dict[str, Any]) -> Table:
    ledger = given["ledger"]
    parts = {
        "row_axes": tuple(given["row_axes"]),
        "columns": tuple(Column(**column) for column in given["columns"]),
        "rows": tuple(_row(row) for row in given["rows"]),
        "ledger": Ledger(**{**ledger, "mixed": tuple(ledger["mixed"])}),
        "statistics": tuple(given["statistics"]),
    }
    return Table(**{**given, **parts})


def _row(given: dict[str, Any]) -> Row:
    cells = {key: _cell(cell) for key, cell in given["cells"].items()}
    return Row(**{**given, "labels": tuple(given["labels"]), "cells": cells})


def _cell(given: dict[str, Any]) -> Cell:
    fields_of_key = {key: field for field, key in _JSON_KEYS.items()}
    cell: dict[str, Any] = {
        fields_of_key.get(key, key): tuple(value) if key in _TUPLES else value for key, value in given.items()
    }
    for field in fields(Cell):
        if field.type == "float | None" and isinstance(cell[field.name], str):
            cell[field.name] = float(cell[field.name])
    return Cell(**cell)


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            _JSON_KEYS.get(key, key): _json_value(item) for key, item in value.items() if item or key not in _IF_GIVEN
        }
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

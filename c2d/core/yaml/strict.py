"""The base of models of YAML and JSON files: no unknown keys, no conversions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    """A model without unknown keys whose fields cannot be assigned, and that converts nothing.

    `true` and text in quotes are no numbers, 1 is not true, and a number is no text. 9.0 is the whole number 9.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _whole_floats(cls, values: Any) -> Any:
        return {key: _whole(value) for key, value in values.items()} if isinstance(values, dict) else values


def _whole(value: Any) -> Any:
    """A whole float as int, also inside a list; a field of floats takes both."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_whole(item) for item in value] if isinstance(value, list) else value

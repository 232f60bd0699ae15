"""Flags of annotation files as words and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from c2d.data.flag_words import ALLOWED_FLAGS, read_flag

FALSE = ("0", "0.0", "00", "-1", "-1.0", "", "  ", "False", "FALSE", "f", "no", "No", "N", "off", "None", "null", "n/a",
         "N/A", "na", "Unspecified", "unknown", " 0\n", None, 0, 0.0, -1, False)  # fmt: skip
TRUE = ("1", "1.0", "+1", " 1 ", "True", "TRUE", "t", "yes", "Y", "on", 1, 1.0, True)
NEITHER = ("2", "0_1", "0.5", "-2", "inf", "1e9", "maybe", "falsch", "0 1", "1,0", "dog", 2, 0.5, [], {"a": 1})


@pytest.mark.parametrize(("values", "flag"), [(FALSE, 0), (TRUE, 1)])
def test_words_and_numbers(values: tuple[Any, ...], flag: int) -> None:
    assert {str(value): read_flag(value) for value in values} == {str(value): flag for value in values}


@pytest.mark.parametrize("value", NEITHER)
def test_anything_else_is_refused_with_the_allowed_words(value: Any) -> None:
    with pytest.raises(ValueError, match="is ") as caught:
        read_flag(value)
    assert str(caught.value) == f"is {value!r}; {ALLOWED_FLAGS}"

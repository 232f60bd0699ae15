"""Configs as literals: what c2d writes is read by stock mmengine, and nothing but literals is read here."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine import Config

from c2d.configs.config_literals import config_source, parse_config_source
from c2d.core.errors import InputError
from tests.c2d.configs.test_stored_config import VALUES, same


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_with_its_type(value: object, tmp_path: Path) -> None:
    text = config_source({"key": value, "other": {"nested": [value] * 40}})
    found = parse_config_source(text, "config.py")
    assert same(found, {"key": value, "other": {"nested": [value] * 40}})
    (tmp_path / "config.py").write_text(text)
    assert same(Config.fromfile(tmp_path / "config.py").to_dict(), found)


def test_text_that_mmengine_would_replace_stays() -> None:
    text = config_source({"classes": ["{{ fileBasename }}", "{{{$HOME:x}}}"]})
    assert "{{" not in text
    assert parse_config_source(text, "config.py") == {"classes": ["{{ fileBasename }}", "{{{$HOME:x}}}"]}


def test_what_mmengine_dumps_is_read() -> None:
    config = Config({"a": {"b": (1, 2), "c d": [dict(e=None)]}, "f": -1.5e-7, "g": float("inf")})
    assert same(parse_config_source(config.pretty_text, "x"), config.to_dict())


TOUCH = "open('{}', 'w')"


@pytest.mark.parametrize(
    "line",
    [
        TOUCH, f"x = {TOUCH}", f"x = [{TOUCH}]", f"x = dict(a={TOUCH})", f"x = dict(**{TOUCH})", f"x = {{**{TOUCH}}}",
        f"x = {{{TOUCH}: 1}}", f"x = -{TOUCH}", f"x = float({TOUCH})", f"x = (y := {TOUCH})", f"x: int = {TOUCH}",
        f"x = f'{{{TOUCH}}}'", f"x = [y for y in {TOUCH}]", f"x = lambda: {TOUCH}", f"if {TOUCH}: x = 1",
        f"@{TOUCH}\ndef x(): pass", f"class x: y = {TOUCH}", "import os", "from os import system", "x = y", "x = y.z",
        "x = 1 + 1", "x = y = 1", "x, y = 1, 2", "x.y = 1", "x[0] = 1", "x = {[]}", "x = {[]: 1}", "x = ...",
        "x = b'a'", "x = 1j", "x = -True", "x = dict({}, a=1)", "x = float('1')", "model = 1",
        "with open('a') as x: pass",
        "x = " + "[" * 5_000, "x = " + "-" * 20_000 + "1", "x = 'a", "\x00", "\tx = 1", "_base_ = ['x.py'] + []",
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_not_executed(line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)c2d wrote.*restore the file") as caught:
        parse_config_source(f"model = dict(type='A')\n{line.replace('{}', str(tmp_path / 'ran'))}\n", "config.py")
    assert "\n" not in str(caught.value)
    assert "config.py" in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a b": 1}, "the key 'a b', which is no name of Python"),
        ({"class": 1}, "the key 'class'"),
        ({"a": {"b": [object]}}, r"a\.b\.0 of the config is a type"),
    ],
)
def test_a_config_that_cannot_be_written_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_source(values)

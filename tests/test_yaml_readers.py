"""Every kind of YAML file is read by one reader: the same text is the same error, with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.report.report_spec import read_spec
from c2d.core.errors import InputError
from c2d.core.yaml.yaml_lines import parse_mapping, read_mapping
from c2d.specs.names import read_schedule
from sweeps.definition.definition import read_definition
from sweeps.definition.profile import load_profile

ROOT = Path(__file__).resolve().parents[1]
Reader = Callable[[Path], Any]

# name: (reader, first line of such a file)
READERS: dict[str, tuple[Reader, str]] = {
    "train spec": (read_mapping, "dataset: scenes"),
    "schedule": (lambda path: read_schedule(str(path), "detector"), "iterations: 5"),
    "classifier teacher": (lambda path: read_schedule(str(path), "classifier"), "iterations: 5"),
    "sweep definition": (lambda path: read_definition(str(path)), "question: what?"),
    "profile": (lambda path: load_profile(str(path)), "gpus: 1"),
    "report spec": (read_spec, "kind: table"),
}
NUMBER = "; write a plain finite number such as 90 or 0.5, or '{}' in quotes for text"
WORD = "; write true or false, a number where one is wanted, or '{}' in quotes for the word"
# (text from line 2 on, the error after the name of the file): wrong in every kind of file
STRUCTURE = [
    ("a: 1\na: 2", ":3: a: is given twice, first in line 2; keep one of them"),
    ("a: {b: 1,\n  b: 2}", ":3: a.b: is given twice, first in line 2; keep one of them"),
    ("a: &x {b: 1}\nc: {<<: *x}", ":3: c: merge keys (<<) are not read; write the keys out"),
    ("a: &x [*x]", ":2: a[0]: an alias (*) inside its own anchor (&); write the value out"),
    ("a: !!str 5", ":2: a: the tag tag:yaml.org,2002:str is not allowed; leave it out"),
    ("a: !own {b: 1}", ":2: a: the tag !own is not allowed; leave it out"),
    ("a: !!python/name:os.system x", ":2: a: the tag tag:yaml.org,2002:python/name:os.system is not allowed"),
    ("!!str a: 5", ":2: the tag tag:yaml.org,2002:str is not allowed; leave it out"),
    ("[a, b]: 1", ":2: a key is a list or a mapping; keys are text"),
    ("'': 1", ":2: the key '' is not a name; write one line of text"),
    ("---\na: 1", ":2: a second document (---); keep one document a file"),
    ("a: [1,", ":3: not valid YAML (expected the node content, but found '<stream end>'); fix the line"),
    ("\ta: 1", ":2: not valid YAML (found character '\\t' that cannot start any token); fix the line"),
    ("a: " + "[" * 3000, ":2: nested too deeply; write it flatter"),
]  # fmt: skip
# wrong where scalars are numbers, words and constants; a report spec keeps them as text
SCALARS = [
    ("a: 1:30", ":2: a: YAML reads 1:30 as 90" + NUMBER.format("1:30")),
    ("hours: {small: 4:00}", ":2: hours.small: YAML reads 4:00 as 240" + NUMBER.format("4:00")),
    ("a: 1_000", ":2: a: YAML reads 1_000 as 1000" + NUMBER.format("1_000")),
    ("a: 010", ":2: a: 010 begins with 0, which YAML reads as octal" + NUMBER.format("010")),
    ("a: 0x10", ":2: a: YAML reads 0x10 as 16" + NUMBER.format("0x10")),
    ("a: .inf", ":2: a: .inf is not a finite number" + NUMBER.format(".inf")),
    ("a: .nan", ":2: a: .nan is not a finite number" + NUMBER.format(".nan")),
    ("a: 1e999", ":2: a: 1e999 is too large a number" + NUMBER.format("1e999")),
    (
        "a: 1234567890123456789",
        ":2: a: 1234567890123456789 has more than 18 digits" + NUMBER.format("1234567890123456789"),
    ),
    ("a: yes", ":2: a: YAML reads yes as true" + WORD.format("yes")),
    ("a: No", ":2: a: YAML reads No as false" + WORD.format("No")),
    ("a: [on]", ":2: a[0]: YAML reads on as true" + WORD.format("on")),
    ("a: OFF", ":2: a: YAML reads OFF as false" + WORD.format("OFF")),
    (
        "a: 2021-06-05",
        ":2: a: YAML reads 2021-06-05 as a date; write a number where one is wanted, or '2021-06-05' in quotes",
    ),
    ("a: {no: 1}", ":2: a.no: YAML reads no as false; put the name in quotes: 'no'"),
    ("a: {1:30: 1}", ":2: a.1:30: YAML reads 1:30 as 90; put the name in quotes: '1:30'"),
    ("a: {~: 1}", ":2: a.~: YAML reads ~ as null; put the name in quotes: '~'"),
]
TABLE = [(name, *case) for name in READERS for case in STRUCTURE]
TABLE += [(name, *case) for name in READERS if name != "report spec" for case in SCALARS]


@pytest.mark.parametrize(("name", "text", "message"), TABLE)
def test_bad_yaml_is_one_error_in_every_kind_of_file(name: str, text: str, message: str, tmp_path: Path) -> None:
    reader, first = READERS[name]
    path = tmp_path / "file.yaml"
    path.write_text(f"{first}\n{text}\n")
    with pytest.raises(InputError) as caught:
        reader(path)
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{path}{message}") for line in lines), lines


BAD_FILES = [
    (b"\xff\xfe\x00", ":1: is not UTF-8 text; give a YAML file, saved as UTF-8"),
    (b"a: 1\n\x00\n", ":2: holds null bytes, so it is not text; give a YAML file"),
    (b"", ":1: holds nothing, not keys and values; "),
    (b"# only a comment\n", ":1: holds nothing, not keys and values; "),
    (b"- a\n- b\n", ":1: holds a list, not keys and values; "),
    (b"words\n", ":1: holds a single value, not keys and values; "),
]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("raw", "message"), BAD_FILES)
def test_a_file_without_keys_and_values(name: str, raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=re.escape(f"{path}{message}")):
        READERS[name][0](path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in ((tmp_path, "is a folder; give a YAML file"), (tmp_path / "none.yaml", "no file ")):
        with pytest.raises(InputError, match=message):
            read_mapping(path)


def test_numbers_text_and_aliases() -> None:
    text = "a: 1e-3\nb: [2E-3, .5, 4, -0.0, 1.0e-4]\nc: &c {d: '1:30', e: \"no\"}\nf: *c\ng:\nh: true\n5: x\n"
    values = parse_mapping(text, "x.yaml", "")
    assert values == {
        "a": 0.001, "b": [0.002, 0.5, 4, -0.0, 0.0001], "c": {"d": "1:30", "e": "no"}, "f": {"d": "1:30", "e": "no"},
        "g": None, "h": True, "5": "x",
    }  # fmt: skip
    assert [type(value) for value in values["b"]] == [float, float, int, float, float]


SHIPPED = [
    path
    for folder in ("c2d/configs/schedules", "c2d/configs/teachers", "sweeps/profiles")
    for path in sorted((ROOT / folder).glob("*.yaml"))
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_have_the_values_that_yaml_gives_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    values, expected = parse_mapping(text, path.name, ""), yaml.safe_load(text)
    assert values == expected
    assert repr(values) == repr(expected)  # types and order too


def test_only_the_reader_calls_yaml() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for package in ("c2d", "sweeps", "analysis", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*(import|from) yaml\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    # The card of an exported student only writes YAML.
    assert users == {"c2d/core/yaml/yaml_lines.py", "c2d/core/yaml/yaml_scalars.py", "c2d/export/model_card.py"}

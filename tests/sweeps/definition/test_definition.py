"""Definitions that are wrong: every mistake of a file at once, each by its line, with what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from c2d.core.errors import InputError
from sweeps.definition.definition import Definition, definition_names, parse_definition, read_definition

HEAD = """\
question: Does it work?
base: {dataset: scenes, student: retinanet-qr18, schedule: demo}
"""
AXES = HEAD + "axes:\n"
METHODS = AXES + "  method: {baseline: [], kd: [{icod: {}}]}\n"


def read(text: str) -> Definition:
    return parse_definition(text, "x.yaml", "x")


def mistakes(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(text)
    return str(caught.value).splitlines()


def error_lines(text: str) -> list[str]:
    """The mistakes of a text that may have none."""
    try:
        read(text)
    except InputError as error:
        return str(error).splitlines()
    return []


ONE_MISTAKE = [
    # the file
    ("", "x.yaml:1: holds nothing, not keys and values"),
    ("- a\n- b", "x.yaml:1: holds a list, not keys and values"),
    ("question: [unclosed\nbase: 1", "x.yaml:2: not valid YAML"),
    ("question: a\n\tbase: 1", "x.yaml:2: not valid YAML"),
    ("question: a\n---\nquestion: b", "x.yaml:2: a second document (---)"),
    ("question: \x07", "x.yaml:1: not valid YAML"),
    # the keys at the top
    ("base: {dataset: a}", "x.yaml:1: question: is missing; write in a sentence what the sweep compares"),
    (HEAD + "axis: {}", "x.yaml:3: axis: unknown key 'axis'; did you mean 'axes'?"),
    ("question: 5", "x.yaml:1: question: Input should be a valid string (given 5)"),
    ("question: '  '", "x.yaml:1: question: is empty; write in a sentence what the sweep compares"),
    (HEAD + "name: a b", "x.yaml:3: name: wanted a name of letters, digits and . _ + -"),
    (HEAD + "name: ..", "x.yaml:3: name: wanted a name of letters, digits and . _ + -"),
    (HEAD + "size: smal", "x.yaml:3: size: Input should be 'small' or 'large' (given 'smal')"),
    (HEAD + "question: again?", "x.yaml:3: question: is given twice, first in line 1; keep one of them"),
    # seeds
    (HEAD + "seeds: 0", "x.yaml:3: seeds: wanted at least 1 seed"),
    (HEAD + "seeds: many", "x.yaml:3: seeds: wanted a number of seeds, or a list of whole numbers (given 'many')"),
    (HEAD + "seeds: true", "x.yaml:3: seeds: wanted a number of seeds"),
    (HEAD + "seeds: [1, 1]", "x.yaml:3: seeds: seeds are distinct and not negative (given [1, 1])"),
    (HEAD + "seeds: [-1]", "x.yaml:3: seeds: seeds are distinct and not negative"),
    (HEAD + "seeds: []", "x.yaml:3: seeds: wanted a number of seeds"),
    (
        AXES + "  seed: [0, 1]",
        "x.yaml:4: axes.seed: cannot be set by a cell; seeds have a key of their own: `seeds: 3`",
    ),
    (
        AXES + "  sead: [0, 1]",
        "x.yaml:4: axes.sead: unknown key 'sead'; did you mean 'seed'? seeds have a key of their",
    ),
    # base
    ("question: a\nbase:\n  method: [5]", "x.yaml:3: base.method: method entry 5 is not {name: parameters}"),
    ("question: a\nbase: scenes", "x.yaml:2: base: wanted keys and values, given 'scenes'"),
    ("question: a\nbase:\n  sudent: a", "x.yaml:3: base.sudent: unknown key 'sudent'; did you mean 'student'?"),
    ("question: a\nbase:\n  teachers: {}", "x.yaml:3: base.teachers: cannot be set by a cell; teachers have a key"),
    ("question: a\nbase:\n  seed: 1", "x.yaml:3: base.seed: cannot be set by a cell; seeds have a key of their own"),
    ("question: a\nbase:\n  schedule.iteratons: 1", "unknown key of schedule: 'iteratons'; did you mean 'iterations'?"),
    (
        "question: a\nbase:\n  schedule.optimizer.rl: 1",
        "x.yaml:3: base.schedule.optimizer.rl: unknown key of schedule.optimizer: 'rl'; did you mean 'lr'?",
    ),
    ("question: a\nbase:\n  schedule.batch.size: 1", "x.yaml:3: base.schedule.batch.size: schedule.batch has no keys"),
    ("question: a\nbase:\n  method: icod", "x.yaml:3: base.method: a method is a list such as [{icod: {T: 2}}]"),
    (
        "question: a\nbase:\n  schedule: demo\n  schedule: 1x",
        "x.yaml:4: base.schedule: is given twice, first in line 3",
    ),
    # axes
    (HEAD + "axes: [a]", "x.yaml:3: axes: wanted axes by name, given ['a']"),
    (AXES + "  student: []", "x.yaml:4: axes.student: wanted a list of values or named values, given []"),
    (AXES + "  student: ssd300", "x.yaml:4: axes.student: wanted a list of values or named values, given 'ssd300'"),
    (AXES + "  metod: {a: [], b: []}", "x.yaml:4: axes.metod: unknown key 'metod'; did you mean 'method'?"),
    (
        AXES + "  metod: [[]]",
        "'metod'; did you mean 'method'? known: data_free, dataset, init, input, method, method.METHOD.PARAMETER, "
        "network, overrides, overrides.KEY, schedule, schedule.VALUE, student, teacher.KIND.KEY, text_embeddings; an",
    ),
    (AXES + "  methd.icod.T: [1]", "x.yaml:4: axes.methd.icod.T: unknown key 'methd.icod.T'; did you mean 'method"),
    (METHODS + "  method.icdo.T: [1]", "x.yaml:5: axes.method.icdo.T: unknown method 'icdo'; did you mean 'icod'?"),
    (METHODS + "  method.icod.TT: [1]", "x.yaml:5: axes.method.icod.TT: unknown parameter of icod 'TT'; did you mean"),
    (METHODS + "  method.icod: [1]", "x.yaml:5: axes.method.icod: unknown parameter of icod 'nothing'"),
    (
        AXES + "  method:\n    a: []\n    kd: [{icdo: {}}]",
        "x.yaml:6: axes.method.kd: unknown method 'icdo'; did you",
    ),
    (AXES + "  method:\n    kd: [{icod: {lambda: 1}}]", "x.yaml:5: axes.method.kd: unknown parameter of icod 'lambda'"),
    (AXES + "  method:\n    a: []\n    b: []\n    a: []", "x.yaml:7: axes.method.a: is given twice, first in line 5"),
    (AXES + "  input: [160, 200, 160]", "x.yaml:4: axes.input[2]: 160 is given twice (as 160); keep one of them"),
    (AXES + "  schedule.ema:\n    - 0.5\n    - 5e-1", "x.yaml:6: axes.schedule.ema[1]: 5e-1 is given twice (as 0.5)"),
    (AXES + "  model:\n    a: {student: x}\n    b: {sudent: x}", "x.yaml:6: axes.model.b.sudent: unknown key 'sudent'"),
    (
        AXES + "  schedul:\n    a: {name: demo}",
        "axis 'schedul' is not a key, so its values are mappings of keys; did you",
    ),
    (
        AXES + "  student: [a, b]\n  model:\n    a: {student: x}",
        "x.yaml:5: axes.model: student is set by axis 'student' as well; one axis sets a key",
    ),
    (
        AXES + "  method: {baseline: []}\n  method.icod.T: [1, 2]",
        "x.yaml:5: axes.method.icod.T: changes nothing: no method of this sweep contains icod",
    ),
    (
        AXES + "  input: [1, 2]\n  teacher.classifier.network: [resnet18]",
        "x.yaml:5: axes.teacher.classifier.network: changes nothing: no method of this sweep needs a classifier",
    ),
    (
        AXES + "  init: [none, torchvision:resnet18.V1]\n  teacher.detector.schedule: [1x, 2x]",
        "x.yaml:5: axes.teacher.detector.schedule: changes nothing: no method of this sweep needs a detector",
    ),
    (METHODS + "  teacher.classifer.network: [a]", "unknown kind of teacher 'classifer'; did you mean 'classifier'?"),
    (METHODS + "  teacher.classifier.student: [a]", "unknown key of a classifier teacher: 'student'"),
    (AXES + "  student: {a: {student: ssd300-vgg16, schedule: ssd}}", "'student' is a key, so a value of this axis"),
    (
        METHODS + "  teacher.classifier: [{network: resnet18}]",
        "in base and on an axis write its keys: teacher.classifier.dataset",
    ),
    (
        AXES + "".join(f"  overrides.k{n}: [1, 2, 3, 4, 5, 6, 7]\n" for n in range(9)),
        "x.yaml:3: axes: 40,353,607 cells",
    ),
    # teachers
    (METHODS + "teachers: resnet18", "x.yaml:5: teachers: wanted {classifier:"),
    (METHODS + "teachers:\n  clasifier: {}", "x.yaml:6: teachers.clasifier: unknown kind of teacher 'clasifier'"),
    (METHODS + "teachers:\n  classifier: 5", "x.yaml:6: teachers.classifier: wanted a block such as {network: ..."),
    (
        METHODS + "teachers:\n  classifier:\n    network: a\n    netwrk: b",
        "x.yaml:8: teachers.classifier.netwrk: unknown key of a classifier teacher: 'netwrk'; did you mean 'network'?",
    ),
    (METHODS + "teachers:\n  detector: {method: []}", "x.yaml:6: teachers.detector.method: unknown key of a detector"),
    (
        METHODS + "  teacher.classifier.seed: [0]\nteachers: {classifier: net-classifier-0123456789ab-s0}",
        "x.yaml:5: axes.teacher.classifier.seed: cannot change the finished run net-classifier-0123456789ab-s0",
    ),
    # rules
    (METHODS + "exclude: {method: kd}", "x.yaml:5: exclude: wanted a list of rules"),
    (METHODS + "exclude:\n- {}", "x.yaml:6: exclude[0]: wanted {axis: label, ...} with at least one axis"),
    (METHODS + "exclude:\n- metod: kd", "x.yaml:6: exclude[0].metod: unknown axis 'metod'; did you mean 'method'?"),
    (METHODS + "exclude:\n- method: kdd", "x.yaml:6: exclude[0].method: unknown label of axis method 'kdd'; did you"),
    (METHODS + "exclude:\n- seed: 1", "x.yaml:6: exclude[0].seed: is not an axis: every cell has every seed"),
    (METHODS + "exclude:\n- method: kd\n- method: baseline", "x.yaml:5: exclude: leaves no cell; exclude less"),
    (METHODS + "include:\n- method: all", "x.yaml:6: include[0].method: unknown label of axis method 'all'; known:"),
    (METHODS + "include:\n- method: kd", "x.yaml:6: include[0]: adds no cell that is not there already; leave it out"),
    # what YAML would make of it
    (AXES + "  method:\n    no: []", "x.yaml:5: axes.method.no: YAML reads no as false; put the name in quotes: 'no'"),
    (AXES + "  method:\n    on: []", "x.yaml:5: axes.method.on: YAML reads on as true; put the name in quotes: 'on'"),
    (AXES + "  method:\n    ~: []", "x.yaml:5: axes.method.~: YAML reads ~ as null; put the name in quotes"),
    (AXES + "  method:\n    2021-06-05: []", "YAML reads 2021-06-05 as a date; put the name in quotes"),
    (AXES + "  overrides.a: [yes]", "x.yaml:4: axes.overrides.a[0]: YAML reads yes as true; write true or false, a"),
    (
        AXES + "  overrides.a: [1:30]",
        "x.yaml:4: axes.overrides.a[0]: YAML reads 1:30 as 90; write a plain finite number",
    ),
    (AXES + "  overrides.a: [1_000]", "x.yaml:4: axes.overrides.a[0]: YAML reads 1_000 as 1000; write a plain"),
    (AXES + "  overrides.a: [0x10]", "x.yaml:4: axes.overrides.a[0]: YAML reads 0x10 as 16; write a plain"),
    (AXES + "  overrides.a: [.nan]", "x.yaml:4: axes.overrides.a[0]: .nan is not a finite number; write a plain"),
    (AXES + "  overrides.a: [1e999]", "x.yaml:4: axes.overrides.a[0]: 1e999 is too large a number"),
    (AXES + "  overrides.a: [!!python/name:os.system x]", "x.yaml:4: axes.overrides.a[0]: the tag"),
    (AXES + "  overrides.a: &a [*a]", "x.yaml:4: axes.overrides.a[0]: an alias (*) inside its own anchor"),
    (AXES + "  [a, b]: [1]", "x.yaml:4: axes: a key is a list or a mapping; keys are text"),
    ("question: a\nbase: &b {input: 1}\naxes:\n  m:\n    x: {<<: *b}", "x.yaml:5: axes.m.x: merge keys (<<) are not"),
]


@pytest.mark.parametrize(("text", "message"), ONE_MISTAKE, ids=range(len(ONE_MISTAKE)))
def test_an_error_names_its_line(text: str, message: str) -> None:
    (line,) = mistakes(text)
    assert message in line
    assert line.startswith("x.yaml:")


def test_all_errors_of_a_file_are_in_its_order() -> None:
    text = """\
qestion: what?
base:
  sudent: ssd300-vgg16
  schedule.iteratons: 5
axes:
  method:
    baseline: []
    kd: [{icdo: {}}]
  method.icod.T: [1, 2]
  seed: [0, 1]
exclude:
  - {metod: kd}
seeds: -1
size: huge
"""
    assert [line.split(": ", 1)[0] + " " + line.split(": ")[1] for line in mistakes(text)] == [
        "x.yaml:1 qestion",
        "x.yaml:1 question",
        "x.yaml:3 base.sudent",
        "x.yaml:4 base.schedule.iteratons",
        "x.yaml:8 axes.method.kd",
        "x.yaml:10 axes.seed",
        "x.yaml:12 exclude[0].metod",
        "x.yaml:13 seeds",
        "x.yaml:14 size",
    ]


def test_numbers_are_numbers_in_every_spelling() -> None:
    definition = read(AXES + "  schedule.optimizer.lr: [1e-3, 2E-3, .5, 4]\n")
    values = definition.axes["schedule.optimizer.lr"].values
    assert values == {"1e-3": 0.001, "2E-3": 0.002, ".5": 0.5, "4": 4}
    assert [type(value) for value in values.values()] == [float, float, float, int]


def test_labels_keep_their_spelling() -> None:
    definition = read(AXES + "  input: [160]\n  method: [[], [{icod: {T: 2.0}}]]\n")
    assert list(definition.axes["input"].values) == ["160"]
    assert list(definition.axes["method"].values) == ["[]", "[{icod: {T: 2.0}}]"]
    quoted = read(AXES + "  init: ['no', null-ish, \"none\"]\n").axes["init"]
    assert list(quoted.values) == ["no", "null-ish", "none"]


def test_a_quoted_yaml_keyword_is_a_label() -> None:
    definition = read(AXES + "  method: {'no': [], \"1:30\": [], 112: []}\n")
    assert list(definition.axes["method"].values) == ["no", "1:30", "112"]


def test_anchors_are_read_as_if_written_out() -> None:
    text = AXES + "  model:\n    a: &a {student: x, input: 1}\n    b: *a\n"
    definition = read(text)
    assert definition.axes["model"].sets("b") == {"student": "x", "input": 1}


def test_exponential_anchors_are_refused() -> None:
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for this, last in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f"{this}: &{this} [{', '.join([f'*{last}'] * 10)}]\n"
    lines = mistakes(bomb)
    assert sum("more than 200000 values with all aliases (*) filled in" in line for line in lines) == 1


def test_defaults() -> None:
    definition = read(HEAD)
    assert (definition.name, definition.seeds, definition.size) == ("x", [0], "small")
    assert [cell.labels for cell in definition.cells()] == [{}]
    assert definition.text == HEAD


def test_the_name_is_the_files_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "two words.yaml"
    path.write_text(HEAD)
    with pytest.raises(InputError, match=r"it is the file's \(two words\): add `name:`"):
        read_definition(str(path))
    path.write_text(HEAD + "name: two-words")
    assert read_definition(str(path)).name == "two-words"


def test_a_file_or_a_shipped_name(tmp_path: Path) -> None:
    assert read_definition("demo").source == "sweeps/defs/demo.yaml"
    with pytest.raises(InputError, match="unknown sweep 'dmeo'; did you mean 'demo'"):
        read_definition("dmeo")
    with pytest.raises(InputError, match="icod-table4b is a report of the sweep icod-pooling; give the sweep"):
        read_definition("icod-table4b")
    with pytest.raises(InputError, match="unknown sweep"):
        read_definition(str(tmp_path))
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"a\.yaml:1: is not UTF-8 text"):
        read_definition(str(tmp_path / "a.yaml"))


def test_rules_match_labels_and_values() -> None:
    text = AXES + "  input: [160, 200]\n  schedule.ema: {low: 0.5, high: 0.9}\n"
    rules = "exclude:\n- {input: 160.0, schedule.ema: low}\n- {schedule.ema: 9e-1, input: '200'}\n"
    assert read(text + rules).exclude == [
        {"input": "160", "schedule.ema": "low"},
        {"schedule.ema": "high", "input": "200"},
    ]


def test_an_include_may_add_a_value_to_a_list_only() -> None:
    definition = read(AXES + "  input: [160]\ninclude: [{input: 200}]\n")
    assert definition.axes["input"].labels == ["160", "200"]
    (line,) = mistakes(AXES + "  input: {small: 160}\ninclude: [{input: 200}]\n")
    assert line.startswith("x.yaml:5: include[0].input: unknown label of axis input '200'; known: small")


@settings(max_examples=200, deadline=None)
@example("0b_")
@example("a: 0x" + "f" * 300)
@given(st.text(alphabet=" \n\t:-[]{},&*!|>'\"#%@`?0123456789.eE_abcxyz~<=", max_size=60))
def test_any_text_is_read_or_raises_input_error(text: str) -> None:
    assert all(line.startswith("x.yaml:") for line in error_lines(HEAD + "axes:\n  overrides.a: " + text))


# A text that reads like a number (0E0) is not quoted by a YAML 1.1 writer; here, as in YAML 1.2, it is the number.
TEXTS = st.text(max_size=8).filter(lambda text: not re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", text))
SCALARS = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | TEXTS
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{4,9}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_yaml_writes_is_read_back(value: Any) -> None:
    text = yaml.safe_dump({"question": "q", "base": {"overrides.a": value}})  # escapes what YAML would fold
    assert read(text).base["overrides.a"] == value


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["question", "base", "axes", "seeds", "exclude", "include", "teachers", "size"]),
                       VALUES, max_size=8))  # fmt: skip
def test_any_value_at_any_key_is_read_or_raises_input_error(value: dict[str, Any]) -> None:
    assert all(line.startswith("x.yaml:") for line in error_lines(yaml.safe_dump(value)))


def test_a_rule_beside_invalid_axes() -> None:
    found = error_lines("question: q\nbase: {}\naxes: 1\nexclude: [{aaaa: null}]\n")
    assert any("axes" in line for line in found)
    assert any(line.startswith("x.yaml:4: exclude[0].aaaa: unknown axis 'aaaa'") for line in found), found


def test_every_shipped_name_is_listed() -> None:
    assert "demo" in definition_names()
    assert all(read_definition(name).name == name for name in definition_names())
